//! The one way to an API server: it authenticates, counts the requests, and keeps what it has read.

mod connect;
mod discovery;
mod lists;
mod send;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::OnceCell;

pub use self::connect::Dial;
use self::discovery::Discovery;
use self::lists::Lists;
use self::send::{Body, Request};
use super::address::{Address, Api};
use super::credential::Credential;
use super::error::{Effect, FieldConflict, conflicts, of_conflicts, of_status};
use super::ownership;
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;
use crate::place::Place;
use crate::resource::{Provided, Requirement};
use crate::run::Run;
use crate::trace::Calls;

/// The media type of a server-side apply; JSON is YAML.
const APPLY: &str = "application/apply-patch+yaml";
const JSON: &str = "application/json";
/// The namespace whose uid stands for the cluster: nothing else of a cluster keeps its identity.
const IDENTITY: &str = "kube-system";

/// A connection to one cluster.
pub struct KubernetesClient {
    http: reqwest::Client,
    server: String,
    authority: Option<String>,
    credential: Credential,
    calls: Arc<Calls>,
    plan: String,
    manager: String,
    /// How many steps have each kind: those of one are read with one list.
    steps: BTreeMap<&'static str, usize>,
    lists: Lists,
    discovery: Discovery,
    uid: OnceCell<String>,
}

/// The outcome of a server-side apply.
#[derive(Debug)]
pub enum Applied {
    /// The object as it is now, or would be; and whether it is new.
    Done {
        /// The object.
        object: Value,
        /// Whether the request has created it.
        created: bool,
    },
    /// The server refused it.
    Refused {
        /// Why.
        error: Error,
        /// The fields that other managers have.
        conflicts: Vec<FieldConflict>,
    },
}

/// Whether a server-side apply takes effect.
#[derive(Clone, Copy)]
pub enum Mode<'a> {
    /// It does.
    Real(&'a Permit),
    /// The server does everything but store it.
    DryRun,
}

impl Provided for KubernetesClient {
    const PROVIDER: &'static str = "kubernetes";
    const REALM: &'static [&'static str] = &["cluster"];

    async fn provide(run: &Run, place: &Place) -> Result<Arc<Self>> {
        Ok(Arc::clone(Dial::of(run, place)?.client().await?))
    }

    fn namespace_maker(_: &str) -> Option<Requirement> {
        None
    }
}

impl KubernetesClient {
    /// The plan on whose behalf it works.
    pub fn plan(&self) -> &str {
        &self.plan
    }

    /// The name under which this plan manages fields.
    pub fn manager(&self) -> &str {
        &self.manager
    }

    /// The server's address.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The certificates of the server's authority, in PEM, unless it is one of the system's.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// The uid of the cluster, that of its namespace `kube-system`.
    pub async fn uid(&self) -> Result<&str> {
        let uid = self.uid.get_or_try_init(async || {
            let found = self.read(&format!("api/v1/namespaces/{IDENTITY}")).await?;
            let uid = found.as_ref().and_then(|found| found["metadata"]["uid"].as_str()).map(str::to_owned);
            uid.ok_or_else(|| {
                Error::new(
                    ErrorKind::Rejected,
                    "identify the cluster",
                    format!("there is no namespace {IDENTITY}"),
                )
                .advice(format!("the cluster is known by the uid of {IDENTITY}; every cluster has it"))
            })
        });
        uid.await.map(String::as_str)
    }

    /// The resource behind an API version and kind; `None` when the server does not have it.
    pub async fn api(&self, api_version: &str, kind: &str) -> Result<Option<Api>> {
        self.discovery.find(self, api_version, kind).await
    }

    /// An object; `None` when there is none. Objects of this plan come from one list where several steps
    /// have the kind.
    pub async fn get(&self, kind: &'static str, address: &Address) -> Result<Option<Value>> {
        let is_one_of_several = self.steps.get(kind).is_some_and(|count| *count > 1);
        self.find(address, is_one_of_several).await
    }

    /// As [`Self::get`], from one list if the caller wants several objects of the kind.
    pub async fn find(&self, address: &Address, is_one_of_several: bool) -> Result<Option<Value>> {
        if is_one_of_several && let Some(found) = self.lists.find(self, address).await? {
            return Ok(Some(found));
        }
        self.read(&address.path()).await
    }

    /// An object as the server has it now, past all lists.
    pub async fn get_now(&self, address: &Address) -> Result<Option<Value>> {
        self.read(&address.path()).await
    }

    /// Applies an object on the server with this plan as the manager of its fields:
    /// <https://kubernetes.io/docs/reference/using-api/server-side-apply/>.
    ///
    /// # Errors
    /// When the server could not be asked; its refusal is [`Applied::Refused`].
    pub async fn apply(
        &self,
        mode: Mode<'_>,
        address: &Address,
        object: &Value,
        force: bool,
    ) -> Result<Applied> {
        self.apply_as(&self.manager, mode, address, object, force).await
    }

    /// As [`Self::apply`], with another manager of the fields.
    pub async fn apply_as(
        &self,
        manager: &str,
        mode: Mode<'_>,
        address: &Address,
        object: &Value,
        force: bool,
    ) -> Result<Applied> {
        let path = address.path();
        let mut query = vec![("fieldManager", manager), ("force", if force { "true" } else { "false" })];
        let effect = match mode {
            Mode::Real(_) => Effect::Write,
            Mode::DryRun => {
                query.push(("dryRun", "All"));
                Effect::Read
            }
        };
        let body = Body { media: APPLY, bytes: bytes(object) };
        let request = Request { method: "PATCH", path: &path, query: &query, body: Some(body), effect };
        let operation = request.operation();
        let answer = self.send(request).await;
        if effect == Effect::Write {
            self.lists.forget(&path).await;
        }
        let (status, told) = answer?;
        match status {
            200 | 201 => Ok(Applied::Done { object: told, created: status == 201 }),
            429 | 500.. => Err(of_status(&operation, status, &told, effect)),
            409 if !conflicts(&told).is_empty() => {
                let conflicts = conflicts(&told);
                Ok(Applied::Refused { error: of_conflicts(&operation, &conflicts), conflicts })
            }
            _ => Ok(Applied::Refused {
                error: of_status(&operation, status, &told, effect),
                conflicts: Vec::new(),
            }),
        }
    }

    /// Deletes an object, unless it has become another one. One that is gone already counts as success.
    pub async fn delete(&self, _: &Permit, address: &Address, uid: &str) -> Result<()> {
        let path = address.path();
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
            "preconditions": { "uid": uid },
        });
        let body = Body { media: JSON, bytes: bytes(&options) };
        let request =
            Request { method: "DELETE", path: &path, query: &[], body: Some(body), effect: Effect::Write };
        let operation = request.operation();
        let answer = self.send(request).await;
        self.lists.forget(&path).await;
        match answer? {
            (200..=299 | 404, _) => Ok(()),
            (status, told) => Err(of_status(&operation, status, &told, Effect::Write)),
        }
    }

    /// The objects with these labels among all of a resource; none where the caller may not list them.
    pub async fn labelled(&self, api: &Api, selector: &str) -> Result<Vec<Value>> {
        let collection = format!("{}/{}", Api::root(&api.version), api.plural);
        let told = match self.read_with(&collection, &[("labelSelector", selector)]).await {
            Err(error) if error.kind == ErrorKind::Denied => return Ok(Vec::new()),
            // A resource that cannot be listed has no labels either.
            Err(error) if error.is("MethodNotAllowed") => return Ok(Vec::new()),
            told => told?.unwrap_or_default(),
        };
        Ok(lists::items(told, api))
    }

    /// Every resource whose objects can be listed, each in one version.
    pub async fn served(&self) -> Result<Vec<Api>> {
        self.discovery.all(self).await
    }

    /// Asks with POST what changes nothing that a plan declares: a review, a token.
    pub async fn ask(&self, path: &str, body: &Value) -> Result<Value> {
        let body = Body { media: JSON, bytes: bytes(body) };
        let request = Request { method: "POST", path, query: &[], body: Some(body), effect: Effect::Read };
        let operation = request.operation();
        match self.send(request).await? {
            (200..=299, told) => Ok(told),
            (status, told) => Err(of_status(&operation, status, &told, Effect::Read)),
        }
    }

    /// Forgets everything that was read.
    pub async fn forget(&self) {
        self.lists.forget_all().await;
    }

    async fn read(&self, path: &str) -> Result<Option<Value>> {
        self.read_with(path, &[]).await
    }

    async fn read_with(&self, path: &str, query: &[(&str, &str)]) -> Result<Option<Value>> {
        let request = Request { method: "GET", path, query, body: None, effect: Effect::Read };
        let operation = request.operation();
        match self.send(request).await? {
            (200..=299, told) => Ok(Some(told)),
            (404, _) => Ok(None),
            (status, told) => Err(of_status(&operation, status, &told, Effect::Read)),
        }
    }

    /// All objects of this plan in a collection.
    async fn list(&self, collection: &str) -> Result<Option<Value>> {
        let selector = format!("{}={}", ownership::PLAN, ownership::label(&self.plan));
        self.read_with(collection, &[("labelSelector", &selector)]).await
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}
