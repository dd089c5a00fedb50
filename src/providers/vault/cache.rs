//! Listings that all steps of a kind share.

use std::future::Future;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::Mutex;

use crate::resource::Result;

/// The items of a listing by name.
pub(super) type Listing = Map<String, Value>;

/// A listing that is fetched when first asked for and kept until something of its kind is written.
///
/// The lock is held while fetching, so that concurrent callers share one request, and so that an
/// answer from before a write cannot be kept after it.
#[derive(Default)]
pub(super) struct Cached(Mutex<Option<Arc<Listing>>>);

impl Cached {
    /// The listing, through `fetch` when it is not here.
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

/// The listings of a server.
#[derive(Default)]
pub(super) struct Listings {
    pub(super) mounts: Cached,
    pub(super) auth_methods: Cached,
    pub(super) audit_devices: Cached,
    pub(super) policies: Cached,
    pub(super) plugins: Cached,
    pub(super) entity_aliases: Cached,
    pub(super) group_aliases: Cached,
}

impl Listings {
    /// Forgets what a write to `path` may have made untrue.
    pub(super) async fn written(&self, path: &str) {
        let rows = [
            ("sys/mounts/", &self.mounts),
            ("sys/auth/", &self.auth_methods),
            ("sys/audit/", &self.audit_devices),
            ("sys/polic", &self.policies),
            ("sys/plugins/", &self.plugins),
            ("identity/entity", &self.entity_aliases),
            ("identity/group", &self.group_aliases),
        ];
        for (prefix, listing) in rows {
            if path.starts_with(prefix) {
                listing.forget().await;
            }
        }
    }

    /// Forgets everything, e.g. when the server has just been initialised or restored.
    pub(super) async fn forget(&self) {
        for listing in [
            &self.mounts,
            &self.auth_methods,
            &self.audit_devices,
            &self.policies,
            &self.plugins,
            &self.entity_aliases,
            &self.group_aliases,
        ] {
            listing.forget().await;
        }
    }
}
