//! The shop from outside: the real server on a free port, asked over HTTP.

#[path = "shop/support/mod.rs"]
mod support;

#[path = "shop/access.rs"]
mod access;
#[path = "shop/binary.rs"]
mod binary;
#[path = "shop/catalogue.rs"]
mod catalogue;
#[path = "shop/cost.rs"]
mod cost;
#[path = "shop/coupons.rs"]
mod coupons;
#[path = "shop/described.rs"]
mod described;
#[path = "shop/door.rs"]
mod door;
#[path = "shop/failures.rs"]
mod failures;
#[path = "shop/flips.rs"]
mod flips;
#[path = "shop/notifications.rs"]
mod notifications;
#[path = "shop/partitions.rs"]
mod partitions;
#[path = "shop/proxies.rs"]
mod proxies;
#[path = "shop/purchases.rs"]
mod purchases;
#[path = "shop/races.rs"]
mod races;
#[path = "shop/refusals.rs"]
mod refusals;
#[path = "shop/repeats.rs"]
mod repeats;
#[path = "shop/rush.rs"]
mod rush;
#[path = "shop/start.rs"]
mod start;
#[path = "shop/storage.rs"]
mod storage;
#[path = "shop/values.rs"]
mod values;
