//! Sparse log lines for errors of many requests: few lines, each with the number of omitted lines.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Minimum time between two lines.
const EVERY: Duration = Duration::from_secs(10);

/// Lines of one kind.
pub struct Sparse(Mutex<State>);

struct State {
    last: Option<Instant>,
    left_out: u64,
}

impl Sparse {
    /// Returns a state without any line.
    #[allow(clippy::new_without_default, reason = "for statics alone")]
    pub const fn new() -> Self {
        Self(Mutex::new(State { last: None, left_out: 0 }))
    }

    /// Writes `line` with the number of lines omitted before, or omits the line.
    pub fn tell(&self, line: impl FnOnce(u64)) {
        if let Some(left_out) = self.left_out(Instant::now()) {
            line(left_out);
        }
    }

    fn left_out(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        if state.last.is_some_and(|last| now.duration_since(last) < EVERY) {
            state.left_out += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_number_of_those_before_it() {
        let (sparse, begun) = (Sparse::new(), Instant::now());
        let lines = (0..25_u32).map(|second| sparse.left_out(begun + Duration::from_secs(second.into())));
        let written: Vec<u64> = lines.flatten().collect();
        assert_eq!(written, [0, 9, 9]);
    }
}
