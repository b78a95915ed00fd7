//! What a cluster asks for that is not open to everybody, on a broker that asks for it.

mod secured {
    mod aws;
    mod broker;
    mod certificates;
    mod passwords;
    mod provider;
    mod tokens;
}
