use std::fmt;
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::protocol::Action;
use crate::scenario::Scenario;

/// Outcome of a search.
#[derive(Debug)]
pub struct Report {
    /// Number of different states.
    pub states: usize,
    /// Steps of the longest shortest path.
    pub depth: usize,
    pub time: Duration,
    /// Broken properties, each with the shortest path to a state that breaks the property.
    pub broken: Vec<(&'static str, Vec<Action>)>,
    /// States that the search should have found and has not found.
    pub unreached: Vec<&'static str>,
}

impl Report {
    pub fn holds(&self) -> bool {
        self.broken.is_empty() && self.unreached.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} states, depth {}, {:.1} s", self.states, self.depth, self.time.as_secs_f64())?;
        for (property, path) in &self.broken {
            write!(f, "\n  broken: {property}")?;
            path.iter().try_for_each(|action| write!(f, "\n    {action:?}"))?;
        }
        self.unreached.iter().try_for_each(|state| write!(f, "\n  unreached: {state}"))
    }
}

/// Explores all states of the scenario, or the states up to the first broken property.
pub fn check(scenario: &Scenario, threads: usize) -> Report {
    let started = Instant::now();
    let search = scenario.clone().checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    let checker = search.spawn_bfs().join();
    let mut report = Report {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        time: started.elapsed(),
        broken: vec![],
        unreached: vec![],
    };
    for property in scenario.properties() {
        match (property.expectation, checker.discovery(property.name)) {
            (Expectation::Always, Some(path)) => report.broken.push((property.name, path.into_actions())),
            (Expectation::Sometimes, None) => report.unreached.push(property.name),
            _ => {}
        }
    }
    if !report.broken.is_empty() {
        report.unreached.clear(); // the search ended early
    }
    report
}
