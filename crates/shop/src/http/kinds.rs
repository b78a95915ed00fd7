//! Problem types of the shop alone.

pub use rest::kinds::*;

rest::kinds! {
    MISSING_IDEMPOTENCY_KEY = BAD_REQUEST "missing-idempotency-key", "An Idempotency-Key is required",
        "Send a header Idempotency-Key with a value of your own making, a UUID say, the same for each repeat.";
    INVALID_IDEMPOTENCY_KEY = BAD_REQUEST "invalid-idempotency-key", "The Idempotency-Key is not valid",
        "1 to 255 visible ASCII characters.";
    INVALID_CREDENTIALS = UNAUTHORIZED "invalid-credentials", "E-mail or password is wrong",
        "Which of the two is not said.";
    INVALID_REFRESH_TOKEN = UNAUTHORIZED "invalid-refresh-token", "The refresh token is not valid",
        "It is unknown, expired, revoked or already used: sign in again.";
    INSUFFICIENT_BALANCE = PAYMENT_REQUIRED "insufficient-balance", "The wallet holds too little",
        "Charge the wallet and pay again, with a new Idempotency-Key.";
    EMAIL_TAKEN = CONFLICT "email-taken", "The e-mail address is taken",
        "Sign in, or register with another.";
    INSUFFICIENT_STOCK = CONFLICT "insufficient-stock", "Too few are left",
        "`product_id` names the first product with too few.";
    NOT_ON_SALE = CONFLICT "not-on-sale", "The product is not on sale",
        "`product_id` names it.";
    ORDER_STATE = CONFLICT "order-state", "The order is no longer in a state for this",
        "`order_status` says what it is.";
    COUPON_SOLD_OUT = CONFLICT "coupon-sold-out", "All coupons are taken",
        "There will be no more of this one.";
    COUPON_NOT_OPEN = CONFLICT "coupon-not-open", "The coupon is not open",
        "`opens_at` and `closes_at` say when it is.";
    COUPON_NOT_USABLE = CONFLICT "coupon-not-usable", "The coupon can't be used for this order",
        "It is used, reserved, expired, or the order is under its minimum: the detail says which.";
    RESET_REFUSED = CONFLICT "reset-refused", "This group must not repeat",
        "Its effects can't be taken back; the detail says which.";
    TOO_MANY_UNPAID = CONFLICT "too-many-unpaid", "Too much is ordered and not paid",
        "Pay or cancel an order, or wait until one expires. `unpaid_orders` and `unpaid_units` say how much is unpaid. Then order with a new Idempotency-Key.";
    IDEMPOTENCY_KEY_IN_USE = CONFLICT "idempotency-key-in-use", "The first request with this key still runs",
        "Ask again with the same key in a moment.";
    IDEMPOTENCY_KEY_REUSED = UNPROCESSABLE_ENTITY "idempotency-key-reused", "The key was used for another request",
        "Take a new Idempotency-Key for a new request.";
}
