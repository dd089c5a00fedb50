//! How long each phase of a rebuild takes.

use std::time::{Duration, Instant};

/// One phase, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub took: Duration,
    /// Its parts, if it has any.
    pub parts: Vec<Part>,
}

/// The phases that have ended. The time in which a person reads and agrees counts for none.
#[derive(Clone, Debug)]
pub struct Times {
    since: Instant,
    /// The phases.
    pub parts: Vec<Part>,
}

impl Times {
    /// Begins the first phase.
    pub fn begin() -> Self {
        Self { since: Instant::now(), parts: Vec::new() }
    }

    /// Begins the next phase now.
    pub fn begin_again(&mut self) {
        self.since = Instant::now();
    }

    /// Ends a phase, and begins the next one.
    pub fn end(&mut self, name: &str) {
        self.end_in_parts(name, &[]);
    }

    /// Ends a phase whose parts began at these moments.
    pub fn end_in_parts(&mut self, name: &str, begun: &[(Instant, String)]) {
        let now = Instant::now();
        let ends = begun.iter().skip(1).map(|(at, _)| *at).chain([now]);
        let parts = begun.iter().zip(ends).map(|((at, name), end)| Part {
            name: name.clone(),
            took: end.saturating_duration_since(*at),
            parts: Vec::new(),
        });
        let took = now.saturating_duration_since(self.since);
        self.parts.push(Part { name: name.to_owned(), took, parts: parts.collect() });
        self.since = now;
    }

    /// All phases together.
    pub fn total(&self) -> Duration {
        self.parts.iter().map(|part| part.took).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_and_add_up() {
        let mut times = Times::begin();
        let start = Instant::now();
        let at = |ms| start.checked_sub(Duration::from_millis(ms)).expect("a moment");
        times.since = at(300);
        times.end_in_parts("both", &[(at(200), "one".to_owned()), (at(50), "two".to_owned())]);
        let both = &times.parts[0];
        assert_eq!(both.parts[0].took, Duration::from_millis(150));
        assert!(both.parts[1].took >= Duration::from_millis(50) && both.took >= Duration::from_millis(300));
        times.end("next");
        assert_eq!(times.total(), both_and_next(&times));
    }

    fn both_and_next(times: &Times) -> Duration {
        times.parts[0].took + times.parts[1].took
    }
}
