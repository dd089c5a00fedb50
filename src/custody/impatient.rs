//! A key service that is not asked again once it has not answered, for a command that opens many objects and must end
//! soon: another recipient may open them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;

use super::{Context, KeyService};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// A key service with a limit for each response, and an end after the first one that does not come.
pub struct Impatient {
    service: Arc<dyn KeyService>,
    limit: Duration,
    silent: Mutex<Option<String>>,
}

impl Impatient {
    /// The same service with this limit.
    pub fn new(service: Arc<dyn KeyService>, limit: Duration) -> Self {
        Self { service, limit, silent: Mutex::default() }
    }

    fn note(&self, why: String) {
        *self.silent.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}

#[async_trait]
impl KeyService for Impatient {
    async fn encrypt(&self, key: &str, plaintext: &Secret, context: &Context) -> Result<Vec<u8>> {
        self.service.encrypt(key, plaintext, context).await
    }

    async fn decrypt(&self, ciphertext: &[u8], context: &Context) -> Result<Secret> {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let failed = |why: String| Error::new(ErrorKind::Unavailable, "decrypt with the key service", why);
        if let Some(why) = silent {
            return Err(failed(why));
        }
        let why = match timeout(self.limit, self.service.decrypt(ciphertext, context)).await {
            Ok(Err(error)) if error.kind == ErrorKind::Unavailable => error.to_string(),
            Ok(answer) => return answer,
            Err(_) => format!("no answer within {} s", self.limit.as_secs_f32()),
        };
        self.note(why.clone());
        Err(failed(why))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Answers the first so many requests, and none after them.
    struct Service {
        answers: usize,
        asked: AtomicUsize,
    }

    #[async_trait]
    impl KeyService for Service {
        async fn encrypt(&self, _: &str, _: &Secret, _: &Context) -> Result<Vec<u8>> {
            Ok(Vec::new())
        }

        async fn decrypt(&self, ciphertext: &[u8], _: &Context) -> Result<Secret> {
            if self.asked.fetch_add(1, Ordering::Relaxed) >= self.answers {
                std::future::pending::<()>().await;
            }
            match ciphertext {
                b"refused" => Err(Error::new(ErrorKind::Denied, "decrypt", "not allowed")),
                _ => Ok(Secret::from("key".to_owned())),
            }
        }
    }

    #[tokio::test]
    async fn silent_service_is_waited_for_once() {
        let service = Arc::new(Service { answers: 2, asked: AtomicUsize::new(0) });
        let impatient = Impatient::new(Arc::<Service>::clone(&service), Duration::from_millis(20));
        let decrypt = async |text: &[u8]| impatient.decrypt(text, &Context::new()).await;
        assert_eq!(decrypt(b"refused").await.expect_err("refused").kind, ErrorKind::Denied);
        decrypt(b"x").await.expect("a refusal is an answer");
        for _ in 0..3 {
            assert_eq!(decrypt(b"x").await.expect_err("silent").kind, ErrorKind::Unavailable);
        }
        assert_eq!(service.asked.load(Ordering::Relaxed), 3);
    }
}
