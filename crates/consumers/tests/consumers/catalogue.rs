//! `docs/events.md`, printed from the code: the types of `contracts` as their sources declare and comment them, the
//! golden payloads, and the groups.
//!
//! The test reads the sources line by line, in rustfmt's layout; a golden payload with other fields fails.
//! `GOLDEN=write` writes the page.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use consumers::coupon_issuer::IssuerWake;
use consumers::notification::Hub;
use consumers::{Parts, Settings};
use contracts::topics;
use messaging::Group;
use serde_json::value::RawValue;

use super::given;

const EVENTS: &str = include_str!("../../../contracts/src/events.rs");
const TOPICS: &str = include_str!("../../../contracts/src/topics.rs");
/// Sources of the types of fields.
const SHARED: [&str; 3] = [
    include_str!("../../../contracts/src/ids.rs"),
    include_str!("../../../contracts/src/money.rs"),
    include_str!("../../../platform/db/src/types.rs"),
];
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../contracts/tests/golden");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/events.md");
const HEAD: &str = "# Events

Every event of the shop: the change behind the event, its fields, and the consumer groups that read the event.

*Printed from the code by the test `crates/consumers/tests/consumers/catalogue.rs`. The test fails when this page and
the code differ. `GOLDEN=write cargo test -p consumers catalogue` prints the page anew.*

Every group handles the events of a **key** in their order. Across keys and topics there is no order; a reader of
several topics compares the **version** of the changed object after the change. The payload of a version of a type never
changes; readers ignore unknown fields. [Operating](operating.md#kafka) describes the records on Kafka.
";

/// A struct, an enum of texts, or an id.
struct Declared {
    doc: String,
    /// Or the values of the enum.
    fields: Vec<Field>,
}

struct Field {
    name: &'static str,
    /// Rust type of the field; empty for a value of an enum.
    kind: &'static str,
    doc: String,
}

/// A line `event!(…)`: makes an event of a struct.
struct EventType {
    of: &'static str,
    name: &'static str,
    version: &'static str,
    topic: &'static str,
    key: &'static str,
    /// The field with the version of the changed row.
    version_field: Option<&'static str>,
}

type Types = BTreeMap<&'static str, Declared>;

/// Adds the declarations of a source.
fn declare(types: &mut Types, source: &'static str) {
    let mut doc = Vec::new();
    let mut open = None;
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            doc.push(text.trim());
        } else if let Some((name, body)) = declaration(line) {
            types.insert(name, Declared { doc: prose(&mut doc), fields: Vec::new() });
            open = body.then_some(name);
        } else if let Some((name, kind)) = field(line) {
            let field = Field { name, kind, doc: prose(&mut doc) };
            if let Some(declared) = open.and_then(|name| types.get_mut(name)) {
                declared.fields.push(field);
            }
        } else if ["}", ");", ""].contains(&line) {
            doc.clear();
            open = None;
        }
    }
}

/// Returns the name declared by a line, and true if fields follow: `pub struct OrderLine {`, or in a macro
/// `CancelReason {` and `MemberId`.
fn declaration(line: &'static str) -> Option<(&'static str, bool)> {
    let rest = line.strip_prefix("pub struct ");
    let name = rest.unwrap_or(line);
    let name = &name[..name.find(|c: char| !c.is_alphanumeric()).unwrap_or(name.len())];
    let alone = line == name || line.strip_suffix(" {") == Some(name);
    let is_type = name.starts_with(|c: char| c.is_ascii_uppercase());
    (is_type && (rest.is_some() || alone)).then_some((name, line.ends_with('{')))
}

/// Returns name and type of a field: `pub price: Money,`. For a value of an enum, returns the text:
/// `Expired => "expired",`.
fn field(line: &'static str) -> Option<(&'static str, &'static str)> {
    let line = line.strip_suffix(',')?;
    match line.strip_prefix("pub ") {
        Some(field) => field.split_once(": "),
        None => Some((line.split_once(" => ")?.1.trim_matches('"'), "")),
    }
}

/// Returns a doc comment as a paragraph. Links to Rust's own docs become plain text.
fn prose(doc: &mut Vec<&str>) -> String {
    std::mem::take(doc).join(" ").replace("[`", "`").replace("`]", "`")
}

fn event_types() -> Vec<EventType> {
    let topic = |name| {
        let found = between(TOPICS, &format!("pub const {name}: &str = \""), "\"");
        found.unwrap_or_else(|| panic!("there is no topic {name}"))
    };
    let calls = EVENTS.split("\nevent!(").skip(1).filter_map(|rest| rest.split_once(");"));
    calls
        .map(|(call, _)| match call.splitn(5, ", ").collect::<Vec<_>>()[..] {
            [of, name, version, topic_name, rest] => EventType {
                of,
                name: name.trim_matches('"'),
                version,
                topic: topic(topic_name.trim_start_matches("topics::")),
                key: between(rest, "key: |e| e.", ",").unwrap_or_else(|| panic!("the key of {of} is no field")),
                version_field: rest.split_once("version_of: |e| e.").map(|(_, field)| field),
            },
            _ => panic!("no event!(type, name, version, topic, …): {call}"),
        })
        .collect()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}

/// Returns all groups, including groups that need settings.
async fn groups() -> Vec<Group> {
    let mut settings = Settings::default();
    settings.notification.email.host = Some("localhost".into());
    settings.notification.webhook.url = Some("http://localhost/hook".into());
    settings.notification.webhook.secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".into();
    let db = given::databases().await.remove(0).db.clone();
    let parts = Parts { db, data_dir: "unused".into(), hub: Hub::new(), issuer_wake: IssuerWake::default() };
    consumers::groups(&settings, &parts).expect("settings that can be used")
}

/// Returns the golden payload, a line for each field, in order.
fn example(event: &EventType, types: &Types) -> String {
    let path = format!("{GOLDEN}/{}.v{}.json", event.name, event.version);
    let golden = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let payload = object(event.of, &golden, types);
    let lines = types[event.of].fields.iter().map(|Field { name, kind, .. }| {
        let value = payload[name].get();
        match between(kind, "Vec<", ">") {
            None => format!("  \"{name}\": {value}"),
            Some(of) => format!("  \"{name}\": [\n    {}\n  ]", list(of, value, types).join(",\n    ")),
        }
    });
    format!("{{\n{}\n}}", lines.collect::<Vec<_>>().join(",\n"))
}

fn list<'a>(of: &str, json: &'a str, types: &Types) -> Vec<&'a str> {
    let items: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_else(|e| panic!("a list of {of}: {e}"));
    items.iter().for_each(|item| drop(object(of, item.get(), types)));
    items.into_iter().map(RawValue::get).collect()
}

/// Returns a JSON object after a check that the object has exactly the fields of the type.
fn object<'a>(of: &str, json: &'a str, types: &Types) -> BTreeMap<&'a str, &'a RawValue> {
    let object: BTreeMap<&str, &RawValue> = serde_json::from_str(json).unwrap_or_else(|e| panic!("{of}: {e}"));
    let declared: BTreeSet<_> = types[of].fields.iter().map(|field| field.name).collect();
    assert_eq!(declared, object.keys().copied().collect(), "the fields of {of}, and those of its golden payload");
    object
}

/// Returns the name of a type in JSON.
fn in_json(kind: &str, types: &Types) -> String {
    if let Some(inner) = between(kind, "Option<", ">") {
        return format!("{} or null", in_json(inner, types));
    }
    if let Some(inner) = between(kind, "Vec<", ">") {
        return format!("list of {}", in_json(inner, types));
    }
    match kind {
        "i64" => "integer".into(),
        "String" => "text".into(),
        "Money" | "Time" => format!("[{}](#types)", kind.to_lowercase()),
        id if id.ends_with("Id") && types.contains_key(id) => "UUID".into(),
        ours if types.contains_key(ours) => format!("[{ours}](#{})", ours.to_lowercase()),
        other => panic!("say in_json what {other} is in JSON"),
    }
}

/// Returns the fields of a type, or the values of an enum. A field without a comment gets the comment of the id's
/// type.
fn table(declared: &Declared, event: Option<&EventType>, types: &Types) -> String {
    if declared.fields.iter().all(|field| field.kind.is_empty()) {
        let rows = declared.fields.iter().map(|value| format!("| `{}` | {} |\n", value.name, value.doc));
        return format!("| value | |\n| --- | --- |\n{}", rows.collect::<String>());
    }
    let rows = declared.fields.iter().map(|Field { name, kind, doc }| {
        let key = event.filter(|event| event.key == *name).map_or("", |_| "**Key.** ");
        let version = event.filter(|event| event.version_field == Some(*name)).map_or("", |_| "**Version.** ");
        let id = types.get(between(kind, "Option<", ">").unwrap_or(kind)).filter(|_| kind.contains("Id"));
        let doc = id.filter(|_| doc.is_empty()).map_or(doc, |id| &id.doc);
        let words = format!("{key}{version}{doc}");
        format!("| `{name}` | {} | {} |\n", in_json(kind, types), words.trim())
    });
    format!("| field | type | |\n| --- | --- | --- |\n{}", rows.collect::<String>())
}

/// Returns the section of one type of event.
fn section(event: &EventType, types: &Types) -> String {
    let EventType { of, name, version, .. } = event;
    let declared = &types[of];
    let (fields, example) = (table(declared, Some(event), types), example(event, types));
    format!("\n`{name}`, version {version}. {}\n\n{fields}\n```json\n{example}\n```\n", declared.doc)
}

fn overview(events: &[EventType], groups: &[Group]) -> String {
    let mut rows = String::from("\n| topic | keyed by | read by |\n| --- | --- | --- |\n");
    for topic in topics::ALL {
        let keys: BTreeSet<_> = events.iter().filter(|event| event.topic == topic).map(|event| event.key).collect();
        let readers = groups.iter().filter(|group| group.topics.contains(&topic)).map(|group| group.name);
        let quoted = |names: Vec<&str>| format!("`{}`", names.join("`, `"));
        let (keys, readers) = (quoted(keys.into_iter().collect()), readers.collect::<Vec<_>>());
        let readers = if readers.is_empty() { "no group".to_owned() } else { quoted(readers) };
        rows += &format!("| [{topic}](#{topic}) | {keys} | {readers} |\n");
    }
    rows
}

fn page(groups: &[Group]) -> String {
    let (events, mut types) = (event_types(), Types::new());
    declare(&mut types, EVENTS);
    let parts: Vec<_> = types.keys().copied().filter(|kind| events.iter().all(|event| event.of != *kind)).collect();
    SHARED.into_iter().for_each(|source| declare(&mut types, source));

    let mut page = HEAD.to_owned() + &overview(&events, groups);
    for topic in topics::ALL {
        page += &format!("\n## {topic}\n");
        page.extend(events.iter().filter(|event| event.topic == topic).map(|event| section(event, &types)));
    }
    page += "\n## Types\n\n";
    page.extend(["Money", "Time"].map(|kind| format!("- {}: {}\n", kind.to_lowercase(), types[kind].doc)));
    for kind in parts {
        page += &format!("\n### {kind}\n\n{}\n\n{}", types[kind].doc, table(&types[kind], None, &types));
    }
    page
}

#[tokio::test]
async fn the_catalogue_of_events_says_what_the_code_says() {
    let page = page(&groups().await);
    if std::env::var("GOLDEN").is_ok_and(|golden| golden == "write") {
        fs::write(PAGE, &page).expect("the page is written");
    }
    let kept = fs::read_to_string(PAGE).unwrap_or_default();
    let differs = kept.lines().zip(page.lines()).find(|(kept, due)| kept != due);
    assert!(
        kept == page,
        "docs/events.md is not what the code says: {differs:?}\nGOLDEN=write cargo test -p consumers catalogue writes it"
    );
}
