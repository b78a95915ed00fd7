//!
pub mod analytics;
pub mod delivery;
pub mod replenishment;
pub mod settlement;
