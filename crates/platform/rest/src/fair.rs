//! Fair turns for the connections of an HTTP thread.
//!
//! A thread runs connections one after the other. In the order of readiness, a client would wait for each ready
//! connection of an address with a thousand connections. So connections wait in a queue for each address, and the
//! thread takes one of each address in turn. A connection that is ready while none waits runs at once.
//!
//! After `TURN` the thread polls the sockets before running another connection. Long work calls [`pause`] between
//! steps.

use std::cell::{Cell, RefCell};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::task::yield_now;

use crate::shares::Share;

/// Time of connections between two looks at the sockets.
const TURN: Duration = Duration::from_micros(500);

thread_local! {
    static THREAD: RefCell<Thread> = RefCell::default();
}

/// Waiting connections of this thread.
#[derive(Default)]
struct Thread {
    /// Addresses with waiting connections; the first is the next.
    addresses: VecDeque<Option<IpAddr>>,
    waiting: HashMap<Option<IpAddr>, VecDeque<Weak<Ticket>>>,
    /// A connection was called and did not run yet.
    is_called: bool,
    /// Start of the running connection.
    began: Option<Instant>,
    /// Time of connections since the last poll of the sockets, without the running connection.
    spent: Duration,
}

/// Place of a connection in a queue.
struct Ticket {
    is_called: Cell<bool>,
    waker: RefCell<Waker>,
}

impl Thread {
    fn is_free(&self) -> bool {
        self.addresses.is_empty() && !self.is_called && !self.is_over()
    }

    fn is_over(&self) -> bool {
        self.spent + self.began.map_or(Duration::ZERO, |began| began.elapsed()) >= TURN
    }

    fn enqueue(&mut self, address: Option<IpAddr>, ticket: &Rc<Ticket>) {
        let queue = self.waiting.entry(address).or_default();
        if queue.is_empty() {
            self.addresses.push_back(address);
        }
        queue.push_back(Rc::downgrade(ticket));
    }

    /// Takes the next connection out of the queue.
    fn next(&mut self) -> Option<Rc<Ticket>> {
        loop {
            let address = self.addresses.pop_front()?;
            let Entry::Occupied(mut queue) = self.waiting.entry(address) else { continue };
            // a connection that was closed has no ticket any more
            let ticket = queue.get_mut().pop_front().and_then(|ticket| ticket.upgrade());
            if queue.get().is_empty() {
                queue.remove();
            } else {
                self.addresses.push_back(address);
            }
            if ticket.is_some() {
                return ticket;
            }
        }
    }
}

/// Calls the next waiting connection.
fn call_next() {
    let (ticket, is_over) = THREAD.with_borrow_mut(|thread| {
        let (ticket, is_over) = (thread.next(), thread.is_over());
        thread.is_called = ticket.is_some();
        if thread.is_called && is_over {
            thread.spent = Duration::ZERO;
        }
        (ticket, is_over)
    });
    let Some(ticket) = ticket else { return };
    ticket.is_called.set(true);
    let waker = ticket.waker.borrow();
    if is_over {
        // its first poll leaves the waker with the runtime, which wakes it after a look at the sockets
        let _ = pin!(yield_now()).poll(&mut Context::from_waker(&waker));
    } else {
        waker.wake_by_ref();
    }
}

/// Returns true if the running connection has used up the turn.
pub(crate) fn is_over() -> bool {
    THREAD.with_borrow(Thread::is_over)
}

/// Lets other connections run if the turn of this connection is over.
pub async fn pause() {
    if is_over() {
        yield_now().await;
    }
}

/// A connection that waits for turns.
pub(crate) struct Fair<F> {
    share: Share,
    ticket: Option<Rc<Ticket>>,
    connection: Pin<Box<F>>,
}

impl<F: Future> Fair<F> {
    /// Wraps a connection to run in the turns of the address.
    pub(crate) fn new(share: Share, connection: F) -> Self {
        Self { share, ticket: None, connection: Box::pin(connection) }
    }

    /// Returns true if the connection may run now; otherwise wakes the connection later.
    fn has_turn(&mut self, waker: &Waker) -> bool {
        if let Some(ticket) = self.ticket.take_if(|ticket| ticket.is_called.get()) {
            drop(ticket);
            return true;
        }
        if let Some(ticket) = &self.ticket {
            ticket.waker.borrow_mut().clone_from(waker);
            return false;
        }
        if THREAD.with_borrow(Thread::is_free) {
            return true;
        }
        let ticket = Rc::new(Ticket { is_called: Cell::new(false), waker: RefCell::new(waker.clone()) });
        let is_called = THREAD.with_borrow_mut(|thread| {
            thread.enqueue(self.share.address(), &ticket);
            thread.is_called
        });
        self.ticket = Some(ticket);
        if !is_called {
            call_next();
        }
        false
    }
}

impl<F: Future> Future for Fair<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        if !this.has_turn(cx.waker()) {
            return Poll::Pending;
        }
        let _turn = Turn::begin();
        this.connection.as_mut().poll(cx)
    }
}

impl<F> Drop for Fair<F> {
    fn drop(&mut self) {
        // the turn of a connection that was called and is gone
        if self.ticket.as_ref().is_some_and(|ticket| ticket.is_called.get()) {
            call_next();
        }
    }
}

/// A turn; ends with the drop, also in a panic.
struct Turn;

impl Turn {
    fn begin() -> Self {
        THREAD.with_borrow_mut(|thread| thread.began = Some(Instant::now()));
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        THREAD.with_borrow_mut(|thread| {
            thread.spent += thread.began.take().map_or(Duration::ZERO, |began| began.elapsed());
        });
        call_next();
    }
}
