//! A log without writes, and an unusable folder.

use std::fs;
use std::process::Command;

use event_proxy::Proxy;
use event_proxy::settings::Settings;
use serde_json::json;
use testkit::conformance::until;

use super::support::{TestProxy, reply};

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_gone_takes_no_events_until_the_log_is_back() {
    let mut proxy = TestProxy::start(&[]).await;
    let event = |n: u32| json!({ "service": "order", "type": "paid", "data": n });
    proxy.json(event(0)).await.expect(202);
    let log = proxy.proxy.settings.data_dir.join("log.db");
    fs::rename(&log, log.with_extension("away")).unwrap();
    proxy.json(event(1)).await.expect_problem(503, "unavailable");
    let from_memory = || async { reply(proxy.post("?ack=memory", "application/json", event(3).to_string())).await };
    until("the fault is known", || async { proxy.get("/readyz").await.status == 503 }).await;
    from_memory().await.expect_problem(503, "unavailable");
    let said = proxy.get("/readyz").await.expect(503);
    assert_eq!(said, json!({ "status": "not ready", "degraded": ["log: deleted or replaced"] }));
    fs::rename(log.with_extension("away"), &log).unwrap();
    until("the proxy is ready", || async { proxy.get("/readyz").await.status == 200 }).await;
    proxy.json(event(2)).await.expect(202);
    assert_eq!(proxy.stored("order.paid").await.len(), 2, "what was refused is not there");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written_is_named_with_the_first_error() {
    let folder = tempfile::tempdir().unwrap();
    let run = |program: &str, argument: &str| Command::new(program).arg(argument).arg(folder.path()).output();
    // the second is for root, who writes in spite of the first
    run("chmod", "a-w").unwrap();
    run("chattr", "+i").unwrap();
    let refused = if fs::write(folder.path().join("probe"), "").is_err() {
        let settings = Settings::from(None, [("EVENT_PROXY__DATA_DIR", folder.path().to_str().unwrap())]).unwrap();
        Some(Proxy::open(settings).await.err().unwrap().to_string())
    } else {
        None
    };
    run("chattr", "-i").unwrap();
    run("chmod", "u+w").unwrap();
    let Some(refused) = refused else { return eprintln!("not run: root writes here, and chattr does nothing") };
    assert!(refused.starts_with(&format!("setting data_dir: {}: ", folder.path().display())), "{refused}");
    assert!(refused.contains("Permission denied") || refused.contains("Operation not permitted"), "{refused}");
}
