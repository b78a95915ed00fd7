//! The client against a proxy of a few lines that remembers what it got, and against the real one.

mod client {
    mod attribute;
    mod ending;
    mod layer;
    mod real;
    mod retrying;
    mod sending;
    mod stub;
}
