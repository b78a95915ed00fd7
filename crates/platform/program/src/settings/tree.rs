//! Reads typed settings out of a tree of values, and reports a bad value by the full name.
//!
//! Values come from files with their types and from the environment as text; text is taken for a number, a boolean or
//! a list (with commas) where one is due, and nothing else is converted.

use std::fmt;

use serde::de::value::StringDeserializer;
use serde::de::{self, DeserializeOwned, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;

use super::SettingError;

/// # Errors
/// The first unknown or bad setting.
pub(super) fn read<T: DeserializeOwned>(tree: Value) -> Result<T, SettingError> {
    T::deserialize(Node(tree)).map_err(|bad| SettingError { key: bad.key.clone(), reason: bad.reason() })
}

struct Node(Value);

/// Error and place: callers prepend the names of the sections.
#[derive(Debug)]
struct Bad {
    key: String,
    expected: String,
    got: Option<String>,
}

impl Bad {
    fn of(expected: impl fmt::Display, got: Option<String>) -> Self {
        Self { key: String::new(), expected: expected.to_string(), got }
    }

    fn within(mut self, section: &str) -> Self {
        let dot = if self.key.is_empty() || self.key.starts_with('[') { "" } else { "." };
        self.key = format!("{section}{dot}{}", self.key);
        self
    }

    fn reason(&self) -> String {
        match &self.got {
            Some(_) if is_secret(&self.key) => format!("expected {}, got something else", self.expected),
            Some(got) => format!("expected {}, got {got}", self.expected),
            None => self.expected.clone(),
        }
    }
}

/// Returns true if the value of a setting must not be shown, judged by the name.
fn is_secret(key: &str) -> bool {
    ["password", "secret", "token", "key", "kafka.properties", "headers", "url"].iter().any(|word| key.contains(word))
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason())
    }
}

impl std::error::Error for Bad {}

impl de::Error for Bad {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self::of(reason, None)
    }

    fn invalid_type(got: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::of(in_words(&expected.to_string()), Some(shown(got)))
    }

    fn invalid_value(got: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(got, expected)
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        let known = known.join(", ");
        Self::of(format_args!("one of {known}"), Some(format!("{variant:?}")))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self { key: field.into(), ..Self::of(format_args!("there is no such setting, but {}", known.join(", ")), None) }
    }
}

/// Returns a plain description of serde's name of a type.
fn in_words(expected: &str) -> &str {
    match expected {
        "a duration" => "a duration like 15m",
        "a boolean" => "true or false",
        "u16" => "a whole number up to 65535",
        "u32" | "u64" | "usize" | "i64" => "a whole number",
        "f64" => "a number",
        "a map" => "a section",
        "path string" => "a path",
        other if other.starts_with("a nonzero ") => "a whole number from 1",
        other if other.starts_with("struct ") => "a section",
        other if other.starts_with("a sequence") => "a list",
        other => other,
    }
}

fn shown(got: Unexpected<'_>) -> String {
    match got {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Str(value) => format!("{value:?}"),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a section".into(),
        _ => "nothing".into(),
    }
}

/// Numbers and booleans may come as text, from the environment.
macro_rules! parsed_from_text {
    ($($method:ident => $type:ty, $visit:ident;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
            match &self.0 {
                Value::String(text) => match text.trim().parse::<$type>() {
                    Ok(value) => visitor.$visit(value),
                    Err(_) => Err(de::Error::invalid_type(Unexpected::Str(text), &visitor)),
                },
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Node {
    type Error = Bad;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), _, _) => visitor.visit_u64(value),
                (_, Some(value), _) => visitor.visit_i64(value),
                (_, _, value) => visitor.visit_f64(value.unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => visitor.visit_seq(Items(items.into_iter().enumerate())),
            Value::Object(entries) => visitor.visit_map(Entries { rest: entries.into_iter(), current: None }),
        }
    }

    parsed_from_text! {
        deserialize_bool => bool, visit_bool;
        deserialize_u16 => u64, visit_u64;
        deserialize_u32 => u64, visit_u64;
        deserialize_u64 => u64, visit_u64;
        deserialize_i64 => i64, visit_i64;
        deserialize_f64 => f64, visit_f64;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Bad> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        match self.0 {
            Value::String(text) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                let items: Vec<_> = items.map(|item| Value::String(item.into())).collect();
                visitor.visit_seq(Items(items.into_iter().enumerate()))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Bad> {
        match self.0 {
            Value::String(variant) => {
                let variant: StringDeserializer<Bad> = variant.into_deserializer();
                visitor.visit_enum(variant)
            }
            other => Err(Bad::of(format_args!("one of {}", known.join(", ")), Some(other.to_string()))),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u128 f32 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct
        identifier ignored_any
    }
}

struct Entries {
    rest: serde_json::map::IntoIter,
    current: Option<(String, Value)>,
}

impl<'de> de::MapAccess<'de> for Entries {
    type Error = Bad;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Bad> {
        self.current = self.rest.next();
        self.current.as_ref().map(|(key, _)| seed.deserialize(Node(Value::String(key.clone())))).transpose()
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Bad> {
        let (key, value) = self.current.take().ok_or_else(|| Bad::of("a value without a name", None))?;
        seed.deserialize(Node(value)).map_err(|bad| bad.within(&key))
    }
}

struct Items(std::iter::Enumerate<std::vec::IntoIter<Value>>);

impl<'de> de::SeqAccess<'de> for Items {
    type Error = Bad;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Bad> {
        let Some((at, value)) = self.0.next() else { return Ok(None) };
        seed.deserialize(Node(value)).map(Some).map_err(|bad| bad.within(&format!("[{at}]")))
    }
}
