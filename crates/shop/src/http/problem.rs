//! Refusals of routes: any [`rest::Problem`], and conversions from the errors of the domains.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use rest::kinds::Kind;
use serde::Serialize;

/// Result of a route.
pub type Answer<T = HttpResponse> = Result<T, Problem>;

/// A [`rest::Problem`] in a local type, for conversions from the errors of the domains.
#[derive(Debug)]
pub struct Problem(rest::Problem);

impl Problem {
    /// Calls [`rest::Problem::new`].
    pub fn new(kind: &'static Kind) -> Self {
        Self(rest::Problem::new(kind))
    }

    /// Calls [`rest::Problem::not_found`].
    pub fn not_found(what: &str) -> Self {
        Self(rest::Problem::not_found(what))
    }

    /// Calls [`rest::Problem::internal`].
    pub fn internal(reason: impl fmt::Display) -> Self {
        Self(rest::Problem::internal(reason))
    }

    /// Calls [`rest::Problem::detail`].
    pub fn detail(self, detail: impl fmt::Display) -> Self {
        Self(self.0.detail(detail))
    }

    /// Calls [`rest::Problem::field`].
    pub fn field(self, field: impl fmt::Display, detail: impl fmt::Display) -> Self {
        Self(self.0.field(field, detail))
    }

    /// Calls [`rest::Problem::with`].
    pub fn with(self, name: &str, value: impl Serialize) -> Self {
        Self(self.0.with(name, value))
    }

    /// Calls [`rest::Problem::retry_after`].
    pub fn retry_after(self, wait: Duration) -> Self {
        Self(self.0.retry_after(wait))
    }
}

impl Deref for Problem {
    type Target = rest::Problem;
    fn deref(&self) -> &rest::Problem {
        &self.0
    }
}

impl From<rest::Problem> for Problem {
    fn from(problem: rest::Problem) -> Self {
        Self(problem)
    }
}

impl From<db::Error> for Problem {
    fn from(error: db::Error) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.0.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        self.0.error_response()
    }
}

/// Returns the problem of a shop that is not ready, or stopping.
pub fn unavailable(detail: &str) -> Problem {
    Problem(rest::problem::unavailable(detail))
}
