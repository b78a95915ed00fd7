//! The group `notification`: notifications in the app.

use std::collections::BTreeMap;

use contracts::MemberId;
use db::Tx;
use messaging::{Event, HandlerError, TransactionalHandler};

use super::hub::Hub;
use super::model::{self, Audience, Notice};
use super::store::{self, New};

/// Writes a row for each member to be told, and wakes their streams once that is committed.
pub(super) struct InApp {
    hub: Hub,
}

impl InApp {
    pub(super) fn new(hub: Hub) -> Self {
        Self { hub }
    }
}

impl TransactionalHandler for InApp {
    fn handle(&self, tx: &mut Tx<'_>, events: &[Event]) -> Result<(), HandlerError> {
        let notices = model::notices(events)?;
        let addressed = addressed(tx, &notices)?;
        if addressed.is_empty() {
            return Ok(());
        }
        let mut more = BTreeMap::new();
        for (member, _) in &addressed {
            *more.entry(*member).or_insert(0) += 1;
        }
        let mut next = store::count(tx, &more)?;
        for (member, last) in &mut next {
            *last += 1 - more.get(member).copied().unwrap_or_default();
        }
        let mut rows = Vec::with_capacity(addressed.len());
        for (member_id, notice) in addressed {
            let next = next.get_mut(&member_id).ok_or_else(|| HandlerError::Failed("a counter is missing".into()))?;
            rows.push(New { member_id, number: *next, notice });
            *next += 1;
        }
        store::insert(tx, &rows)?;
        let hub = self.hub.clone();
        tx.after_commit(move || hub.wake(next.into_iter().map(|(member, next)| (member, next - 1))));
        Ok(())
    }
}

/// Who is told what, in the order of the events.
fn addressed<'n>(tx: &mut Tx<'_>, notices: &'n [Notice]) -> db::Result<Vec<(MemberId, &'n Notice)>> {
    let admins = if notices.iter().any(|notice| notice.audience == Audience::Admins) {
        member::admins(tx)?.into_iter().map(|admin| admin.id).collect()
    } else {
        Vec::new()
    };
    let mut addressed = Vec::with_capacity(notices.len());
    for notice in notices {
        match notice.audience {
            Audience::Member(member) => addressed.push((member, notice)),
            Audience::Admins => addressed.extend(admins.iter().map(|admin| (*admin, notice))),
        }
    }
    Ok(addressed)
}
