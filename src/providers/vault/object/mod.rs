//! Things that Vault keeps under one path and gives back field by field, such as roles, quotas and
//! entities. Such a kind is its fields and its path; everything else is the same for all.

mod cert_role;
mod entity;
mod group;
mod jwt_auth;
mod jwt_role;
mod password_policy;
mod pki_role;
mod quota;
mod token_role;

use std::fmt;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use cert_role::CertRole;
pub use entity::Entity;
pub use group::Group;
pub use jwt_auth::JwtAuth;
pub use jwt_role::JwtRole;
pub use password_policy::PasswordPolicy;
pub use pki_role::PkiRole;
pub use quota::Quota;
pub use token_role::TokenRole;

use super::VaultClient;
use super::fields::{self, Fixed};
use crate::resource::{
    Diff, Error, ErrorKind, FieldError, Partial, Requirement, Resource, Result, Scope, Writer,
};

/// The declared fields of a plain object, named as Vault's API names them.
pub trait PlainObject:
    Serialize + DeserializeOwned + JsonSchema + Clone + fmt::Debug + Send + Sync + 'static
{
    /// As [`Resource::KIND`].
    const KIND: &'static str;
    /// As [`Resource::ABOUT`].
    const ABOUT: &'static str;
    /// As [`Resource::EXAMPLE`].
    const EXAMPLE: &'static str;
    /// Fields that make the path and are not part of a request's body.
    const IDENTITY: &'static [&'static str];
    /// Fields that cannot be changed.
    const FIXED: &'static [Fixed] = &[];
    /// Why it cannot be deleted, for what exists as long as its mount.
    const PERMANENT: Option<&'static str> = None;

    /// The path below `v1/` where it is read and written.
    fn path(&self) -> String;

    /// Its name, for other steps.
    fn name(&self) -> &str;

    /// As [`Resource::check`].
    fn check(&self) -> Vec<FieldError> {
        Vec::new()
    }

    /// Things besides an initialised Vault that must be in place.
    fn requires(&self) -> Vec<Requirement> {
        Vec::new()
    }

    /// Whether an answer means that it exists; some configurations can be read before they are set.
    fn is_set(_told: &Value) -> bool {
        true
    }
}

/// The kind of a plain object.
pub struct Object<S>(PhantomData<fn() -> S>);

/// Where an object is, and the fields that say so.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ObjectId {
    path: String,
    identity: Map<String, Value>,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

/// An object as it is.
#[derive(Clone, Debug)]
pub struct Live<S> {
    spec: S,
    id: Option<String>,
}

/// What other steps may refer to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ObjectOutputs {
    /// Its name.
    pub name: String,
    /// The id that the server gave it, for objects that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl<S: PlainObject> Resource for Object<S> {
    const KIND: &'static str = S::KIND;
    const ABOUT: &'static str = S::ABOUT;
    const EXAMPLE: &'static str = S::EXAMPLE;

    type Client = VaultClient;
    type Id = ObjectId;
    type Desired = S;
    type Observed = Live<S>;
    type Outputs = ObjectOutputs;

    fn id(desired: &S) -> ObjectId {
        let mut identity = fields::fields(desired);
        identity.retain(|name, _| S::IDENTITY.contains(&name.as_str()));
        ObjectId { path: desired.path(), identity }
    }

    fn check(desired: &S) -> Vec<FieldError> {
        desired.check()
    }

    fn requires(desired: &S) -> Vec<Requirement> {
        std::iter::once(Requirement::Kind("vault.init")).chain(desired.requires()).collect()
    }

    async fn observe(client: &VaultClient, id: &ObjectId) -> Result<Option<Live<S>>> {
        let told = client.get(&id.path).await?.filter(S::is_set);
        told.map(|told| live(id, &told)).transpose()
    }

    fn diff(desired: &S, observed: &Live<S>) -> Diff {
        fields::compare(&observed.spec, desired, S::FIXED)
    }

    async fn create(w: &Writer<'_, VaultClient>, desired: &S) -> Result<()> {
        w.post(w.permit(), &desired.path(), &body(desired)).await.map(drop)
    }

    /// Every field: what a request leaves out is merged by some paths and emptied by others.
    async fn update(w: &Writer<'_, VaultClient>, desired: &S, _: &Live<S>) -> Result<()> {
        Self::create(w, desired).await
    }

    async fn delete(w: &Writer<'_, VaultClient>, id: &ObjectId) -> Result<()> {
        match S::PERMANENT {
            Some(why) => Err(Error::new(ErrorKind::Rejected, format!("DELETE {id}"), why)),
            None => w.delete(w.permit(), &id.path).await,
        }
    }

    fn permanent(_: &ObjectId) -> Option<&'static str> {
        S::PERMANENT
    }

    fn outputs(observed: &Live<S>) -> ObjectOutputs {
        ObjectOutputs { name: observed.spec.name().to_owned(), id: observed.id.clone() }
    }

    fn predicted_outputs(desired: &S, _: &Scope) -> Partial {
        Partial::default().with("name", desired.name())
    }
}

fn body<S: PlainObject>(desired: &S) -> Value {
    let mut body = fields::fields(desired);
    body.retain(|name, _| !S::IDENTITY.contains(&name.as_str()));
    Value::Object(body)
}

fn live<S: PlainObject>(id: &ObjectId, told: &Value) -> Result<Live<S>> {
    let schema = schemars::schema_for!(S);
    let properties = schema.get("properties").and_then(Value::as_object);
    let names: Vec<&str> = properties
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .filter(|name| !S::IDENTITY.contains(name))
        .collect();
    let told_id = told.get("id").and_then(Value::as_str).map(str::to_owned);
    let mut spec = fields::parse::<Map<String, Value>>(told, &names, [])?;
    spec.extend(id.identity.clone());
    Ok(Live { spec: fields::parse(&Value::Object(spec.clone()), &keys(&spec), [])?, id: told_id })
}

fn keys(fields: &Map<String, Value>) -> Vec<&str> {
    fields.keys().map(String::as_str).collect()
}

/// A name that can be part of a path.
fn check_name(field: &str, name: &str) -> Option<FieldError> {
    let wrong = name.is_empty() || name.contains('/') && !crate::resolve::unknown::is_unknown(name);
    wrong.then(|| FieldError::new(field, "is no name").help("use letters, digits, `-`, `_` and `.`"))
}

/// The policies that something names, for the graph.
fn policies<'a>(names: impl Iterator<Item = &'a str>) -> impl Iterator<Item = Requirement> {
    names.map(|name| Requirement::thing("vault.policy", name))
}
