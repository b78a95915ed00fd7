//! Handles batches of a handler whose positions are recorded together, and sets aside the events that its bus refuses.

use std::sync::Arc;

use telemetry::metrics::outcome;

use crate::consumer::group::{EffectHandler, HandlerError};
use crate::consumer::worker::batch::{guarded, traced};
use crate::consumer::worker::retry::Failure;
use crate::consumer::worker::{Stop, Worker};
use crate::event::Event;

impl Worker {
    /// Handles the runs of events between the events of blocked keys, which are parked.
    pub(crate) async fn handle_in_runs(
        &mut self,
        handler: &Arc<dyn EffectHandler>,
        mut events: &[Event],
    ) -> Result<(), Stop> {
        while let Some(first) = events.first() {
            // setting aside takes its time, in which the lease may go or the process be asked to stop
            if !self.holds_lease().await {
                return Ok(());
            }
            let Some(state) = &self.state else { return Err(Stop::Stale) };
            let free = events.iter().take_while(|event| !state.blocked.contains(&event.key)).count();
            if free == 0 {
                // the unit expects the stored position
                self.record_now().await?;
                self.park(&vec![first.clone()].into()).await?;
                events = &events[1..];
                continue;
            }
            let trace = first.traceparent.as_deref().and_then(|parent| parent.parse().ok());
            let work = guarded(async { handler.handle(&self.lease, &events[..free]).await });
            let (handled, refused) = match traced(trace, work).await {
                Ok(()) => (free, None),
                Err(HandlerError::Refused(refused)) => (refused.handled, Some(refused)),
                Err(HandlerError::Unavailable(why) | HandlerError::Failed(why)) => return Err(Stop::Away(why)),
            };
            let (done, rest) = events.split_at(handled);
            if let Some(last) = done.last() {
                self.shared.reach(last);
                self.moved(done, outcome::HANDLED)?;
            }
            events = rest;
            if let (Some(refused), Some((one, rest))) = (refused, rest.split_first()) {
                self.record_now().await?;
                let failure = Failure { why: refused.why, attempts: 1, key_waits: refused.key_waits };
                self.bury(&vec![one.clone()].into(), failure).await?;
                events = rest;
            }
        }
        Ok(())
    }
}
