//! The client of a Vault cluster.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use reqwest::{Certificate, Url, redirect};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use vaultrs::api::EndpointMiddleware;
use vaultrs::client::{VaultClient as Api, VaultClientSettings};
use vaultrs::error::ClientError;

use super::cache::{Listing, Listings};
use super::custodian::token_source;
use super::error::{explain, status, translate};
use super::node::{Health, NodeClient};
use super::request::{self, Effect, Request, error_body};
use super::session::{EnvToken, HomeToken, TokenSource};
use crate::event::Warnings;
use crate::plan::settings::VaultSettings;
use crate::providers::timeout::at_most;
use crate::providers::{Providers, endpoint};
use crate::resource::{Calls, Error, ErrorKind, Permit, Provided, Result};
use crate::secret::Secret;
use crate::trace::Answer;

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for an answer, Vault's own default.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// How long standbys are given to elect one of them, when nobody is active: some seconds.
const ELECTION: Duration = Duration::from_secs(10);
/// How long an unreachable cluster is taken to stay so: long enough for the steps that ask at the
/// same time to share one attempt, short enough for a retry to look again.
const UNREACHABLE_FOR: Duration = Duration::from_secs(1);

/// The client of a Vault or OpenBao cluster, shared by all steps of a run.
///
/// Requests go to the active node, with a token from the first source that has one. A redirect is
/// never followed: when a node says that it is not the active one, the nodes are asked again.
pub struct VaultClient {
    http: reqwest::Client,
    address: Url,
    /// The certificates of the cluster's own authority, for nodes that are told to join.
    ca: Option<Arc<str>>,
    nodes: Vec<Url>,
    namespace: Option<String>,
    calls: Arc<Calls>,
    sources: RwLock<Vec<Arc<dyn TokenSource>>>,
    readiness: Mutex<Option<Readiness>>,
    token: Mutex<Option<Secret>>,
    token_known: Mutex<Option<bool>>,
    api: Mutex<Option<Arc<Api>>>,
    listings: Listings,
    warnings: Warnings,
}

/// What is known about the cluster in this run.
#[derive(Clone, Debug)]
enum Readiness {
    /// Where the active node is, and the cluster's id if that was told along with it.
    Ready(Url, Option<String>),
    Uninitialised,
    Sealed,
    Unreachable {
        message: String,
        since: Instant,
    },
}

impl fmt::Debug for VaultClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultClient").field("address", &self.address.as_str()).finish_non_exhaustive()
    }
}

impl Provided for VaultClient {
    const IN_CLUSTER: bool = true;

    async fn provide(providers: &Providers) -> Result<Arc<Self>> {
        let made = providers.vault.get_or_try_init(|| async {
            let calls = Arc::clone(&providers.calls);
            let client = Self::new(&providers.vault_settings, &providers.folder, calls)?;
            if let Some(source) = token_source(providers).await? {
                client.add_source(source);
            }
            Ok(Arc::new(client))
        });
        made.await.cloned()
    }
}

impl VaultClient {
    /// A client from a plan's settings, with `VAULT_ADDR`, `VAULT_CACERT` and `VAULT_NAMESPACE` for
    /// what they leave open. `folder` is the plan's. Sends nothing.
    ///
    /// # Errors
    /// When there is no address, or the address or the CA certificate is no good.
    pub fn new(settings: &VaultSettings, folder: &Path, calls: Arc<Calls>) -> Result<Self> {
        let address = parse_address(&cluster_address(settings)?)?;
        let nodes =
            node_addresses(settings).iter().map(|node| parse_address(node)).collect::<Result<Vec<_>>>()?;
        let ca_path = ca_cert(settings, folder);
        Ok(Self {
            http: http_client(&address, ca_path.as_deref())?,
            ca: ca_path.and_then(|path| std::fs::read_to_string(path).ok()).map(Arc::from),
            nodes: if nodes.is_empty() { vec![address.clone()] } else { nodes },
            address,
            namespace: settings.namespace.clone().or_else(|| variable("VAULT_NAMESPACE")),
            calls,
            sources: RwLock::default(),
            readiness: Mutex::default(),
            token: Mutex::default(),
            token_known: Mutex::default(),
            api: Mutex::default(),
            listings: Listings::default(),
            warnings: Warnings::default(),
        })
    }

    /// The cluster's address, without a trailing slash.
    pub fn address(&self) -> &str {
        self.address.as_str().trim_end_matches('/')
    }

    /// What a person should know about the cluster.
    pub fn warnings(&self) -> &Warnings {
        &self.warnings
    }

    /// Every node, for what concerns single nodes.
    pub fn nodes(&self) -> Vec<NodeClient> {
        self.nodes.iter().map(|address| self.node_at(address.clone())).collect()
    }

    /// The node at `address`.
    ///
    /// # Errors
    /// When `address` is no URL.
    pub fn node(&self, address: &str) -> Result<NodeClient> {
        Ok(self.node_at(parse_address(address)?))
    }

    fn node_at(&self, address: Url) -> NodeClient {
        NodeClient::new(self.http.clone(), address, self.ca.clone(), Arc::clone(&self.calls))
    }

    /// Adds a place that may have a token: asked after `VAULT_TOKEN` and the places added before,
    /// and before `~/.vault-token`.
    pub fn add_source(&self, source: Arc<dyn TokenSource>) {
        self.sources.write().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// Uses `token` from now on.
    pub async fn set_token(&self, token: Secret) {
        *self.token.lock().await = Some(token);
        *self.token_known.lock().await = None;
        *self.api.lock().await = None;
    }

    /// Forgets the token; the sources are asked again when one is needed.
    pub async fn clear_token(&self) {
        *self.token.lock().await = None;
        *self.token_known.lock().await = None;
        *self.api.lock().await = None;
    }

    /// Forgets which node is active, whether the cluster is sealed, and everything that was read;
    /// for after an initialisation, an unsealing or a restore.
    pub async fn reset_readiness(&self) {
        *self.readiness.lock().await = None;
        *self.api.lock().await = None;
        self.listings.forget().await;
    }

    /// Asks, once per run, whether the cluster can serve.
    ///
    /// # Errors
    /// `Uninitialised`, `Sealed` or `Unavailable`, each with what to do.
    pub async fn ready(&self) -> Result<()> {
        self.active().await.map(drop)
    }

    /// The id that the cluster made when it was initialised; `None` while it does not tell.
    pub async fn cluster_id(&self) -> Option<String> {
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

    /// Logs in through the AppRole method at `mount`; gives the token without using it.
    ///
    /// # Errors
    /// `Denied` when the server refuses the role-id or secret-id.
    pub async fn login_approle(&self, mount: &str, role_id: &Secret, secret_id: &Secret) -> Result<Secret> {
        let request = Request::new("POST", format!("auth/{mount}/login"), Effect::Login).checked()?;
        let api = self.api_for(self.active().await?, String::new());
        let (role_id, secret_id) = (text(role_id, "the role-id")?, text(secret_id, "the secret-id")?);
        request.count(&self.calls);
        let started = Instant::now();
        let login = vaultrs::auth::approle::login(&api, mount, role_id, secret_id).await;
        let told = login.as_ref().map_or_else(|error| request::failure(error, 0), |_| Answer::Status(200));
        request.trace(&api.http.base, started, (told, None));
        login.map(|auth| Secret::from(auth.client_token)).map_err(|error| translate(&request, &error))
    }

    /// Ends a token that [`VaultClient::login_approle`] gave.
    ///
    /// # Errors
    /// When the server does not confirm it.
    pub async fn log_out(&self, token: &Secret) -> Result<()> {
        let request = Request::new("POST", "auth/token/revoke-self", Effect::Login);
        let api = self.api_for(self.active().await?, header_text(token)?.to_owned());
        request.count(&self.calls);
        let ended = request::send(&api.http, &api.middle, &request, None).await;
        ended.map(drop).map_err(|error| translate(&request, &error))
    }

    /// Reads `path`: the `data` of the answer; `None` when there is nothing.
    pub async fn get(&self, path: &str) -> Result<Option<Value>> {
        let request = Request::new("GET", path, Effect::Read).checked()?;
        Ok(self.read(&request, None).await?.ok().map(data))
    }

    /// Reads `path`, also when the server says 404: then `Err` holds what it answered. A soft-deleted
    /// KV secret has its metadata there.
    pub(super) async fn get_or_remains(&self, path: &str) -> Result<Result<Value, Value>> {
        let request = Request::new("GET", path, Effect::Read).checked()?;
        Ok(self.read(&request, None).await?.map(data).map_err(data))
    }

    /// The `data` of a LIST of `path`; `None` when there is nothing.
    pub async fn list(&self, path: &str) -> Result<Option<Value>> {
        let request = Request::new("LIST", path, Effect::Read).checked()?;
        Ok(self.read(&request, None).await?.ok().map(data))
    }

    /// Asks with POST what changes nothing; `None` when there is nothing.
    pub(super) async fn ask(&self, path: &str, body: &Value) -> Result<Option<Value>> {
        let request = Request::new("POST", path, Effect::Read).checked()?;
        Ok(self.read(&request, Some(body)).await?.ok().map(data))
    }

    /// What the token may do: capabilities by path.
    pub async fn capabilities(&self, paths: &[String]) -> Result<Listing> {
        let request = Request::new("POST", "sys/capabilities-self", Effect::Read);
        let answer = self.read(&request, Some(&json!({ "paths": paths }))).await?.unwrap_or_default();
        Ok(into_listing(data(answer)))
    }

    /// What the server says about the token, except the token.
    pub async fn lookup_self(&self) -> Result<Value> {
        let mut found = self.get("auth/token/lookup-self").await?.unwrap_or_default();
        if let Value::Object(fields) = &mut found {
            fields.remove("id");
        }
        Ok(found)
    }

    /// Writes with POST; gives the `data` of the answer, or `null`.
    pub async fn post(&self, permit: &Permit, path: &str, body: &Value) -> Result<Value> {
        self.write(permit, "POST", path, Some(body)).await
    }

    /// Writes with POST and lets the server keep the answer under a token that is good for `seconds`;
    /// gives the `wrap_info`.
    pub(super) async fn post_wrapped(
        &self,
        _: &Permit,
        path: &str,
        body: &Value,
        seconds: u64,
    ) -> Result<Value> {
        let request = Request::new("POST", path, Effect::Write).checked()?;
        let api = self.api().await?;
        let middle = EndpointMiddleware { wrap: Some(format!("{seconds}s")), ..self.middleware(&api) };
        request.count(&self.calls);
        let answer = request::send(&api.http, &middle, &request, Some(body)).await;
        let mut answer = answer.map_err(|error| translate(&request, &error))?;
        Ok(answer["wrap_info"].take())
    }

    fn middleware(&self, api: &Api) -> EndpointMiddleware {
        EndpointMiddleware {
            token: api.middle.token.clone(),
            version: "v1".to_owned(),
            wrap: None,
            namespace: self.namespace.clone(),
        }
    }

    /// Writes with PUT; gives the `data` of the answer, or `null`.
    pub async fn put(&self, permit: &Permit, path: &str, body: &Value) -> Result<Value> {
        self.write(permit, "PUT", path, Some(body)).await
    }

    /// Changes parts of a thing, as a JSON merge patch (RFC 7396).
    pub async fn patch(&self, permit: &Permit, path: &str, body: &Value) -> Result<Value> {
        self.write(permit, "PATCH", path, Some(body)).await
    }

    /// Deletes `path`; what is gone already is success.
    pub async fn delete(&self, permit: &Permit, path: &str) -> Result<()> {
        self.write(permit, "DELETE", path, None).await.map(drop)
    }

    /// Every secrets engine by path with its trailing slash; one request for all steps.
    pub(super) async fn mounts(&self) -> Result<Arc<Listing>> {
        self.listings.mounts.get(|| self.table("sys/mounts")).await
    }

    /// Every auth method by path with its trailing slash; one request for all steps.
    pub(super) async fn auth_methods(&self) -> Result<Arc<Listing>> {
        self.listings.auth_methods.get(|| self.table("sys/auth")).await
    }

    /// Every audit device by path with its trailing slash; one request for all steps.
    pub(super) async fn audit_devices(&self) -> Result<Arc<Listing>> {
        self.listings.audit_devices.get(|| self.table("sys/audit")).await
    }

    /// Every policy with its text, by name, where the server lists them with their texts (OpenBao);
    /// `None` where it does not (HashiCorp Vault) or the token may not.
    pub(super) async fn policies(&self) -> Result<Option<Arc<Listing>>> {
        let fetch = || async {
            match self.list("sys/policies/detailed/acl").await {
                Ok(detailed) => Ok(into_listing(detailed.unwrap_or_default()["key_info"].take())),
                Err(error) if matches!(error.kind, ErrorKind::Denied | ErrorKind::Rejected) => {
                    Ok(Listing::new())
                }
                Err(error) => Err(error),
            }
        };
        let listing = self.listings.policies.get(fetch).await?;
        // Every server has the policies `default` and `root`.
        Ok(Some(listing).filter(|listing| !listing.is_empty()))
    }

    /// The plugins that the server has, by type; empty where the token may not know. One request
    /// for all steps.
    pub(super) async fn plugins(&self) -> Result<Arc<Listing>> {
        let fetch = || async {
            match self.table("sys/plugins/catalog").await {
                Err(error) if matches!(error.kind, ErrorKind::Denied | ErrorKind::Rejected) => {
                    Ok(Listing::new())
                }
                table => table,
            }
        };
        self.listings.plugins.get(fetch).await
    }

    /// Every alias of an entity, by id; one request for all steps.
    pub(super) async fn entity_aliases(&self) -> Result<Arc<Listing>> {
        self.listings.entity_aliases.get(|| self.details("identity/entity-alias/id")).await
    }

    /// Every alias of a group, by id; one request for all steps.
    pub(super) async fn group_aliases(&self) -> Result<Arc<Listing>> {
        self.listings.group_aliases.get(|| self.details("identity/group-alias/id")).await
    }

    /// The `key_info` of a LIST.
    async fn details(&self, path: &str) -> Result<Listing> {
        Ok(into_listing(self.list(path).await?.unwrap_or_default()["key_info"].take()))
    }

    async fn table(&self, path: &str) -> Result<Listing> {
        Ok(self.get(path).await?.map(into_listing).unwrap_or_default())
    }

    /// Sends a request that changes nothing. Gives the whole answer, or in `Err` that of a 404.
    async fn read(&self, request: &Request, body: Option<&Value>) -> Result<Result<Value, Value>> {
        match self.send(request, body).await? {
            Ok(answer) => Ok(Ok(answer)),
            Err(error) if status(&error) == Some(404) => Ok(Err(error_body(&error).unwrap_or_default())),
            Err(error) => Err(self.explain_refusal(translate(request, &error)).await),
        }
    }

    /// A server says the same of a token that may not do something and of one that it does not know.
    async fn explain_refusal(&self, error: Error) -> Error {
        if error.kind != ErrorKind::Denied || self.knows_token().await {
            return error;
        }
        error.advice(
            "the token has expired, was revoked, or belongs to another cluster (it may not even look itself \
             up): log in again, or set VAULT_TOKEN",
        )
    }

    /// Asks, once for each token, whether it is one of the server's.
    async fn knows_token(&self) -> bool {
        let mut known = self.token_known.lock().await;
        if let Some(known) = *known {
            return known;
        }
        let request = Request::new("GET", "auth/token/lookup-self", Effect::Read);
        let answer = self.send_once(&request, None).await;
        let refused = matches!(&answer, Ok(Err(error)) if status(error) == Some(403));
        *known.insert(!refused)
    }

    async fn write(
        &self,
        _: &Permit,
        method: &'static str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        let request = Request::new(method, path, Effect::Write).checked()?;
        let answer = self.send(&request, body).await?;
        self.listings.written(path).await;
        match answer {
            Err(error) if method == "DELETE" && status(&error) == Some(404) => Ok(Value::Null),
            answer => answer.map(data).map_err(|error| translate(&request, &error)),
        }
    }

    /// Sends a request to the active node. A node that is no longer the active one has done nothing,
    /// so the new one, if there is any other, gets the same request.
    async fn send(&self, request: &Request, body: Option<&Value>) -> Result<Result<Value, ClientError>> {
        match self.send_once(request, body).await? {
            Err(error) if self.nodes.len() > 1 && may_have_moved(&error) => {
                self.reset_active().await;
                match status(&error) {
                    Some(307) => self.send_once(request, body).await,
                    _ => Ok(Err(error)),
                }
            }
            answer => Ok(answer),
        }
    }

    async fn send_once(&self, request: &Request, body: Option<&Value>) -> Result<Result<Value, ClientError>> {
        let api = self.api().await?;
        request.count(&self.calls);
        Ok(request::send(&api.http, &api.middle, request, body).await)
    }

    async fn reset_active(&self) {
        *self.readiness.lock().await = None;
        *self.api.lock().await = None;
    }

    /// vaultrs' client, with the active node's address and the token.
    async fn api(&self) -> Result<Arc<Api>> {
        let mut kept = self.api.lock().await;
        if let Some(api) = &*kept {
            return Ok(Arc::clone(api));
        }
        let active = self.active().await?;
        let token = self.token().await?;
        let api = Arc::new(self.api_for(active, header_text(&token)?.to_owned()));
        *kept = Some(Arc::clone(&api));
        Ok(api)
    }

    async fn token(&self) -> Result<Secret> {
        let mut kept = self.token.lock().await;
        if kept.is_none() {
            *kept = self.ask_sources().await?;
        }
        kept.clone().ok_or_else(|| self.no_token())
    }

    async fn ask_sources(&self) -> Result<Option<Secret>> {
        for source in self.all_sources() {
            if let Some(token) = source.token(self).await? {
                return Ok(Some(token));
            }
        }
        Ok(None)
    }

    fn all_sources(&self) -> Vec<Arc<dyn TokenSource>> {
        let added = self.sources.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut sources: Vec<Arc<dyn TokenSource>> = vec![Arc::new(EnvToken)];
        sources.extend(added);
        sources.push(Arc::new(HomeToken));
        sources
    }

    fn no_token(&self) -> Error {
        let places: Vec<String> = self.all_sources().iter().map(|source| source.describe()).collect();
        let message = format!("there is no token for {}; asked {}", self.address(), places.join(", "));
        Error::new(ErrorKind::Unauthenticated, "log in to Vault", message)
            .advice("set VAULT_TOKEN, run `bao login` or `vault login`, or declare `vault.auth` in the plan")
    }

    fn api_for(&self, active: Url, token: String) -> Api {
        let middle = EndpointMiddleware {
            token: token.clone(),
            version: "v1".to_owned(),
            wrap: None,
            namespace: self.namespace.clone(),
        };
        let http = rustify::Client::new(active.as_str(), self.http.clone());
        let settings = VaultClientSettings {
            address: active,
            ca_certs: Vec::new(),
            identity: None,
            timeout: None,
            token,
            verify: true,
            version: 1,
            wrapping: false,
            namespace: self.namespace.clone(),
            proxy: None,
        };
        Api { http, middle, settings }
    }

    async fn active(&self) -> Result<Url> {
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

/// Whether the next request should look for the active node again.
fn may_have_moved(error: &ClientError) -> bool {
    status(error).is_none_or(|status| status == 307 || status >= 500)
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

/// The `data` of an answer that has it, else the answer.
fn data(mut answer: Value) -> Value {
    answer.get_mut("data").map(Value::take).unwrap_or(answer)
}

fn into_listing(data: Value) -> Listing {
    match data {
        Value::Object(fields) => fields,
        _ => Listing::new(),
    }
}

fn text<'a>(secret: &'a Secret, what: &str) -> Result<&'a str> {
    secret
        .expose_str()
        .ok_or_else(|| Error::new(ErrorKind::Local, "log in to Vault", format!("{what} is not text")))
}

/// The token, if it can stand in an HTTP header.
fn header_text(token: &Secret) -> Result<&str> {
    let usable = |text: &&str| text.bytes().all(|byte| byte.is_ascii_graphic());
    token.expose_str().filter(usable).ok_or_else(|| {
        Error::new(ErrorKind::Local, "log in to Vault", "the token has characters that no token has")
            .advice("check VAULT_TOKEN and ~/.vault-token for line breaks and spaces")
    })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn cluster_address(settings: &VaultSettings) -> Result<String> {
    let declared = settings.address.clone().or_else(|| variable("VAULT_ADDR"));
    declared.or_else(|| settings.nodes.first().cloned()).ok_or_else(|| {
        Error::new(ErrorKind::Local, "connect to Vault", "no address is known")
            .advice("declare `vault.address` in the plan or set VAULT_ADDR")
    })
}

/// The nodes that the plan names, else those of `GROUNDWORK_VAULT_NODES`, separated by commas.
fn node_addresses(settings: &VaultSettings) -> Vec<String> {
    if settings.nodes.is_empty() {
        let nodes = variable("GROUNDWORK_VAULT_NODES").unwrap_or_default();
        return nodes.split(',').filter(|node| !node.is_empty()).map(str::to_owned).collect();
    }
    settings.nodes.clone()
}

fn parse_address(address: &str) -> Result<Url> {
    let wrong = |why: String| {
        Error::new(ErrorKind::Local, "connect to Vault", format!("the address `{address}` {why}"))
            .advice("write it as https://HOST:PORT")
    };
    let url = Url::parse(address).map_err(|error| wrong(format!("is no URL: {error}")))?;
    match url.scheme() {
        "http" | "https" if url.path() == "/" && url.query().is_none() => {
            endpoint::require_vault(address).map(|()| url)
        }
        "http" | "https" => Err(wrong("has a path; Vault is addressed by host and port alone".to_owned())),
        _ => Err(wrong("is neither http nor https".to_owned())),
    }
}

/// The plan's CA is relative to its folder; the variable's to the working directory.
fn ca_cert(settings: &VaultSettings, folder: &Path) -> Option<PathBuf> {
    let declared = settings.ca_cert.as_ref().map(|path| folder.join(path));
    declared.or_else(|| variable("VAULT_CACERT").map(PathBuf::from))
}

fn http_client(address: &Url, ca_cert: Option<&Path>) -> Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .dns_resolver(Arc::new(endpoint::GuardedResolver))
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(at_most(REQUEST_TIMEOUT))
        .user_agent(concat!("groundwork/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = ca_cert {
        builder = builder.tls_certs_only(certificates(path)?);
    } else if address.scheme() == "http" {
        // Reading the system's authorities takes milliseconds and needs them to exist.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| Error::new(ErrorKind::Local, "connect to Vault", explain(&error)))
}

fn certificates(path: &Path) -> Result<Vec<Certificate>> {
    let failed = |why: String| {
        Error::new(ErrorKind::Local, format!("read {}", path.display()), why)
            .advice("`vault.ca_cert` or VAULT_CACERT must name a PEM file with the authority's certificate")
    };
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| failed(explain(&error)))?;
    if found.is_empty() { Err(failed("there is no certificate in it".to_owned())) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

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

    async fn client(nodes: &[&Node]) -> VaultClient {
        let settings = VaultSettings {
            nodes: nodes.iter().map(|node| node.address.clone()).collect(),
            ..VaultSettings::default()
        };
        let client = VaultClient::new(&settings, Path::new("."), Arc::default()).expect("valid");
        client.set_token(Secret::from("hvs.token".to_owned())).await;
        client
    }

    #[tokio::test]
    async fn a_redirect_is_answered_by_asking_the_nodes_and_never_followed() {
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
        assert_eq!(client.calls.total().read, 6, "four times health, the mounts twice");
    }

    #[tokio::test]
    async fn concurrent_steps_share_one_request_until_something_is_written() {
        let only = node(|head| match head.contains("seal-status") {
            true => answer("200 OK", "", r#"{"initialized":true,"sealed":false}"#),
            false => answer("200 OK", "", r#"{"data":{}}"#),
        })
        .await;
        let client = client(&[&only]).await;
        let (one, other) = tokio::join!(client.mounts(), client.mounts());
        assert!(one.is_ok() && other.is_ok());
        assert_eq!(client.calls.total().read, 2, "the seal status and the mounts");
        client.post(&Permit::mint(), "sys/mounts/x", &json!({})).await.expect("written");
        client.mounts().await.expect("read again");
        assert_eq!(client.calls.total().read, 3);
    }

    #[tokio::test]
    async fn a_server_that_cannot_serve_is_named_before_any_token_is_sent() {
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
    async fn what_arrived_of_an_initialisation_is_never_thrown_away() {
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

    #[test]
    fn addresses_and_tokens_are_checked_before_use() {
        assert!(parse_address("https://vault.example:8200").is_ok());
        for wrong in ["vault:8200", "ftp://vault", "https://vault/ui", ""] {
            assert!(parse_address(wrong).is_err(), "{wrong}");
        }
        assert!(header_text(&Secret::from("hvs.x".to_owned())).is_ok());
        let error = header_text(&Secret::from("hvs.x\n".to_owned())).expect_err("a line break");
        assert!(!format!("{error:?}").contains("hvs.x"));
    }

    #[tokio::test]
    async fn a_node_that_joins_is_given_the_authority_of_the_leader() {
        let folder = tempfile::tempdir().expect("a folder");
        let signed = rcgen::generate_simple_self_signed(["vault".to_owned()]).expect("a certificate");
        std::fs::write(folder.path().join("ca.pem"), signed.cert.pem()).expect("written");
        let only = node(|_| answer("200 OK", "", r#"{"joined":true}"#)).await;
        let settings = VaultSettings {
            address: Some(only.address.clone()),
            ca_cert: Some("ca.pem".into()),
            ..VaultSettings::default()
        };
        let client = VaultClient::new(&settings, folder.path(), Arc::default()).expect("valid");
        client.nodes()[0].join(&Permit::mint(), "https://leader:8200").await.expect("joins");
        let heads = only.heads.lock().expect("unpoisoned").join("");
        assert!(heads.contains("leader_ca_cert") && heads.contains("BEGIN CERTIFICATE"), "{heads}");
    }

    #[tokio::test]
    async fn debug_shows_no_token() {
        let only = node(|_| String::new()).await;
        assert!(!format!("{:?}", client(&[&only]).await).contains("hvs"));
    }
}
