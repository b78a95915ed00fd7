//! Support for the code written by [`report_errors`](crate::report_errors). No part of the public interface.

use std::error::Error;
use std::fmt::{Display, Write};

use serde::Serialize;
use serde_json::{Map, Value};

pub use crate::install::installed;

use crate::error::{causes, text};
use crate::event::{Event, LONGEST_ID, Level};
use crate::proxy::EventProxy;

/// Place of a function in the source.
pub struct Site {
    pub function: &'static str,
    pub module: &'static str,
    pub file: &'static str,
    pub line: u32,
}

/// Data known before the function runs.
pub struct Report {
    proxy: &'static EventProxy,
    event: Event,
    site: Site,
    fields: Map<String, Value>,
}

impl Report {
    pub fn new(proxy: &'static EventProxy, kind: &'static str, site: Site) -> Self {
        Self { proxy, event: Event::new(kind).level(Level::Error), site, fields: Map::new() }
    }

    pub fn service(mut self, service: &'static str) -> Self {
        self.event = self.event.service(service);
        self
    }

    /// Sets the key. An unusable key is left out, and a long key is cut: the report matters more.
    pub fn key(mut self, key: impl Display) -> Self {
        let mut text = String::new();
        let shown = write!(text, "{key}");
        text.truncate(text.floor_char_boundary(LONGEST_ID));
        if shown.is_ok() && !text.is_empty() && !text.contains('\0') {
            self.event = self.event.key(text);
        }
        self
    }

    pub fn field(mut self, name: &'static str, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).unwrap_or_else(|error| error.to_string().into());
        self.fields.insert(name.to_owned(), value);
        self
    }

    pub fn send(self, description: Description) {
        let site = self.site;
        let data = Data {
            error: description.error,
            causes: description.causes,
            function: site.function,
            module: site.module,
            file: site.file,
            line: site.line,
            fields: self.fields,
        };
        // counted by the client; nobody here could do more about it
        let _ = self.proxy.send(self.event.data(data));
    }
}

#[derive(Serialize)]
struct Data {
    error: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<String>,
    function: &'static str,
    module: &'static str,
    file: &'static str,
    line: u32,
    #[serde(skip_serializing_if = "Map::is_empty")]
    fields: Map<String, Value>,
}

#[diagnostic::on_unimplemented(
    message = "`report_errors` can't report `{Self}`",
    label = "the error of this function has to implement `Display`"
)]
pub trait Reportable {}

impl<E: Display + ?Sized> Reportable for E {}

/// Returns the error of a result; the only place that fixes the return type of functions with the attribute.
pub fn error_of<T, E: Reportable>(result: &Result<T, E>) -> Option<&E> {
    result.as_ref().err()
}

/// Calls a function's body. A closure called on the spot may not return borrows of a captured `&mut`.
pub fn call<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// Gives the compiler the type of an async block, and is never called.
pub fn unreachable<T>() -> T {
    unreachable!("it only stands behind `if false`")
}

/// An error in words.
pub struct Description {
    error: String,
    /// Causes, the immediate cause first.
    causes: Vec<String>,
}

impl Description {
    fn of(error: &(impl Error + ?Sized)) -> Self {
        Self { error: text(error), causes: causes(error.source()).map(text).collect() }
    }
}

/// Describes an error as well as the error's type allows. A method call takes the implementation with the fewest
/// dereferences, so on `&&&&&Probe(error)` the first fitting trait below wins.
pub struct Probe<'a, E: ?Sized>(pub &'a E);

pub trait ByDynSync {
    fn describe(&self) -> Description;
}

/// `anyhow::Error`, `Box<dyn Error + Send + Sync>`
impl<'e, E: AsRef<dyn Error + Send + Sync + 'e>> ByDynSync for &&&&Probe<'_, E> {
    fn describe(&self) -> Description {
        Description::of(self.0.as_ref())
    }
}

pub trait ByDyn {
    fn describe(&self) -> Description;
}

/// `Box<dyn Error>`
impl<'e, E: AsRef<dyn Error + 'e>> ByDyn for &&&Probe<'_, E> {
    fn describe(&self) -> Description {
        Description::of(self.0.as_ref())
    }
}

pub trait ByError {
    fn describe(&self) -> Description;
}

impl<E: Error> ByError for &&Probe<'_, E> {
    fn describe(&self) -> Description {
        Description::of(self.0)
    }
}

pub trait ByText {
    fn describe(&self) -> Description;
}

impl<E: Display> ByText for &Probe<'_, E> {
    fn describe(&self) -> Description {
        Description { error: text(self.0), causes: Vec::new() }
    }
}

pub trait ByNothing {
    fn describe(&self) -> Description;
}

/// Never called, only found: the compiler should complain about a type without `Display` only at [`error_of`].
impl<E> ByNothing for Probe<'_, E> {
    fn describe(&self) -> Description {
        Description { error: String::new(), causes: Vec::new() }
    }
}
