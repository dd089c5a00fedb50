//! Kubernetes in one run: a client for each cluster.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::client::KubernetesClient;
use super::settings::{ClusterSettings, KubernetesSettings};
use super::{KINDS, Rendered, least};
use crate::confined_path::{self, KEY};
use crate::destination::Destinations;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::{Place, Realm, Realms};
use crate::provider::Provider;
use crate::resource::erased::Kind;
use crate::resource::{Provided, Resource};
use crate::run::{Connection, LeastPolicy, Needs, Permission, Run, Want, Workload};
use crate::secret::Secret;
use crate::template::unknown;
use crate::trust::{self, Grant, Subject};

type Cell = Arc<OnceCell<Arc<KubernetesClient>>>;

/// Kubernetes in a plan: its clusters. A client connects when a step first asks for it.
pub struct Kubernetes {
    /// The `kubernetes:` section.
    pub settings: KubernetesSettings,
    /// Whether the plan has such a section.
    is_declared: bool,
    cells: Mutex<BTreeMap<Option<String>, Cell>>,
}

impl Provider for Kubernetes {
    const NAME: &'static str = "kubernetes";
    const TITLE: &'static str = "Kubernetes";
    const KINDS: &'static [&'static dyn Kind] = KINDS;
    const IN_EXPRESSIONS: bool = true;

    type Settings = KubernetesSettings;

    fn open(settings: KubernetesSettings) -> Self {
        let is_declared = settings != KubernetesSettings::default();
        Self { settings, is_declared, cells: Mutex::default() }
    }
}

impl Kubernetes {
    /// Where the client of a cluster is kept.
    pub(super) fn cell(&self, alias: Option<&str>) -> Cell {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cells.entry(alias.map(str::to_owned)).or_default())
    }

    /// Whether a plan with steps of these kinds has a cluster. Objects in a file need none.
    fn is_used(&self, kinds: &[&str]) -> bool {
        self.is_declared
            || kinds.iter().any(|kind| kind.starts_with("kubernetes.") && *kind != Rendered::KIND)
    }

    fn connected(&self, alias: Option<&str>) -> Option<Arc<KubernetesClient>> {
        self.cell(alias).get().cloned()
    }
}

/// The permissions that a cluster's settings need of the caller.
fn wants(path: &str, cluster: &ClusterSettings, folder: &Path) -> Vec<Want> {
    if let Some(file) = &cluster.kubeconfig {
        let Ok(bytes) = confined_path::read_existing(folder, file, KEY) else { return Vec::new() };
        let why = format!(
            "the plan brings {}, which says where to log in and which programs to run",
            file.display()
        );
        let grant = Grant::new(Subject::Kubeconfig, trust::digest(&bytes));
        return vec![Want { path: format!("{path}kubeconfig"), grant, why }];
    }
    let context = cluster.context.iter().filter(|context| !unknown::is_unknown(context));
    context
        .map(|context| Want {
            path: format!("{path}context"),
            grant: Grant::new(Subject::KubeContext, context.as_str()),
            why: format!("the plan uses the context `{context}` of your kubeconfig"),
        })
        .collect()
}

/// Where tokens of a service account are requested.
fn token_path(workload: &Workload) -> String {
    let Workload { namespace, account, .. } = workload;
    format!("api/v1/namespaces/{namespace}/serviceaccounts/{account}/token")
}

async fn requested_token(run: &Run, workload: &Workload) -> Result<Secret> {
    let client = KubernetesClient::provide(run, &Place::OWN).await?;
    let path = token_path(workload);
    let request = |audiences: Value| {
        json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": { "audiences": audiences, "expirationSeconds": 600 },
        })
    };
    let mut told = client.ask(&path, &request(json!([]))).await?;
    if let Some(audience) = &workload.audience {
        // Vault without a reviewer's token asks the API server with the very token that it reviews, so that one
        // must be for the server, too.
        let mut audiences = told["spec"]["audiences"].take();
        if let Some(all) = audiences.as_array_mut() {
            all.push(json!(audience));
        }
        told = client.ask(&path, &request(audiences)).await?;
    }
    match told["status"]["token"].take() {
        Value::String(token) => Ok(Secret::from(token)),
        _ => Err(Error::new(ErrorKind::Rejected, format!("POST {path}"), "the server issued no token")),
    }
}

#[async_trait]
impl Connection for Kubernetes {
    fn provider(&self) -> &'static str {
        Self::NAME
    }

    fn check(&self) -> Vec<FieldError> {
        self.settings.check()
    }

    fn wants(&self, folder: &Path) -> Vec<Want> {
        self.settings.clusters().iter().flat_map(|(path, cluster)| wants(path, cluster, folder)).collect()
    }

    /// `kubernetes.host` and `kubernetes.ca_cert`, as Vault's Kubernetes method needs them, and
    /// `kubernetes.cluster`.
    fn expressions(&self, realms: &Realms) -> Option<Value> {
        let realm = realms.of(Self::NAME, &Place::OWN);
        let client = self.connected(None);
        let marker = |field: &str| unknown::marker(&format!("kubernetes.{field}"));
        let host = client.as_ref().map_or_else(|| marker("host"), |client| client.server().to_owned());
        let ca = client.as_ref().map(|client| client.authority().unwrap_or_default().to_owned());
        let cluster = realm.get("cluster").map_or_else(|| marker("cluster"), ToOwned::to_owned);
        Some(json!({ "host": host, "ca_cert": ca.unwrap_or_else(|| marker("ca_cert")), "cluster": cluster }))
    }

    fn aliases(&self) -> Vec<String> {
        self.settings.aliases.keys().cloned().collect()
    }

    /// Requested of the API server, for ten minutes, the least that it issues:
    /// <https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/>.
    async fn workload_token(&self, run: &Run, workload: &Workload) -> Option<Result<Secret>> {
        match self.is_used(&run.kinds) {
            true => Some(requested_token(run, workload).await),
            false => None,
        }
    }

    fn workload_permission(&self, workload: &Workload, kinds: &[&str]) -> Option<Permission> {
        self.is_used(kinds).then(|| Permission::new(token_path(workload), &["create"]))
    }

    fn least_policies(&self, connection: &Place, needs: &[&Needs]) -> Vec<LeastPolicy> {
        least::policies(connection, needs)
    }

    fn keeps_for_runs(&self) -> bool {
        false
    }

    fn asks_first(&self) -> bool {
        true
    }

    fn known_realm(&self, place: &Place) -> Realm {
        let cluster = self.settings.cluster(place.alias.as_deref());
        Realm::default().with_some("cluster", cluster.and_then(|cluster| cluster.cluster))
    }

    async fn realm(&self, run: &Run, place: &Place) -> Result<Realm> {
        let client = KubernetesClient::provide(run, place).await?;
        Ok(Realm::default().with("cluster", client.uid().await?))
    }

    fn destinations(&self, places: &[Place]) -> Destinations {
        let aliases: std::collections::BTreeSet<Option<&str>> =
            places.iter().map(|place| place.alias.as_deref()).collect();
        let named = aliases.into_iter().filter_map(|alias| {
            let name = Place::of_alias(alias).connection(Self::NAME);
            Some((format!("{name}.server"), vec![self.connected(alias)?.server().to_owned()]))
        });
        named.collect()
    }

    fn written(&self) -> Destinations {
        let named = self.settings.clusters().into_iter().filter_map(|(path, cluster)| {
            let context = cluster.context.map(|context| format!("context {context}"));
            let file = cluster.kubeconfig.map(|file| file.display().to_string());
            let words: Vec<String> = file.into_iter().chain(context).collect();
            (!words.is_empty()).then(|| (format!("kubernetes.{path}context"), words))
        });
        named.collect()
    }

    async fn forget(&self) {
        let cells: Vec<Cell> = {
            let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
            cells.values().cloned().collect()
        };
        for client in cells.iter().filter_map(|cell| cell.get()) {
            client.forget().await;
        }
    }
}
