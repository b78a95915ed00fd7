//! Peers: other proxies of the same installation, asked about receipts of theirs.

use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};
use futures::future::join_all;
use program::settings::SettingError;
use reqwest::{Client, Response, Url};
use rest::Problem;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::http::problems;

/// Marks a proxy's question: the peer answers, and does not pass the question on.
const ASKED_BY: &str = "x-event-proxy-peer";
/// Time-out of a peer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time-out of a peer for pages.
const SOON: Duration = Duration::from_secs(2);
/// Retry-After for a receipt of an unavailable peer.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The peers of a proxy.
pub(crate) struct Peers {
    name: String,
    urls: Vec<Url>,
    client: Client,
    /// Runtime of kept connections, which outlive the HTTP thread that opened them.
    runtime: Handle,
}

/// A peer's answer about a receipt.
enum Said {
    /// The answer; also for a forgotten receipt.
    Known { status: u16, media: Option<header::HeaderValue>, body: Vec<u8> },
    /// The receipt is not the peer's.
    NotMine,
    /// No usable answer.
    Away,
}

impl Peers {
    /// Returns the peers of the proxy `name`.
    ///
    /// # Errors
    /// `node.peers`
    pub(crate) fn new(name: &str, urls: &[String]) -> Result<Self, SettingError> {
        let bad = |error: &dyn std::fmt::Display| SettingError::new("node.peers", error.to_string());
        let urls = urls.iter().map(|url| parse(url)).collect::<Result<Vec<_>, _>>()?;
        let client = Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|error| bad(&error))?;
        Ok(Self { name: name.to_owned(), urls, client, runtime: Handle::current() })
    }

    /// Returns the answer of each peer to the admin at `path`, by URL; `None` for an unavailable peer.
    pub(crate) async fn look<T: DeserializeOwned + Send + 'static>(
        &self,
        path: &str,
        credentials: &str,
    ) -> Vec<(String, Option<T>)> {
        let questions = self.urls.iter().map(|url| {
            let root = url.as_str().trim_end_matches('/');
            let question = self.client.get(format!("{root}{path}")).header(ASKED_BY, &self.name).timeout(SOON);
            let question = question.header("authorization", credentials);
            let answer = async move { question.send().await?.error_for_status()?.json().await };
            let answer: JoinHandle<reqwest::Result<T>> = self.runtime.spawn(answer);
            async move { (root.to_owned(), answer.await.ok().and_then(Result::ok)) }
        });
        join_all(questions).await
    }

    /// Returns the peers' answer about a receipt of another proxy; `None` for an own receipt, or without peers to
    /// ask.
    ///
    /// # Errors
    /// `peer-away` if no answering peer knows the receipt, and not all peers answer.
    pub(crate) async fn ask(&self, request: &HttpRequest, receipt: &str) -> Result<Option<HttpResponse>, Problem> {
        if is_of_peer(request) || self.urls.is_empty() || node_of(receipt).is_none_or(|node| node == self.name) {
            return Ok(None);
        }
        let questions = self.urls.iter().map(|url| {
            let mut question = self.client.get(of_receipt(url, receipt)).header(ASKED_BY, &self.name);
            // as bytes: reqwest has types of headers of its own
            if let Some(authorization) = request.headers().get(header::AUTHORIZATION) {
                question = question.header("authorization", authorization.as_bytes());
            }
            self.runtime.spawn(async move { said(question.send().await).await })
        });
        let (mut answer, mut is_one_away) = (None, false);
        for said in join_all(questions).await {
            match said.unwrap_or(Said::Away) {
                Said::Known { status, media, body } => answer = Some((status, media, body)),
                Said::NotMine => {}
                Said::Away => is_one_away = true,
            }
        }
        let Some((status, media, body)) = answer else {
            let away = || Problem::new(&problems::PEER_AWAY).retry_after(RETRY_AFTER);
            return if is_one_away { Err(away()) } else { Ok(None) };
        };
        let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap_or_default());
        if let Some(media) = media {
            response.insert_header((header::CONTENT_TYPE, media));
        }
        Ok(Some(response.body(body)))
    }
}

/// Returns true for a peer's question, answered only with this proxy's own data.
pub(crate) fn is_of_peer(request: &HttpRequest) -> bool {
    request.headers().contains_key(ASKED_BY)
}

/// Parses the URL of a peer from the settings.
///
/// # Errors
/// `node.peers`
pub(crate) fn parse(url: &str) -> Result<Url, SettingError> {
    let is_place = |url: &Url| url.has_host() && url.port() != Some(0);
    let is_one = |url: &Url| matches!(url.scheme(), "http" | "https") && is_place(url) && url.query().is_none();
    let expected = || SettingError::new("node.peers", format!("expected URLs like http://host:8090, got {url:?}"));
    Url::parse(url).ok().filter(is_one).ok_or_else(expected)
}

/// Returns the proxy of the receipt; `None` for an invalid receipt.
fn node_of(receipt: &str) -> Option<&str> {
    let (node, rest) = receipt.rsplit_once('.')?;
    // both are letters, digits, _ and - only
    let is_one = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    (is_one(node) && is_one(rest)).then_some(node)
}

fn of_receipt(peer: &Url, receipt: &str) -> String {
    format!("{}/v1/receipts/{receipt}", peer.as_str().trim_end_matches('/'))
}

async fn said(answer: reqwest::Result<Response>) -> Said {
    let Ok(answer) = answer else { return Said::Away };
    let status = answer.status();
    if status == reqwest::StatusCode::NOT_FOUND {
        return Said::NotMine;
    }
    if !status.is_success() && status != reqwest::StatusCode::GONE {
        return Said::Away;
    }
    let media = answer.headers().get(reqwest::header::CONTENT_TYPE);
    let media = media.and_then(|media| header::HeaderValue::from_bytes(media.as_bytes()).ok());
    match answer.bytes().await {
        Ok(body) => Said::Known { status: status.as_u16(), media, body: body.to_vec() },
        Err(_) => Said::Away,
    }
}
