//! Properties of every state, and states that the search has to reach.

use stateright::Property;

use crate::database::{Event, Tables};
use crate::protocol::of_key;
use crate::scenario::{Handler, Scenario};
use crate::state::{Effect, State};

pub(crate) fn of(scenario: &Scenario) -> Vec<Property<Scenario>> {
    let mut properties = vec![
        Property::always("told events survive crashes", told_events_survive),
        Property::always("records are the log's events or orphans", records_are_events_or_orphans),
        Property::always("crashes leave no orphan", crashes_leave_no_orphan),
        Property::always("an event's epoch owns the position", epochs_own_their_events),
        Property::always("the group handles the log once and in the order of each key", group_follows_log),
        Property::always("everything below the mark is on Kafka or set aside", mark_is_covered),
        Property::always("the log loses only events that the group and Kafka have", purged_events_are_done),
        Property::always("Kafka has the events of a key in order", kafka_is_ordered),
        Property::always("effects follow the log", effects_follow_log),
        Property::always("a lease that runs out repeats one effect", leases_limit_repeats),
    ];
    let reached = [
        (scenario.has_marks(), Property::sometimes("every event is on Kafka or set aside", all_marked)),
        (
            scenario.members > 0 && scenario.handler == Handler::Transactional,
            Property::sometimes("every event is handled", all_handled),
        ),
        (scenario.handler == Handler::Effect, Property::sometimes("every event has an effect", all_effects)),
    ];
    properties.extend(reached.into_iter().filter_map(|(applies, property)| applies.then_some(property)));
    properties
}

/// Returns true if no fault lost flushed units.
fn keeps_flushed(scenario: &Scenario, s: &State) -> bool {
    let (all, left) = (scenario.faults, s.left);
    (all.failovers, all.splits, all.restores) == (left.failovers, left.splits, left.restores)
}

/// Returns true if the property holds for the tables of every server.
fn on_servers(s: &State, holds: impl Fn(&Tables) -> bool) -> bool {
    s.is_blind || s.alive().all(|server| holds(&s.servers[server].tables()))
}

fn told_events_survive(scenario: &Scenario, s: &State) -> bool {
    !keeps_flushed(scenario, s) || on_servers(s, |tables| s.told & !tables.ids() == 0)
}

fn records_are_events_or_orphans(_: &Scenario, s: &State) -> bool {
    on_servers(s, |tables| {
        let is_held = |record: &&Event| record.position < tables.end(record.partition) && tables.owns(**record);
        s.kafka.iter().filter(is_held).all(|record| tables.has(*record))
    })
}

fn crashes_leave_no_orphan(scenario: &Scenario, s: &State) -> bool {
    !keeps_flushed(scenario, s) || on_servers(s, |tables| s.kafka.iter().all(|record| tables.has(*record)))
}

fn epochs_own_their_events(_: &Scenario, s: &State) -> bool {
    on_servers(s, |tables| tables.events.iter().all(|event| tables.owns(*event)))
}

/// Handled events are events of the log, once, and for each key the oldest ones; each event below the offset, and no other
/// one, is handled, dead or parked.
fn group_follows_log(scenario: &Scenario, s: &State) -> bool {
    scenario.handler == Handler::Effect
        || on_servers(s, |tables| {
            let handled = |event: &Event| tables.handled.contains(&event.id);
            let keys_in_order = scenario.keys.iter().all(|key| {
                let of_log: Vec<u8> = of_key(&tables.events, *key).map(|event| event.id).collect();
                let is_of_key = |id: &&u8| scenario.keys[usize::from(**id)] == *key;
                let of_group: Vec<u8> = tables.handled.iter().filter(is_of_key).copied().collect();
                of_log.starts_with(&of_group)
            });
            let offset_is_right = tables.events.iter().all(|event| {
                let is_passed = event.position < tables.offset(event.partition);
                is_passed == (handled(event) || tables.letters.contains(event))
            });
            keys_in_order && offset_is_right
        })
}

fn mark_is_covered(_: &Scenario, s: &State) -> bool {
    on_servers(s, |tables| {
        let is_there = |event: &Event| s.kafka.contains(event) || tables.set_aside.contains(event);
        let below = tables.events.iter().filter(|event| event.position < tables.mark(event.partition));
        tables.marks.iter().zip(tables.ends).all(|(mark, end)| *mark <= end) && below.into_iter().all(is_there)
    })
}

fn purged_events_are_done(_: &Scenario, s: &State) -> bool {
    on_servers(s, |tables| tables.log_start <= tables.offset(0).min(tables.mark(0)))
}

/// The first record of an event comes after the first records of all earlier events of the key in the partition.
fn kafka_is_ordered(_: &Scenario, s: &State) -> bool {
    on_servers(s, |tables| {
        s.kafka.iter().enumerate().filter(|(_, record)| tables.has(**record)).all(|(index, record)| {
            let earlier = of_key(&tables.events, record.key).filter(|event| event.partition == record.partition);
            let mut earlier = earlier.take_while(|event| event.position < record.position);
            earlier.all(|event| s.kafka[..index].contains(&event))
        })
    })
}

/// Effects are of events that the log holds or has lost since the check, and come in the order of positions.
fn effects_follow_log(scenario: &Scenario, s: &State) -> bool {
    let is_ordered = |(index, effect): (usize, &Effect)| {
        let before = &s.effects[..index];
        (0..effect.event.position).all(|position| before.iter().any(|it| it.event.position == position))
    };
    s.effects.iter().all(|effect| effect.is_known)
        && (!keeps_flushed(scenario, s) || s.effects.iter().enumerate().all(is_ordered))
}

fn leases_limit_repeats(scenario: &Scenario, s: &State) -> bool {
    let repeats = s.effects.len() - s.acted_events();
    !keeps_flushed(scenario, s)
        || s.left.crashes < scenario.faults.crashes
        || repeats <= usize::from(scenario.faults.expiries - s.left.expiries)
}

fn all_marked(scenario: &Scenario, s: &State) -> bool {
    on_servers(s, |tables| tables.marks.iter().map(|mark| usize::from(*mark)).sum::<usize>() == scenario.keys.len())
}

fn all_handled(scenario: &Scenario, s: &State) -> bool {
    on_servers(s, |tables| tables.handled.len() == scenario.keys.len())
}

fn all_effects(scenario: &Scenario, s: &State) -> bool {
    s.acted_events() == scenario.keys.len()
}
