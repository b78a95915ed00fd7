//! The client against a proxy of a few lines that remembers what it got.

mod client {
    mod attribute;
    mod ending;
    mod layer;
    mod retrying;
    mod sending;
    mod stub;
}
