//! Texts and times that both databases keep, and the others.

use db::text::{Line, search_form, typed};
use db::types::Time;

const NAME: Line = Line::new(20, "must have 1 to 20 characters");

#[test]
fn a_name_is_kept_composed_and_trimmed() {
    let decomposed = "\u{1106}\u{1165}\u{1100}\u{1173}\u{110f}\u{1165}\u{11b8}";
    assert_eq!(NAME.kept(&format!("\u{3000} {decomposed}\t")), Ok("머그컵".to_owned()));
    let long = decomposed.repeat(6);
    assert_eq!(NAME.kept(&long), Ok("머그컵".repeat(6)), "18 characters, however they are typed");
    for good in ["Mug", "a\u{200d}b", "👩\u{200d}💻", "עברית", "e\u{301}"] {
        assert!(NAME.kept(good).is_ok(), "{good:?}");
    }
}

#[test]
fn a_name_that_nobody_can_read_is_refused() {
    for (bad, rule) in [
        ("", "must have 1 to 20 characters"),
        (" \u{a0}\u{2003}", "must have 1 to 20 characters"),
        ("twenty-one characters", "must have 1 to 20 characters"),
        ("a\0b", "must have no control characters"),
        ("a\nb", "must have no control characters"),
        ("a\u{85}b", "must have no control characters"),
        ("a\u{2028}b", "must have no control characters"),
        ("\u{202e}", "must have no control characters"),
        ("gum\u{202e}gum", "must have no control characters"),
        ("\u{2066}x", "must have no control characters"),
        ("\u{200b}", "must have a visible character"),
        ("\u{3164}\u{200e} \u{feff}", "must have a visible character"),
        ("\u{2800}", "must have a visible character"),
        ("\u{ad}\u{e0041}", "must have a visible character"),
    ] {
        assert_eq!(NAME.kept(bad), Err(rule), "{bad:?}");
    }
}

#[test]
fn what_reads_the_same_is_found_by_the_same_search() {
    for (one, other) in [
        ("머그컵", "\u{1106}\u{1165}\u{1100}\u{1173}\u{110f}\u{1165}\u{11b8}"),
        ("ΟΔΟΣ", "οδος"),
        ("ΟΔΟΣ", "οδοσ"),
        ("STRASSE", "straße"),
        ("Mug", "ＭＵＧ"),
        ("ﬁlter", "FILTER"),
        ("Mu\u{200b}g", "mug"),
        ("İstanbul", "i\u{307}stanbul"),
        ("\u{1e9e}", "ss"),
    ] {
        assert_eq!(search_form(one), search_form(other), "{one} {other}");
    }
    assert_ne!(search_form("mug"), search_form("mog"));
    assert_eq!(
        typed("비밀번호"),
        typed("\u{1107}\u{1175}\u{1106}\u{1175}\u{11af}\u{1107}\u{1165}\u{11ab}\u{1112}\u{1169}")
    );
    assert_ne!(typed("Mug"), typed("mug"));
}

fn time(text: &str) -> Option<String> {
    text.parse::<Time>().ok().map(|time| time.to_string())
}

#[test]
fn a_time_is_rfc_3339_and_of_the_years_0_to_9999() {
    for (good, shown) in [
        ("2026-03-01T09:00:00Z", "2026-03-01T09:00:00Z"),
        ("2026-03-01t18:00:00.5+09:00", "2026-03-01T09:00:00.500Z"),
        ("2026-03-01T09:00:00.1234567z", "2026-03-01T09:00:00.123456Z"),
        ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.500Z"),
    ] {
        assert_eq!(time(good).as_deref(), Some(shown), "{good}");
    }
    for bad in [
        "",
        "2026-03-01",
        "2026-03-01T09:00:00",
        "2026-03-01 09:00:00Z",
        "2026-03-01T09:00Z",
        "2026-03-01T09:00:60Z",
        "2026-03-01T24:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-03-01T09:00:00+0900",
        "2026-03-01T09:00:00\u{2212}09:00",
        " 2026-03-01T09:00:00Z",
        "2026-03-01T09:00:00Z ",
        "2026-03-01T09:00:00.Z",
        "-0001-03-01T09:00:00Z",
        "+2026-03-01T09:00:00Z",
        "10000-03-01T09:00:00Z",
        "0000-01-01T00:00:00+09:00",
        "9999-12-31T23:59:59-09:00",
        "1770000000",
    ] {
        assert_eq!(time(bad), None, "{bad}");
    }
}

#[test]
fn sums_of_times_stay_in_the_years_that_are_kept() {
    let (first, last) = ("0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z");
    let long = std::time::Duration::from_secs(u64::MAX);
    assert_eq!((Time::now() + long).to_string(), last);
    assert_eq!((Time::now() - long).to_string(), first);
    assert_eq!(Time::from_micros(i64::MAX), None);
    assert_eq!(Time::from_micros(i64::MIN), None);
}
