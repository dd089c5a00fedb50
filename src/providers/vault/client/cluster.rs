//! The nodes of a cluster, which of them serves, and what all namespaces of it share.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use reqwest::Url;
use tokio::sync::Mutex;
use vaultrs::client::VaultClient as Api;

use super::super::cache::{Cached, Listings};
use super::super::node::{Health, NodeClient};
use super::super::session::TokenSource;
use super::connection::{
    Authority, admit, authority, cluster_address, http_client, node_addresses, parse_address, socket_client,
};
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Warnings;
use crate::net::timeout::at_most;
use crate::providers::vault::settings::VaultSettings;
use crate::secret::Secret;
use crate::trace::Calls;
use crate::trust::{Grant, Subject, Trust};

/// How long standbys have to elect a leader when no node is active; an election takes some seconds.
const ELECTION: Duration = Duration::from_secs(10);
/// How long an unreachable cluster is taken to stay so: long enough for the steps that ask at the
/// same time to share one attempt, short enough for a retry to look again.
const UNREACHABLE_FOR: Duration = Duration::from_secs(1);

/// A cluster in one run: its nodes, the token, and what was read of it.
pub(super) struct Cluster {
    pub(super) http: reqwest::Client,
    pub(super) address: Url,
    /// The caller's grants, for the servers that get a token.
    pub(super) trust: Trust,
    /// The certificates of the cluster's own authority, for nodes that this run asks to join.
    pub(super) ca: Option<Arc<str>>,
    /// The digest of the file that they are from.
    pub(super) ca_fingerprint: Option<String>,
    pub(super) nodes: Vec<Url>,
    /// The plan's own namespace.
    pub(super) namespace: Option<String>,
    pub(super) calls: Arc<Calls>,
    /// Whether the run may move servers to another seal.
    pub(super) may_migrate: AtomicBool,
    readiness: Mutex<Option<Readiness>>,
    pub(super) sources: RwLock<Vec<Arc<dyn TokenSource>>>,
    pub(super) token: Mutex<Option<Secret>>,
    pub(super) token_known: Mutex<Option<bool>>,
    /// vaultrs' client for each namespace, with the active node's address and the token.
    pub(super) apis: Mutex<BTreeMap<Option<String>, Arc<Api>>>,
    /// The cached listings of each namespace.
    listings: StdMutex<BTreeMap<Option<String>, Arc<Listings>>>,
    /// The plugins, which are those of all namespaces.
    pub(super) plugins: Cached,
    /// Problems that do not end the run, to show the user.
    pub(super) warnings: Warnings,
}

/// What is known about the cluster in this run.
#[derive(Clone, Debug)]
enum Readiness {
    /// Where the active node is, and the cluster's id if the same response had it.
    Ready(Url, Option<String>),
    Uninitialised,
    Sealed,
    Unreachable {
        message: String,
        since: Instant,
    },
}

impl Cluster {
    /// See [`super::VaultClient::new`].
    pub(super) fn new(
        settings: &VaultSettings,
        folder: &Path,
        calls: Arc<Calls>,
        trust: &Trust,
    ) -> Result<Self> {
        let environment = trust.environment();
        let address = parse_address(&cluster_address(settings, environment)?, environment)?;
        let nodes = node_addresses(settings, environment)
            .iter()
            .map(|node| parse_address(node, environment))
            .collect::<Result<Vec<_>>>()?;
        // Before the first request to any of them.
        nodes.iter().chain([&address]).try_for_each(|server| admit(server, trust))?;
        let authority = authority(settings, folder, trust)?;
        let http = http_client(&address, authority.as_ref(), environment)?;
        let own = settings.namespace.clone();
        Ok(Self {
            ca: authority.as_ref().and_then(Authority::text).map(Arc::from),
            ca_fingerprint: authority.as_ref().map(Authority::fingerprint),
            nodes: if nodes.is_empty() { vec![address.clone()] } else { nodes },
            namespace: own.or_else(|| environment.text("VAULT_NAMESPACE").map(str::to_owned)),
            ..Self::single(http, address, calls, trust.clone())
        })
    }

    /// See [`super::VaultClient::of_socket`].
    pub(super) fn behind(socket: &Path, address: &str, calls: Arc<Calls>) -> Result<Self> {
        let address = parse_address(address, &Environment::default())?;
        let trust = Trust::new([Grant::new(Subject::Vault, address.as_str())]);
        let trust = trust.in_environment(Environment::default());
        Ok(Self::single(socket_client(socket, &address)?, address, calls, trust))
    }

    /// A cluster of one node, of which nothing is known.
    fn single(http: reqwest::Client, address: Url, calls: Arc<Calls>, trust: Trust) -> Self {
        Self {
            http,
            ca: None,
            ca_fingerprint: None,
            trust,
            nodes: vec![address.clone()],
            address,
            namespace: None,
            calls,
            may_migrate: AtomicBool::new(false),
            readiness: Mutex::default(),
            sources: RwLock::default(),
            token: Mutex::default(),
            token_known: Mutex::default(),
            apis: Mutex::default(),
            listings: StdMutex::default(),
            plugins: Cached::default(),
            warnings: Warnings::default(),
        }
    }

    /// The cached listings of a namespace.
    pub(super) fn listings(&self, namespace: Option<&str>) -> Arc<Listings> {
        let mut all = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(namespace.map(str::to_owned)).or_default())
    }

    /// Forgets everything that was listed.
    pub(super) async fn forget_listings(&self) {
        let all: Vec<Arc<Listings>> = {
            let all = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
            all.values().cloned().collect()
        };
        for listings in all {
            listings.forget().await;
        }
        self.plugins.forget().await;
    }

    /// Forgets which node is active.
    pub(super) async fn forget_active(&self) {
        *self.readiness.lock().await = None;
        self.apis.lock().await.clear();
    }

    /// Uses `token` from now on; `None` asks the sources again when one is needed.
    pub(super) async fn use_token(&self, token: Option<Secret>) {
        *self.token.lock().await = token;
        *self.token_known.lock().await = None;
        self.apis.lock().await.clear();
    }

    /// The node at `address`.
    pub(super) fn node_at(&self, address: Url) -> NodeClient {
        NodeClient::new(self.http.clone(), address, self.ca.clone(), Arc::clone(&self.calls))
            .migrating(self.may_migrate.load(Ordering::SeqCst))
    }

    /// Every node.
    pub(super) fn nodes(&self) -> Vec<NodeClient> {
        self.nodes.iter().map(|address| self.node_at(address.clone())).collect()
    }

    /// The cluster's address, without a trailing slash.
    pub(super) fn address(&self) -> &str {
        self.address.as_str().trim_end_matches('/')
    }

    /// The id that the cluster made when it was initialised; `None` while it does not report one.
    pub(super) async fn id(&self) -> Option<String> {
        let active = self.active().await.ok()?;
        if let Some(Readiness::Ready(_, Some(id))) = &*self.readiness.lock().await {
            return Some(id.clone());
        }
        let id = self.node_at(active).seal_status().await.ok()?.cluster_id;
        if let Some(Readiness::Ready(_, known)) = &mut *self.readiness.lock().await {
            known.clone_from(&id);
        }
        id
    }

    /// The node that serves.
    ///
    /// # Errors
    /// `Uninitialised`, `Sealed` or `Unavailable`, each with what to do.
    pub(super) async fn active(&self) -> Result<Url> {
        let mut kept = self.readiness.lock().await;
        let readiness = match &*kept {
            Some(Readiness::Unreachable { since, .. }) if since.elapsed() > UNREACHABLE_FOR => None,
            known => known.clone(),
        };
        let readiness = match readiness {
            Some(known) => known,
            None => kept.insert(self.find_active().await).clone(),
        };
        self.explain_readiness(readiness)
    }

    fn explain_readiness(&self, readiness: Readiness) -> Result<Url> {
        let asked = format!("GET {}/v1/sys/seal-status", self.address());
        let failed = |kind, message: String, advice: &str| {
            let operation = if kind == ErrorKind::Unavailable { "reach Vault" } else { &asked };
            Err(Error::new(kind, operation, message).advice(advice))
        };
        match readiness {
            Readiness::Ready(active, _) => Ok(active),
            Readiness::Uninitialised => failed(
                ErrorKind::Uninitialised,
                "Vault is not initialised".to_owned(),
                "declare a step of kind `vault.init`, or initialise it by hand",
            ),
            Readiness::Sealed => failed(
                ErrorKind::Sealed,
                "Vault is sealed".to_owned(),
                "run `groundwork unseal PLAN`, from custody or with `--share`",
            ),
            Readiness::Unreachable { message, .. } => failed(
                ErrorKind::Unavailable,
                message,
                "check that it runs, the address (`vault.address`, VAULT_ADDR), and the CA \
                 (`vault.ca_cert`, VAULT_CACERT)",
            ),
        }
    }

    async fn find_active(&self) -> Readiness {
        match self.nodes.as_slice() {
            [single] => self.ask_single(single).await,
            _ => self.ask_all().await,
        }
    }

    /// With one address there is nothing to choose; it may be a load balancer.
    async fn ask_single(&self, address: &Url) -> Readiness {
        match self.node_at(address.clone()).seal_status().await {
            Ok(status) if !status.initialized => Readiness::Uninitialised,
            Ok(status) if status.sealed => Readiness::Sealed,
            Ok(status) => Readiness::Ready(address.clone(), status.cluster_id),
            Err(error) => unreachable(error.message),
        }
    }

    async fn ask_all(&self) -> Readiness {
        let (nodes, since) = (self.nodes(), Instant::now());
        let (answers, health) = loop {
            let answers = futures::future::join_all(nodes.iter().map(NodeClient::health)).await;
            let health: Vec<Health> = answers.iter().flatten().copied().collect();
            if let Some(active) = answers.iter().position(|answer| matches!(answer, Ok(Health::Active))) {
                return Readiness::Ready(self.nodes[active].clone(), None);
            }
            if !health.contains(&Health::Standby) || since.elapsed() > at_most(ELECTION) {
                break (answers, health);
            }
            tokio::time::sleep(ELECTION / 40).await;
        };
        match () {
            () if health.contains(&Health::Standby) => unreachable("no node is active now".to_owned()),
            () if health.contains(&Health::Sealed) => Readiness::Sealed,
            () if health.contains(&Health::Uninitialised) => Readiness::Uninitialised,
            () => unreachable(failures(answers)),
        }
    }
}

fn unreachable(message: String) -> Readiness {
    Readiness::Unreachable { message, since: Instant::now() }
}

fn failures(answers: Vec<Result<Health>>) -> String {
    let messages: Vec<String> =
        answers.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
    match messages.is_empty() {
        true => "no node is healthy".to_owned(),
        false => format!("no node of Vault can be reached: {}", messages.join("; ")),
    }
}
