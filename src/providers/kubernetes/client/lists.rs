//! Lists of this plan's objects, each read once.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};

use super::super::address::{Address, Api};
use super::KubernetesClient;
use crate::error::{ErrorKind, Result};

/// The objects of a list by their paths; `None` when the caller may not list.
type List = Option<BTreeMap<String, Value>>;

/// The lists that were read, by collection.
#[derive(Default)]
pub(super) struct Lists {
    collections: Mutex<BTreeMap<String, Arc<OnceCell<List>>>>,
    /// Objects that were written since: only the server knows them.
    written: Mutex<HashSet<String>>,
}

impl Lists {
    /// An object of this plan. `None` when it has to be read by itself: it is not this plan's, or does not
    /// exist, or was written since.
    pub(super) async fn find(&self, client: &KubernetesClient, address: &Address) -> Result<Option<Value>> {
        let path = address.path();
        if self.written.lock().await.contains(&path) {
            return Ok(None);
        }
        let collection = address.collection();
        let cell = Arc::clone(self.collections.lock().await.entry(collection.clone()).or_default());
        // The first caller sends the request for all.
        let list = cell.get_or_try_init(|| read(client, &collection, address)).await?;
        Ok(list.as_ref().and_then(|objects| objects.get(&path).cloned()))
    }

    /// Forgets an object.
    pub(super) async fn forget(&self, path: &str) {
        self.written.lock().await.insert(path.to_owned());
    }

    /// Forgets everything.
    pub(super) async fn forget_all(&self) {
        self.collections.lock().await.clear();
        self.written.lock().await.clear();
    }
}

async fn read(client: &KubernetesClient, collection: &str, address: &Address) -> Result<List> {
    let told = match client.list(collection).await {
        // A role may allow single objects by their names only.
        Err(error) if error.kind == ErrorKind::Denied => return Ok(None),
        told => told?.unwrap_or_default(),
    };
    let named = items(told, &address.api).into_iter().filter_map(|item| {
        let name = item["metadata"]["name"].as_str()?.to_owned();
        Some((format!("{collection}/{name}"), item))
    });
    Ok(Some(named.collect()))
}

/// The objects of a list.
pub(super) fn items(mut told: Value, api: &Api) -> Vec<Value> {
    let Value::Array(mut items) = told["items"].take() else { return Vec::new() };
    for item in &mut items {
        // Items of a list do not repeat them.
        item["apiVersion"] = Value::from(api.version.as_str());
        item["kind"] = Value::from(api.kind.as_str());
    }
    items
}
