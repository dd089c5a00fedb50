//! Answers that serve all steps of a kind.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::resource::Result;

/// One answer, fetched on first use and kept until something is written.
///
/// After a write nothing is kept any more: AWS may go on giving the old answer for a while, and
/// whoever looks again must see the new one as soon as there is one. The lock is held while
/// fetching, so that steps which ask at the same time share one call.
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
    /// The answer; `fetch` is awaited only when none is kept.
    pub async fn get_or(&self, fetch: impl Future<Output = Result<T>>) -> Result<Arc<T>> {
        let mut state = self.0.lock().await;
        if let Some(answer) = &state.answer {
            return Ok(answer.clone());
        }
        let answer = Arc::new(fetch.await?);
        state.answer = (!state.written).then(|| answer.clone());
        Ok(answer)
    }

    /// Forgets the answer, so that it is fetched anew.
    pub async fn forget(&self) {
        self.0.lock().await.answer = None;
    }

    /// Notes that something was written which changes the answer.
    pub async fn clear(&self) {
        *self.0.lock().await = State { answer: None, written: true };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_the_answer_until_something_is_written() {
        let cache = Cached::default();
        assert_eq!(*cache.get_or(async { Ok(1) }).await.expect("fetched"), 1);
        assert_eq!(*cache.get_or(async { Ok(2) }).await.expect("kept"), 1);
        cache.clear().await;
        assert_eq!(*cache.get_or(async { Ok(3) }).await.expect("fetched"), 3);
        assert_eq!(*cache.get_or(async { Ok(4) }).await.expect("fetched again"), 4);
    }
}
