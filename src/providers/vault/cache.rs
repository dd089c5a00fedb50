//! Caches listings that all steps of a kind share.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::VaultClient;
use super::client::into_listing;
use super::request::{Effect, Request};
use super::server;
use crate::error::{ErrorKind, Result};

/// The items of a listing by name.
pub(super) type Listing = Map<String, Value>;

/// A listing that is fetched on first use and cached until something of its kind is written.
///
/// The lock is held while fetching, so that concurrent callers share one request, and so that a
/// response from before a write is never cached after it.
#[derive(Default)]
pub(super) struct Cached(Mutex<Option<Arc<Listing>>>);

impl Cached {
    /// The listing; `fetch` requests it when it is not cached.
    pub(super) async fn get<F>(&self, fetch: impl FnOnce() -> F + Send) -> Result<Arc<Listing>>
    where
        F: Future<Output = Result<Listing>> + Send,
    {
        let mut kept = self.0.lock().await;
        if let Some(listing) = &*kept {
            return Ok(Arc::clone(listing));
        }
        let listing = Arc::new(fetch().await?);
        *kept = Some(Arc::clone(&listing));
        Ok(listing)
    }

    pub(super) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

/// The listings of a namespace.
#[derive(Default)]
pub(super) struct Listings {
    pub(super) mounts: Cached,
    pub(super) auth_methods: Cached,
    pub(super) audit_devices: Cached,
    pub(super) policies: Cached,
    /// Whether a policy was written since the last listing.
    policies_written: AtomicBool,
    pub(super) entity_aliases: Cached,
    pub(super) group_aliases: Cached,
}

impl Listings {
    /// Discards the listings that a write to `path` may have invalidated.
    pub(super) async fn written(&self, path: &str) {
        let rows = [
            ("sys/mounts/", &self.mounts),
            ("sys/auth/", &self.auth_methods),
            ("sys/audit/", &self.audit_devices),
            ("sys/polic", &self.policies),
            ("identity/entity", &self.entity_aliases),
            ("identity/group", &self.group_aliases),
        ];
        if path.starts_with("sys/polic") {
            self.policies_written.store(true, Ordering::Relaxed);
        }
        for (prefix, listing) in rows {
            if path.starts_with(prefix) {
                listing.forget().await;
            }
        }
    }

    /// Discards everything, e.g. when the server has just been initialised or restored.
    pub(super) async fn forget(&self) {
        self.policies_written.store(false, Ordering::Relaxed);
        for listing in [
            &self.mounts,
            &self.auth_methods,
            &self.audit_devices,
            &self.policies,
            &self.entity_aliases,
            &self.group_aliases,
        ] {
            listing.forget().await;
        }
    }
}

impl VaultClient {
    /// Every secrets engine by path with its trailing slash; one request for all steps.
    pub(super) async fn mounts(&self) -> Result<Arc<Listing>> {
        self.listings().mounts.get(|| self.table("sys/mounts")).await
    }

    /// Every auth method by path with its trailing slash; one request for all steps.
    pub(super) async fn auth_methods(&self) -> Result<Arc<Listing>> {
        self.listings().auth_methods.get(|| self.table("sys/auth")).await
    }

    /// Every audit device by path with its trailing slash; one request for all steps.
    pub(super) async fn audit_devices(&self) -> Result<Arc<Listing>> {
        self.listings().audit_devices.get(|| self.table("sys/audit")).await
    }

    /// Every policy with its text, by name, if the server lists policies with their texts
    /// (OpenBao). `None` if it does not (HashiCorp Vault), if the token may not list them, or after
    /// a policy was written: to check a thousand policies, each after its write, would fetch the
    /// list of a thousand a thousand times.
    pub(super) async fn policies(&self) -> Result<Option<Arc<Listing>>> {
        let fetch = || async {
            let request = Request::new("LIST", server::POLICIES, Effect::Read);
            server::listed_policies(self.read(&request, None).await)
        };
        if self.listings().policies_written.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let listing = self.listings().policies.get(fetch).await?;
        Ok(Some(listing).filter(|listing| !listing.is_empty()))
    }

    /// The server's plugins by type; empty if the token may not read them. One request for all
    /// steps.
    pub(super) async fn plugins(&self) -> Result<Arc<Listing>> {
        let fetch = || async {
            match self.home().table("sys/plugins/catalog").await {
                Err(error) if matches!(error.kind, ErrorKind::Denied | ErrorKind::Rejected) => {
                    Ok(Listing::new())
                }
                table => table,
            }
        };
        self.plugin_cache().get(fetch).await
    }

    /// Every alias of an entity, by id; one request for all steps.
    pub(super) async fn entity_aliases(&self) -> Result<Arc<Listing>> {
        self.listings().entity_aliases.get(|| self.details("identity/entity-alias/id")).await
    }

    /// Every alias of a group, by id; one request for all steps.
    pub(super) async fn group_aliases(&self) -> Result<Arc<Listing>> {
        self.listings().group_aliases.get(|| self.details("identity/group-alias/id")).await
    }

    /// The `key_info` of a LIST.
    async fn details(&self, path: &str) -> Result<Listing> {
        Ok(into_listing(self.list(path).await?.unwrap_or_default()["key_info"].take()))
    }

    async fn table(&self, path: &str) -> Result<Listing> {
        Ok(self.get(path).await?.map(into_listing).unwrap_or_default())
    }
}
