//! Observation of a process: lines with a trace id, metrics with help, spans at a collector.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use telemetry::metrics::{Kind, Metric, Program, Unit};
use telemetry::{LogFormat, LogSettings, OtlpSettings, Process, TraceContext, metrics, traced};
use tracing::{field, info_span};

/// All in one test, because logs, metrics and the exporter are set up once a process.
#[tokio::test]
async fn a_trace_goes_from_the_caller_through_the_work_to_the_collector() {
    let (endpoint, received) = collector();
    let log = LogSettings { format: LogFormat::Json, filter: "info".into() };
    let otlp = OtlpSettings {
        endpoint,
        headers: BTreeMap::from([("authorization".into(), "Bearer of-tests".into())]),
        service_name: "telemetry-test".into(),
        sample_ratio: 1.0,
    };
    assert!(!format!("{otlp:?}").contains("of-tests"), "headers carry secrets");
    let process = Process { name: "telemetry-test", data_dir: Path::new(".") };
    let guard = telemetry::init(process, &log, Some(&otlp), None).unwrap();
    let again = telemetry::init(process, &log, Some(&otlp), None).unwrap();
    drop(again);

    let caller: TraceContext = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
    let span = info_span!("request", trace_id = field::Empty);
    let inner = traced(Some(caller), span, async { TraceContext::current().unwrap() }).await;
    assert_eq!(inner.trace_id(), caller.trace_id());
    assert_ne!(inner.parts().1, caller.parts().1, "the span has an id of its own");

    let alone = traced(None, info_span!("request", trace_id = field::Empty), async { TraceContext::current() }).await;
    assert_ne!(alone.unwrap().trace_id(), caller.trace_id());

    metrics::HTTP_REQUESTS_SECONDS.of(["/x".into(), "GET".into(), "200".into()]).record(0.003);
    metrics::WRITER_GROUP_UNITS.of([]).record(100.0);
    let text = telemetry::metrics::render();
    for line in [
        "# HELP http_requests_seconds Duration of requests, by the pattern of the route.",
        r#"http_requests_seconds_bucket{route="/x",method="GET",status="200",le="0.005"} 1"#,
        r#"writer_group_units_bucket{le="64"} 0"#,
        r#"writer_group_units_bucket{le="128"} 1"#,
        r#"build_info{program="telemetry-test",version=""#,
        "process_resident_memory_bytes ",
        "process_cpu_seconds_total ",
        "process_open_fds ",
        "data_dir_available_bytes ",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    for line in text.lines() {
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) else { continue };
        let metric = metrics::ALL.iter().find(|metric| metric.name == name);
        let metric = metric.unwrap_or_else(|| panic!("{name} is not in the list"));
        assert_eq!(metric.kind.to_string(), kind, "{name}");
        assert!(text.contains(&format!("# HELP {name} {}", metric.help)), "{name} has no HELP");
    }

    tokio::task::spawn_blocking(move || drop(guard)).await.unwrap();
    let request = received.recv_timeout(Duration::from_secs(10)).expect("the collector got the spans");
    let head = String::from_utf8_lossy(&request);
    assert!(head.starts_with("POST /v1/traces "), "{head}");
    assert!(head.to_lowercase().contains("authorization: bearer of-tests"), "{head}");
    let trace_id = caller.parts().0.to_be_bytes();
    assert!(request.windows(16).any(|bytes| bytes == trace_id), "the caller's trace id is in the spans");
    assert!(request.windows(8).any(|bytes| bytes == caller.parts().1.to_be_bytes()), "and its span, as the parent");
}

#[test]
fn metrics_are_named_as_prometheus_asks() {
    let mut seen = BTreeSet::new();
    for metric in metrics::ALL {
        let name = metric.name;
        let is_snake_case = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(is_snake_case(name) && metric.labels.iter().all(|label| is_snake_case(label)), "{name}");
        assert!(seen.insert(name), "{name} is listed twice");
        assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}: counters end in _total");
        let bare = name.trim_end_matches("_total");
        assert!(!["_count", "_sum", "_bucket", "_info"].iter().any(|end| bare.ends_with(end)) || name == "build_info");
        assert_eq!(bare.ends_with("_seconds"), metric.unit == Unit::Seconds, "{name}: durations are in seconds");
        assert_eq!(bare.ends_with("_bytes"), metric.unit == Unit::Bytes, "{name}: sizes are in bytes");
        assert!(["milli", "micro", "kilo", "percent"].iter().all(|word| !name.contains(word)), "{name}: base units");
        assert!(!metric.labels.iter().any(|label| ["le", "job", "instance"].contains(label)), "{name}: reserved label");
        assert!(metric.help.ends_with('.') && metric.help.len() > 10, "{name}: {}", metric.help);
    }
}

#[test]
fn docs_have_the_list_of_metrics() {
    let of_proxy = |metric: &&Metric| metric.programs.contains(&Program::Proxy);
    let of_others = |metric: &&Metric| metric.programs.iter().any(|program| *program != Program::Proxy);
    let columns = "| metric | kind | meaning | programs |\n| --- | --- | --- | --- |\n";
    let programs =
        |metric: &Metric| format!(" {} |", joined(metric.programs.iter().filter(|it| **it != Program::Proxy)));
    is_in("docs/operating.md", &table(columns, metrics::ALL.iter().filter(of_others), programs));
    let columns = "| metric | kind | meaning |\n| --- | --- | --- |\n";
    is_in("docs/event-proxy.md", &table(columns, metrics::ALL.iter().filter(of_proxy), |_| String::new()));
}

/// Returns a table of metrics in Markdown, with `more` at the end of each row.
fn table<'a>(columns: &str, metrics: impl Iterator<Item = &'a Metric>, more: impl Fn(&Metric) -> String) -> String {
    metrics.fold(columns.to_owned(), |mut table, metric| {
        let labels = if metric.labels.is_empty() { String::new() } else { format!(" by {}", metric.labels.join(", ")) };
        let (name, kind, help) = (metric.name, metric.kind, metric.help);
        writeln!(table, "| `{name}`{labels} | {kind} | {help} |{}", more(metric)).unwrap();
        table
    })
}

fn joined(programs: impl Iterator<Item = impl ToString>) -> String {
    programs.map(|program| program.to_string()).collect::<Vec<_>>().join(", ")
}

fn is_in(page: &str, table: &str) {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join(page)).unwrap();
    assert!(text.contains(table), "{page} needs this table:\n\n{table}");
}

#[test]
fn traceparents_are_read_and_written() {
    let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(header.parse::<TraceContext>().unwrap().to_string(), header);
    for rubbish in [
        "",
        "00",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319x-b7ad6b7169203331-01",
    ] {
        assert!(rubbish.parse::<TraceContext>().is_err(), "{rubbish}");
    }
}

#[test]
fn a_filter_is_checked_before_it_is_used() {
    assert!(telemetry::check_filter("warn,shop=debug").is_ok());
    assert!(telemetry::check_filter("shop=loud").is_err());
}

/// Returns a collector that takes one request and returns the bytes.
fn collector() -> (String, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = read_request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        sender.send(request).unwrap();
    });
    (endpoint, receiver)
}

fn read_request(stream: &mut TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).unwrap();
        request.extend_from_slice(&chunk[..read]);
        let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if read == 0 || request.len() >= end + 4 + length.unwrap_or(0) {
            return request;
        }
    }
}
