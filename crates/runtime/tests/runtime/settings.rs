//! Settings from the environment and from files, and the error line of each bad setting.

use std::io::Write;
use std::num::NonZeroUsize;
use std::time::Duration;

use program::settings::Bytes;
use runtime::settings::{Backend, Settings};
use tempfile::NamedTempFile;

const NONE: [(&str, &str); 0] = [];

fn of_variables(variables: &[(&str, &str)]) -> Result<Settings, String> {
    Settings::from(None, variables.iter().copied()).map_err(|error| error.to_string())
}

fn file_of(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn of_file(text: &str) -> Result<Settings, String> {
    let file = file_of(text);
    Settings::from(Some(file.path().to_owned()), NONE).map_err(|error| error.to_string())
}

#[test]
fn defaults_work_without_any_file() {
    let settings = of_variables(&[]).unwrap();
    assert_eq!(settings.http.address.as_str(), "127.0.0.1:8080");
    assert_eq!(settings.database_url().expose(), "sqlite:data/shop.db");
    assert_eq!(settings.bus.backend, Backend::InProcess);
    assert_eq!(settings.order.expires_after, Duration::from_secs(15 * 60));
    let currency = settings.currency.currency().unwrap();
    assert_eq!((currency.code.as_str(), currency.decimals), ("KRW", 0));
    assert!(settings.rate_limit.enabled);
}

#[test]
fn the_database_is_in_the_data_folder_unless_it_is_set() {
    let settings = of_variables(&[("SHOP__DATA_DIR", "/srv/shop")]).unwrap();
    assert_eq!(settings.database_url().expose(), "sqlite:/srv/shop/shop.db");
    let url = "postgres://shop:hunter2@db:5432/shop";
    let settings = of_variables(&[("SHOP__DATA_DIR", "/srv/shop"), ("SHOP__DATABASE__URL", url)]).unwrap();
    assert_eq!(settings.database_url().expose(), url);
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = file_of("[http]\naddress = '127.0.0.1:1'\nworkers = 3\n[order]\nexpires_after = '1h 30m'\n");
    let variables = [("SHOP__HTTP__ADDRESS", "[::1]:2"), ("PATH", "/bin"), ("SHOPPING__X", "y"), ("SHOP_X", "y")];
    let settings = Settings::from(Some(file.path().to_owned()), variables).unwrap();
    assert_eq!(settings.http.address.as_str(), "[::1]:2");
    assert_eq!(settings.http.workers.map(NonZeroUsize::get), Some(3));
    assert_eq!(settings.order.expires_after, Duration::from_secs(90 * 60));
    assert_eq!(settings.http.body_limit, Bytes(64 * 1024));
}

#[test]
fn text_of_the_environment_becomes_what_is_due() {
    let settings = of_variables(&[
        ("SHOP__RATE_LIMIT__ENABLED", "false"),
        ("SHOP__HTTP__WORKERS", "4"),
        ("SHOP__HTTP__CORS_ORIGINS", "https://a.example, https://b.example"),
        ("SHOP__HTTP__BODY_LIMIT", "1MiB"),
        ("SHOP__ADMIN__PASSWORD", "08150815"),
        ("SHOP__TELEMETRY__OTLP__SAMPLE_RATIO", "0.25"),
        ("SHOP__EXPORT__SINK", "elasticsearch"),
        ("SHOP__WORKER__HTTP__ADDRESS", ""),
    ])
    .unwrap();
    assert!(!settings.rate_limit.enabled);
    assert_eq!(settings.http.workers.map(NonZeroUsize::get), Some(4));
    assert_eq!(settings.http.cors_origins, ["https://a.example", "https://b.example"]);
    assert_eq!(settings.http.body_limit, Bytes(1 << 20));
    assert_eq!(settings.admin.password.expose(), "08150815");
    assert_eq!(settings.telemetry.otlp.sample_ratio, 0.25);
    assert!(settings.worker.http.address.is_none(), "an empty variable counts as not set");
}

#[test]
fn names_with_dots_and_dashes_have_underscores_in_the_environment_which_wins() {
    let file = file_of("[bus.kafka.properties]\n'security.protocol' = 'PLAINTEXT'\n'linger.ms' = '5'\n");
    let variables = [
        ("SHOP__BUS__KAFKA__PROPERTIES__SECURITY_PROTOCOL", "SASL_SSL"),
        ("SHOP__BUS__TOPICS__PAYMENT_COMPLETED", "in-process"),
        ("SHOP__BUS__KAFKA__BOOTSTRAP_SERVERS", "kafka:9092"),
    ];
    let settings = Settings::from(Some(file.path().to_owned()), variables).unwrap();
    let properties = &settings.bus.kafka.properties;
    let shown: Vec<_> = properties.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(shown, [("linger.ms", "5"), ("security.protocol", "SASL_SSL")]);
    assert_eq!(settings.bus.topics["payment-completed"], Backend::InProcess);
}

#[test]
fn a_bad_variable_is_one_line_that_names_the_setting() {
    let cases = [
        ("SHOP__ORDER__EXPIRES_AFTER", "soon", r#"order.expires_after: expected a duration like 15m, got "soon""#),
        ("SHOP__ORDER__EXPIRES_AFTER", "15", r#"order.expires_after: expected a duration like 15m, got "15""#),
        ("SHOP__ORDER__EXPIRES_AFTER", "0s", "order.expires_after: expected more than 0"),
        (
            "SHOP__HTTP__ADDRESS",
            "8080",
            r#"http.address: expected an address and port like 127.0.0.1:8080, got "8080""#,
        ),
        (
            "SHOP__HTTP__ADDRESS",
            "::1:80",
            r#"http.address: expected an address and port like 127.0.0.1:8080, got "::1:80""#,
        ),
        (
            "SHOP__HTTP__ADDRESS",
            "a:99999",
            r#"http.address: expected an address and port like 127.0.0.1:8080, got "a:99999""#,
        ),
        ("SHOP__HTTP__WORKERS", "many", r#"http.workers: expected a whole number from 1, got "many""#),
        ("SHOP__HTTP__WORKERS", "0", "http.workers: expected a whole number from 1, got 0"),
        ("SHOP__HTTP__WORKERS", "-1", r#"http.workers: expected a whole number from 1, got "-1""#),
        ("SHOP__HTTP__WORKERS", "100000", "http.workers: expected 1 to 512, got 100000"),
        ("SHOP__HTTP__BODY_LIMIT", "big", r#"http.body_limit: expected a size like 64KiB, got "big""#),
        (
            "SHOP__HTTP__CORS_ORIGINS",
            "shop",
            r#"http.cors_origins: expected * or origins like https://shop.example, got "shop""#,
        ),
        ("SHOP__RATE_LIMIT__ENABLED", "maybe", r#"rate_limit.enabled: expected true or false, got "maybe""#),
        ("SHOP__BUS__BACKEND", "rabbit", r#"bus.backend: expected one of in-process, kafka, got "rabbit""#),
        ("SHOP__BUS__BACKEND", "kafka", "bus.kafka.bootstrap_servers: must be set to reach Kafka: host:port,…"),
        (
            "SHOP__BUS__TOPICS__STOCK_LOW",
            "kafka",
            "bus.kafka.bootstrap_servers: must be set to reach Kafka: host:port,…",
        ),
        ("SHOP__BUS__KAFKA__REPLICATION", "0", "bus.kafka.replication: expected a whole number from 1, got 0"),
        ("SHOP__BUS__KAFKA__REPLICATION", "40000", "bus.kafka.replication: expected 1 to 32767, got 40000"),
        ("SHOP__BUS__KAFKA__RETENTION", "0s", "bus.kafka.retention: expected more than 0"),
        (
            "SHOP__BUS__KAFKA__PREFIX",
            "a b",
            r#"bus.kafka.prefix: expected letters, digits, dots, dashes and underscores, got "a b""#,
        ),
        (
            "SHOP__EXPORT__PROXY_TOPICS",
            "order.payment-failed",
            "export.proxy_topics: needs bus.kafka.bootstrap_servers: its topics are on Kafka",
        ),
        (
            "SHOP__EXPORT__PROXY_PREFIX",
            "order.",
            "export.proxy_prefix: needs bus.kafka.bootstrap_servers: its topics are on Kafka",
        ),
        (
            "SHOP__INCIDENT__TOPIC",
            "order.payment-failed",
            "incident.topic: needs bus.kafka.bootstrap_servers: its topics are on Kafka",
        ),
        (
            "SHOP__EXPORT__PROXY_TOPICS",
            "a.b,stock-low",
            "export.proxy_topics: stock-low is a topic of the shop, not of an event proxy",
        ),
        (
            "SHOP__INCIDENT__TOPIC",
            "a b",
            r#"incident.topic: expected names of letters, digits, dots, dashes and underscores, got "a b""#,
        ),
        ("SHOP__EVENT_PROXY__URL", "proxy:8090", "event_proxy.url: \"proxy:8090\" must begin with http:// or https://"),
        ("SHOP__EVENT_PROXY__URL", "http://proxy:0", "event_proxy.url: \"http://proxy:0\" must not have port 0"),
        ("SHOP__RATE_LIMIT__REFRESHES_PER_MINUTE", "2", "rate_limit.refreshes_per_minute: expected 3 or more, got 2"),
        ("SHOP__WORKER__EVENTS_PER_SECOND", "0", "worker.events_per_second: expected a whole number from 1, got 0"),
        (
            "SHOP__HOST__CONSUMERS",
            "false",
            "host.consumers: must be true with SQLite, whose file belongs to one process: no other could do it",
        ),
        (
            "SHOP__HOST__RELAY",
            "false",
            "host.relay: must be true with SQLite, whose file belongs to one process: no other could do it",
        ),
        ("SHOP__LOG__FORMAT", "xml", r#"log.format: expected one of pretty, json, got "xml""#),
        (
            "SHOP__SHOP__TIME_ZONE",
            "Seoul",
            r#"shop.time_zone: expected a time zone of IANA like Asia/Seoul, got "Seoul""#,
        ),
        ("SHOP__CURRENCY__CODE", "won", r#"currency.code: expected a currency of ISO 4217 like KRW, got "won""#),
        ("SHOP__CURRENCY__CODE", "ABC", r#"currency.code: expected a currency of ISO 4217 like KRW, got "ABC""#),
        ("SHOP__CURRENCY__CODE", "XAU", r#"currency.code: expected a currency of ISO 4217 like KRW, got "XAU""#),
        ("SHOP__CURRENCY__DECIMALS", "9", "currency.decimals: expected 0 to 4, got 9"),
        ("SHOP__EVENTS__PARTITIONS", "5000", "events.partitions: expected 1 to 1000, got 5000"),
        ("SHOP__ADMIN__PASSWORD", "a", "admin.password: is shorter than 8 characters"),
        ("SHOP__ADMIN__PASSWORD", "Sunshine", "admin.password: is one of the most common passwords"),
        ("SHOP__ADMIN__EMAIL", "root", r#"admin.email: expected an e-mail address, got "root""#),
        ("SHOP__ADMIN__EMAIL", "a@[::1]", r#"admin.email: expected an e-mail address, got "a@[::1]""#),
        (
            "SHOP__TELEMETRY__OTLP__ENDPOINT",
            "http://localhost:0",
            "telemetry.otlp.endpoint: expected a URL like http://localhost:4318",
        ),
        (
            "SHOP__TELEMETRY__OTLP__HEADERS__AUTHORIZATION",
            "Bearer\nx",
            "telemetry.otlp.headers.authorization: expected a value of one line",
        ),
        ("SHOP__TELEMETRY__OTLP__SAMPLE_RATIO", "2", "telemetry.otlp.sample_ratio: expected 0 to 1, got 2"),
        (
            "SHOP__NOTIFICATION__EMAIL__PORT",
            "99999",
            "notification.email.port: expected a whole number up to 65535, got 99999",
        ),
    ];
    for (name, value, line) in cases {
        assert_eq!(of_variables(&[(name, value)]).unwrap_err(), format!("setting {line}"), "{name}={value}");
    }
}

#[test]
fn an_origin_is_written_as_browsers_send_it() {
    for origin in ["https://shop.example", "http://localhost:3000", "http://[::1]:3000", "capacitor://localhost"] {
        assert!(of_variables(&[("SHOP__HTTP__CORS_ORIGINS", origin)]).is_ok(), "{origin}");
    }
    for origin in [
        "https://쇼핑몰.kr",
        "https://Shop.example",
        "https://shop.example/",
        "https://shop.example?a",
        "https://shop.example:443",
        "http://shop.example:80",
        "https://shop.example:99999",
        "https://user@shop.example",
        "https://a%b",
        "://shop.example",
        "https://",
    ] {
        let refused = of_variables(&[("SHOP__HTTP__CORS_ORIGINS", origin)]).unwrap_err();
        assert!(refused.starts_with("setting http.cors_origins: expected * or origins like"), "{refused}");
    }
}

#[test]
fn a_duration_is_longer_than_nothing_and_at_most_a_hundred_years() {
    for key in [
        "http.shutdown_timeout",
        "http.limits.head_timeout",
        "http.limits.body_timeout",
        "bus.kafka.retention",
        "events.retention",
        "auth.access_ttl",
        "auth.refresh_ttl",
        "order.expires_after",
    ] {
        let name = format!("SHOP__{}", key.to_uppercase().replace('.', "__"));
        for (value, expected) in [("0s", "more than 0"), ("101years", "at most 36500days")] {
            let refused = of_variables(&[(&name, value)]).unwrap_err();
            assert_eq!(refused, format!("setting {key}: expected {expected}"));
        }
    }
}

#[test]
fn a_property_of_kafka_that_cannot_be_is_named_without_its_value() {
    let with = |name: &'static str, value: &'static str| {
        of_variables(&[
            ("SHOP__BUS__TOPICS__PAYMENT_COMPLETED", "kafka"),
            ("SHOP__BUS__KAFKA__BOOTSTRAP_SERVERS", "localhost:9092"),
            (name, value),
        ])
    };
    let settings = with("SHOP__BUS__KAFKA__PROPERTIES__LINGER_MS", "5").unwrap();
    assert_eq!(settings.bus.of("payment-completed"), Backend::Kafka);
    assert_eq!(settings.bus.of("order-created"), Backend::InProcess);
    for (name, value, begin) in [
        ("SHOP__BUS__KAFKA__PROPERTIES__SASL_PASWORD", "hunter2", "bus.kafka.properties.sasl.pasword: "),
        ("SHOP__BUS__KAFKA__PROPERTIES__LINGER_MS", "hunter2", "bus.kafka.properties.linger.ms: "),
        ("SHOP__BUS__KAFKA__PROPERTIES__ACKS", "1", "bus.kafka.properties.acks: is not to be set"),
        (
            "SHOP__BUS__KAFKA__PROPERTIES__MAX_IN_FLIGHT",
            "5",
            "bus.kafka.properties.max.in.flight: can only be set to 1",
        ),
        ("SHOP__BUS__TOPICS__PAYMENTS", "kafka", "bus.topics.payments: there is no such topic, but "),
    ] {
        let line = with(name, value).unwrap_err();
        assert!(line.starts_with(&format!("setting {begin}")) && !line.contains("hunter2"), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
    }
    if !cfg!(feature = "tls") {
        let refused = with("SHOP__BUS__KAFKA__AWS_IAM_REGION", "eu-west-1").unwrap_err();
        assert_eq!(refused, "setting bus.kafka.aws_iam_region: needs a program that is built with the feature `tls`");
    }
    let copies = [("SHOP__BUS__KAFKA__REPLICATION", "2"), ("SHOP__BUS__KAFKA__MIN_INSYNC_REPLICAS", "3")];
    assert_eq!(
        of_variables(&copies).unwrap_err(),
        "setting bus.kafka.min_insync_replicas: expected no more than replication, which is 2, got 3"
    );
}

#[test]
fn an_unknown_name_is_one_line_that_names_it_and_what_there_is() {
    let cases = [
        ("SHOP__ORDER__EXPIRES_IN", "order.expires_in: there is no such setting, but expires_after"),
        ("SHOP__HTPP__ADDRESS", "htpp: there is no such setting, but data_dir, http, database, "),
        ("SHOP__EXPORT__HTTP__URI", "export.http.uri: there is no such setting, but url, secret, "),
        ("SHOP__BUS__TOPICS__PAYMENTS", "bus.topics.payments: there is no such topic, but order-created, "),
        ("SHOP__HTTP__", "http.: there is no setting of this name (SHOP__HTTP__)"),
        ("SHOP__", ": there is no setting of this name (SHOP__)"),
        ("SHOP__HTTP__ADD-RESS", "http.add-ress: there is no setting of this name (SHOP__HTTP__ADD-RESS)"),
        ("SHOP__HTTP", "http: expected a section, got \"in-process\""),
        ("SHOP__DATA_DIR__X", "data_dir: expected a path, got a section"),
    ];
    for (name, begin) in cases {
        let line = of_variables(&[(name, "in-process")]).unwrap_err();
        assert!(line.starts_with(&format!("setting {begin}")), "{name}: {line}");
        assert_eq!(line.lines().count(), 1, "{line}");
    }
}

#[test]
fn a_bad_line_of_a_file_is_one_line_that_names_the_setting() {
    let cases = [
        ("[order]\nexpires_after = 15", "order.expires_after: expected a duration like 15m, got 15"),
        ("[http]\nworkers = 2.5", "http.workers: expected a whole number from 1, got 2.5"),
        ("[http]\nworkers = true", "http.workers: expected a whole number from 1, got true"),
        ("[http]\naddress = 8080", "http.address: expected a string, got 8080"),
        ("[http]\ncors_origins = [1]", "http.cors_origins[0]: expected a string, got 1"),
        ("[rate_limit]\nenabled = 1", "rate_limit.enabled: expected true or false, got 1"),
        ("http = 5", "http: expected a section, got 5"),
        ("[log]\nformat = 1", "log.format: expected one of pretty, json, got 1"),
        ("[bus.topics]\npayments = 'in-process'", "bus.topics.payments: there is no such topic, but "),
        ("[nothing]\nx = 1", "nothing: there is no such setting, but "),
    ];
    for (text, begin) in cases {
        let line = of_file(text).unwrap_err();
        assert!(line.starts_with(&format!("setting {begin}")), "{text}: {line}");
        assert_eq!(line.lines().count(), 1, "{line}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let line = of_file("[http\naddress = 1").unwrap_err();
    assert!(line.starts_with("setting --config: ") && line.contains("line 1"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    let line = Settings::from(Some("nowhere/shop.toml".into()), NONE).unwrap_err().to_string();
    assert!(line.starts_with("setting --config: nowhere/shop.toml: "), "{line}");
}

#[test]
fn secrets_are_never_shown() {
    let secret = "hunter2-hunter2-hunter2-hunter2-hunter2";
    let url = format!("postgres://shop:{secret}@db:5432/shop?password={secret}");
    let settings = of_variables(&[
        ("SHOP__DATABASE__URL", &url),
        ("SHOP__ADMIN__PASSWORD", secret),
        ("SHOP__AUTH__TOKEN_SECRET", secret),
        ("SHOP__EXPORT__HTTP__SECRET", secret),
        ("SHOP__EXPORT__ELASTICSEARCH__API_KEY", secret),
        ("SHOP__EXPORT__SPLUNK__TOKEN", secret),
        ("SHOP__NOTIFICATION__EMAIL__PASSWORD", secret),
        ("SHOP__NOTIFICATION__WEBHOOK__SECRET", secret),
        ("SHOP__BUS__KAFKA__PROPERTIES__SASL_PASSWORD", secret),
        ("SHOP__TELEMETRY__OTLP__HEADERS__AUTHORIZATION", secret),
    ])
    .unwrap();
    let shown = format!("{settings:#?} {}", settings.database_url());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("postgres://shop@db:5432/shop"));

    for (name, value) in [
        ("SHOP__DATABASE__URL", "mysql://shop:hunter2@db/shop"),
        ("SHOP__AUTH__TOKEN_SECRET", "hunter2"),
        ("SHOP__ADMIN__PASSWORD__X", "hunter2"),
        ("SHOP__BUS__KAFKA__PROPERTIES__SASL__PASSWORD", "hunter2"),
    ] {
        let line = of_variables(&[(name, value)]).unwrap_err();
        assert!(!line.contains("hunter2"), "{line}");
    }
    let line = of_file("[admin]\npassword = 123456789").unwrap_err();
    assert_eq!(line, "setting admin.password: expected a string, got something else");
}

#[test]
fn a_currency_has_the_decimals_of_iso_4217_unless_set() {
    let decimals = |code: &str, set: &str| {
        let named = [("SHOP__CURRENCY__CODE", code), ("SHOP__CURRENCY__DECIMALS", set)];
        Settings::from(None, named).unwrap().currency.currency().unwrap().decimals
    };
    for (code, expected) in [("KRW", 0), ("USD", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("EUR", 2)] {
        assert_eq!(decimals(code, ""), expected, "{code}");
    }
    assert_eq!(decimals("USD", "4"), 4);
}
