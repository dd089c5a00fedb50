//! The client of a Vault cluster, in the plan's namespace or one below it.

mod bearer;
mod calls;
mod cluster;
mod connection;
mod raft;
mod token;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::cache::{Cached, Listings};
use super::connection::Vault;
use super::custodian::token_source;
use super::node::NodeClient;
use crate::environment::Environment;
use crate::error::Result;
use crate::event::Warnings;
use crate::place::Place;
use crate::providers::vault::settings::VaultSettings;
use crate::resource::{Provided, Requirement};
use crate::run::Run;
use crate::trace::Calls;
use crate::trust::Trust;
pub(super) use bearer::{Bearer, Issued};
pub(super) use calls::{data, into_listing};
use cluster::Cluster;
pub(super) use connection::REQUEST_TIMEOUT;
use connection::parse_address;
pub use connection::{Authority, declared_authority};

/// The client of a Vault or OpenBao cluster, shared by all steps of a run that are in the same
/// namespace.
///
/// Requests go to the active node, with a token from the first source that has one. A redirect is
/// never followed: when a node says that it is not the active one, the nodes are asked again.
pub struct VaultClient {
    cluster: Arc<Cluster>,
    /// Where requests are meant; `None` is the root namespace.
    namespace: Option<String>,
    listings: Arc<Listings>,
}

impl fmt::Debug for VaultClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = f.debug_struct("VaultClient");
        told.field("address", &self.address()).field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Provided for VaultClient {
    const PROVIDER: &'static str = "vault";
    const REALM: &'static [&'static str] = &["cluster", "namespace"];
    const NAMESPACED: bool = true;

    async fn provide(run: &Run, place: &Place) -> Result<Arc<Self>> {
        let connection: &Vault = run.connection()?;
        let made = connection.client.get_or_try_init(|| async {
            let calls = Arc::clone(&run.calls);
            let (settings, folder) = (&connection.settings, &run.folder);
            let client = Self::new(settings, folder, calls, &run.trust)?;
            if let Some(source) = token_source(run).await? {
                client.add_source(source);
            }
            Ok(Arc::new(client))
        });
        Ok(Arc::clone(made.await?).at(place))
    }

    fn namespace_maker(name: &str) -> Option<Requirement> {
        Some(Requirement::thing("vault.namespace", format!("sys/namespaces/{name}")))
    }
}

impl VaultClient {
    /// A client from a plan's settings, with `VAULT_ADDR`, `VAULT_CACERT` and `VAULT_NAMESPACE` for
    /// what they leave open. `folder` is the plan's, `trust` the caller's grants to it. Sends nothing.
    ///
    /// # Errors
    /// When there is no address, or when the address or the CA certificate cannot be used; `Denied`
    /// when the caller has not allowed one of them.
    pub fn new(settings: &VaultSettings, folder: &Path, calls: Arc<Calls>, trust: &Trust) -> Result<Self> {
        let cluster = Arc::new(Cluster::new(settings, folder, calls, trust)?);
        let namespace = cluster.namespace.clone();
        Ok(Self::within(cluster, namespace))
    }

    /// A client of the server that listens on a socket and has this address for the other servers of its cluster. It
    /// knows no environment, so that no token of the caller's gets there, and no proxy.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn of_socket(socket: &Path, address: &str, calls: Arc<Calls>) -> Result<Self> {
        Ok(Self::within(Arc::new(Cluster::behind(socket, address, calls)?), None))
    }

    fn within(cluster: Arc<Cluster>, namespace: Option<String>) -> Self {
        let listings = cluster.listings(namespace.as_deref());
        Self { cluster, namespace, listings }
    }

    /// The same cluster in the plan's own namespace.
    pub(super) fn home(&self) -> Self {
        Self::within(Arc::clone(&self.cluster), self.cluster.namespace.clone())
    }

    /// The same cluster, given in the plan's own namespace, in that of `place`.
    pub(in crate::providers) fn at(self: Arc<Self>, place: &Place) -> Arc<Self> {
        match &place.namespace {
            Some(path) => Arc::new(self.below(path)),
            None => self,
        }
    }

    /// The same cluster in the namespace of this path below the plan's own; an empty one is the plan's own.
    #[must_use]
    pub fn in_namespace(&self, path: &str) -> Self {
        if path.is_empty() { self.home() } else { self.below(path) }
    }

    /// The same cluster in the namespace of this path below the plan's own.
    fn below(&self, path: &str) -> Self {
        let own = self.cluster.namespace.as_deref().map(|own| own.trim_matches('/'));
        let namespace = match own.filter(|own| !own.is_empty()) {
            Some(own) => format!("{own}/{path}"),
            None => path.to_owned(),
        };
        Self::within(Arc::clone(&self.cluster), Some(namespace))
    }

    /// The cluster's address, without a trailing slash.
    pub fn address(&self) -> &str {
        self.cluster.address()
    }

    /// The SHA-256 of the file with the authority that says who the servers are, `sha256:…`; `None` when
    /// the system's authorities do.
    pub fn ca_fingerprint(&self) -> Option<&str> {
        self.cluster.ca_fingerprint.as_deref()
    }

    /// The namespace that requests of this client are in.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The addresses of nodes that the caller's environment names, and the plan does not.
    pub(super) fn named_by_caller(settings: &VaultSettings, environment: &Environment) -> Vec<String> {
        connection::named_by_caller(settings, environment)
    }

    /// The environment of the run.
    pub(super) fn environment(&self) -> &Environment {
        self.cluster.trust.environment()
    }

    /// Problems of the cluster that do not end the run, to show the user.
    pub fn warnings(&self) -> &Warnings {
        &self.cluster.warnings
    }

    /// Lets this run move servers to another seal, where they wait for that.
    pub fn allow_migration(&self) {
        self.cluster.may_migrate.store(true, Ordering::SeqCst);
    }

    /// Every node, for requests to single nodes.
    pub fn nodes(&self) -> Vec<NodeClient> {
        self.cluster.nodes()
    }

    /// The node at `address`.
    ///
    /// # Errors
    /// When `address` is not a URL.
    pub fn node(&self, address: &str) -> Result<NodeClient> {
        Ok(self.cluster.node_at(parse_address(address, self.environment())?))
    }

    /// The node that serves, which gets the token.
    ///
    /// # Errors
    /// As [`VaultClient::ready`].
    pub(super) async fn active_node(&self) -> Result<NodeClient> {
        Ok(self.cluster.node_at(self.cluster.active().await?))
    }

    /// Forgets which node is active, whether the cluster is sealed, and everything that was read;
    /// for after an initialisation, an unsealing or a restore.
    pub async fn reset_readiness(&self) {
        self.cluster.forget_active().await;
        self.cluster.forget_listings().await;
    }

    /// Asks, once per run, whether the cluster can serve.
    ///
    /// # Errors
    /// `Uninitialised`, `Sealed` or `Unavailable`, each with what to do.
    pub async fn ready(&self) -> Result<()> {
        self.cluster.active().await.map(drop)
    }

    /// The id that the cluster made when it was initialised; `None` while it does not report one.
    pub async fn cluster_id(&self) -> Option<String> {
        self.cluster.id().await
    }

    /// The cached listings of the namespace.
    pub(super) fn listings(&self) -> &Listings {
        &self.listings
    }

    /// The plugins that were listed, which are those of all namespaces.
    pub(super) fn plugin_cache(&self) -> &Cached {
        &self.cluster.plugins
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;

    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::error::ErrorKind;
    use crate::permit::Permit;
    use crate::secret::Secret;
    use crate::trust::{Grant, Subject};

    /// A node that answers every request with what `answer` makes of its head; it keeps the heads.
    struct Node {
        address: String,
        heads: Arc<StdMutex<Vec<String>>>,
    }

    async fn node(answer: impl Fn(&str) -> String + Send + 'static) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let heads = Arc::new(StdMutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = vec![0; 8192];
                let read = stream.read(&mut buffer).await.unwrap_or_default();
                let head = String::from_utf8_lossy(&buffer[..read]).into_owned();
                let _ = stream.write_all(answer(&head).as_bytes()).await;
                kept.lock().expect("unpoisoned").push(head);
            }
        });
        Node { address, heads }
    }

    fn answer(status: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
    }

    /// The servers of these settings.
    fn allowed(settings: &VaultSettings) -> Trust {
        let servers = settings.nodes.iter().chain(&settings.address);
        Trust::new(servers.map(|server| Grant::new(Subject::Vault, server.as_str())))
    }

    async fn client(nodes: &[&Node]) -> VaultClient {
        let settings = VaultSettings {
            nodes: nodes.iter().map(|node| node.address.clone()).collect(),
            ..VaultSettings::default()
        };
        let client = VaultClient::new(&settings, Path::new("."), Arc::default(), &allowed(&settings));
        let client = client.expect("valid");
        client.set_token(Secret::from("hvs.token".to_owned())).await;
        client
    }

    #[tokio::test]
    async fn redirect_finds_active_node_without_being_followed() {
        let elsewhere = node(|_| answer("200 OK", "", "{}")).await;
        let location = format!("Location: {}/v1/sys/mounts\r\n", elsewhere.address);
        // It was the active node when it was asked, and is not when it gets the request.
        let asked = StdMutex::new(0);
        let former = node(move |head| {
            let mut asked = asked.lock().expect("unpoisoned");
            *asked += 1;
            match head.contains("sys/health") {
                true if *asked == 1 => answer("200 OK", "", "{}"),
                true => answer("429 Standby", "", "{}"),
                false => answer("307 Temporary Redirect", &location, ""),
            }
        })
        .await;
        let active = node(|_| answer("200 OK", "", r#"{"data":{"secret/":{}}}"#)).await;
        let client = client(&[&former, &active]).await;
        let mounts = client.mounts().await.expect("the active node answers");
        assert!(mounts.contains_key("secret/"));
        assert!(elsewhere.heads.lock().expect("unpoisoned").is_empty());
        assert_eq!(client.cluster.calls.total().read, 6, "four times health, the mounts twice");
    }

    #[tokio::test]
    async fn concurrent_reads_share_a_request_until_a_write() {
        let only = node(|head| match head.contains("seal-status") {
            true => answer("200 OK", "", r#"{"initialized":true,"sealed":false}"#),
            false => answer("200 OK", "", r#"{"data":{}}"#),
        })
        .await;
        let client = client(&[&only]).await;
        let (one, other) = tokio::join!(client.mounts(), client.mounts());
        assert!(one.is_ok() && other.is_ok());
        assert_eq!(client.cluster.calls.total().read, 2, "the seal status and the mounts");
        client.post(&Permit::mint(), "sys/mounts/x", &json!({})).await.expect("written");
        client.mounts().await.expect("read again");
        assert_eq!(client.cluster.calls.total().read, 3);
    }

    #[tokio::test]
    async fn namespaces_share_token_but_not_listings() {
        let only = node(|head| match head.contains("seal-status") {
            true => answer("200 OK", "", r#"{"initialized":true,"sealed":false}"#),
            false => answer("200 OK", "", r#"{"data":{}}"#),
        })
        .await;
        let home = client(&[&only]).await;
        let (team, again) = (home.below("team"), home.below("team"));
        for client in [&home, &team, &again] {
            client.mounts().await.expect("read");
        }
        assert_eq!(home.cluster.calls.total().read, 3, "the seal status, and each namespace's mounts");
        let heads: Vec<String> =
            only.heads.lock().expect("unpoisoned").iter().map(|h| h.to_lowercase()).collect();
        assert!(!heads[1].contains("x-vault-namespace") && heads[2].contains("x-vault-namespace: team\r\n"));
        assert!(heads[1..].iter().all(|head| head.contains("x-vault-token: hvs.token")));
        // What is written in one of them says nothing of the other; a namespace is all that is in it.
        team.post(&Permit::mint(), "sys/mounts/x", &json!({})).await.expect("written");
        home.mounts().await.expect("kept");
        assert_eq!(home.cluster.calls.total().read, 3);
        home.post(&Permit::mint(), "sys/namespaces/team", &json!({})).await.expect("written");
        home.mounts().await.expect("read again");
        assert_eq!(home.cluster.calls.total().read, 4);
    }

    #[test]
    fn step_namespace_is_below_the_plans_namespace() {
        let settings = |namespace: Option<&str>| VaultSettings {
            address: Some("http://127.0.0.1:8200".to_owned()),
            namespace: namespace.map(str::to_owned),
            ..VaultSettings::default()
        };
        let below = |own| {
            let settings = settings(own);
            let client = VaultClient::new(&settings, Path::new("."), Arc::default(), &allowed(&settings));
            client.expect("valid").below("team").namespace
        };
        assert_eq!(below(Some("org/")).as_deref(), Some("org/team"));
        assert_eq!(below(Some("/")).as_deref(), Some("team"));
    }

    #[tokio::test]
    async fn unusable_server_is_reported_before_sending_a_token() {
        let rows = [
            (r#"{"initialized":false,"sealed":true}"#, ErrorKind::Uninitialised),
            (r#"{"initialized":true,"sealed":true}"#, ErrorKind::Sealed),
            ("<html>", ErrorKind::Unavailable),
        ];
        for (body, expected) in rows {
            let only = node(move |_| answer("200 OK", "", body)).await;
            let error = client(&[&only]).await.get("sys/mounts").await.expect_err("cannot serve");
            assert_eq!(error.kind, expected, "{body}");
            assert!(!only.heads.lock().expect("unpoisoned")[0].contains("hvs.token"));
        }
    }

    #[tokio::test]
    async fn truncated_init_response_is_kept() {
        let cut = node(|_| "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"keys\":[\"ab".to_owned()).await;
        let client = client(&[&cut]).await;
        let arrived = client.nodes()[0].init(&Permit::mint(), &json!({})).await.expect("a part");
        assert_eq!(arrived.expose_str(), Some("{\"keys\":[\"ab"));
        let failing = node(|_| answer("500 Internal Server Error", "", "{}")).await;
        let outcome = client.node(&failing.address).expect("a URL").init(&Permit::mint(), &json!({})).await;
        assert_eq!(outcome.expect_err("open").kind, ErrorKind::Unknown);
        let refusing = node(|_| answer("400 Bad Request", "", r#"{"errors":["invalid"]}"#)).await;
        let outcome = client.node(&refusing.address).expect("a URL").init(&Permit::mint(), &json!({})).await;
        assert_eq!(outcome.expect_err("refused").kind, ErrorKind::Rejected);
    }

    #[tokio::test]
    async fn joining_node_receives_the_leaders_certificate_authority() {
        let folder = tempfile::tempdir().expect("a folder");
        let signed = rcgen::generate_simple_self_signed(["vault".to_owned()]).expect("a certificate");
        std::fs::write(folder.path().join("ca.pem"), signed.cert.pem()).expect("written");
        let only = node(|_| answer("200 OK", "", r#"{"joined":true}"#)).await;
        let settings = VaultSettings {
            address: Some(only.address.clone()),
            ca_cert: Some("ca.pem".into()),
            ..VaultSettings::default()
        };
        let authority = declared_authority(&settings, folder.path()).expect("declared").expect("readable");
        let trust = allowed(&settings).with([authority.grant()]);
        let client = VaultClient::new(&settings, folder.path(), Arc::default(), &trust).expect("valid");
        client.nodes()[0].join(&Permit::mint(), "https://leader:8200").await.expect("joins");
        let heads = only.heads.lock().expect("unpoisoned").join("");
        assert!(heads.contains("leader_ca_cert") && heads.contains("BEGIN CERTIFICATE"), "{heads}");
    }

    #[tokio::test]
    async fn debug_output_hides_the_token() {
        let only = node(|_| String::new()).await;
        assert!(!format!("{:?}", client(&[&only]).await).contains("hvs"));
    }
}
