//! Objects with typed fields. Such a kind defines only its fields and what they are called in the object;
//! everything else is shared.

use std::fmt;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::address::{Address, Api};
use super::client::{KubernetesClient, Mode};
use super::compare::{self, Difference};
use super::live::{self, Live, Outcome};
use super::meta::Meta;
use super::wait;
use crate::access::Granting;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::resource::risk::{Deletion, Risks};
use crate::resource::{Blocked, Diff, Look, Partial, Requirement, Resource, Tags, Writer};
use crate::run::{Access, Permission, Use};

/// The declared fields of an object.
pub trait KubeObject:
    Serialize + DeserializeOwned + JsonSchema + Clone + fmt::Debug + Send + Sync + 'static
{
    /// As [`Resource::KIND`].
    const KIND: &'static str;
    /// As [`Resource::ABOUT`].
    const ABOUT: &'static str;
    /// As [`Resource::EXAMPLE`].
    const EXAMPLE: &'static str;
    /// As [`Resource::PROTECTED`].
    const PROTECTED: bool = false;
    /// As [`Resource::REMOVAL`].
    const REMOVAL: Option<&'static str> = None;
    /// As [`Resource::DELETION`].
    const DELETION: Deletion = Deletion::usual(Self::PROTECTED);
    /// As [`Resource::GRANTS`].
    const GRANTS: Granting;
    /// As [`Resource::RISKS`].
    const RISKS: Risks;
    /// As [`Resource::PROOF`].
    const PROOF: Proof = Proof::InSync("the API server stores it as declared, and nothing else serves it");
    /// The paths of the fields in the object, where they differ: the longest first.
    const FIELDS: &'static [(&'static str, &'static str)];
    /// Fields that cannot change, and why.
    const FIXED: &'static [(&'static str, &'static str)] = &[];

    /// The resource.
    fn api(&self) -> Api;

    /// The fields that every object has.
    fn meta(&self) -> Meta<'_>;

    /// The object, without version, kind and metadata.
    fn content(&self) -> Map<String, Value>;

    /// Annotations and labels that follow from other fields.
    fn describe(&self, _metadata: &mut Map<String, Value>) {}

    /// As [`Resource::check`].
    fn check(&self) -> Vec<FieldError> {
        Vec::new()
    }

    /// As [`Resource::requires`], besides the namespace.
    fn requires(&self) -> Vec<Requirement> {
        Vec::new()
    }

    /// As [`Resource::permissions`], besides those on the object itself.
    fn further_permissions(&self, _: Access) -> Vec<Permission> {
        Vec::new()
    }

    /// Why a live object cannot become as declared.
    fn blocked(&self, _live: &Value) -> Vec<Blocked> {
        Vec::new()
    }
}

/// The kind of an object with typed fields.
pub struct Kube<S>(PhantomData<fn() -> S>);

/// The outputs that other steps may refer to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ObjectOutputs {
    /// The name.
    pub name: String,
    /// The namespace; empty for objects of the cluster.
    pub namespace: String,
    /// The uid, which another object of the same name does not have.
    pub uid: String,
}

impl ObjectOutputs {
    /// Those of a live object.
    pub fn of(live: &Live) -> Self {
        let text = |name: &str| live.object["metadata"][name].as_str().unwrap_or_default().to_owned();
        Self { name: text("name"), namespace: text("namespace"), uid: text("uid") }
    }

    /// Those that are certain beforehand.
    pub fn predicted(name: &str, namespace: Option<&str>) -> Partial {
        Partial::default().with("name", name).with("namespace", namespace.unwrap_or_default())
    }
}

/// The namespace of an object, as something that must exist before.
pub fn namespace(name: Option<&str>) -> Option<Requirement> {
    name.map(|name| Requirement::thing("kubernetes.namespace", name))
}

/// The address of a declared object.
pub fn address<S: KubeObject>(desired: &S) -> Address {
    let meta = desired.meta();
    Address { api: desired.api(), namespace: meta.namespace.map(str::to_owned), name: meta.name.to_owned() }
}

/// The object that is applied.
pub fn body<S: KubeObject>(desired: &S, plan: &str) -> Value {
    with_metadata(desired, desired.meta().metadata(plan))
}

/// The object without the mark of a plan.
pub fn document<S: KubeObject>(desired: &S) -> Value {
    with_metadata(desired, desired.meta().fields())
}

fn with_metadata<S: KubeObject>(desired: &S, mut metadata: Map<String, Value>) -> Value {
    let api = desired.api();
    desired.describe(&mut metadata);
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), Value::from(api.version));
    object.insert("kind".to_owned(), Value::from(api.kind));
    object.insert("metadata".to_owned(), Value::Object(metadata));
    object.extend(desired.content());
    Value::Object(object)
}

/// The path of a plan's field for the path of an object's.
pub fn field<S: KubeObject>(path: &str) -> String {
    let shared = [("metadata.labels", "labels"), ("metadata.annotations", "annotations")];
    let renamed = S::FIELDS.iter().copied().chain(shared).find_map(|(from, to)| {
        let rest = path.strip_prefix(from)?;
        (rest.is_empty() || rest.starts_with('.')).then(|| format!("{to}{rest}"))
    });
    renamed.unwrap_or_else(|| path.to_owned())
}

/// Records differences under the names of the plan's fields.
fn record<S: KubeObject>(diff: &mut Diff, found: Vec<Difference>) {
    for one in found {
        let path = field::<S>(&one.path);
        let fixed = S::FIXED.iter().find(|(name, _)| *name == path);
        match fixed {
            Some((_, why)) => diff.immutable(&path, &one.before, &one.after, why),
            None => diff.push(&path, one.before, one.after),
        };
    }
}

/// The differences of an object that exists, or that the server refuses.
pub fn diff<S: KubeObject>(desired: &S, observed: &Live) -> Diff {
    let declared = body(desired, &observed.plan);
    let mut diff = Diff::none();
    if let Some(blocked) = observed.deletion() {
        diff.blocked.push(blocked);
        return diff;
    }
    match observed.outcome(&declared) {
        Some(Outcome::Refused(blocked)) => {
            record::<S>(&mut diff, compare::declared(&declared, &observed.object, &observed.manager));
            if desired.blocked(&observed.object).is_empty() {
                diff.blocked.push(Blocked { path: field::<S>(&blocked.path), ..blocked.clone() });
            }
        }
        Some(Outcome::Becomes(object)) => record::<S>(&mut diff, compare::between(&observed.object, object)),
        None => record::<S>(&mut diff, compare::declared(&declared, &observed.object, &observed.manager)),
    }
    diff.blocked.extend(desired.blocked(&observed.object));
    awaited(&mut diff, desired.meta().wait, observed);
    diff
}

/// A condition that is not true yet, where nothing else differs: another declaration may be its cure.
pub fn awaited(diff: &mut Diff, wait: Option<&super::meta::Wait>, observed: &Live) {
    let is_as_declared = diff.is_empty() && diff.blocked.is_empty() && !observed.is_refused();
    if let Some(wait) = wait.filter(|_| is_as_declared) {
        let state = observed.condition(&wait.condition);
        let status = state.map_or("not reported", |(status, _)| status);
        let why = format!("{}; the controller behind it has to act", wait::in_words(state));
        diff.awaited(&format!("wait.{}", wait.condition), status, "True", &why);
    }
}

/// Removes an object of this plan, and waits until it is gone.
pub async fn delete(w: &Writer<'_, KubernetesClient>, address: &Address) -> Result<()> {
    let Some(object) = w.get_now(address).await? else { return Ok(()) };
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    w.delete(w.permit(), address, uid).await?;
    wait::until_gone(w, address, uid).await
}

/// Applies an object that did not exist. One that came into being since then is left as it was.
pub async fn create(
    w: &Writer<'_, KubernetesClient>,
    address: &Address,
    body: &Value,
    force: bool,
) -> Result<()> {
    let applied = w.apply(Mode::Real(w.permit()), address, body, force).await?;
    let (object, created) = live::into_result(applied)?;
    if created || is_earlier_attempt(&object, w.manager()) {
        return Ok(());
    }
    // An apply without fields gives up what the one before has added.
    let nothing = serde_json::json!({
        "apiVersion": body["apiVersion"], "kind": body["kind"],
        "metadata": { "name": body["metadata"]["name"], "namespace": body["metadata"]["namespace"] },
    });
    live::into_result(w.apply(Mode::Real(w.permit()), address, &nothing, false).await?)?;
    Err(Error::made_meanwhile(format!("PATCH {}", address.path())))
}

/// Whether no other manager has a field of the object: then an attempt whose response was lost made it.
fn is_earlier_attempt(object: &Value, manager: &str) -> bool {
    let managers = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    managers.into_iter().all(|entry| entry["manager"] == manager)
}

impl<S: KubeObject> Resource for Kube<S> {
    const KIND: &'static str = S::KIND;
    const ABOUT: &'static str = S::ABOUT;
    const EXAMPLE: &'static str = S::EXAMPLE;
    const PROTECTED: bool = S::PROTECTED;
    const REMOVAL: Option<&'static str> = S::REMOVAL;
    const DELETION: Deletion = S::DELETION;
    const GRANTS: Granting = S::GRANTS;
    const RISKS: Risks = S::RISKS;
    const PROOF: Proof = S::PROOF;
    const REHEARSED: bool = true;

    type Client = KubernetesClient;
    type Id = Address;
    type Desired = S;
    type Observed = Live;
    type Outputs = ObjectOutputs;

    fn id(desired: &S) -> Address {
        address(desired)
    }

    fn check(desired: &S) -> Vec<FieldError> {
        let mut found = desired.meta().check();
        found.extend(desired.check());
        found
    }

    fn requires(desired: &S) -> Vec<Requirement> {
        namespace(desired.meta().namespace).into_iter().chain(desired.requires()).collect()
    }

    fn permissions(desired: &S, used: Use<'_>) -> Vec<Permission> {
        let own = permissions(&address(desired), used.access);
        own.into_iter().chain(desired.further_permissions(used.access)).collect()
    }

    async fn observe(client: &KubernetesClient, id: &Address, _: Look<'_, Self>) -> Result<Option<Live>> {
        Ok(client.get(S::KIND, id).await?.map(|object| Live::new(client, object)))
    }

    async fn rehearse(
        client: &KubernetesClient,
        desired: &S,
        observed: Option<&Live>,
    ) -> Result<Option<Live>> {
        let declared = body(desired, client.plan());
        live::rehearse(client, &address(desired), declared, desired.meta().force, observed).await
    }

    fn diff(desired: &S, observed: &Live) -> Diff {
        diff(desired, observed)
    }

    async fn create(w: &Writer<'_, KubernetesClient>, desired: &S) -> Result<()> {
        let (address, meta) = (address(desired), desired.meta());
        create(w, &address, &body(desired, w.plan()), meta.force).await?;
        match meta.wait {
            Some(wait) => wait::until_true(w, &address, wait).await,
            None => Ok(()),
        }
    }

    async fn update(w: &Writer<'_, KubernetesClient>, desired: &S, observed: &Live) -> Result<()> {
        let (address, meta) = (address(desired), desired.meta());
        if let Some(blocked) = diff(desired, observed).blocked.iter().find(|blocked| !blocked.waits) {
            let message = format!("{}: {}", blocked.path, blocked.why);
            return Err(Error::new(ErrorKind::Rejected, format!("PATCH {}", address.path()), message));
        }
        let applied = w.apply(Mode::Real(w.permit()), &address, &body(desired, w.plan()), meta.force).await?;
        live::into_result(applied)?;
        match meta.wait {
            Some(wait) => wait::until_true(w, &address, wait).await,
            None => Ok(()),
        }
    }

    async fn delete(w: &Writer<'_, KubernetesClient>, id: &Address) -> Result<()> {
        delete(w, id).await
    }

    fn obstructs(observed: &Live) -> bool {
        observed.is_refused()
    }

    fn outputs(observed: &Live) -> ObjectOutputs {
        ObjectOutputs::of(observed)
    }

    fn predicted_outputs(desired: &S, _: &Realm) -> Partial {
        let meta = desired.meta();
        ObjectOutputs::predicted(meta.name, meta.namespace)
    }

    fn tags(observed: &Live) -> Option<&Tags> {
        Some(observed.tags())
    }
}

/// The permissions that an object needs, as verbs on a path of the API.
pub fn permissions(address: &Address, access: Access) -> Vec<Permission> {
    let verbs: &[&'static [&'static str]] = match access {
        // A list is an economy: where it is denied, each object is read by itself.
        Access::Read => &[&["get"]],
        // A server-side apply takes both, because it may create.
        Access::Create => &[&["create"], &["patch"]],
        Access::Update => &[&["patch"]],
        Access::Delete => &[&["delete"]],
        Access::Prove => &[],
    };
    verbs.iter().map(|any_of| Permission::new(address.path(), any_of)).collect()
}
