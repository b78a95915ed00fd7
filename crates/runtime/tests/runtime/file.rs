//! `config/shop.toml` tells the truth: the file has every setting, and each stated default is the default.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use runtime::settings::Settings;

fn text() -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/shop.toml");
    fs::read_to_string(file).unwrap()
}

/// Returns true for a line with a setting, after removal of the mark.
fn is_setting(line: &str) -> bool {
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"');
    line.split_once(" = ").is_some_and(|(left, _)| !left.is_empty() && left.chars().all(name))
}

fn load(text: &str) -> Settings {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let path: PathBuf = file.path().into();
    let none: [(&str, &str); 0] = [];
    Settings::from(Some(path), none).unwrap_or_else(|error| panic!("{error}"))
}

/// Returns the file with the marks of these lines removed.
fn without(mark: impl Fn(&str) -> Option<&str>) -> String {
    let lines = text();
    let lines = lines.lines().map(|line| mark(line).filter(|rest| is_setting(rest)).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

fn default_line(line: &str) -> Option<&str> {
    line.strip_prefix('#').filter(|rest| !rest.starts_with('#'))
}

fn any_line(line: &str) -> Option<&str> {
    line.strip_prefix("##").or_else(|| default_line(line))
}

#[test]
fn what_the_file_calls_a_default_is_one() {
    let defaults = format!("{:#?}", Settings::default());
    assert_eq!(format!("{:#?}", load(&text())), defaults, "as it is, the file changes nothing");
    assert_eq!(format!("{:#?}", load(&without(default_line))), defaults);
}

#[test]
fn every_example_of_the_file_is_taken() {
    // this one only by programs that are built for it
    let is_taken = |line: &&str| cfg!(feature = "tls") || !line.starts_with("aws_iam_region");
    let all = load(&without(|line| any_line(line).filter(is_taken)));
    assert_ne!(format!("{all:#?}"), format!("{:#?}", Settings::default()));
}

#[test]
fn every_setting_is_in_the_file_with_a_comment_above_its_section() {
    let missing: Vec<_> = known("").into_iter().filter(|name| !named().contains(name)).collect();
    assert!(missing.is_empty(), "config/shop.toml lacks {missing:?}");
}

/// Returns the names of settings in the file, with all marks removed.
fn named() -> BTreeSet<String> {
    let mut section = String::new();
    let mut names = BTreeSet::new();
    for line in without(any_line).lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        } else if is_setting(line)
            && let Some((name, _)) = line.split_once(" = ")
        {
            names.insert(format!("{section}{name}"));
        }
    }
    // tables with names of the user's own
    for table in ["bus.topics", "bus.kafka.properties", "telemetry.otlp.headers"] {
        if names.iter().any(|name| name.starts_with(&format!("{table}."))) {
            names.insert(table.into());
        }
    }
    names
}

/// Returns all settings of a section, from the error for an unknown setting.
fn known(section: &str) -> BTreeSet<String> {
    let variable = format!("SHOP__{}NO_SUCH_SETTING", section.to_uppercase().replace('.', "__"));
    let refusal = match Settings::from(None, [(variable, "x")]) {
        Ok(_) => return BTreeSet::new(),
        Err(refusal) => refusal,
    };
    let Some(names) = refusal.reason.strip_prefix("there is no such setting, but ") else { return BTreeSet::new() };
    let mut known = BTreeSet::new();
    for name in names.split(", ") {
        let path = format!("{section}{name}");
        let within = self::known(&format!("{path}."));
        if within.is_empty() {
            known.insert(path);
        }
        known.extend(within);
    }
    known
}
