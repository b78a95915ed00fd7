//! Requests, validated field by field, and answers. Shapes only; no rules, no SQL.

use db::text::Line;

pub(crate) mod catalogue;
pub(crate) mod checkout;
pub(crate) mod coupons;
pub(crate) mod events;
pub(crate) mod figures;
pub(crate) mod members;
pub(crate) mod notifications;
pub(crate) mod texts;

/// The rule of a domain for text of one line, for `#[garde(custom(…))]`.
pub(crate) fn line<T: AsRef<str> + ?Sized>(rule: &'static Line) -> impl FnOnce(&T, &()) -> garde::Result {
    |text, ()| rule.kept(text.as_ref()).map(drop).map_err(garde::Error::new)
}
