//! The program itself: refusals, and files on disk.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use reqwest::Client;
use serde_json::json;
use testkit::conformance::until;

const ADDRESS: &str = "EVENT_PROXY__HTTP__ADDRESS";
const CERTIFICATE: &str = "EVENT_PROXY__HTTP__TLS__CERTIFICATE";
const KEY: &str = "EVENT_PROXY__HTTP__TLS__KEY";

fn command(folder: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_event-proxy"));
    command.current_dir(folder).env("EVENT_PROXY__DATA_DIR", folder.join("data")).env(ADDRESS, "127.0.0.1:0");
    command.envs(settings.iter().copied()).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn check_config_refuses_what_the_start_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (certificate, empty) = (file("tls.crt", &own.cert.pem()), file("empty", ""));
    let no_secret = folder.path().join("no-secret");
    std::fs::create_dir(&no_secret).unwrap();
    std::fs::write(no_secret.join("receipt-secret"), "").unwrap();
    for bad in [
        &[(CERTIFICATE, certificate.as_str())][..],
        &[(CERTIFICATE, &empty), (KEY, &empty)],
        &[(CERTIFICATE, &certificate), (KEY, "/no/such/file")],
        &[("EVENT_PROXY__BUS__BACKEND", "kafka")],
        &[
            ("EVENT_PROXY__BUS__BACKEND", "kafka"),
            ("EVENT_PROXY__BUS__KAFKA__BOOTSTRAP_SERVERS", "localhost:1"),
            ("EVENT_PROXY__BUS__KAFKA__PROPERTIES__NO_SUCH", "1"),
        ],
        &[("EVENT_PROXY__NODE__PEERS", "localhost:1")],
        &[("EVENT_PROXY__NODE__PEERS", "http://localhost:0")],
        &[("EVENT_PROXY__TOPICS__TEMPLATE", "{service}-{type}")],
        &[("EVENT_PROXY__DELIVERY__ACK_TIMEOUT", "0s")],
        &[("EVENT_PROXY__ADMIN__PASSWORD", "password")],
        &[("EVENT_PROXY__CONTROL__DATABASE_URL", "sqlite::memory:")],
        &[("EVENT_PROXY__CONTROL__DATABASE_URL", "sqlite:.")],
        &[("EVENT_PROXY__CONTROL__DATABASE_URL", &format!("sqlite:{certificate}"))],
        &[("EVENT_PROXY__CONTROL__DATABASE_URL", "sqlite:/proc/none/control.db")],
        &[("EVENT_PROXY__CONTROL__DATABASE_URL", "postgres://localhost:port/control")],
        &[("EVENT_PROXY__CONTROL__DATABASE_URL", "postgres://%zz@localhost/control")],
        &[("EVENT_PROXY__CONTROL__DATABASE_URL", "postgres://localhost/control?no_such=1")],
        &[(ADDRESS, "192.0.2.1:0")],
        &[("EVENT_PROXY__HTTP__LIMITS__HEAD_TIMEOUT", "1ns")],
        &[("EVENT_PROXY__HTTP__WORKERS", "513")],
        &[("EVENT_PROXY__TELEMETRY__OTLP__ENDPOINT", "no url")],
        &[("EVENT_PROXY__TELEMETRY__OTLP__ENDPOINT", "http://localhost:99999")],
        &[("EVENT_PROXY__TELEMETRY__OTLP__ENDPOINT", "ftp://localhost")],
        &[("EVENT_PROXY__TELEMETRY__OTLP__ENDPOINT", "http://localhost:0")],
        &[("EVENT_PROXY__TELEMETRY__OTLP__HEADERS__AUTHORIZATION", "Bearer\nx")],
        &[("EVENT_PROXY__DATA_DIR", &empty)],
        &[("EVENT_PROXY__DATA_DIR", "/proc/none")],
        &[("EVENT_PROXY__DATA_DIR", no_secret.to_str().unwrap())],
    ] {
        let (code, checked) = said(&command(folder.path(), bad).arg("--check-config").output().unwrap());
        assert!(code == Some(2) && checked.lines().count() == 1, "{bad:?}: {checked}");
        let started = said(&command(folder.path(), bad).env("EVENT_PROXY__LOG__FILTER", "off").output().unwrap());
        assert_eq!(started, (code, checked), "{bad:?}");
        assert!(!folder.path().join("data").exists(), "{bad:?}");
    }
    let good = command(folder.path(), &[]).arg("--check-config").output().unwrap();
    assert_eq!(good.stdout, b"the settings are good\n");
    assert!(!folder.path().join("data").exists());
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_proxy_writes_is_its_owners_alone_and_its_start_tells_of_reverse_proxies() {
    let folder = tempfile::tempdir().unwrap();
    let said = folder.path().join("said");
    let log = std::fs::File::create(&said).unwrap();
    let _running = Running(command(folder.path(), &[]).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    let said = || std::fs::read_to_string(&said).unwrap();
    until("it is there", || async { said().contains("refuses requests that a reverse proxy forwarded") }).await;
    let url = said().split_once("The event proxy is at ").unwrap().1.split_once("/v1").unwrap().0.to_owned();
    let event = json!({ "service": "order", "type": "paid", "data": 1 });
    let taken = Client::new().post(format!("{url}/v1/events")).json(&event).send().await.unwrap();
    assert_eq!(taken.status(), 202);
    let data = folder.path().join("data");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    let files: Vec<_> = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}
