//! Replay of dead letters and parked events.

use crate::database::Unit;
use crate::protocol::of_key;
use crate::rule::Rule;
use crate::scenario::Scenario;
use crate::state::State;

impl Scenario {
    pub(crate) fn choose_letter(&self, s: &mut State, replay: usize, index: usize, server: usize) {
        s.replays[replay] = s.servers[server].tables().letters.get(index).map(|letter| letter.id);
    }

    pub(crate) fn replay(&self, s: &mut State, replay: usize, server: usize) {
        let Some(id) = s.replays[replay].take() else { return };
        self.connect(s, server);
        let tables = s.servers[server].tables();
        let has_row = tables.letters.iter().any(|letter| letter.id == id);
        let oldest = of_key(&tables.letters, self.keys[usize::from(id)]).next();
        let is_in_turn = oldest.is_none_or(|letter| letter.id == id) || !self.on(Rule::ReplayInOrder);
        let fails = self.failing == Some(id) && !s.is_repaired;
        if !fails && is_in_turn && (has_row || !self.on(Rule::ReplayDeletesRow)) {
            s.servers[server].wal.push(Unit::Replayed { id });
        }
    }
}
