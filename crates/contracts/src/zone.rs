//! Days of the shop: instants become days by its time zone, here and nowhere else.

use std::sync::OnceLock;

use chrono::NaiveDate;
use db::types::Time;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The time zone of the process: one shop has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShopZone(TimeZone);

static ZONE: OnceLock<ShopZone> = OnceLock::new();

/// The process has used another time zone already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the time zone of this process is already {}", .0.name())]
pub struct ZoneError(ShopZone);

impl ShopZone {
    /// The zone of a name of IANA like `Asia/Seoul`; `None` for another text.
    pub fn named(name: &str) -> Option<Self> {
        // the list of this program, so that every process of a shop has the same days
        TimeZone::get(name).ok().filter(|zone| zone.iana_name() == Some(name)).map(Self)
    }

    /// Sets the zone of this process, before any day is told. Setting the same again is fine.
    ///
    /// # Errors
    /// As [`ZoneError`] says.
    pub fn set(zone: Self) -> Result<(), ZoneError> {
        let set = ZONE.get_or_init(|| zone.clone());
        if *set == zone { Ok(()) } else { Err(ZoneError(set.clone())) }
    }

    /// The zone of this process; UTC unless set.
    pub fn get() -> &'static Self {
        ZONE.get_or_init(|| Self(TimeZone::UTC))
    }

    /// The name that IANA gives.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    fn local(&self, time: Time) -> DateTime {
        // the last day that jiff has is 9999-12-30
        self.0.to_datetime(Timestamp::from_microsecond(time.micros()).unwrap_or(Timestamp::MAX))
    }
}

/// The day of the shop on which `time` is.
pub fn day_of(time: Time) -> NaiveDate {
    let local = ShopZone::get().local(time);
    let (year, month, day) =
        (local.year().into(), local.month().unsigned_abs().into(), local.day().unsigned_abs().into());
    NaiveDate::from_ymd_opt(year, month, day).unwrap_or_default()
}

/// Day, minute and zone of `time` in the shop, for people: `2026-03-01 18:00 Asia/Seoul`.
pub fn shown(time: Time) -> String {
    let zone = ShopZone::get();
    format!("{} {}", zone.local(time).strftime("%Y-%m-%d %H:%M"), zone.name())
}
