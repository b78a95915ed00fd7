//! Pages: `?limit=&cursor=` in, `{items, next_cursor}` out.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use garde::Validate;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kinds;
use crate::problem::Problem;

/// Items of a page when the caller does not say.
pub const DEFAULT_LIMIT: i64 = 20;
/// Items of a page at most.
pub const MAX_LIMIT: i64 = 100;
/// Bytes of a cursor at most: a cursor may hold a name in its search form, of 33 bytes a character.
const MAX_CURSOR: usize = 16 * 1024;

/// The parameters of every list.
#[derive(Debug, Default, Deserialize, Validate, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Items in the page; 20 unless given.
    #[garde(range(min = 1, max = MAX_LIMIT))]
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    #[garde(length(bytes, max = MAX_CURSOR))]
    pub cursor: Option<String>,
}

impl PageQuery {
    /// Returns the maximum number of items of the page.
    pub fn limit(&self) -> i64 {
        self.limit.unwrap_or(DEFAULT_LIMIT)
    }

    /// Returns the number of rows to fetch: the extra row shows that another page follows.
    pub fn fetch(&self) -> i64 {
        self.limit() + 1
    }

    /// Returns the cursor: the page begins behind this place.
    ///
    /// # Errors
    /// If the cursor is not from a page.
    pub fn after<C: DeserializeOwned>(&self) -> Result<Option<C>, Problem> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let json = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
        let json = json.and_then(|json| serde_json::from_slice(&json).ok()).filter(|place| !has_nul(place));
        let place = json.and_then(|json| serde_json::from_value(json).ok());
        let wrong = || Problem::new(&kinds::INVALID_QUERY).field("cursor", "not a cursor of this list");
        place.map(Some).ok_or_else(wrong)
    }
}

/// Returns true for a NUL: PostgreSQL takes no NUL, and no genuine cursor has one.
fn has_nul(place: &Value) -> bool {
    match place {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(entries) => entries.values().any(has_nul),
        _ => false,
    }
}

/// A page of a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Cursor of the next page; null on the last page.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Builds the page of `rows`, fetched with an extra row if there is a next page; `place` returns the sort key of
    /// a row.
    pub fn of<R, C: Serialize>(
        mut rows: Vec<R>,
        query: &PageQuery,
        place: impl Fn(&R) -> C,
        item: impl FnMut(R) -> T,
    ) -> Self {
        let limit = usize::try_from(query.limit()).unwrap_or_default();
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(|row| cursor(&place(row)));
        Self { items: rows.into_iter().map(item).collect(), next_cursor }
    }
}

impl<T> Page<T> {
    /// Returns a short list as one page.
    pub fn all<R: Into<T>>(rows: Vec<R>) -> Self {
        Self { items: rows.into_iter().map(Into::into).collect(), next_cursor: None }
    }
}

fn cursor(place: &impl Serialize) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(place).expect("ids, numbers and texts are JSON"))
}
