//! The API, asked as a client does.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use testkit::Description;

/// OpenAPI document, compared with each answer to a test.
pub(crate) static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| {
    let document = shop::http::app::openapi();
    Description::new(serde_json::to_value(&document).expect("an OpenAPI document is JSON"))
});

/// Address of a shop, and the token of the caller.
#[derive(Clone)]
pub struct Api {
    client: Client,
    base: String,
    token: Option<String>,
}

/// A request to be.
#[must_use = "send it"]
pub struct Call(RequestBuilder);

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub body: Value,
    pub text: String,
    pub headers: reqwest::header::HeaderMap,
}

/// Returns a new random key.
pub(crate) fn random_key() -> String {
    uuid::Uuid::new_v4().to_string()
}

impl Api {
    /// Returns a client without a token.
    pub fn at(address: SocketAddr) -> Self {
        Self { client: Client::new(), base: format!("http://{address}"), token: None }
    }

    /// Returns a client with this access token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub fn post(&self, path: &str, body: Value) -> Call {
        Call(self.call(Method::POST, path).0.json(&body))
    }

    pub fn patch(&self, path: &str, body: Value) -> Call {
        Call(self.call(Method::PATCH, path).0.json(&body))
    }

    pub fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }

    /// Calls a path below the prefix; a path with two leading slashes is outside of the prefix.
    pub fn call(&self, method: Method, path: &str) -> Call {
        let url = match path.strip_prefix('/') {
            Some(outside) if outside.starts_with('/') => format!("{}{outside}", self.base),
            _ => format!("{}/api/v1{path}", self.base),
        };
        let request = self.client.request(method, url);
        Call(match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    }

    /// Returns all items of a list, page by page.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), None::<String>);
        let glue = if path.contains('?') { '&' } else { '?' };
        loop {
            let from = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let mut page = self.get(&format!("{path}{glue}limit=100{from}")).send().await.expect(200).body;
            items.append(page["items"].as_array_mut().expect("a list"));
            cursor = page["next_cursor"].as_str().map(ToOwned::to_owned);
            if cursor.is_none() {
                return items;
            }
        }
    }
}

impl Call {
    /// Adds a new Idempotency-Key.
    pub fn with_key(self) -> Self {
        self.key(&random_key())
    }

    /// Sets this Idempotency-Key.
    pub fn key(self, key: &str) -> Self {
        self.header("Idempotency-Key", key)
    }

    pub fn header(self, name: &str, value: &str) -> Self {
        Self(self.0.header(name, value))
    }

    /// Sets an unchanged body.
    pub fn raw(self, body: impl Into<reqwest::Body>) -> Self {
        Self(self.0.body(body))
    }

    pub fn json(self, body: &Value) -> Self {
        Self(self.0.json(body))
    }

    /// Sends the request and returns the answer before the body.
    pub async fn open(self) -> reqwest::Response {
        self.0.send().await.expect("an answer")
    }

    /// # Panics
    /// If no answer comes.
    pub async fn send(self) -> Reply {
        self.try_send().await.expect("an answer")
    }

    /// Sends like [`send`](Self::send), and again after 408 and 503, as a client does. Only for steps that prepare a test:
    /// beside other tests client and shop may have no processor for seconds.
    pub async fn send_again(self) -> Reply {
        for _ in 0..30 {
            let reply = Self(self.0.try_clone().expect("a body in memory")).send().await;
            if ![408, 503].contains(&reply.status) {
                return reply;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.send().await
    }

    /// Sends like [`send`](Self::send), to a shop that may be gone.
    pub async fn try_send(self) -> reqwest::Result<Reply> {
        let (client, request) = self.0.build_split();
        let request = request?;
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = client.execute(request).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        DESCRIPTION.assert_describes(method.as_str(), &path, status, body["code"].as_str());
        Ok(Reply { status, body, text, headers })
    }
}

impl Reply {
    /// Returns the same answer after checking the status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Checks for a problem document with this code.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["type"], format!("/problems/{code}"));
        assert_eq!(self.body["status"], status);
        self
    }

    /// Returns the code of a problem document.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// Returns the wrong fields of a problem document.
    pub fn wrong_fields(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors.iter().filter_map(|error| error["field"].as_str()).collect()
    }

    /// Returns a text member of the body.
    #[track_caller]
    pub fn text(&self, name: &str) -> String {
        self.body[name].as_str().unwrap_or_else(|| panic!("{name} in {}", self.text)).to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
