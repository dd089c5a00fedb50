//! Whether a thing that was written comes to be as declared. A change may become visible late; a value that the
//! server keeps in another form stays different for ever, and is known once two reads a moment apart agree on it.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::{Error, ErrorKind};
use crate::net::timeout::scaled_delay;
use crate::resource::{Change, Diff};

/// How long reads have to agree: a thing may pass through another state on its way.
const AGREED: Duration = Duration::from_secs(1);

/// The reads of one thing after its write.
pub struct Convergence<'a> {
    id: &'a str,
    /// The difference before the write; `None` when the thing did not exist.
    before: Option<Diff>,
    /// The first of the latest reads that agree, and when it was.
    first: Option<(Diff, Instant)>,
    agreed: Duration,
}

/// What a read that still differs means.
pub enum Differs {
    /// It may be as declared at a later read.
    Yet(Error),
    /// It stays different.
    Forever(Error),
}

impl<'a> Convergence<'a> {
    /// Nothing was read yet.
    pub fn new(id: &'a str, before: Option<Diff>) -> Self {
        Self { id, before, first: None, agreed: scaled_delay(AGREED) }
    }

    /// Judges a read that differs from the declaration.
    pub fn judge(&mut self, diff: Diff) -> Differs {
        let is_new = !diff.changes.is_empty() && diff.changes.iter().all(|change| self.is_new(change));
        match &self.first {
            Some((first, since)) if is_new && *first == diff => {
                if since.elapsed() >= self.agreed {
                    return Differs::Forever(kept_otherwise(self.id, &diff));
                }
            }
            _ => self.first = Some((diff.clone(), Instant::now())),
        }
        Differs::Yet(still_different(self.id, &diff))
    }

    /// Whether the write has changed the field, to something else than declared.
    fn is_new(&self, change: &Change) -> bool {
        let before = self.before.iter().flat_map(|diff| &diff.changes);
        let mut before = before.filter(|other| other.path == change.path).map(|other| &other.before);
        let says_something = !change.sensitive && change.before != Value::Null;
        says_something && before.next() != Some(&change.before)
    }
}

fn paths(diff: &Diff) -> String {
    diff.changes.iter().map(|change| change.path.as_str()).collect::<Vec<_>>().join(", ")
}

fn kept_otherwise(id: &str, diff: &Diff) -> Error {
    let kept = diff.changes.iter().map(|change| format!("`{}: {}`", change.path, change.before));
    let message = format!("the server keeps these fields in another form: {}", paths(diff));
    Error::new(ErrorKind::Rejected, format!("step {id}"), message).advice(format!(
        "the write itself is done; declare what the server keeps: {}",
        kept.collect::<Vec<_>>().join(", ")
    ))
}

fn still_different(id: &str, diff: &Diff) -> Error {
    let message = format!("these fields still differ after the write: {}", paths(diff));
    Error::new(ErrorKind::Rejected, format!("step {id}"), message).advice(
        "the server does not take or show the declared values, or another process changes them; `groundwork plan` \
         shows both sides",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn diff(path: &str, live: Value) -> Diff {
        let mut diff = Diff::none();
        diff.push(path, live, json!("declared"));
        diff
    }

    fn at_once<'a>(before: Option<Diff>) -> Convergence<'a> {
        Convergence { agreed: Duration::ZERO, ..Convergence::new("a", before) }
    }

    fn is_forever(convergence: &mut Convergence<'_>, read: Diff) -> bool {
        matches!(convergence.judge(read), Differs::Forever(_))
    }

    #[test]
    fn another_form_is_known_at_the_second_read() {
        let mut updated = at_once(Some(diff("ttl", json!("1h"))));
        assert!(!is_forever(&mut updated, diff("ttl", json!("7200"))));
        assert!(is_forever(&mut updated, diff("ttl", json!("7200"))));
        let mut created = at_once(None);
        assert!(!is_forever(&mut created, diff("ttl", json!("7200"))));
        assert!(is_forever(&mut created, diff("ttl", json!("7200"))));
    }

    #[test]
    fn value_from_before_the_write_may_still_change() {
        let mut late = at_once(Some(diff("ttl", json!("1h"))));
        for _ in 0..3 {
            assert!(!is_forever(&mut late, diff("ttl", json!("1h"))));
        }
        let mut absent = at_once(None);
        for _ in 0..3 {
            assert!(!is_forever(&mut absent, diff("ttl", Value::Null)), "it may become visible later");
        }
        let mut moving = at_once(None);
        assert!(!is_forever(&mut moving, diff("ttl", json!("1"))));
        assert!(!is_forever(&mut moving, diff("ttl", json!("2"))), "the reads do not agree");
    }

    #[test]
    fn error_says_what_the_server_keeps() {
        let mut created = at_once(None);
        created.judge(diff("ttl", json!(7200)));
        let Differs::Forever(error) = created.judge(diff("ttl", json!(7200))) else { panic!("not yet") };
        assert!(error.advice.is_some_and(|advice| advice.contains("`ttl: 7200`")));
    }
}
