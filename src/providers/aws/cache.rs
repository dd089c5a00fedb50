//! Caches responses that serve all steps of a kind.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::error::Result;

/// One response, fetched on first use and cached until the next write.
///
/// After a write the cache stays off: AWS may return the old state for a while, and a caller that polls
/// must see the new state as soon as it is there. The lock is held while fetching, so that concurrent
/// steps share one request.
#[derive(Debug)]
pub struct Cached<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    answer: Option<Arc<T>>,
    written: bool,
}

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self(Mutex::new(State { answer: None, written: false }))
    }
}

impl<T> Cached<T> {
    /// The response; `fetch` is awaited only if none is cached.
    pub async fn get_or(&self, fetch: impl Future<Output = Result<T>>) -> Result<Arc<T>> {
        let mut state = self.0.lock().await;
        if let Some(answer) = &state.answer {
            return Ok(answer.clone());
        }
        let answer = Arc::new(fetch.await?);
        state.answer = (!state.written).then(|| answer.clone());
        Ok(answer)
    }

    /// Drops the response, so that the next caller fetches it again.
    pub async fn forget(&self) {
        self.0.lock().await.answer = None;
    }

    /// Drops the response after a write that changes it, and caches no later one.
    pub async fn clear(&self) {
        *self.0.lock().await = State { answer: None, written: true };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn response_is_cached_until_the_first_write() {
        let cache = Cached::default();
        assert_eq!(*cache.get_or(async { Ok(1) }).await.expect("fetched"), 1);
        assert_eq!(*cache.get_or(async { Ok(2) }).await.expect("kept"), 1);
        cache.clear().await;
        assert_eq!(*cache.get_or(async { Ok(3) }).await.expect("fetched"), 3);
        assert_eq!(*cache.get_or(async { Ok(4) }).await.expect("fetched again"), 4);
    }
}
