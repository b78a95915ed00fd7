//! `/me/notifications`

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, Responder, get, post};
use actix_web_lab::sse;
use consumers::notification::{self, Listener, Notification};
use contracts::MemberId;
use futures::stream::{self, Stream};
use garde::Validate;
use member::SessionId;
use rest::input::{Body, NoBody, Params};
use rest::page::{Page, PageQuery};
use rest::reply;
use serde::Deserialize;
use tokio::time::sleep;

use super::at;
use crate::Storefront;
use crate::auth::{Caller, TICKET_LIFETIME};
use crate::dto::notifications::{Marked, NotificationView, ReadMark, StreamTicket};
use crate::http::kinds;
use crate::http::problem::Answer;
use crate::streams::OpenStream;

/// Notifications read at once.
const BATCH: i64 = 100;
/// Interval of comments for keeping the connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Interval at which a stream checks that no process has ended the session.
const CHECK_SESSION_EVERY: Duration = Duration::from_secs(30);
/// Pause of a stream after a failed read.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Time after which a client reopens a lost stream.
const RETRY: Duration = Duration::from_secs(2);

/// The member's notifications, the newest first.
#[utoipa::path(operation_id = "listNotifications", tag = "notifications",
               params(PageQuery), responses((status = 200, body = Page<NotificationView>)),
               security(("bearer" = [])))]
#[get("/me/notifications")]
pub(crate) async fn list(shop: Data<Storefront>, caller: Caller, page: Params<PageQuery>) -> Answer<HttpResponse> {
    let (before, fetch) = (page.0.after::<i64>()?, page.0.fetch());
    let rows = shop.db.read(move |conn| notification::page(conn, caller.id, before, fetch)).await?;
    Ok(reply::ok(&Page::of(rows, &page.0, |row| row.number, NotificationView::from)))
}

/// Marks notifications up to a number as read.
#[utoipa::path(operation_id = "markNotificationsRead", tag = "notifications", request_body = ReadMark,
               responses((status = 200, body = Marked)), security(("bearer" = [])))]
#[post("/me/notifications/read")]
pub(crate) async fn mark_read(shop: Data<Storefront>, caller: Caller, body: Body<ReadMark>) -> Answer<HttpResponse> {
    let up_to = body.value.up_to;
    let marked = shop.db.write(move |tx| notification::mark_read(tx, caller.id, up_to)).await?;
    Ok(reply::ok(&Marked { marked: marked as u64 }))
}

/// Issues a ticket for the stream, for browsers: their `EventSource` sends no header.
#[utoipa::path(operation_id = "createStreamTicket", tag = "notifications",
               responses((status = 201, body = StreamTicket)), security(("bearer" = [])))]
#[post("/me/notifications/stream-tickets")]
pub(crate) async fn issue_ticket(shop: Data<Storefront>, caller: Caller, _body: NoBody) -> Answer<HttpResponse> {
    let ticket = shop.tickets.issue(caller.id, caller.session);
    let location = at(format_args!("me/notifications/stream?ticket={ticket}"));
    Ok(reply::created(location, &StreamTicket { ticket, expires_in: TICKET_LIFETIME.as_secs() }))
}

/// Ticket of a listener without a header.
#[derive(Deserialize, Validate, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Ticket {
    /// Ticket from `POST /me/notifications/stream-tickets`, instead of a bearer token.
    #[garde(length(bytes, max = 200))]
    ticket: Option<String>,
    /// As the header `Last-Event-ID`, which a new `EventSource` cannot send; the header goes before it.
    #[garde(range(min = 0))]
    #[param(minimum = 0)]
    last_event_id: Option<i64>,
}

/// The member's notifications as they come (Server-Sent Events). `Last-Event-ID` resumes behind that number; without
/// it, or with a number that no notification has yet, the stream begins with what comes next. A ticket has one stream
/// at a time: a reconnect ends the stream before.
#[utoipa::path(operation_id = "streamNotifications", tag = "notifications",
               params(Ticket, ("Last-Event-ID" = Option<i64>, Header)),
               responses((status = 200, content_type = "text/event-stream", body = String)),
               security(("bearer" = []), ("ticket" = [])))]
#[get("/me/notifications/stream")]
pub(crate) async fn open_stream(
    shop: Data<Storefront>,
    request: HttpRequest,
    ticket: Params<Ticket>,
) -> Answer<HttpResponse> {
    let (member, session, ticket_id) = match &ticket.0.ticket {
        Some(ticket) => {
            let ticket = shop.tickets.verify(ticket, |id| shop.streams.knows(id))?;
            (ticket.member, ticket.session, Some(ticket.id))
        }
        None => Caller::of(&request).await.map(|caller| (caller.id, caller.session, None))?,
    };
    shop.sessions.check(session).await?;
    let stream = shop.streams.open(member, ticket_id)?;
    // first listen, then look: nothing falls between
    let listener = shop.hub.listen(member);
    let end = shop.db.read(move |conn| notification::last_number(conn, member)).await?;
    let after = last_event_id(&request).or(ticket.0.last_event_id).map_or(end, |number| number.min(end));
    let feed = Feed { shop, member, session, stream, listener, after, ready: VecDeque::new() };
    let events = sse::Sse::from_stream(feed.events()).with_keep_alive(KEEP_ALIVE).with_retry_duration(RETRY);
    Ok(events.respond_to(&request).map_into_boxed_body())
}

fn last_event_id(request: &HttpRequest) -> Option<i64> {
    request.headers().get("last-event-id")?.to_str().ok()?.trim().parse().ok()
}

/// An open stream.
struct Feed {
    shop: Data<Storefront>,
    member: MemberId,
    session: SessionId,
    stream: OpenStream,
    listener: Listener,
    /// The last sent number.
    after: i64,
    ready: VecDeque<Notification>,
}

impl Feed {
    fn events(self) -> impl Stream<Item = Result<sse::Event, Infallible>> {
        stream::unfold(self, |mut feed| async move {
            let notification = feed.next().await?;
            feed.after = notification.number;
            let id = notification.number.to_string();
            let data = sse::Data::new_json(NotificationView::from(notification)).ok()?;
            Some((Ok(data.id(id).event("notification").into()), feed))
        })
    }

    /// Returns the next notification; `None` once the shop stops, the session is over, or the ticket has opened
    /// another stream.
    async fn next(&mut self) -> Option<Notification> {
        loop {
            if let Some(notification) = self.ready.pop_front() {
                return Some(notification);
            }
            match self.shop.sessions.check(self.session).await {
                Err(ended) if ended.kind() == &kinds::UNAUTHENTICATED => return None,
                // while the database is away, nobody is sent away
                _ => {}
            }
            let (member, after) = (self.member, self.after);
            match self.shop.db.read(move |conn| notification::after(conn, member, after, BATCH)).await {
                Ok(rows) if !rows.is_empty() => self.ready.extend(rows),
                Ok(_) => self.wait().await?,
                Err(error) => {
                    tracing::warn!(%error, "a notification stream could not read; it goes on");
                    let ended = self.stream.end.clone();
                    tokio::select! {
                        () = sleep(AFTER_FAILURE) => {}
                        () = self.shop.stop.cancelled() => return None,
                        () = ended.cancelled() => return None,
                    }
                }
            }
        }
    }

    /// Waits until there may be something new, or the session may be over.
    async fn wait(&mut self) -> Option<()> {
        tokio::select! {
            () = self.listener.wait() => Some(()),
            () = sleep(CHECK_SESSION_EVERY) => Some(()),
            () = self.shop.stop.cancelled() => None,
            () = self.stream.end.cancelled() => None,
        }
    }
}
