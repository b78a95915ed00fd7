//! Clusters with authentication: TLS, SASL and tokens, on a broker that requires them.

mod secured {
    mod aws;
    mod broker;
    mod certificates;
    mod passwords;
    mod provider;
    mod tokens;
}
