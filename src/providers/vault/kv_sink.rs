//! A KV version 2 secret as a destination.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::VaultClient;
use super::permissions::gives;
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;
use crate::providers::sink::Sink;
use crate::secret::{Fields, Secret};

/// One secret in a KV version 2 mount.
#[derive(Debug)]
pub struct KvSink {
    vault: Arc<VaultClient>,
    path: String,
}

impl KvSink {
    /// The secret at `path` in `mount`.
    pub fn new(vault: Arc<VaultClient>, mount: &str, path: &str) -> Self {
        Self { vault, path: format!("{mount}/data/{path}") }
    }
}

/// How long an engine may take to set itself up, in milliseconds: some ten seconds in all.
const WAITS: [u64; 7] = [100, 200, 400, 800, 1600, 3200, 3200];

/// Retries until the engine answers. An engine that was just mounted, or raised to version 2, refuses
/// everything for a while, and a later run may not be able to get a once-only value again.
async fn settled<T, F>(ask: impl Fn() -> F + Send) -> Result<T>
where
    F: Future<Output = Result<T>> + Send,
{
    let mut waits = WAITS.iter();
    loop {
        match ask().await {
            Err(error) if is_being_set_up(&error) => match waits.next() {
                Some(wait) => tokio::time::sleep(Duration::from_millis(*wait)).await,
                None => return Err(error),
            },
            outcome => return outcome,
        }
    }
}

fn is_being_set_up(error: &Error) -> bool {
    error.kind == ErrorKind::Unavailable && error.message.contains("unavailable for a brief period")
}

#[async_trait]
impl Sink for KvSink {
    async fn holds(&self, expected: &Fields) -> Result<bool> {
        let live = match settled(|| self.vault.get(&self.path)).await {
            Ok(live) => live.unwrap_or_default(),
            // A server that was not initialised holds nothing.
            Err(error) if error.kind == ErrorKind::Uninitialised => return Ok(false),
            Err(error) => return Err(error),
        };
        let same = |(name, secret): (&String, &Secret)| {
            let text = live["data"][name].as_str().map(|text| Secret::from(text.to_owned()));
            text.as_ref() == Some(secret)
        };
        Ok(expected.iter().all(same))
    }

    async fn prove(&self) -> Result<()> {
        let needed = match settled(|| self.vault.get_or_remains(&self.path)).await? {
            Ok(_) => "patch",
            // A deleted secret still counts as one that exists.
            Err(remains) if remains["metadata"]["version"].is_u64() => "update",
            Err(_) => "create",
        };
        if needed == "create" {
            self.require_mount().await?;
        }
        let found = self.vault.capabilities(std::slice::from_ref(&self.path)).await?;
        if gives(found.get(&self.path), &[needed]) {
            return Ok(());
        }
        let message = format!("the token lacks the capability `{needed}`, so nothing can be delivered there");
        Err(Error::new(ErrorKind::Denied, &self.path, message).advice(format!(
            "give a policy of the token the capabilities `create`, `update` and `patch` on `{}`; the credential \
             was not made",
            self.path
        )))
    }

    async fn deliver(&self, permit: &Permit, fields: &Fields) -> Result<()> {
        settled(|| self.deliver_once(permit, fields)).await
    }
}

impl KvSink {
    /// A path at which nothing is may lie in no mount at all, or in one of another type.
    /// <https://openbao.org/api-docs/system/internal-ui-mounts/>
    async fn require_mount(&self) -> Result<()> {
        let mount = self.vault.get(&format!("sys/internal/ui/mounts/{}", self.path)).await?;
        let mount = mount.unwrap_or_default();
        if mount["type"] == "kv" && mount["options"]["version"] == "2" {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Rejected, &self.path, "it is not in a KV version 2 mount")
            .advice("declare the mount as a step of kind `vault.mount`; the credential was not made"))
    }

    /// Patches the version that was read, or writes the first version after a deletion. Never
    /// overwrites a concurrent write.
    async fn deliver_once(&self, permit: &Permit, fields: &Fields) -> Result<()> {
        let (live, exists) = match self.vault.get_or_remains(&self.path).await? {
            Ok(live) => (live, true),
            Err(remains) => (remains, false),
        };
        let version = live["metadata"]["version"].as_u64().unwrap_or(0);
        let body = json!({ "data": self.texts(fields)?, "options": { "cas": version } });
        if exists {
            self.vault.patch(permit, &self.path, &body).await.map(drop)
        } else {
            self.vault.post(permit, &self.path, &body).await.map(drop)
        }
    }

    fn texts(&self, fields: &Fields) -> Result<Map<String, Value>> {
        let text = |(name, secret): (&String, &Secret)| match secret.expose_str() {
            Some(text) => Ok((name.clone(), Value::from(text))),
            None => Err(Error::new(ErrorKind::Local, &self.path, format!("field `{name}` is not text"))),
        };
        fields.iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn request_is_retried_while_engine_upgrades() {
        let asked = AtomicUsize::new(0);
        let upgrading = "Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief \
                         period and will resume service shortly.";
        let answer = settled(|| async {
            match asked.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => Err(Error::new(ErrorKind::Unavailable, "GET secret/data/a", upgrading)),
                _ => Ok("there"),
            }
        });
        assert_eq!(answer.await.expect("set up by then"), "there");
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn other_errors_are_not_retried() {
        let asked = AtomicUsize::new(0);
        let answer = settled(|| async {
            asked.fetch_add(1, Ordering::SeqCst);
            Err::<(), _>(Error::new(ErrorKind::Unavailable, "GET secret/data/a", "Vault is sealed (503)"))
        });
        assert!(answer.await.is_err());
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}
