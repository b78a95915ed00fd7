//! Requests, validated field by field, and answers. Shapes only; no rules, no SQL.

pub(crate) mod catalogue;
pub(crate) mod checkout;
pub(crate) mod coupons;
pub(crate) mod events;
pub(crate) mod figures;
pub(crate) mod members;
pub(crate) mod notifications;
pub(crate) mod texts;

/// Checks that text for people has no control characters; this also keeps NUL from the databases.
pub(crate) fn printable(text: &str, _: &()) -> garde::Result {
    match text.chars().any(char::is_control) {
        true => Err(garde::Error::new("must have no control characters")),
        false => Ok(()),
    }
}
