//! The client against a small proxy that keeps the requests, and against a real proxy.

mod client {
    mod attribute;
    mod ending;
    mod layer;
    mod real;
    mod retrying;
    mod sending;
    mod stub;
}
