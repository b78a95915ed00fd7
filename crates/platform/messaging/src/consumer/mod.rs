//! Consumer groups: hosting, leases, offsets, handling, dead letters.

pub(crate) mod dead_letters;
pub(crate) mod group;
pub(crate) mod host;
pub(crate) mod leases;
pub(crate) mod marks;
pub(crate) mod offsets;
pub(crate) mod pauses;
pub(crate) mod worker;
