//! Input of a request: bodies, query parameters and ids, each refused with a document that names the error.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::web;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use garde::Validate;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use crate::body::{Incoming, Memory, Whole};
use crate::depth::{self, MAX_DEPTH};
use crate::kinds;
use crate::problem::Problem;

/// The largest body, in bytes, as the application was set up.
#[derive(Clone, Copy)]
pub struct BodyLimit(pub usize);

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, Problem>>>>;

/// A valid JSON body, and the bytes for a fingerprint.
pub struct Body<T> {
    pub value: T,
    pub bytes: Vec<u8>,
    _memory: Memory,
}

impl<T: DeserializeOwned + Validate<Context = ()> + 'static> FromRequest for Body<T> {
    type Error = Problem;
    type Future = Boxed<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let json = is_json(request);
        let bytes = read(request, payload);
        Box::pin(async move {
            let Whole { bytes, memory } = bytes.await?;
            if !json {
                return Err(Problem::new(&kinds::UNSUPPORTED_MEDIA_TYPE).detail("the body must be application/json"));
            }
            Ok(Self { value: parse(&bytes)?, bytes, _memory: memory })
        })
    }
}

/// The body of a POST without parameters: empty, or an empty JSON object.
pub struct NoBody;

#[derive(serde::Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[serde(deny_unknown_fields)]
struct Empty {}

impl FromRequest for NoBody {
    type Error = Problem;
    type Future = Boxed<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let json = is_json(request);
        let bytes = read(request, payload);
        Box::pin(async move {
            let Whole { bytes, .. } = bytes.await?;
            if bytes.is_empty() {
                return Ok(Self);
            }
            if !json {
                return Err(Problem::new(&kinds::UNSUPPORTED_MEDIA_TYPE).detail("send {} as application/json"));
            }
            parse::<Empty>(&bytes).map(|_| Self)
        })
    }
}

fn is_json(request: &HttpRequest) -> bool {
    request.content_type().eq_ignore_ascii_case("application/json")
}

/// Reads a whole unpacked body.
///
/// # Errors
/// Errors of [`Incoming::whole`], and `unsupported-media-type` for a packed body.
pub fn read(request: &HttpRequest, payload: &mut Payload) -> impl Future<Output = Result<Whole, Problem>> + use<> {
    let limit = request.app_data::<BodyLimit>().map_or(64 * 1024, |limit| limit.0);
    let body = Incoming::of(request, payload.take(), false);
    async move { body?.whole(limit).await }
}

/// Parses and validates a JSON object.
///
/// # Errors
/// `malformed-json`; `invalid-request`, naming each wrong field.
pub fn parse<T: DeserializeOwned + Validate<Context = ()>>(bytes: &[u8]) -> Result<T, Problem> {
    depth::check("body", bytes, MAX_DEPTH)?;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value: Result<T, _> = serde_path_to_error::deserialize(&mut json);
    if value.is_err() || json.end().is_err() {
        // whether it is JSON at all comes before what is in it
        let json: Result<IgnoredAny, _> = serde_json::from_slice(bytes);
        json.map_err(|error| Problem::new(&kinds::MALFORMED_JSON).detail(error))?;
    }
    if let Some(field) = nul_in(bytes) {
        return Err(Problem::new(&kinds::INVALID_REQUEST).field(&field, "must have no NUL character"));
    }
    // structs would also be taken from arrays
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::new(&kinds::INVALID_REQUEST).field("body", "must be an object"));
    }
    validated(value.map_err(|error| {
        let field = error.path().to_string();
        // serde_json ends its text with the place, which the field's name says better
        let text = error.into_inner().to_string();
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
        Problem::new(&kinds::INVALID_REQUEST).field(if field == "." { "body" } else { &field }, text)
    })?)
}

/// Returns the field whose text has a NUL character, which PostgreSQL cannot keep.
fn nul_in(json: &[u8]) -> Option<String> {
    fn place(value: &Value) -> Option<String> {
        let below = |at: String, value| {
            place(value).map(|rest| match rest.chars().next() {
                None | Some('[') => at + &rest,
                Some(_) => format!("{at}.{rest}"),
            })
        };
        match value {
            Value::String(text) => text.contains('\0').then(String::new),
            Value::Array(items) => items.iter().enumerate().find_map(|(at, item)| below(format!("[{at}]"), item)),
            Value::Object(members) => members.iter().find_map(|(name, member)| below(name.clone(), member)),
            _ => None,
        }
    }
    // JSON has it as an escape only
    let escape = b"\\u0000";
    let may_have = json.windows(escape.len()).any(|window| window == escape);
    may_have.then(|| serde_json::from_slice(json).ok()).flatten().and_then(|value| place(&value))
}

/// Returns `value`, or a document that names each wrong field.
fn validated<T: Validate<Context = ()>>(value: T) -> Result<T, Problem> {
    match value.validate() {
        Ok(()) => Ok(value),
        Err(report) => Err(report.iter().fold(Problem::new(&kinds::INVALID_REQUEST), |problem, (path, error)| {
            let field = path.to_string();
            problem.field(if field.is_empty() { "body" } else { &field }, error.message())
        })),
    }
}

/// Valid query parameters.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned + Validate<Context = ()> + 'static> FromRequest for Params<T> {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(fields(request.query_string()).map(Self))
    }
}

/// Parses and validates the fields of a query or a form.
///
/// # Errors
/// `invalid-query`, naming each wrong field.
pub fn fields<T: DeserializeOwned + Validate<Context = ()>>(query: &str) -> Result<T, Problem> {
    fields_of(pairs(query)?)
}

/// Returns the names and values of a query or a form.
///
/// # Errors
/// `invalid-query`
pub fn pairs(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query)
        .map_err(|_| Problem::new(&kinds::INVALID_QUERY).detail("the query is not form-urlencoded"))?;
    // what is not UTF-8 is decoded as a replacement character
    let bad = ['\0', char::REPLACEMENT_CHARACTER];
    match pairs.iter().find(|(name, value)| name.contains(bad) || value.contains(bad)) {
        Some((name, _)) => Err(Problem::new(&kinds::INVALID_QUERY).field(name, "has a NUL character, or is not UTF-8")),
        None => Ok(pairs),
    }
}

/// Builds the value from names and values.
///
/// # Errors
/// As [`fields`].
pub fn fields_of<T: DeserializeOwned + Validate<Context = ()>>(pairs: Vec<(String, String)>) -> Result<T, Problem> {
    // an empty parameter (`?q=`) is the same as none
    let given = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    let given = serde::de::value::MapDeserializer::<_, serde::de::value::Error>::new(given.map(|(k, v)| (k, Text(v))));
    let value: T = serde_path_to_error::deserialize(given).map_err(|error| {
        let field = error.path().to_string();
        let text = error.into_inner().to_string();
        Problem::new(&kinds::INVALID_QUERY).field(if field == "." { "query" } else { &field }, text)
    })?;
    value.validate().map_err(|report| {
        report
            .iter()
            .fold(Problem::new(&kinds::INVALID_QUERY), |problem, (path, error)| problem.field(path, error.message()))
    })?;
    Ok(value)
}

/// A query value: text, read as the field's type.
struct Text(String);

macro_rules! parsed {
    ($($method:ident $visit:ident $type:ty),+) => {$(
        fn $method<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            match self.0.parse::<$type>() {
                Ok(value) => visitor.$visit(value),
                Err(error) => Err(serde::de::Error::custom(format_args!("{:?}: {error}", self.0))),
            }
        }
    )+};
}

impl<'de> serde::Deserializer<'de> for Text {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_string(self.0)
    }

    fn deserialize_option<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: serde::de::Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: serde::de::Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_enum(serde::de::IntoDeserializer::into_deserializer(self.0))
    }

    parsed!(deserialize_bool visit_bool bool, deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64,
            deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64);

    serde::forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        struct identifier ignored_any
    }
}

impl serde::de::IntoDeserializer<'_, serde::de::value::Error> for Text {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

/// A path segment: an id. An invalid id names nothing, hence 404.
pub struct Segment<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Segment<T> {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let segment = web::Path::<T>::from_request(request, payload).into_inner();
        std::future::ready(
            segment
                .map(|path| Self(path.into_inner()))
                .map_err(|_| Problem::new(&kinds::NOT_FOUND).detail("the path holds something that is no id")),
        )
    }
}
