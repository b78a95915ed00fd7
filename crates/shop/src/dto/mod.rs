//! What goes over the wire: requests, validated field by field, and answers. Shapes only; no rules, no SQL.

pub mod catalogue;
pub mod checkout;
pub mod coupons;
pub mod events;
pub mod figures;
pub mod members;
pub mod notifications;
pub mod texts;

/// Text that people see holds no control characters, which also keeps NUL from the databases.
pub(crate) fn printable(text: &str, _: &()) -> garde::Result {
    match text.chars().any(char::is_control) {
        true => Err(garde::Error::new("must have no control characters")),
        false => Ok(()),
    }
}
