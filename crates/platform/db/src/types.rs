//! SQL types with one meaning on both databases, and macros for the column types of newtypes.
//!
//! | type | PostgreSQL | SQLite |
//! | --- | --- | --- |
//! | [`Uuid`] | `uuid` | `BLOB`, 16 bytes |
//! | [`UtcTime`] | `timestamptz` | `INTEGER`, microseconds since 1970 |
//! | [`Json`] | `json` | `TEXT` |

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use diesel::deserialize::{FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::Pg;
use diesel::query_builder::QueryId;
use diesel::serialize::{IsNull, Output, ToSql};
use diesel::sql_types::{self, HasSqlType, SqlType};
use diesel::sqlite::Sqlite;
use diesel::{deserialize, serialize};
use serde::{Deserialize, Deserializer, Serialize};

use crate::conn::MultiBackend;

/// SQL type of a UUID column.
#[derive(Debug, Clone, Copy, Default, SqlType, QueryId)]
#[diesel(postgres_type(name = "uuid"))]
#[diesel(sqlite_type(name = "Binary"))]
pub struct Uuid;

/// SQL type of a point in time, in UTC, to the microsecond.
#[derive(Debug, Clone, Copy, Default, SqlType, QueryId)]
#[diesel(postgres_type(name = "timestamptz"))]
#[diesel(sqlite_type(name = "Long"))]
pub struct UtcTime;

/// SQL type of a JSON document, kept to the letter.
#[derive(Debug, Clone, Copy, Default, SqlType, QueryId)]
#[diesel(postgres_type(name = "json"))]
#[diesel(sqlite_type(name = "Text"))]
pub struct Json;

macro_rules! on_the_multi_backend {
    ($($sql:ty),*) => {$(
        impl HasSqlType<$sql> for MultiBackend {
            fn metadata(lookup: &mut Self::MetadataLookup) -> Self::TypeMetadata {
                Self::lookup_sql_type::<$sql>(lookup)
            }
        }
    )*};
}
on_the_multi_backend!(Uuid, UtcTime, Json);

/// Microseconds between 1970 and 2000, where PostgreSQL begins to count.
const PG_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// First time of year 0, in microseconds since 1970.
const MIN_MICROS: i64 = -62_167_219_200_000_000;
/// Last time of year 9999, in microseconds since 1970.
const MAX_MICROS: i64 = 253_402_300_799_999_999;

/// A point in time of the years 0 to 9999, to the microsecond: the range of RFC 3339 and the precision of both databases.
/// In JSON an RFC 3339 string in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, AsExpression, FromSqlRow)]
#[diesel(sql_type = UtcTime)]
#[serde(into = "DateTime<Utc>")]
pub struct Time(DateTime<Utc>);

/// The text is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a time as in RFC 3339, like 2026-03-01T09:00:00Z, of the years 0000 to 9999")]
pub struct TimeError;

impl Time {
    /// Returns the time of this process's clock. In a unit of work use [`crate::Tx::now`], the database's time.
    pub fn now() -> Self {
        Utc::now().into()
    }

    /// Microseconds since 1970.
    pub fn micros(self) -> i64 {
        self.0.timestamp_micros()
    }

    /// `None` outside the years 0 to 9999.
    pub fn from_micros(micros: i64) -> Option<Self> {
        (MIN_MICROS..=MAX_MICROS).contains(&micros).then(|| Self::nearest(micros))
    }

    /// The time, or the nearest of the years 0 to 9999.
    fn nearest(micros: i64) -> Self {
        Self(DateTime::from_timestamp_micros(micros.clamp(MIN_MICROS, MAX_MICROS)).unwrap_or_default())
    }

    /// Returns the time as chrono's type.
    pub fn to_chrono(self) -> DateTime<Utc> {
        self.0
    }
}

/// The nearest time of the years 0 to 9999.
impl From<DateTime<Utc>> for Time {
    fn from(time: DateTime<Utc>) -> Self {
        Self::nearest(time.timestamp_micros())
    }
}

impl FromStr for Time {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let bytes = text.as_bytes();
        // chrono also takes a blank for the T, and the second 60
        let is_strict = text.is_ascii() && matches!(bytes.get(10), Some(b'T' | b't')) && bytes.get(17) != Some(&b'6');
        let time = DateTime::parse_from_rfc3339(text).ok().filter(|_| is_strict).ok_or(TimeError)?;
        Self::from_micros(time.timestamp_micros()).ok_or(TimeError)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Reads a day of the years 0 to 9999, for `#[serde(deserialize_with)]`: ten characters, as in RFC 3339.
///
/// # Errors
/// The text is no day.
pub fn day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NaiveDate>, D::Error> {
    let Some(text) = Option::<Cow<'de, str>>::deserialize(deserializer)? else { return Ok(None) };
    let has_shape = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let day = text.parse().ok().filter(|_| has_shape && !text.starts_with('-'));
    day.map(Some).ok_or_else(|| serde::de::Error::custom("must be a day like 2026-03-01"))
}

impl From<Time> for DateTime<Utc> {
    fn from(time: Time) -> Self {
        time.0
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
    }
}

/// Saturates at the last time of year 9999.
impl std::ops::Add<Duration> for Time {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        let delta = TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
        self.0.checked_add_signed(delta).unwrap_or(DateTime::<Utc>::MAX_UTC).into()
    }
}

/// Saturates at the first time of year 0.
impl std::ops::Sub<Duration> for Time {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        let delta = TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
        self.0.checked_sub_signed(delta).unwrap_or(DateTime::<Utc>::MIN_UTC).into()
    }
}

impl ToSql<UtcTime, Sqlite> for Time {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.micros());
        Ok(IsNull::No)
    }
}

impl FromSql<UtcTime, Sqlite> for Time {
    fn from_sql(bytes: <Sqlite as diesel::backend::Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        let micros = <i64 as FromSql<sql_types::BigInt, Sqlite>>::from_sql(bytes)?;
        Ok(Time::nearest(micros))
    }
}

impl ToSql<UtcTime, Pg> for Time {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        ToSql::<sql_types::BigInt, Pg>::to_sql(&(self.micros() - PG_EPOCH_MICROS), &mut out.reborrow())
    }
}

impl FromSql<UtcTime, Pg> for Time {
    fn from_sql(bytes: diesel::pg::PgValue<'_>) -> deserialize::Result<Self> {
        let micros = <i64 as FromSql<sql_types::BigInt, Pg>>::from_sql(bytes)?;
        Ok(Time::nearest(micros.saturating_add(PG_EPOCH_MICROS)))
    }
}

impl ToSql<UtcTime, MultiBackend> for Time {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, MultiBackend>) -> serialize::Result {
        out.set_value((UtcTime, self));
        Ok(IsNull::No)
    }
}

impl FromSql<UtcTime, MultiBackend> for Time {
    fn from_sql(value: <MultiBackend as diesel::backend::Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        value.from_sql::<Self, UtcTime>()
    }
}

/// A UUID as stored by the databases; the base of [`uuid_newtype!`](crate::uuid_newtype) and of rows.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, AsExpression, FromSqlRow,
)]
#[diesel(sql_type = Uuid)]
#[serde(transparent)]
pub struct Id(pub uuid::Uuid);

impl Id {
    /// Returns a new id (UUID v7), so that ids sort by the time of creation.
    pub fn new() -> Self {
        Self(uuid::Uuid::now_v7())
    }
}

impl Default for Id {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<uuid::Uuid> for Id {
    fn from(id: uuid::Uuid) -> Self {
        Self(id)
    }
}

impl ToSql<Uuid, Sqlite> for Id {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        ToSql::<sql_types::Binary, Sqlite>::to_sql(&self.0.as_bytes()[..], out)
    }
}

impl FromSql<Uuid, Sqlite> for Id {
    fn from_sql(bytes: <Sqlite as diesel::backend::Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        let bytes = <*const [u8] as FromSql<sql_types::Binary, Sqlite>>::from_sql(bytes)?;
        // SAFETY: diesel's way to borrow a BLOB; the pointer is valid while `bytes` is
        #[allow(unsafe_code)]
        let bytes = unsafe { &*bytes };
        Ok(Self(uuid::Uuid::from_slice(bytes)?))
    }
}

impl ToSql<Uuid, Pg> for Id {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        ToSql::<sql_types::Uuid, Pg>::to_sql(&self.0, out)
    }
}

impl FromSql<Uuid, Pg> for Id {
    fn from_sql(bytes: diesel::pg::PgValue<'_>) -> deserialize::Result<Self> {
        <uuid::Uuid as FromSql<sql_types::Uuid, Pg>>::from_sql(bytes).map(Self)
    }
}

impl ToSql<Uuid, MultiBackend> for Id {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, MultiBackend>) -> serialize::Result {
        out.set_value((Uuid, self));
        Ok(IsNull::No)
    }
}

impl FromSql<Uuid, MultiBackend> for Id {
    fn from_sql(value: <MultiBackend as diesel::backend::Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        value.from_sql::<Self, Uuid>()
    }
}

/// A JSON document as text.
#[derive(Debug, Clone, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Json)]
pub struct JsonText(pub String);

impl ToSql<Json, Sqlite> for JsonText {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        ToSql::<sql_types::Text, Sqlite>::to_sql(self.0.as_str(), out)
    }
}

impl FromSql<Json, Sqlite> for JsonText {
    fn from_sql(bytes: <Sqlite as diesel::backend::Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        <String as FromSql<sql_types::Text, Sqlite>>::from_sql(bytes).map(Self)
    }
}

impl ToSql<Json, Pg> for JsonText {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        ToSql::<sql_types::Text, Pg>::to_sql(self.0.as_str(), out)
    }
}

impl FromSql<Json, Pg> for JsonText {
    fn from_sql(bytes: diesel::pg::PgValue<'_>) -> deserialize::Result<Self> {
        <String as FromSql<sql_types::Text, Pg>>::from_sql(bytes).map(Self)
    }
}

impl ToSql<Json, MultiBackend> for JsonText {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, MultiBackend>) -> serialize::Result {
        out.set_value((Json, self));
        Ok(IsNull::No)
    }
}

impl FromSql<Json, MultiBackend> for JsonText {
    fn from_sql(value: <MultiBackend as diesel::backend::Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        value.from_sql::<Self, Json>()
    }
}

/// Defines a new id type over [`Id`](crate::types::Id): columns, JSON, text, and `new()` (UUID v7).
#[macro_export]
macro_rules! uuid_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
                 ::serde::Serialize, ::serde::Deserialize,
                 $crate::diesel::expression::AsExpression, $crate::diesel::deserialize::FromSqlRow)]
        #[diesel(sql_type = $crate::types::Uuid)]
        #[serde(transparent)]
        pub struct $name(pub ::uuid::Uuid);

        impl $name {
            /// Returns a new id (UUID v7), so that ids sort by the time of creation.
            #[allow(clippy::new_without_default)] // an id that is new each time is no default
            pub fn new() -> Self {
                Self(::uuid::Uuid::now_v7())
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = ::uuid::Error;
            fn from_str(text: &str) -> ::std::result::Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        $crate::column_by!($name, $crate::types::Uuid, $crate::types::Id,
            |value| $crate::types::Id(value.0), |id| Ok($name(id.0)));
    };
}

/// Defines an enum with a fixed text for each variant, in columns and in JSON.
#[macro_export]
macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident => $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
                 ::serde::Serialize, ::serde::Deserialize,
                 $crate::diesel::expression::AsExpression, $crate::diesel::deserialize::FromSqlRow)]
        #[diesel(sql_type = $crate::diesel::sql_types::Text)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every variant.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the text of the variant in columns and in JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = ::std::string::String;
            fn from_str(text: &str) -> ::std::result::Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    other => Err(format!("{other:?} is no {}", stringify!($name))),
                }
            }
        }

        $crate::column_by!($name, $crate::diesel::sql_types::Text, ::std::string::String,
            |value| value.as_str().to_owned(), |text| Ok(text.parse()?));
    };
}

/// Lets a type be a column through another column type: `column_by!(Type, SqlType, Via, to, from)`.
///
/// The type itself derives `AsExpression` and `FromSqlRow`.
#[macro_export]
macro_rules! column_by {
    ($name:ty, $sql:ty, $via:ty, |$value:ident| $to:expr, |$from:ident| $back:expr) => {
        const _: () = {
            use $crate::MultiBackend;
            use $crate::diesel::serialize::{IsNull, Output, ToSql};
            use $crate::diesel::{
                backend::Backend, deserialize, deserialize::FromSql, pg::Pg, serialize, sqlite::Sqlite,
            };

            impl ToSql<$sql, Sqlite> for $name {
                fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
                    let $value = self;
                    out.set_value($crate::types::SqliteForm::sqlite_form($to));
                    Ok(IsNull::No)
                }
            }
            impl ToSql<$sql, Pg> for $name {
                fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
                    let $value = self;
                    let via: $via = $to;
                    <$via as ToSql<$sql, Pg>>::to_sql(&via, &mut out.reborrow())
                }
            }
            impl ToSql<$sql, MultiBackend> for $name {
                fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, MultiBackend>) -> serialize::Result {
                    out.set_value((<$sql>::default(), self));
                    Ok(IsNull::No)
                }
            }
            impl FromSql<$sql, Sqlite> for $name {
                fn from_sql(bytes: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
                    let $from = <$via as FromSql<$sql, Sqlite>>::from_sql(bytes)?;
                    $back
                }
            }
            impl FromSql<$sql, Pg> for $name {
                fn from_sql(bytes: <Pg as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
                    let $from = <$via as FromSql<$sql, Pg>>::from_sql(bytes)?;
                    $back
                }
            }
            impl FromSql<$sql, MultiBackend> for $name {
                fn from_sql(value: <MultiBackend as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
                    value.from_sql::<Self, $sql>()
                }
            }
        };
    };
}

/// Form of a value bound on SQLite; for [`column_by!`](crate::column_by) only.
#[doc(hidden)]
pub trait SqliteForm {
    type Form;
    fn sqlite_form(self) -> Self::Form;
}

impl SqliteForm for Id {
    type Form = Vec<u8>;
    fn sqlite_form(self) -> Vec<u8> {
        self.0.as_bytes().to_vec()
    }
}

impl SqliteForm for String {
    type Form = String;
    fn sqlite_form(self) -> String {
        self
    }
}

impl SqliteForm for i64 {
    type Form = i64;
    fn sqlite_form(self) -> i64 {
        self
    }
}
