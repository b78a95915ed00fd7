//! What each consumer makes of the shop's events, on every database.

mod consumers {
    mod analytics;
    mod delivery;
    mod given;
    mod replenishment;
    mod settlement;
}
