//! Idempotency-Key: the same request, sent again, is done once and answered the same.
//!
//! The key is unique by caller. A unit first inserts the key's row: on PostgreSQL a second request with the key waits
//! at the insert until the first commit; on SQLite units run one after the other anyway. The work runs in a
//! savepoint: a refusal rolls the work back and is still stored. A failure of the server stores nothing.

mod store;

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use contracts::MemberId;
use db::{Database, Tx};
use rest::reply::Kept;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::auth::Caller;
use crate::http::kinds;
use crate::http::problem::Problem;

pub(crate) use store::purge;

/// Retention of an answer.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// The header Idempotency-Key of a route that requires the header.
pub(crate) struct RequiredKey(Request);

/// The header Idempotency-Key of a route with an optional key.
pub(crate) struct OptionalKey(Option<Request>);

/// A request to be executed once: key, method and path.
#[derive(Clone)]
struct Request {
    key: String,
    method_and_path: String,
}

impl FromRequest for RequiredKey {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let missing = || Problem::new(&kinds::MISSING_IDEMPOTENCY_KEY);
        ready(Request::of(request).and_then(|request| request.map(Self).ok_or_else(missing)))
    }
}

impl FromRequest for OptionalKey {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Request::of(request).map(Self))
    }
}

impl Request {
    fn of(request: &HttpRequest) -> Result<Option<Self>, Problem> {
        let Some(header) = request.headers().get("idempotency-key") else { return Ok(None) };
        let key = header.to_str().unwrap_or_default().trim();
        if !(1..=255).contains(&key.len()) || !key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            return Err(Problem::new(&kinds::INVALID_IDEMPOTENCY_KEY));
        }
        // the path as the router compares it
        let method_and_path = format!("{} {}", request.method(), request.match_info().as_str());
        Ok(Some(Self { key: key.to_owned(), method_and_path }))
    }
}

/// Successful answer of a unit.
pub(crate) struct Done {
    status: u16,
    location: Option<String>,
    body: String,
}

impl Done {
    /// 201.
    ///
    /// # Errors
    /// If `body` is not JSON, which would be a defect.
    pub(crate) fn created(location: String, body: &impl Serialize) -> Result<Self, Problem> {
        Ok(Self { status: 201, location: Some(location), body: json(body)? })
    }

    /// 200.
    ///
    /// # Errors
    /// If `body` is not JSON, which would be a defect.
    pub(crate) fn ok(body: &impl Serialize) -> Result<Self, Problem> {
        Ok(Self { status: 200, location: None, body: json(body)? })
    }
}

fn json(body: &impl Serialize) -> Result<String, Problem> {
    serde_json::to_string(body).map_err(Problem::internal)
}

/// Runs one unit of work, once for the key.
///
/// # Errors
/// Refusals because of the key, and failures of the server; refusals of `work` are answers.
pub(crate) async fn once(
    db: &Database,
    caller: &Caller,
    key: RequiredKey,
    body: &[u8],
    work: impl Fn(&mut Tx<'_>) -> Result<Done, Problem> + Send + 'static,
) -> Result<Kept, Problem> {
    maybe_once(db, caller, OptionalKey(Some(key.0)), body, work).await
}

/// Runs [`once`], or a plain unit of work without a key.
///
/// # Errors
/// Errors of [`once`]; without a key, also refusals of `work`.
pub(crate) async fn maybe_once(
    db: &Database,
    caller: &Caller,
    key: OptionalKey,
    body: &[u8],
    work: impl Fn(&mut Tx<'_>) -> Result<Done, Problem> + Send + 'static,
) -> Result<Kept, Problem> {
    let Some(request) = key.0 else {
        let Done { status, location, body } = db.write(work).await?;
        return Ok(Kept { status, location, body });
    };
    let principal = caller.id;
    let fingerprint = fingerprint(&request.method_and_path, body);
    let at_key = Arc::new(AtomicBool::new(false));
    let asked = at_key.clone();
    let result = db.write(move |tx| {
        asked.store(true, Ordering::SeqCst);
        let taken = taken(tx, principal, &request.key, &fingerprint)?;
        asked.store(false, Ordering::SeqCst);
        match taken {
            Some(kept) => Ok(kept),
            None => run(tx, principal, &request.key, &work),
        }
    });
    result.await.map_err(|failure| match failure {
        Failure::Database(db::Error::Unavailable(reason))
            if at_key.load(Ordering::SeqCst) && reason.contains("lock timeout") =>
        {
            in_use()
        }
        Failure::Database(error) => error.into(),
        Failure::Problem(problem) => problem,
    })
}

/// Returns the problem of a second request that can't wait longer for the first request with the key.
fn in_use() -> Problem {
    Problem::new(&kinds::IDEMPOTENCY_KEY_IN_USE).retry_after(Duration::from_secs(1))
}

/// Reason for storing nothing.
enum Failure {
    Database(db::Error),
    Problem(Problem),
}

impl From<db::Error> for Failure {
    fn from(error: db::Error) -> Self {
        Self::Database(error)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Hash of the request. Of the body the value counts, not its spacing, escapes and order of members.
fn fingerprint(method_and_path: &str, body: &[u8]) -> [u8; 32] {
    // routes without a body take an empty one or {}; members of a map are sorted
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    Sha256::new().chain_update(method_and_path).chain_update([0]).chain_update(value.to_string()).finalize().into()
}

/// Runs the work and stores the answer.
fn run(
    tx: &mut Tx<'_>,
    principal: MemberId,
    key: &str,
    work: &impl Fn(&mut Tx<'_>) -> Result<Done, Problem>,
) -> Result<Kept, Failure> {
    let kept = match tx.savepoint(work) {
        Ok(Done { status, location, body }) => Kept { status, location, body },
        Err(problem) if problem.is_refusal() => {
            Kept { status: problem.kind().status.as_u16(), location: None, body: problem.document(None) }
        }
        Err(problem) => return Err(problem.into()),
    };
    store::keep(tx, principal, key, &kept)?;
    Ok(kept)
}

/// Takes the key for this unit, or returns the stored answer of the key.
fn taken(tx: &mut Tx<'_>, principal: MemberId, key: &str, fingerprint: &[u8; 32]) -> Result<Option<Kept>, Failure> {
    let now = tx.now()?;
    if store::take(tx, principal, key, fingerprint, now)?
        || store::take_over(tx, principal, key, fingerprint, now, now - KEPT_FOR)?
    {
        return Ok(None);
    }
    // a row that was deleted meanwhile was over its time
    let row = store::find(tx, principal, key)?.ok_or_else(in_use)?;
    if row.fingerprint != fingerprint {
        return Err(Problem::new(&kinds::IDEMPOTENCY_KEY_REUSED).into());
    }
    // committed rows always have an answer: it is stored in the transaction that takes the key
    row.kept().map(Some).ok_or_else(|| in_use().into())
}
