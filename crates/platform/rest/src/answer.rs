//! Large answers, sent in pieces and within the memory of the server.
//!
//! The HTTP library copies each piece of an answer whole into the buffer of its connection, so a client that reads
//! nothing would keep a copy of its answer in memory.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use actix_web::{Error, ResponseError};

use crate::body::{Bodies, Memory};

/// Maximum size of a piece.
const PIECE: usize = 16 << 10;

/// The middleware that sends large answers in pieces. Reads are answered 503 if there is no memory for their answer;
/// other answers keep the [`Memory`] that their route puts into the extensions of the response.
///
/// # Errors
/// Those of the application.
pub async fn in_pieces(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let (request, response) = next.call(request).await?.into_parts();
    let (mut response, body) = response.into_parts();
    let mut memory = response.extensions_mut().remove::<Memory>();
    let rest = match body.try_into_bytes() {
        Ok(rest) if rest.len() > PIECE => rest,
        Ok(small) => return Ok(ServiceResponse::new(request, response.set_body(BoxBody::new(small)))),
        Err(stream) => return Ok(ServiceResponse::new(request, response.set_body(BoxBody::new(stream)))),
    };
    if let Some(bodies) = request.app_data::<Data<Bodies>>().filter(|_| is_read) {
        let mut of_read = Memory::of(bodies);
        if let Err(problem) = of_read.resize(rest.len()) {
            return Ok(ServiceResponse::new(request, problem.error_response()));
        }
        memory = Some(of_read);
    }
    let body = BoxBody::new(Pieces { rest, _memory: memory });
    Ok(ServiceResponse::new(request, response.set_body(body)))
}

struct Pieces {
    rest: Bytes,
    _memory: Option<Memory>,
}

impl MessageBody for Pieces {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let rest = &mut self.get_mut().rest;
        let piece = rest.split_to(rest.len().min(PIECE));
        Poll::Ready((!piece.is_empty()).then_some(Ok(piece)))
    }
}
