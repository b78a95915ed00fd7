//! The rules of units of work, on real files and real servers.

#[path = "db/flush.rs"]
mod flush;
#[cfg(target_os = "linux")]
#[path = "db/fsync.rs"]
mod fsync;
#[path = "db/full.rs"]
mod full;
#[path = "db/ground.rs"]
mod ground;
#[path = "db/grouped.rs"]
mod grouped;
#[path = "db/languages.rs"]
mod languages;
#[path = "db/opening.rs"]
mod opening;
#[path = "db/paths.rs"]
mod paths;
#[path = "db/postgres.rs"]
mod postgres;
#[path = "db/reads.rs"]
mod reads;
#[path = "db/storage.rs"]
mod storage;
#[path = "db/units.rs"]
mod units;
#[path = "db/values.rs"]
mod values;
#[path = "db/wakes.rs"]
mod wakes;
