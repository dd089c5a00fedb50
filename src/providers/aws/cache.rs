//! Answers that serve all steps of a kind.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::resource::Result;

/// One answer, fetched on first use and again after [`Cached::clear`].
///
/// The lock is held while fetching, so that steps which ask at the same time share one call.
#[derive(Debug)]
pub struct Cached<T>(Mutex<Option<Arc<T>>>);

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Cached<T> {
    /// The answer; `fetch` is awaited only when there is none.
    pub async fn get_or(&self, fetch: impl Future<Output = Result<T>>) -> Result<Arc<T>> {
        let mut held = self.0.lock().await;
        if let Some(answer) = held.as_ref() {
            return Ok(answer.clone());
        }
        let answer = Arc::new(fetch.await?);
        *held = Some(answer.clone());
        Ok(answer)
    }

    /// Forgets the answer. Called after every write that could change it.
    pub async fn clear(&self) {
        *self.0.lock().await = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fetches_once_until_cleared() {
        let cache = Cached::default();
        assert_eq!(*cache.get_or(async { Ok(1) }).await.expect("fetched"), 1);
        assert_eq!(*cache.get_or(async { Ok(2) }).await.expect("held"), 1);
        cache.clear().await;
        assert_eq!(*cache.get_or(async { Ok(3) }).await.expect("fetched"), 3);
    }
}
