//! Days of a shop in Seoul. A process has one time zone, so this is a process of its own.

use contracts::{ShopZone, day_of, shown};
use db::types::Time;

fn time(text: &str) -> Time {
    text.parse().expect("a time")
}

#[test]
fn a_day_begins_at_midnight_in_seoul() {
    let seoul = ShopZone::named("Asia/Seoul").expect("a zone");
    ShopZone::set(seoul.clone()).expect("nothing in this process used another");
    for (instant, day) in [
        ("2026-11-29T14:59:59.999999Z", "2026-11-29"),
        ("2026-11-29T15:00:00Z", "2026-11-30"),
        ("2026-11-29T23:36:00Z", "2026-11-30"),
        ("0000-01-01T00:00:00Z", "0000-01-01"),
        // before the standard time there was the mean one, of 8 h 27 min 52 s
        ("1908-03-31T15:32:08Z", "1908-04-01"),
        ("1908-03-31T15:32:07Z", "1908-03-31"),
    ] {
        assert_eq!(day_of(time(instant)).to_string(), day, "{instant}");
    }
    assert_eq!(shown(time("2026-11-29T23:36:00Z")), "2026-11-30 08:36 Asia/Seoul");
    let _ = day_of(time("9999-12-31T23:59:59Z"));

    assert_eq!(ShopZone::set(seoul), Ok(()));
    let other = ShopZone::named("Europe/Berlin").expect("a zone");
    let refused = ShopZone::set(other).expect_err("another zone").to_string();
    assert_eq!(refused, "the time zone of this process is already Asia/Seoul");
}

#[test]
fn zones_are_those_of_iana() {
    for good in ["UTC", "Etc/UTC", "Asia/Kolkata", "America/Argentina/Buenos_Aires", "Pacific/Kiritimati"] {
        assert_eq!(ShopZone::named(good).as_ref().map(ShopZone::name), Some(good));
    }
    for bad in ["", "Seoul", "KST", "asia/seoul", "+09:00", "UTC+9", "../etc/passwd", "Asia/Seoul "] {
        assert_eq!(ShopZone::named(bad), None, "{bad}");
    }
}
