//! TLS, by a certificate and a key in PEM files.

use std::path::Path;
use std::sync::Arc;

use program::process::one_line;
use program::settings::SettingError;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::settings::TlsSettings;

const CERTIFICATE: &str = "http.tls.certificate";
const KEY: &str = "http.tls.key";

/// Returns the TLS configuration; `None` without a certificate in the settings.
///
/// # Errors
/// The setting with an unusable file.
pub(crate) fn config(settings: &TlsSettings) -> Result<Option<ServerConfig>, SettingError> {
    let (certificate, key) = match (&settings.certificate, &settings.key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(SettingError::new(KEY, format!("expected a file, for {CERTIFICATE} is set"))),
        (None, Some(_)) => return Err(SettingError::new(CERTIFICATE, format!("expected a file, for {KEY} is set"))),
    };
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| bad_file(CERTIFICATE, certificate, error))?;
    if chain.is_empty() {
        return Err(bad_file(CERTIFICATE, certificate, pem::Error::NoItemsFound));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| bad_file(KEY, key, error))?;
    // named, for other libraries bring providers of their own
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder =
        builder.with_safe_default_protocol_versions().map_err(|error| bad_file(CERTIFICATE, certificate, error))?;
    let config = builder.with_no_client_auth().with_single_cert(chain, private);
    config.map(Some).map_err(|error| bad_file(KEY, key, error))
}

fn bad_file(setting: &str, file: &Path, error: impl std::fmt::Display) -> SettingError {
    SettingError::new(setting, one_line(&format!("{}: {error}", file.display())))
}
