//! Stores of custody that do not answer, for a command that must not wait for each of them again and again.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;

use super::Run;
use crate::net::timeout::at_most;
use crate::plan::settings::StoreSettings;

/// A store of custody, and why it does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreAnswer {
    /// The store in words.
    pub store: String,
    /// The reason, if it does not answer.
    pub silent: Option<String>,
}

impl Run {
    /// Asks every store of custody, and uses only those from now on that answer within `limit`; the key service has a
    /// third of it for each response, and is not asked again after one that does not come. Has to come before the
    /// first use of custody. Returns all stores, in the order of the plan.
    pub async fn leave_out_silent_stores(&mut self, limit: Duration) -> Vec<StoreAnswer> {
        self.give_up_on_silent_keys(limit / 3);
        let Some(mut settings) = self.custody_settings.take() else { return Vec::new() };
        let answers = join_all(settings.stores.iter().map(|store| self.asked(store, limit))).await;
        let mut answering = answers.iter().map(|answer| answer.silent.is_none());
        settings.stores.retain(|_| answering.next().unwrap_or_default());
        self.custody_settings = Some(settings);
        answers
    }

    /// Has the key service of custody answer each request within `limit`, and does not ask it again after an answer that
    /// does not come: what it opens may be sealed for another recipient, too. Has to come before the first use of
    /// custody.
    pub fn give_up_on_silent_keys(&mut self, limit: Duration) {
        self.patience = Some(at_most(limit));
    }

    async fn asked(&self, settings: &StoreSettings, limit: Duration) -> StoreAnswer {
        let limit = at_most(limit);
        let mut store = match settings {
            StoreSettings::File(path) => path.display().to_string(),
            StoreSettings::S3(place) | StoreSettings::Secretsmanager(place) => place.clone(),
        };
        let answer = timeout(limit, async {
            let opened = self.store(settings).await?;
            store = opened.describe();
            // Few objects have such a name, so the answer is short.
            opened.objects("canary").await
        });
        let silent = match answer.await {
            Ok(answer) => answer.err().map(|error| error.to_string()),
            Err(_) => Some(format!("no answer within {} s", limit.as_secs_f32())),
        };
        StoreAnswer { store, silent }
    }
}
