//! `/admin`: for administrators.

pub(crate) mod dead_letters;
pub(crate) mod events;
pub(crate) mod figures;
pub(crate) mod fulfilment;
pub(crate) mod lists;
