//! Which resources the server has: <https://kubernetes.io/docs/concepts/overview/kubernetes-api/>.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};

use super::super::address::Api;
use super::KubernetesClient;
use crate::error::Result;

/// The resources of each API version that was asked for.
#[derive(Default)]
pub(super) struct Discovery {
    versions: Mutex<BTreeMap<String, Arc<OnceCell<Vec<Api>>>>>,
}

impl Discovery {
    /// A resource; `None` when the server does not have it. A missing one is looked for again each time,
    /// because a step may create its definition.
    pub(super) async fn find(
        &self,
        client: &KubernetesClient,
        api_version: &str,
        kind: &str,
    ) -> Result<Option<Api>> {
        let cell = Arc::clone(self.versions.lock().await.entry(api_version.to_owned()).or_default());
        let apis = cell.get_or_try_init(|| read(client, api_version)).await?;
        let found = apis.iter().find(|api| api.kind == kind).cloned();
        if found.is_none() {
            self.versions.lock().await.remove(api_version);
        }
        Ok(found)
    }
}

impl Discovery {
    /// Every resource whose objects can be listed, each in the version that the server prefers.
    pub(super) async fn all(&self, client: &KubernetesClient) -> Result<Vec<Api>> {
        let groups = client.read("apis").await?.unwrap_or_default();
        let groups = groups["groups"].as_array().into_iter().flatten();
        let preferred = groups.filter_map(|group| group["preferredVersion"]["groupVersion"].as_str());
        let versions: Vec<String> = std::iter::once("v1").chain(preferred).map(str::to_owned).collect();
        let read = versions.iter().map(|version| read_where(client, version, is_listed));
        let all = futures::future::try_join_all(read).await?;
        Ok(all.into_iter().flatten().collect())
    }
}

/// Whether the objects of a resource are kept and can be listed; events come and go by themselves.
fn is_listed(resource: &Value) -> bool {
    let verbs = resource["verbs"].as_array().into_iter().flatten();
    verbs.filter(|verb| *verb == "list" || *verb == "delete").count() == 2 && resource["kind"] != "Event"
}

async fn read(client: &KubernetesClient, api_version: &str) -> Result<Vec<Api>> {
    read_where(client, api_version, |_| true).await
}

async fn read_where(
    client: &KubernetesClient,
    api_version: &str,
    is_wanted: fn(&Value) -> bool,
) -> Result<Vec<Api>> {
    let told = client.read(&Api::root(api_version)).await?.unwrap_or_default();
    let resources = told["resources"].as_array().into_iter().flatten();
    Ok(resources.filter(|one| is_wanted(one)).filter_map(|one| api(api_version, one)).collect())
}

fn api(api_version: &str, resource: &Value) -> Option<Api> {
    let plural = resource["name"].as_str().filter(|name| !name.contains('/'))?;
    Some(Api {
        version: api_version.to_owned(),
        kind: resource["kind"].as_str()?.to_owned(),
        plural: plural.to_owned(),
        namespaced: resource["namespaced"].as_bool()?,
    })
}
