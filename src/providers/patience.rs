//! How long a run waits for a service that keeps something for it and accepts requests without answering
//! them: once, and not once for each request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::custody::{Context, KeyService, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::net::timeout::at_most;
use crate::permit::Permit;
use crate::secret::Secret;

/// How long one request may take. A client gives up a lost one and repeats it, so there is time for two.
const REQUEST: Duration = Duration::from_secs(30);

/// A run's patience with one service.
#[derive(Debug)]
pub struct Patience {
    who: String,
    limit: Duration,
    exhausted: AtomicBool,
}

impl Patience {
    /// Patience with `who`, named as people know it.
    pub fn with(who: impl Into<String>) -> Self {
        Self { who: who.into(), limit: at_most(REQUEST) * 2, exhausted: AtomicBool::new(false) }
    }

    /// The answer to a request that reads, if it comes in time and all earlier ones did.
    ///
    /// # Errors
    /// Those of `answer`; `Unavailable` when it does not come in time, and without a request after that.
    pub async fn read<T>(&self, operation: &str, answer: impl Future<Output = Result<T>>) -> Result<T> {
        self.wait(operation, ErrorKind::Unavailable, answer).await
    }

    /// The same for a request that writes, which may have taken effect when its answer does not come.
    ///
    /// # Errors
    /// As [`Patience::read`], but `Unknown` when the answer does not come in time.
    pub async fn write<T>(&self, operation: &str, answer: impl Future<Output = Result<T>>) -> Result<T> {
        self.wait(operation, ErrorKind::Unknown, answer).await
    }

    async fn wait<T>(
        &self,
        operation: &str,
        lost: ErrorKind,
        answer: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        if self.exhausted.load(Ordering::Relaxed) {
            let message = format!("{} has not answered in this run and is not asked again", self.who);
            return Err(Error::new(ErrorKind::Unavailable, operation, message));
        }
        tokio::time::timeout(self.limit, answer).await.unwrap_or_else(|_| {
            self.exhausted.store(true, Ordering::Relaxed);
            let message = format!("{} does not answer within {} seconds", self.who, self.limit.as_secs_f64());
            Err(Error::new(lost, operation, message))
        })
    }
}

/// A store of custody that is waited for as long as [`Patience`] says.
pub struct PatientStore {
    store: Box<dyn Store>,
    patience: Patience,
}

impl PatientStore {
    /// This store, which is elsewhere.
    pub fn new(store: impl Store + 'static) -> Self {
        Self { patience: Patience::with(store.describe()), store: Box::new(store) }
    }
}

fn about(name: &str) -> String {
    format!("custody: {name}")
}

#[async_trait]
impl Store for PatientStore {
    fn describe(&self) -> String {
        self.store.describe()
    }

    async fn versions(&self, name: &str) -> Result<Vec<u32>> {
        self.patience.read(&about(name), self.store.versions(name)).await
    }

    async fn read(&self, name: &str, version: u32) -> Result<Vec<u8>> {
        self.patience.read(&about(name), self.store.read(name, version)).await
    }

    async fn write(&self, permit: &Permit, name: &str, version: u32, bytes: &[u8]) -> Result<()> {
        self.patience.write(&about(name), self.store.write(permit, name, version, bytes)).await
    }

    async fn objects(&self, prefix: &str) -> Result<Vec<(String, u32)>> {
        self.patience.read(&about(prefix), self.store.objects(prefix)).await
    }

    async fn remove(&self, permit: &Permit, name: &str, version: u32) -> Result<()> {
        self.patience.write(&about(name), self.store.remove(permit, name, version)).await
    }

    async fn set_aside(&self, permit: &Permit, name: &str, version: u32) -> Result<()> {
        self.patience.write(&about(name), self.store.set_aside(permit, name, version)).await
    }

    async fn repair(&self, permit: &Permit, name: &str, version: u32, bytes: &[u8]) -> Result<()> {
        self.patience.write(&about(name), self.store.repair(permit, name, version, bytes)).await
    }

    async fn probe(&self, permit: &Permit, bytes: &[u8]) -> Result<Vec<u8>> {
        self.patience.read(&about("canary"), self.store.probe(permit, bytes)).await
    }
}

/// A key service of custody that is waited for as long as [`Patience`] says.
pub struct PatientKeys {
    service: Arc<dyn KeyService>,
    patience: Patience,
}

impl PatientKeys {
    /// This service, which is elsewhere.
    pub fn new(who: &str, service: Arc<dyn KeyService>) -> Self {
        Self { service, patience: Patience::with(who) }
    }
}

#[async_trait]
impl KeyService for PatientKeys {
    async fn encrypt(&self, key: &str, plaintext: &Secret, context: &Context) -> Result<Vec<u8>> {
        self.patience.read("kms:Encrypt", self.service.encrypt(key, plaintext, context)).await
    }

    async fn decrypt(&self, ciphertext: &[u8], context: &Context) -> Result<Secret> {
        self.patience.read("kms:Decrypt", self.service.decrypt(ciphertext, context)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silent_service_is_waited_for_once() {
        let patience = Patience { limit: Duration::from_millis(100), ..Patience::with("s3://store") };
        let answered: Result<u8> = patience.read("read", async { Ok(1) }).await;
        assert_eq!(answered.expect("an answer"), 1);
        let lost: Result<()> = patience.write("write", std::future::pending()).await;
        assert_eq!(lost.expect_err("silent").kind, ErrorKind::Unknown);
        // This would wait for ever if it were asked.
        let next: Result<()> = patience.read("read", std::future::pending()).await;
        let next = next.expect_err("not asked");
        assert!(next.kind == ErrorKind::Unavailable && next.message.contains("s3://store"), "{next}");
    }
}
