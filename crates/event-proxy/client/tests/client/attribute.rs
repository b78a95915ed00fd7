//! Functions with the attribute.

use std::error::Error;
use std::fmt::{self, Display};
use std::sync::LazyLock;

use event_proxy_client::{AlreadyInstalled, install, installed, report_errors};
use serde_json::{Value, json};

use super::stub::{LONG, Stub};

/// The proxy of the process-wide client.
static STUB: LazyLock<Stub> = LazyLock::new(|| {
    let stub = Stub::start([]);
    install(stub.client().build().unwrap()).unwrap();
    stub
});

/// Returns the reported events of a type during `call`. Each test has types of its own.
fn reported(kind: &str, call: impl FnOnce()) -> Vec<Value> {
    LazyLock::force(&STUB);
    call();
    installed().unwrap().flush_blocking(LONG).unwrap();
    STUB.events().into_iter().filter(|event| event["type"] == kind).collect()
}

#[derive(Debug, thiserror::Error)]
#[error("the payment failed")]
struct PaymentError(#[source] std::io::Error);

fn expired() -> PaymentError {
    PaymentError(std::io::Error::other("card expired"))
}

#[report_errors(service = "billing", type = "sync", key = order, fields(amount = amount, list = [1, 2]))]
fn pay(order: u64, amount: u64, fails: bool) -> Result<u64, PaymentError> {
    if fails {
        return Err(expired());
    }
    Ok(order + amount)
}

#[test]
fn an_error_is_reported_and_returned() {
    let events = reported("sync", || {
        assert_eq!(pay(17, 3, false).unwrap(), 20);
        assert_eq!(pay(17, 3, true).unwrap_err().to_string(), "the payment failed");
    });
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!((&event["service"], &event["key"], &event["level"]), (&json!("billing"), &json!("17"), &json!("error")));
    let data = &event["data"];
    assert_eq!((&data["error"], &data["causes"]), (&json!("the payment failed"), &json!(["card expired"])));
    assert_eq!((&data["function"], &data["module"]), (&json!("pay"), &json!(module_path!())));
    assert_eq!(data["file"], file!());
    assert!(data["line"].as_u64().unwrap() > 1);
    assert_eq!(data["fields"], json!({ "amount": 3, "list": [1, 2] }));
}

#[report_errors(type = "async", key = key)]
async fn pay_later(key: String, fails: bool) -> Result<String, Box<dyn Error + Send + Sync>> {
    tokio::task::yield_now().await;
    if fails {
        Err(expired())?;
    }
    let amount: u64 = key.trim_start_matches("order-").parse()?;
    Ok(format!("{key}: {amount}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn async_functions_report_too() {
    LazyLock::force(&STUB);
    let call = |key: &str, fails| tokio::spawn(pay_later(key.to_owned(), fails));
    assert_eq!(call("order-1", false).await.unwrap().unwrap(), "order-1: 1");
    call("order-2", true).await.unwrap().unwrap_err();
    call("order-x", false).await.unwrap().unwrap_err();
    let events = reported("async", || {});
    let errors: Vec<_> = events.iter().map(|event| [&event["key"], &event["data"]["error"]]).collect();
    assert_eq!(errors, [["order-2", "the payment failed"], ["order-x", "invalid digit found in string"]]);
    assert_eq!(events[0]["data"]["causes"], json!(["card expired"]));
    assert_eq!(events[0]["service"], "order");
}

struct Wallet {
    name: &'static str,
    amount: u64,
}

impl Wallet {
    /// Uses the same names as the attribute's code.
    #[report_errors(type = "method", key = self.name, fields(type = "wallet"))]
    fn take(&mut self, report: u64) -> Result<&u64, String> {
        let result = self.amount.checked_sub(report).ok_or("too little")?;
        self.amount = result;
        Ok(&self.amount)
    }

    #[report_errors(type = "method")]
    async fn close(mut self: Box<Self>, error: &str) -> Result<Self, Box<dyn Error>> {
        self.amount += 1;
        match error {
            "" => Ok(*self),
            _ => Err(Box::new(expired())),
        }
    }
}

#[tokio::test]
async fn methods_report_with_what_they_know() {
    LazyLock::force(&STUB);
    let mut wallet = Wallet { name: "mine", amount: 5 };
    assert_eq!(wallet.take(2), Ok(&3));
    assert_eq!(wallet.take(4), Err("too little".to_owned()));
    let wallet = Box::new(wallet).close("").await.unwrap();
    assert_eq!(wallet.amount, 4);
    assert!(Box::new(wallet).close("yes").await.is_err());
    let events = reported("method", || {});
    assert_eq!(events.len(), 2);
    assert_eq!((&events[0]["key"], &events[0]["data"]["error"]), (&json!("mine"), &json!("too little")));
    assert_eq!(events[0]["data"]["fields"], json!({ "type": "wallet" }));
    assert_eq!(events[1]["data"]["causes"], json!(["card expired"]));
}

#[report_errors(type = "generic")]
fn first<'a, T, E: Display>(items: &'a [T], error: E) -> Result<impl Iterator<Item = &'a T> + use<'a, T, E>, E> {
    if items.is_empty() {
        return Err(error);
    }
    Ok(items.iter().take(1))
}

#[report_errors(type = "generic")]
async fn last<T>(mut items: Vec<T>) -> Result<impl Iterator<Item = T>, impl Error> {
    match items.pop() {
        Some(last) => Ok(std::iter::once(last)),
        None => Err(expired()),
    }
}

#[tokio::test]
async fn generic_functions_report_what_their_bounds_allow() {
    LazyLock::force(&STUB);
    assert_eq!(first(&[1, 2], "none").unwrap().collect::<Vec<_>>(), [&1]);
    assert!(first::<u8, _>(&[], expired()).is_err());
    assert_eq!(last(vec![1, 2]).await.unwrap().collect::<Vec<_>>(), [2]);
    assert!(last::<u8>(Vec::new()).await.is_err());
    let events = reported("generic", || {});
    let errors: Vec<_> = events.iter().map(|event| &event["data"]["error"]).collect();
    assert_eq!(errors, ["the payment failed", "the payment failed"]);
    // of the first no more is known than that it can be displayed
    assert_eq!((&events[0]["data"]["causes"], &events[1]["data"]["causes"]), (&Value::Null, &json!(["card expired"])));
}

/// Shows nothing whole.
#[derive(Debug)]
struct Unspeakable;

impl Display for Unspeakable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unsp")?;
        Err(fmt::Error)
    }
}

impl Error for Unspeakable {}

#[report_errors(type = "unspeakable", key = Unspeakable)]
fn mumble() -> Result<(), Unspeakable> {
    Err(Unspeakable)
}

#[test]
fn what_cannot_be_shown_harms_nobody() {
    let events = reported("unspeakable", || drop(mumble()));
    assert_eq!((&events[0]["key"], &events[0]["data"]["error"]), (&Value::Null, &json!("unsp")));
}

#[report_errors(type = "keys", key = key)]
fn fail(key: &str) -> Result<(), String> {
    Err(key.to_owned())
}

#[test]
fn a_key_that_cannot_be_one_does_not_cost_the_report() {
    let long = "ä".repeat(200);
    let events = reported("keys", || {
        for key in ["", "or\0der", &long, "order"] {
            fail(key).unwrap_err();
        }
    });
    let keys: Vec<_> = events.iter().map(|event| event["key"].clone()).collect();
    assert_eq!(keys, [Value::Null, Value::Null, json!("ä".repeat(127)), json!("order")]);
}

#[test]
fn there_is_one_process_wide_client() {
    LazyLock::force(&STUB);
    assert_eq!(install(STUB.client().build().unwrap()), Err(AlreadyInstalled));
}
