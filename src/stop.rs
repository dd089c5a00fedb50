//! The signal that a run must end.

use std::time::Duration;

use tokio::sync::watch;

/// Turns true when the run must end; without a signal the run goes to its end.
#[derive(Clone, Debug, Default)]
pub struct Stop(Option<watch::Receiver<bool>>);

impl Stop {
    /// This signal.
    pub fn by(signal: &watch::Receiver<bool>) -> Self {
        Self(Some(signal.clone()))
    }

    /// Waits. Returns `false`, immediately, when the run must end.
    pub async fn wait(&self, delay: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(delay) => true,
            () = self.given() => false,
        }
    }

    async fn given(&self) {
        let is_given = match self.0.clone() {
            Some(mut signal) => signal.wait_for(|stop| *stop).await.is_ok(),
            None => false,
        };
        if !is_given {
            // Nobody is left who could stop the run.
            std::future::pending::<()>().await;
        }
    }
}
