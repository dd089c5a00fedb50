//! Once-only responses that have not reached durable storage yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The once-only responses that a run waits for. A run that must stop immediately checks here
/// first: dropping such a response would lose it.
#[derive(Debug, Default)]
pub struct Awaited(watch::Sender<BTreeMap<u64, Waiting>>);

#[derive(Clone, Debug)]
struct Waiting {
    what: String,
    until: Instant,
}

impl Awaited {
    /// Records that a request with a once-only response is about to be sent. It counts until the
    /// returned value is dropped, and at most for `limit`.
    pub fn begin(self: &Arc<Self>, what: impl Into<String>, limit: Duration) -> Awaiting {
        let (what, until) = (what.into(), Instant::now() + limit);
        let mut id = 0;
        self.0.send_modify(|all| {
            id = all.last_key_value().map_or(0, |(last, _)| last + 1);
            all.insert(id, Waiting { what, until });
        });
        Awaiting { awaited: Arc::clone(self), id }
    }

    /// Descriptions of the pending responses.
    pub fn pending(&self) -> Vec<String> {
        let now = Instant::now();
        self.0.borrow().values().filter(|one| one.until > now).map(|one| one.what.clone()).collect()
    }

    /// Returns when no response is pending, or all pending ones have passed their limit.
    pub async fn settled(&self) {
        let mut changes = self.0.subscribe();
        loop {
            let until = changes.borrow_and_update().values().map(|one| one.until).max();
            let Some(until) = until else { return };
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                _ = changes.changed() => {}
            }
        }
    }
}

/// One pending response, until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Awaiting {
    awaited: Arc<Awaited>,
    id: u64,
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        self.awaited.0.send_modify(|all| {
            all.remove(&self.id);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn settled_returns_after_the_last_response() {
        let awaited = Arc::new(Awaited::default());
        awaited.settled().await;
        let one = awaited.begin("sys/init", Duration::from_mins(1));
        let two = awaited.begin("iam:CreateAccessKey", Duration::from_mins(1));
        assert_eq!(awaited.pending(), ["sys/init", "iam:CreateAccessKey"]);
        let begun = Instant::now();
        tokio::join!(awaited.settled(), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(one);
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(two);
        });
        assert!((100..30_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
        assert!(awaited.pending().is_empty());
    }

    #[tokio::test]
    async fn response_past_its_limit_is_not_awaited() {
        let awaited = Arc::new(Awaited::default());
        let _hanging = awaited.begin("sys/init", Duration::from_millis(100));
        let begun = Instant::now();
        awaited.settled().await;
        assert!(begun.elapsed() >= Duration::from_millis(100));
        assert!(awaited.pending().is_empty());
    }
}
