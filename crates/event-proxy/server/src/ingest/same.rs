//! Equality of JSON texts by value, and of numbers by their digits: a number may have more of them than a library reads.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Returns true if two stored events have the same key and data. Spacing and the order of members do not count.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(default)]
        key: Option<String>,
        #[serde(borrow, default)]
        data: Option<&'a RawValue>,
        #[serde(default)]
        data_base64: Option<String>,
    }
    let content = |payload| serde_json::from_str::<Content<'_>>(payload).ok();
    let are_same = |(one, other): (Content<'_>, Content<'_>)| {
        let is_data_same = match (one.data, other.data) {
            (Some(one), Some(other)) => are_equal(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        is_data_same && one.key == other.key && one.data_base64 == other.data_base64
    };
    one == other || content(one).zip(content(other)).is_some_and(are_same)
}

/// Compares values by recursion: stored events are at most 127 levels deep.
fn are_equal(one: &RawValue, other: &RawValue) -> bool {
    let (one, other) = (one.get(), other.get());
    if one == other {
        return true;
    }
    match (one.as_bytes().first(), other.as_bytes().first()) {
        (Some(b'{'), Some(b'{')) => parsed::<Members<'_>>(one, other).is_some_and(|(Members(one), Members(other))| {
            one.len() == other.len()
                && one.iter().zip(&other).all(|(one, other)| one.0 == other.0 && are_equal(one.1, other.1))
        }),
        (Some(b'['), Some(b'[')) => parsed::<Vec<&RawValue>>(one, other).is_some_and(|(one, other)| {
            one.len() == other.len() && one.iter().zip(&other).all(|(one, other)| are_equal(one, other))
        }),
        (Some(b'"'), Some(b'"')) => parsed::<String>(one, other).is_some_and(|(one, other)| one == other),
        _ => false,
    }
}

fn parsed<'a, T: Deserialize<'a>>(one: &'a str, other: &'a str) -> Option<(T, T)> {
    Some((serde_json::from_str(one).ok()?, serde_json::from_str(other).ok()?))
}

/// Members of an object by name. A repeated name stays repeated, in order.
pub(crate) struct Members<'a>(pub(crate) Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sorted;

        impl<'de> Visitor<'de> for Sorted {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                members.sort_by(|one: &(String, &RawValue), other| one.0.cmp(&other.0));
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Sorted)
    }
}
