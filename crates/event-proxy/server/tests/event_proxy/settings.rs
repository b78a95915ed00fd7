//! The settings, and the file with all settings.

use event_proxy::settings::Settings;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../config/event-proxy.toml");

fn refusal(name: &str, value: &str) -> String {
    Settings::from(None, [(name, value)]).expect_err(value).to_string()
}

fn load(text: &str) -> Settings {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("event-proxy.toml");
    std::fs::write(&file, text).unwrap();
    Settings::from(Some(file), Vec::<(String, String)>::new()).unwrap()
}

#[test]
fn a_bad_setting_is_named_in_one_line() {
    for (name, value, said) in [
        ("EVENT_PROXY__NODE__NAME", "a.b", "setting node.name: expected letters, digits, _ and -, got \"a.b\""),
        ("EVENT_PROXY__TOPICS__PARTITIONS", "0", "setting topics.partitions: expected a whole number from 1, got 0"),
        ("EVENT_PROXY__TOPICS__TEMPLATE", "logs", "setting topics.template: expected a name with {service} and {type}"),
        (
            "EVENT_PROXY__TOPICS__TEMPLATE",
            "{service}-{type}",
            "setting topics.template: expected a dot, which no name has, between {service} and {type}, got \"{service}-",
        ),
        ("EVENT_PROXY__TOPICS__TEMPLATE", "{service}{type}", "setting topics.template: expected a dot"),
        ("EVENT_PROXY__TOPICS__TEMPLATE", "a.{type}_{service}.b", "setting topics.template: expected a dot"),
        ("EVENT_PROXY__INGEST__MAX_EVENT", "2MiB", "setting ingest.max_event: expected 1 to 921600 bytes"),
        ("EVENT_PROXY__NO__SUCH", "1", "setting no: there is no such setting"),
    ] {
        let refused = refusal(name, value);
        assert!(refused.starts_with(said), "{refused}");
    }
}

#[test]
fn a_duration_is_longer_than_nothing_and_at_most_a_hundred_years() {
    for key in [
        "http.shutdown_timeout",
        "http.limits.head_timeout",
        "http.limits.body_timeout",
        "bus.kafka.retention",
        "delivery.ack_timeout",
        "delivery.resend_after",
        "delivery.longest_pause",
        "log_limit.max_age",
        "log_limit.keep",
    ] {
        let name = format!("EVENT_PROXY__{}", key.to_uppercase().replace('.', "__"));
        for (value, expected) in [("0s", "more than 0"), ("101years", "at most 36500days")] {
            assert_eq!(refusal(&name, value), format!("setting {key}: expected {expected}"));
        }
    }
}

#[test]
fn a_dot_between_service_and_type_makes_a_template() {
    for template in ["{service}.{type}", "{type}-.{service}", "a-{service}", "{service}.x-{type}_y"] {
        let settings = Settings::from(None, [("EVENT_PROXY__TOPICS__TEMPLATE", template)]);
        assert!(settings.is_ok(), "{template}");
    }
}

#[test]
fn what_the_file_calls_a_default_is_one() {
    let text = std::fs::read_to_string(FILE).unwrap();
    let defaults = format!("{:#?}", Settings::default());
    assert_eq!(format!("{:#?}", load(&text)), defaults, "as it is, the file changes nothing");
    let is_setting = |rest: &&str| rest.split_once(" = ").is_some_and(|(name, _)| !name.contains(' '));
    let set = |line: &'_ str| -> String {
        let rest = line.strip_prefix('#').filter(|rest| !rest.starts_with('#')).filter(is_setting);
        rest.unwrap_or(line).to_owned()
    };
    let all: Vec<_> = text.lines().map(set).collect();
    assert_eq!(format!("{:#?}", load(&all.join("\n"))), defaults);
}
