//! Problem types of the shop alone.

pub use rest::kinds::*;

rest::kinds! {
    MISSING_IDEMPOTENCY_KEY = BAD_REQUEST "missing-idempotency-key", "An Idempotency-Key is required",
        "Send a header Idempotency-Key with a value of your own, for example a UUID, and the same value for each repeat.";
    INVALID_IDEMPOTENCY_KEY = BAD_REQUEST "invalid-idempotency-key", "The Idempotency-Key is not valid",
        "Use 1 to 255 visible ASCII characters.";
    INVALID_CREDENTIALS = UNAUTHORIZED "invalid-credentials", "E-mail or password is wrong",
        "The answer does not say which, to protect the account.";
    INVALID_REFRESH_TOKEN = UNAUTHORIZED "invalid-refresh-token", "The refresh token is not valid",
        "The token is unknown, expired, revoked or used more than 30 s ago: sign in again.";
    INSUFFICIENT_BALANCE = PAYMENT_REQUIRED "insufficient-balance", "The wallet holds too little",
        "Charge the wallet and pay again, with a new Idempotency-Key.";
    EMAIL_TAKEN = CONFLICT "email-taken", "The e-mail address is taken",
        "Sign in, or register with another address.";
    INSUFFICIENT_STOCK = CONFLICT "insufficient-stock", "Too few are left",
        "`product_id` names the first product with too few.";
    NOT_ON_SALE = CONFLICT "not-on-sale", "The product is not on sale",
        "`product_id` names the product.";
    ORDER_STATE = CONFLICT "order-state", "The order is no longer in a state for this",
        "`order_status` names the state.";
    COUPON_SOLD_OUT = CONFLICT "coupon-sold-out", "All coupons are taken",
        "The coupon will not be issued again.";
    COUPON_NOT_OPEN = CONFLICT "coupon-not-open", "The coupon is not open",
        "`opens_at` and `closes_at` give the times.";
    COUPON_NOT_USABLE = CONFLICT "coupon-not-usable", "The coupon can't be used for this order",
        "The coupon is used, reserved or expired, or the order is under its minimum: the detail names the cause.";
    RESET_REFUSED = CONFLICT "reset-refused", "This group must not repeat",
        "The effects of the group can't be taken back; the detail names the effects.";
    TOO_MANY_UNPAID = CONFLICT "too-many-unpaid", "Too much is ordered and not paid",
        "Pay or cancel an order, or wait until an order expires. `unpaid_orders` and `unpaid_units` give the unpaid amounts. Then order with a new Idempotency-Key.";
    IDEMPOTENCY_KEY_IN_USE = CONFLICT "idempotency-key-in-use", "The first request with this key still runs",
        "Send the request again with the same key in a moment.";
    IDEMPOTENCY_KEY_REUSED = UNPROCESSABLE_ENTITY "idempotency-key-reused", "The key was used for another request",
        "Use a new Idempotency-Key for a new request.";
}
