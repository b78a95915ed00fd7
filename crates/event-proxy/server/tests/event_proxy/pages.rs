//! The admin's pages from the view of a browser.

use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderMap, IF_NONE_MATCH, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::json;

use super::support::{PASSWORD, TestProxy};

const PAGES: [&str; 6] =
    ["/admin", "/admin/topics", "/admin/topics/order.paid", "/admin/dead-letters", "/admin/keys", "/admin/audit"];

/// No OpenAPI document has the routes of the pages, so this test compares them with the code.
#[test]
fn the_list_of_routes_has_every_page_with_its_methods() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ui");
    let sources = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let mut served = vec![("/admin/".to_owned(), "GET".to_owned())]; // a redirect
    for source in sources {
        for line in source.lines() {
            let Some((method, rest)) = line.strip_prefix("#[").and_then(|line| line.split_once("(\"")) else {
                continue;
            };
            if let Some((path, _)) = rest.split_once('"').filter(|_| ["get", "post"].contains(&method)) {
                served.push((path.to_owned(), method.to_uppercase()));
            }
        }
    }
    let listed = event_proxy::http::PAGES.iter();
    let mut listed: Vec<_> = listed
        .flat_map(|(path, methods, _)| methods.iter().map(|method| ((*path).to_owned(), method.to_string())))
        .collect();
    served.sort();
    listed.sort();
    assert_eq!(listed, served);
}

/// A browser that shows pages and follows no redirects.
struct Browser<'p> {
    proxy: &'p TestProxy,
    client: Client,
    cookie: String,
    csrf: String,
}

/// An answer.
struct Page {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Page {
    fn header(&self, name: impl reqwest::header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    fn expect_at(&self, location: &str) {
        assert_eq!((self.status, self.header(LOCATION)), (303, location), "{}", self.text);
    }
}

impl<'p> Browser<'p> {
    fn new(proxy: &'p TestProxy) -> Self {
        let client = Client::builder().redirect(Policy::none()).build().unwrap();
        Self { proxy, client, cookie: String::new(), csrf: String::new() }
    }

    async fn signed_in(proxy: &'p TestProxy) -> Self {
        let mut browser = Self::new(proxy);
        let answer = browser.post("/admin/sign-in", &[("password", PASSWORD)]).await;
        browser.cookie = answer.header(SET_COOKIE).split(';').next().unwrap().to_owned();
        let page = browser.get("/admin").await.text;
        let token = page.split_once("name=\"csrf\" value=\"").unwrap().1;
        browser.csrf = token.split_once('"').unwrap().0.to_owned();
        browser
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.proxy.url(path)).header(COOKIE, &self.cookie)
    }

    async fn get(&self, path: &str) -> Page {
        page(self.request(Method::GET, path).send().await.unwrap()).await
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let form: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", value.replace(' ', "+"))).collect();
        let media = "application/x-www-form-urlencoded";
        page(self.request(Method::POST, path).header(CONTENT_TYPE, media).body(form.join("&")).send().await.unwrap())
            .await
    }

    /// Sends a form with the session's token.
    async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let fields: Vec<_> = fields.iter().copied().chain([("csrf", self.csrf.as_str())]).collect();
        self.post(path, &fields).await
    }
}

async fn page(response: Response) -> Page {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Page { status, headers, text: response.text().await.unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_a_form_does_not_know_is_refused() {
    let mut proxy = TestProxy::start(&[]).await;
    let browser = Browser::signed_in(&proxy).await;
    let forms = event_proxy::http::PAGES.iter().filter(|(_, methods, _)| methods.contains(&"POST".parse().unwrap()));
    for (path, ..) in forms {
        let path = path.replace("{id}", "019ad3a0-0000-7000-8000-000000000000").replace("{name}", "order.paid");
        let mut fields = vec![("nmae", "order.paid")];
        if path != "/admin/sign-in" {
            fields.push(("csrf", &browser.csrf));
        }
        let refused = browser.post(&path, &fields).await;
        assert_eq!(refused.status, 400, "{path}");
        assert!(refused.text.contains("unknown field `nmae`"), "{path}: {}", refused.text);
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_signed_in_sees_the_sign_in_only() {
    let mut proxy = TestProxy::start(&[]).await;
    let browser = Browser::new(&proxy);
    for path in &PAGES[1..] {
        let next = path.replace('/', "%2F");
        browser.get(path).await.expect_at(&format!("/admin/sign-in?next={next}"));
    }
    browser.get("/admin").await.expect_at("/admin/sign-in");
    browser.post("/admin/topics", &[("name", "order.paid")]).await.expect_at("/admin/sign-in");
    for path in ["/admin/overview.json", "/admin/topics/order.paid/tail"] {
        assert_eq!(browser.get(path).await.status, 401, "{path}");
    }
    for next in ["https://evil.example/", "//evil.example", "/docs/", "/admin\\..", ""] {
        let answer = browser.post("/admin/sign-in", &[("password", PASSWORD), ("next", next)]).await;
        answer.expect_at("/admin");
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_a_cookie_that_neither_scripts_nor_other_sites_have() {
    let mut proxy = TestProxy::start(&[]).await;
    let browser = Browser::new(&proxy);
    let wrong = browser.post("/admin/sign-in", &[("password", "not the password")]).await;
    assert_eq!((wrong.status, wrong.header(SET_COOKIE)), (401, ""));
    assert!(wrong.text.contains("This is not the password."));
    let right = browser.post("/admin/sign-in", &[("password", PASSWORD), ("next", "/admin/topics?made=2")]).await;
    right.expect_at("/admin/topics?made=2");
    let cookie = right.header(SET_COOKIE);
    assert!(["HttpOnly", "SameSite=Strict", "Path=/"].iter().all(|flag| cookie.contains(flag)), "{cookie}");

    proxy.json(json!({ "service": "order", "type": "paid", "data": "<script>" })).await.expect(202);
    let browser = Browser::signed_in(&proxy).await;
    for path in PAGES {
        let page = browser.get(path).await;
        assert_eq!((page.status, page.header("cache-control")), (200, "no-store"), "{path}");
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(!page.text.contains(" style=") && !page.text.contains("<script>"), "{path}");
    }
    let out = browser.send("/admin/sign-out", &[]).await;
    out.expect_at("/admin/sign-in");
    assert!(out.header(SET_COOKIE).contains("Max-Age=0"));
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_without_the_token_of_the_session_change_nothing() {
    let mut proxy = TestProxy::start(&[]).await;
    let (browser, other) = (Browser::signed_in(&proxy).await, Browser::signed_in(&proxy).await);
    let id = "00000000-0000-7000-8000-000000000000";
    let forms = [
        "/admin/sign-out".to_owned(),
        "/admin/topics".to_owned(),
        "/admin/topics/order.paid/delete".to_owned(),
        "/admin/dead-letters/redrive".to_owned(),
        format!("/admin/dead-letters/{id}/discard"),
        "/admin/keys".to_owned(),
        format!("/admin/keys/{id}/rotate"),
        format!("/admin/keys/{id}/revoke"),
    ];
    for form in &forms {
        for token in ["", "csrf", &other.csrf] {
            let fields = [("name", "order.paid"), ("reason", "none"), ("csrf", token)];
            let answer = browser.post(form, &fields).await;
            assert_eq!((answer.status, answer.header(SET_COOKIE)), (403, ""), "{form} with {token}");
            assert!(answer.text.contains("The request does not come from a page of this session"));
        }
    }
    let audit = proxy.admin(Method::GET, "/v1/admin/audit", None).await.expect(200);
    assert_eq!(audit["items"], json!([]));
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_and_deleted_by_forms_as_by_the_routes() {
    let mut proxy = TestProxy::start(&[]).await;
    let browser = Browser::signed_in(&proxy).await;
    let set = [("services", "order, stock"), ("types", "paid"), ("partitions", "2"), ("retention", "7d")];
    browser.send("/admin/topics", &set).await.expect_at("/admin/topics?made=2");
    let topic = proxy.admin(Method::GET, "/v1/admin/topics/stock.paid", None).await.expect(200);
    assert_eq!((&topic["partitions"], &topic["retention"]), (&json!(2), &json!("7days")));
    for (fields, said) in [
        (vec![("name", "a b")], "name: must be"),
        (vec![("name", "x.y"), ("partitions", "many")], "partitions: must be a whole number"),
        (vec![("name", "x.y"), ("retention", "soon")], "retention: "),
        (vec![("services", "order")], "types: must be names"),
    ] {
        let page = browser.send("/admin/topics", &fields).await;
        assert!(page.status == 422 && page.text.contains(said), "{said}: {} {}", page.status, page.text);
    }
    let wrong = browser.send("/admin/topics/stock.paid/delete", &[("confirm", "stock")]).await;
    assert!(wrong.status == 422 && wrong.text.contains("is not the topic"));
    let right = browser.send("/admin/topics/stock.paid/delete", &[("confirm", "stock.paid")]).await;
    right.expect_at("/admin/topics?deleted=stock.paid");
    let topic = proxy.admin(Method::GET, "/v1/admin/topics/stock.paid", None).await.expect(200);
    assert_eq!(topic["state"], "deleted");
    assert_eq!(browser.send("/admin/topics/none/delete", &[("confirm", "none")]).await.status, 404);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn styles_and_scripts_are_kept_until_they_change() {
    let mut proxy = TestProxy::start(&[]).await;
    let browser = Browser::new(&proxy);
    let page = browser.get("/admin/sign-in").await.text;
    let path = page.split('"').find(|text| text.starts_with("/admin/static/style.css?v=")).unwrap().to_owned();
    let style = browser.get(&path).await;
    assert_eq!(style.header(CONTENT_TYPE), "text/css; charset=utf-8");
    assert_eq!(style.header("cache-control"), "public, max-age=31536000, immutable");
    let other = browser.get("/admin/static/style.css?v=before").await;
    assert_eq!((other.status, other.header("cache-control")), (200, "no-cache"));
    let again = browser.request(Method::GET, &path).header(IF_NONE_MATCH, style.header("etag")).send().await.unwrap();
    assert_eq!(again.status(), 304);
    assert_eq!(browser.get("/admin/static/none.css").await.status, 404);
    proxy.stop().await;
}

/// Returns the text of a tail once it has this number of events.
async fn shown(tail: &mut Response, events: usize) -> String {
    let mut text = String::new();
    while text.matches("event: event").count() < events {
        text.push_str(std::str::from_utf8(&tail.chunk().await.unwrap().expect("more events")).unwrap());
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_tail_begins_with_the_last_events_and_ends_when_the_proxy_stops() {
    let mut proxy = TestProxy::start(&[("EVENT_PROXY__HTTP__SHUTDOWN_TIMEOUT", "1h")]).await;
    let event = |key: &str, data: usize| json!({ "service": "order", "type": "paid", "key": key, "data": data });
    for n in 0..60 {
        proxy.json(event(if n % 2 == 0 { "even" } else { "odd" }, n)).await.expect(202);
    }
    let (mut whole, mut even, odd_places) = {
        let browser = Browser::signed_in(&proxy).await;
        let open =
            async |query| browser.request(Method::GET, &format!("/admin/topics/order.paid/tail{query}")).send().await;
        let mut odd_places = Vec::new();
        for place in [i64::MIN, i64::MAX] {
            let path = "/admin/topics/order.paid/tail";
            let places = [place.to_string(), place.to_string(), place.to_string()].join(".");
            odd_places.push(browser.request(Method::GET, path).header("last-event-id", places).send().await.unwrap());
        }
        (open("").await.unwrap(), open("?key=even&text=DATA").await.unwrap(), odd_places)
    };
    assert_eq!(whole.headers()[CONTENT_TYPE], "text/event-stream");
    let (of_whole, of_even) = (shown(&mut whole, 50).await, shown(&mut even, 30).await);
    let mut of_odd_places = Vec::new();
    for (mut tail, events) in odd_places.into_iter().zip([60, 0]) {
        of_odd_places.push((shown(&mut tail, events).await, tail));
    }
    proxy.stop().await;
    let (whole, even) = (of_whole + &whole.text().await.unwrap(), of_even + &even.text().await.unwrap());
    assert_eq!((whole.matches("event: event").count(), even.matches("event: event").count()), (50, 30), "{whole}");
    assert!(!even.contains("odd"));
    for ((begin, tail), events) in of_odd_places.into_iter().zip([60, 0]) {
        let text = begin + &tail.text().await.unwrap();
        assert_eq!(text.matches("event: event").count(), events, "from a place that there is not");
    }
}
