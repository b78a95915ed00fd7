//! Handling of the shop's events by each consumer, on every database.

mod consumers {
    mod analytics;
    mod catalogue;
    mod coupon_history;
    mod coupon_issuer;
    mod data_platform;
    mod delivery;
    mod given;
    mod hosted;
    mod incident;
    mod notification;
    mod outside;
    mod replenishment;
    mod settlement;
}
