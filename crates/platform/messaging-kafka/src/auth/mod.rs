//! Sources of tokens: the token endpoint of an identity provider, or the program's AWS credentials.

pub(crate) mod tokens;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use reqwest::{Client, Url, redirect};
use serde::Deserialize;
use tokio::time::timeout;

use crate::connection::BadProperty;

/// Time-out of an endpoint, or of AWS.
const PATIENCE: Duration = Duration::from_secs(10);
/// Characters of a refusal in error texts.
const QUOTED: usize = 200;

const METHOD: &str = "sasl.oauthbearer.method";
const ENDPOINT: &str = "sasl.oauthbearer.token.endpoint.url";
const CLIENT_ID: &str = "sasl.oauthbearer.client.id";
const CLIENT_SECRET: &str = "sasl.oauthbearer.client.secret";
const SCOPE: &str = "sasl.oauthbearer.scope";
const REGION: &str = "aws_iam_region";

#[derive(Clone)]
pub(crate) struct Bearer {
    pub(crate) token: String,
    pub(crate) expires: SystemTime,
}

pub(crate) enum Source {
    Endpoint(Endpoint),
    #[cfg(feature = "tls")]
    Aws(aws_types::region::Region),
}

/// The client credentials grant of OAuth 2.0 (RFC 6749, 4.4), by librdkafka's names.
pub(crate) struct Endpoint {
    http: Client,
    url: Url,
    client_id: String,
    client_secret: String,
    scope: Option<String>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

fn bad(name: &str, reason: impl Into<String>) -> BadProperty {
    BadProperty { name: name.to_owned(), reason: reason.into() }
}

impl Source {
    pub(crate) fn new(
        properties: &mut BTreeMap<String, String>,
        aws_iam_region: Option<&str>,
    ) -> Result<Option<Self>, BadProperty> {
        if let Some(region) = aws_iam_region {
            let ours = ["security.protocol", "sasl.mechanisms", "sasl.mechanism", METHOD];
            if let Some(name) = ours.into_iter().find(|name| properties.contains_key(*name)) {
                return Err(bad(name, format!("is not to be set with {REGION}, which sets it")));
            }
            return Self::aws(region).map(Some);
        }
        match properties.remove(METHOD).as_deref() {
            Some("oidc") => {
                let endpoint = Endpoint::new(properties)?;
                signs_in_by_token(properties)?;
                Ok(Some(Self::Endpoint(endpoint)))
            }
            Some("default") | None => {
                let name = ["sasl.mechanisms", "sasl.mechanism"].into_iter().find(|name| {
                    properties.get(*name).is_some_and(|mechanism| mechanism.eq_ignore_ascii_case("OAUTHBEARER"))
                });
                name.map_or(Ok(None), |name| {
                    Err(bad(name, format!("needs {METHOD} = oidc, or the setting bus.kafka.{REGION}")))
                })
            }
            Some(_) => Err(bad(METHOD, "expected oidc or default")),
        }
    }

    #[cfg(feature = "tls")]
    fn aws(region: &str) -> Result<Self, BadProperty> {
        // it becomes part of a host's name
        let known = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        if region.is_empty() || !region.chars().all(known) {
            return Err(bad(REGION, "expected a region of AWS, as eu-west-1"));
        }
        Ok(Self::Aws(aws_types::region::Region::new(region.to_owned())))
    }

    #[cfg(not(feature = "tls"))]
    fn aws(_: &str) -> Result<Self, BadProperty> {
        Err(bad(REGION, "needs a program that is built with the feature `tls`"))
    }

    pub(crate) fn properties(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Endpoint(_) => &[("sasl.mechanisms", "OAUTHBEARER")],
            #[cfg(feature = "tls")]
            Self::Aws(_) => &[("security.protocol", "sasl_ssl"), ("sasl.mechanisms", "OAUTHBEARER")],
        }
    }

    /// Returns the settings to check if there is no token, or the brokers refuse the token.
    pub(crate) fn names(&self) -> &'static str {
        match self {
            Self::Endpoint(_) => ENDPOINT,
            #[cfg(feature = "tls")]
            Self::Aws(_) => REGION,
        }
    }

    /// Returns the error text for a missing token.
    pub(crate) fn says(&self, reason: &str) -> String {
        format!("{}: {reason}", self.names())
    }

    pub(crate) async fn fetch(&self) -> Result<Bearer, String> {
        timeout(PATIENCE, self.ask()).await.unwrap_or_else(|_| Err(self.says("no answer in time")))
    }

    async fn ask(&self) -> Result<Bearer, String> {
        match self {
            Self::Endpoint(endpoint) => endpoint.ask().await,
            #[cfg(feature = "tls")]
            Self::Aws(region) => {
                let signed = aws_msk_iam_sasl_signer::generate_auth_token(region.clone()).await;
                let (token, expires_ms) = signed.map_err(|error| self.says(&chain(&error)))?;
                let expires = Duration::from_millis(u64::try_from(expires_ms).unwrap_or_default());
                Ok(Bearer { token, expires: SystemTime::UNIX_EPOCH + expires })
            }
        }
    }
}

/// Checks the properties for signing in by token: otherwise no token would be requested, and librdkafka would blame
/// the endpoint.
fn signs_in_by_token(properties: &BTreeMap<String, String>) -> Result<(), BadProperty> {
    let other = |(name, due): &(&'static str, &str)| {
        properties.get(*name).is_some_and(|value| !value.to_ascii_lowercase().starts_with(due))
    };
    let due = [("sasl.mechanisms", "oauthbearer"), ("sasl.mechanism", "oauthbearer"), ("security.protocol", "sasl_")];
    match due.iter().find(|due| other(due)) {
        Some((name, due)) => Err(bad(name, format!("does not go with {METHOD} = oidc, which needs {due}"))),
        None if properties.contains_key("security.protocol") => Ok(()),
        None => Err(bad("security.protocol", format!("must be sasl_ssl or sasl_plaintext for {METHOD} = oidc"))),
    }
}

impl Endpoint {
    fn new(properties: &mut BTreeMap<String, String>) -> Result<Self, BadProperty> {
        let mut taken = |name: &str| properties.remove(name).filter(|value| !value.is_empty());
        let needed = |name: &str, value: Option<String>| {
            value.ok_or_else(|| bad(name, format!("must be set for {METHOD} = oidc")))
        };
        let url = needed(ENDPOINT, taken(ENDPOINT))?;
        let url: Url = url.parse().map_err(|_| bad(ENDPOINT, "expected a URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad(ENDPOINT, "expected a URL of http or https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad(ENDPOINT, "must not hold credentials, for it is shown in logs"));
        }
        let mut http = Client::builder().redirect(redirect::Policy::none());
        if url.scheme() == "http" {
            // the system's certificates are not needed, and not every container has them
            http = http.tls_certs_only([]);
        }
        Ok(Self {
            http: http.build().map_err(|error| bad(ENDPOINT, chain(&error)))?,
            url,
            client_id: needed(CLIENT_ID, taken(CLIENT_ID))?,
            client_secret: needed(CLIENT_SECRET, taken(CLIENT_SECRET))?,
            scope: taken(SCOPE),
        })
    }

    async fn ask(&self) -> Result<Bearer, String> {
        let asked = SystemTime::now();
        let says = |reason: String| format!("{ENDPOINT}: {reason}");
        let away = |error: reqwest::Error| says(chain(&error));
        let scope = self.scope.as_ref().map(|scope| ("scope", scope.as_str()));
        let form: Vec<_> = [("grant_type", "client_credentials")].into_iter().chain(scope).collect();
        let request = self.http.post(self.url.clone()).basic_auth(&self.client_id, Some(&self.client_secret));
        let answer = request.form(&form).send().await.map_err(away)?;
        let status = answer.status();
        if status.is_success() {
            let granted: Granted = answer.json().await.map_err(away)?;
            return Ok(Bearer {
                token: granted.access_token,
                expires: asked + Duration::from_secs(granted.expires_in),
            });
        }
        let text: String = answer.text().await.map_err(away)?.chars().take(QUOTED).collect();
        match status.as_u16() {
            400 | 401 | 403 => Err(format!("{CLIENT_ID}, {CLIENT_SECRET}: {} answers {status}: {text}", self.url)),
            _ => Err(says(format!("{} answers {status}: {text}", self.url))),
        }
    }
}

/// Returns an error with the causes.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
