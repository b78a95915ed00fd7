//! Formats numbers, sizes and times for people.

use std::borrow::Borrow;
use std::fmt;
use std::time::Duration;

use askama::filters::HtmlSafe;
use chrono::SecondsFormat;
use db::types::Time;

/// Formats a number with separators of thousands.
pub(super) fn number(number: impl fmt::Display) -> String {
    let number = number.to_string();
    let (sign, digits) = number.split_at(usize::from(number.starts_with('-')));
    let mut shown = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Formats bytes in the largest fitting unit.
pub(super) fn bytes(bytes: impl Borrow<u64>) -> String {
    let bytes = *bytes.borrow();
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let unit = (0..UNITS.len() - 1).find(|unit| bytes >> (10 * unit) < 1024).unwrap_or(UNITS.len() - 1);
    if unit == 0 {
        return format!("{bytes} B");
    }
    let shown = bytes as f64 / (1u64 << (10 * unit)) as f64;
    if shown < 10.0 { format!("{shown:.1} {}", UNITS[unit]) } else { format!("{shown:.0} {}", UNITS[unit]) }
}

/// `7 days`
pub(super) fn duration(duration: impl Borrow<Duration>) -> String {
    let mut shown = String::new();
    for c in humantime_serde::re::humantime::format_duration(*duration.borrow()).to_string().chars() {
        if c.is_alphabetic() && shown.ends_with(|before: char| before.is_ascii_digit()) {
            shown.push(' ');
        }
        shown.push(c);
    }
    shown
}

/// Formats a time in UTC; a script changes it to the reader's zone. The title has the full time.
pub(super) fn when(time: impl Borrow<Time>) -> When {
    When(*time.borrow())
}

pub(super) struct When(Time);

impl HtmlSafe for When {}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.0.to_chrono();
        let exact = time.to_rfc3339_opts(SecondsFormat::Micros, true);
        write!(f, r#"<time datetime="{exact}" title="{exact}">{}</time>"#, time.format("%Y-%m-%d %H:%M:%S"))
    }
}

/// Formats a count with the noun: `1 event`, `2 events`.
pub(super) fn count(count: impl fmt::Display, thing: &str) -> String {
    let count = number(count);
    format!("{count} {thing}{}", if count == "1" { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_sizes_are_easy_to_read() {
        let numbers = [(0, "0"), (999, "999"), (1000, "1,000"), (-1_234_567, "-1,234,567"), (100_000, "100,000")];
        numbers.into_iter().for_each(|(given, shown)| assert_eq!(number(given), shown));
        let sizes = [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (10 << 30, "10 GiB"), (u64::MAX, "16384 PiB")];
        sizes.into_iter().for_each(|(given, shown)| assert_eq!(bytes(given), shown));
        assert_eq!(duration(Duration::from_secs(7 * 86400 + 60)), "7 days 1 m");
        assert_eq!((count(1, "event"), count(2000, "event")), ("1 event".into(), "2,000 events".into()));
    }
}
