//! Large answers, sent in pieces and within the memory of the server.
//!
//! The HTTP library copies each piece of an answer whole into the buffer of the connection. A client that reads
//! nothing would keep a full copy of an answer in memory.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap};
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use actix_web::{Error, ResponseError};

use crate::body::{Bodies, Memory};
use crate::connection::{Answering, Connection};
use crate::fair;

/// Maximum size of a piece.
const PIECE: usize = 8 << 10;

/// The outermost middleware. Sends large answers in pieces, and tells the [`Connection`] until when a request is
/// answered. Reads are answered 503 if there is no memory for their answer. Other answers are sent all the same, and
/// their memory counts, as does the [`Memory`] that their route puts into the extensions of the response. HEAD goes on as
/// GET, and its answer has the headers alone.
///
/// # Errors
/// Errors of the application.
pub async fn bounded(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let is_head = request.method() == Method::HEAD;
    if is_head {
        request.head_mut().method = Method::GET;
    }
    let answering = Connection::of(request.request()).map(|connection| connection.begin(has_body(request.headers())));
    let is_read = request.method() == Method::GET;
    let (request, response) = next.call(request).await?.into_parts();
    let (mut response, body) = response.into_parts();
    let mut memory = response.extensions_mut().remove::<Memory>();
    let mut body = Pieces::of(body);
    if let Pieces::Whole(rest) = &body
        && let Some(bodies) = request.app_data::<Data<Bodies>>().filter(|_| rest.len() > PIECE)
    {
        let mut of_answer = memory.unwrap_or_else(|| bodies.memory(&request));
        if !is_read {
            of_answer.charge(rest.len());
        } else if let Err(problem) = of_answer.resize(rest.len()) {
            let (refusal, told) = problem.error_response().into_parts();
            (response, body) = (refusal, Pieces::of(told));
        }
        memory = Some(of_answer);
    }
    if is_head {
        body = Pieces::Head(body.size());
    }
    let body = BoxBody::new(Answer { body, _memory: memory, _answering: answering });
    Ok(ServiceResponse::new(request, response.set_body(body)))
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    length || headers.contains_key(header::TRANSFER_ENCODING)
}

/// An answer, with resources held until the answer is sent.
struct Answer {
    body: Pieces,
    _memory: Option<Memory>,
    _answering: Option<Answering>,
}

enum Pieces {
    Whole(Bytes),
    Stream(BoxBody),
    /// Answer to HEAD.
    Head(BodySize),
}

impl Pieces {
    fn of(body: impl MessageBody + 'static) -> Self {
        body.try_into_bytes().map_or_else(|stream| Self::Stream(BoxBody::new(stream)), Self::Whole)
    }

    fn size(&self) -> BodySize {
        match self {
            Self::Whole(rest) => BodySize::Sized(rest.len() as u64),
            Self::Stream(stream) => stream.size(),
            Self::Head(size) => *size,
        }
    }
}

impl MessageBody for Answer {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        match &mut self.get_mut().body {
            // the rest in a later turn
            Pieces::Whole(rest) if rest.len() > PIECE && fair::is_over() => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Pieces::Whole(rest) => {
                let piece = rest.split_to(rest.len().min(PIECE));
                Poll::Ready((!piece.is_empty()).then_some(Ok(piece)))
            }
            Pieces::Stream(stream) => Pin::new(stream).poll_next(cx),
            Pieces::Head(_) => Poll::Ready(None),
        }
    }
}
