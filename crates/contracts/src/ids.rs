//! Ids: UUID v7, a type each.

db::uuid_newtype!(
    /// A member of the shop.
    MemberId
);
db::uuid_newtype!(
    /// A product of the catalogue.
    ProductId
);
db::uuid_newtype!(
    /// An order.
    OrderId
);
db::uuid_newtype!(
    /// A payment; at most one for each order.
    PaymentId
);
db::uuid_newtype!(
    /// A coupon campaign.
    CouponId
);
db::uuid_newtype!(
    /// A coupon owned by a member.
    OwnedCouponId
);
db::uuid_newtype!(
    /// A request for a first-come coupon.
    RequestId
);
db::uuid_newtype!(
    /// A delivery.
    DeliveryId
);
db::uuid_newtype!(
    /// An order of the shop's own, to refill stock.
    PurchaseOrderId
);
db::uuid_newtype!(
    /// A failure in a service.
    IncidentId
);
