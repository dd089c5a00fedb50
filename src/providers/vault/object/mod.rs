//! Things that Vault stores under one path and returns field by field, such as roles, quotas and
//! entities. Such a kind defines only its fields and its path; everything else is shared.

mod approle_role;
mod aws_auth;
mod aws_auth_role;
mod aws_auth_sts;
mod aws_role;
mod aws_root;
mod azure_auth;
mod azure_auth_role;
mod cert_role;
mod database_connection;
mod database_role;
mod database_static_role;
mod entity;
mod gcp_auth;
mod gcp_auth_role;
mod github_auth;
mod group;
mod group_policies;
mod jwt_auth;
mod jwt_role;
mod kubernetes_role;
mod kv_config;
mod ldap_auth;
mod namespace;
mod outputs;
mod password_policy;
mod pki_crl;
mod pki_role;
mod pki_urls;
mod quota;
mod secrets;
mod ssh_ca;
mod ssh_role;
mod token_role;
mod totp_key;
mod transit_key;
mod userpass_user;

use std::fmt;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use approle_role::ApproleRole;
pub use aws_auth::AwsAuth;
pub use aws_auth_role::AwsAuthRole;
pub use aws_auth_sts::AwsAuthSts;
pub use aws_role::AwsRole;
pub use aws_root::AwsRoot;
pub use azure_auth::AzureAuth;
pub use azure_auth_role::AzureAuthRole;
pub use cert_role::CertRole;
pub use database_connection::DatabaseConnection;
pub use database_role::DatabaseRole;
pub use database_static_role::DatabaseStaticRole;
pub use entity::Entity;
pub use gcp_auth::GcpAuth;
pub use gcp_auth_role::GcpAuthRole;
pub use github_auth::GithubAuth;
pub use group::Group;
pub use group_policies::{GithubTeam, GithubUser, LdapGroup, LdapUser};
pub use jwt_auth::JwtAuth;
pub use jwt_role::JwtRole;
pub use kubernetes_role::KubernetesRole;
pub use kv_config::KvConfig;
pub use ldap_auth::LdapAuth;
pub use namespace::Namespace;
pub use outputs::ObjectOutputs;
pub use password_policy::PasswordPolicy;
pub use pki_crl::PkiCrl;
pub use pki_role::PkiRole;
pub use pki_urls::PkiUrls;
pub use quota::Quota;
pub use ssh_ca::SshCa;
pub use ssh_role::SshRole;
pub use token_role::TokenRole;
pub use totp_key::TotpKey;
pub use transit_key::TransitKey;
pub use userpass_user::UserpassUser;

use super::VaultClient;
use super::fields::{self, Fixed};
use super::mount::{Mount, refuse_blocked, refuse_existing};
use super::permissions::{self, Making};
use super::server::Plugin;
use super::states::engine_thing;
use crate::access::{Grant, Granting};
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::Realm;
use crate::proof::{Proof, Prover};
use crate::resource::risk::Risks;
use crate::resource::{
    Attachment, Diff, Look, Part, Partial, Provided, Replacement, Requirement, Resource, Rotation, Turn,
    Writer,
};
use crate::run::{Access, Permission, Use, Workload};
use crate::secret::SecretSource;

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
    /// As [`Resource::PROTECTED`].
    const PROTECTED: bool = false;
    /// As [`Resource::REPLACEMENT`].
    const REPLACEMENT: Replacement = Replacement::Recreated;
    /// As [`Resource::ROTATION`].
    const ROTATION: Rotation = Rotation::Never("the server has no secret of it that can be rotated");
    /// As [`Resource::NAMESPACED`].
    const NAMESPACED: bool = true;
    /// As [`Resource::REALM`].
    const REALM: &'static [&'static str] = <VaultClient as Provided>::REALM;
    /// As [`Resource::GRANTS`].
    const GRANTS: Granting = Granting::Unsaid;
    /// As [`Resource::RISKS`].
    const RISKS: Risks;
    /// As [`Resource::PROOF`].
    const PROOF: Proof;
    /// Fields that form the path and are not part of a request's body.
    const IDENTITY: &'static [&'static str];
    /// Fields that cannot be changed.
    const FIXED: &'static [Fixed] = &[];
    /// The outputs that the server reports, besides the name and the mount: field and meaning.
    const OUTPUTS: &'static [(&'static str, &'static str)] = &[];
    /// Paths below its own whose responses belong to it.
    const PARTS: &'static [&'static str] = &[];
    /// Whether a write resets every omitted field to the server's default. Then an update sends
    /// back the server's values of undeclared fields.
    const REPLACED_WHOLE: bool = false;
    /// Fields that the server never reports and that every update resets, with their values after
    /// the reset.
    const RESET: &'static [(&'static str, &'static str)] = &[];
    /// Fields that say how the server handles a write: sent with every write, and never compared.
    const SENT_ONLY: &'static [&'static str] = &[];
    /// Whether the server takes names that differ only by case for the same.
    const FOLDS_CASE: bool = false;
    /// The reason why it cannot be deleted, for things that exist as long as their mount.
    const PERMANENT: Option<&'static str> = None;
    /// Whether the server has it as soon as its mount exists, with defaults: then a creation, planned before
    /// the mount existed, finds it.
    const COMES_WITH_MOUNT: bool = false;
    /// Whether its server distinguishes making from changing.
    const MAKING: Making = Making::Update;
    /// The plugin that it needs and that not every server has.
    const PLUGIN: Option<Plugin<'static>> = None;

    /// The path below `v1/` at which it is read and written.
    fn path(&self) -> String;

    /// Its name, for other steps.
    fn name(&self) -> &str;

    /// As [`Resource::check`].
    fn check(&self) -> Vec<FieldError> {
        Vec::new()
    }

    /// As [`Resource::permissions`].
    fn permissions(&self, access: Access) -> Vec<Permission> {
        let is_kept = access == Access::Delete && Self::PERMANENT.is_some();
        if is_kept { Vec::new() } else { permissions::at(&self.path(), access, Self::MAKING) }
    }

    /// The permissions that its proof needs, besides those to look at it.
    fn proof_permissions(&self) -> Vec<Permission> {
        Vec::new()
    }

    /// The statements of a thing with these fields about access.
    fn grants(&self) -> Vec<Grant> {
        let mount = fields::fields(self).get("mount").and_then(Value::as_str).unwrap_or_default().to_owned();
        engine_thing(Self::KIND, (&mount, self.name()), &self.path())
    }

    /// Requirements besides an initialised Vault.
    fn requires(&self) -> Vec<Requirement> {
        Vec::new()
    }

    /// Whether a response of [`PlainObject::PARTS`] contains a declared field; otherwise these are
    /// read only for outputs.
    fn compares_parts(&self) -> bool {
        false
    }

    /// Secret fields by name. The server never returns them, so they are not compared.
    fn secrets(&mut self) -> Vec<(&'static str, &mut SecretSource)> {
        Vec::new()
    }

    /// Whether its secrets are sent again when another field changes.
    fn sends_secrets_again(&self) -> bool {
        true
    }

    /// The fields that cannot change from their values in `live`.
    fn fixed(&self, _live: &Self) -> Vec<Fixed> {
        Self::FIXED.to_vec()
    }

    /// Of the reported fields, those that an update of a [`PlainObject::REPLACED_WHOLE`] thing
    /// sends back unchanged. `live` is the same in the plan's notation.
    fn kept(&self, mut reported: Map<String, Value>, _live: &Self) -> Map<String, Value> {
        reported.retain(|_, value| !value.is_null());
        reported
    }

    /// Why the thing is unusable although it exists, e.g. because it was revoked.
    fn broken(_told: &Value) -> Option<(&'static str, String)> {
        None
    }

    /// Converts the server's response to the plan's notation.
    fn understand(told: Value) -> Value {
        told
    }

    /// Whether a response means that it exists; some configurations can be read before they are
    /// set.
    fn is_set(_told: &Value) -> bool {
        true
    }

    /// Whether a refusal to read or delete means that it does not exist.
    fn is_absence(_refusal: &Error) -> bool {
        false
    }

    /// Why the server refuses to delete it in its current state, and what to do instead; deleting
    /// its mount deletes it in any case. For objects with a field `mount`.
    fn undeletable(&self) -> Option<&'static str> {
        None
    }

    /// As [`Resource::prove`], with the server's report of the object.
    fn prove(
        _prover: &Prover<'_, VaultClient>,
        _desired: &Self,
        _told: &Value,
    ) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// As [`Resource::workload`].
    fn workload(&self) -> Option<Workload> {
        None
    }

    /// As [`Resource::attachments`].
    fn attachments(
        &self,
        _client: &VaultClient,
        _told: &Value,
    ) -> impl Future<Output = Result<Vec<Attachment>>> + Send {
        std::future::ready(Ok(Vec::new()))
    }

    /// Asks the engine for another secret in place of the one that it has. Returns whether it can make one.
    fn rotate(&mut self) -> bool {
        false
    }

    /// The request that rotates, where that was asked for: a path that takes an empty body.
    fn rotation(&self) -> Option<String> {
        None
    }

    /// The field that shows a rotation that was asked for, from the server's response: its name, the value and the next one.
    fn rotated(&self, _told: &Value) -> Option<(&'static str, Value, Value)> {
        None
    }

    /// The requests that create it, or that change `live` to the declared state: path and body.
    /// `body` has every field that such a request may have.
    fn requests(&self, body: Map<String, Value>, _live: Option<&Self>) -> Vec<(String, Map<String, Value>)> {
        vec![(self.path(), body)]
    }
}

/// The kind of a plain object.
pub struct Object<S>(PhantomData<fn() -> S>);

/// The location of an object, and the fields that identify it.
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

/// A live object.
#[derive(Clone, Debug)]
pub struct Live<S> {
    spec: S,
    told: Value,
    /// The server's response at the thing's own path, unchanged.
    reported: Map<String, Value>,
}

impl<S: PlainObject> Resource for Object<S> {
    const KIND: &'static str = S::KIND;
    const ABOUT: &'static str = S::ABOUT;
    const EXAMPLE: &'static str = S::EXAMPLE;
    const PROTECTED: bool = S::PROTECTED;
    const REPLACEMENT: Replacement = S::REPLACEMENT;
    const ROTATION: Rotation = S::ROTATION;
    const NAMESPACED: bool = S::NAMESPACED;
    const REALM: &'static [&'static str] = S::REALM;
    const GRANTS: Granting = S::GRANTS;
    const RISKS: Risks = S::RISKS;
    const PROOF: Proof = S::PROOF;

    type Client = VaultClient;
    type Id = ObjectId;
    type Desired = S;
    type Observed = Live<S>;
    type Outputs = ObjectOutputs<S>;

    fn id(desired: &S) -> ObjectId {
        let mut identity = fields::fields(desired);
        identity.retain(|name, _| S::IDENTITY.contains(&name.as_str()));
        ObjectId { path: desired.path(), identity }
    }

    fn same_name(id: &ObjectId) -> String {
        let name = id.identity.get("name").and_then(Value::as_str).filter(|_| S::FOLDS_CASE);
        let folded =
            name.and_then(|name| Some(id.path.strip_suffix(name)?.to_owned() + &name.to_lowercase()));
        folded.unwrap_or_else(|| id.path.clone())
    }

    fn check(desired: &S) -> Vec<FieldError> {
        let mut errors = desired.check();
        errors.extend(secrets::check(desired));
        errors
    }

    fn permissions(desired: &S, used: Use<'_>) -> Vec<Permission> {
        if used.access == Access::Prove {
            return desired.proof_permissions();
        }
        let parts = S::PARTS.iter().filter(|_| used.access == Access::Read);
        let parts = parts.filter(|_| used.outputs || desired.compares_parts());
        let parts = parts.map(|part| permissions::read(format!("{}/{part}", desired.path())));
        desired.permissions(used.access).into_iter().chain(parts).collect()
    }

    fn requires(desired: &S) -> Vec<Requirement> {
        std::iter::once(Requirement::Kind("vault.init")).chain(desired.requires()).collect()
    }

    /// Fields that the plan does not manage are absent from the declaration.
    fn grants(desired: &S, live: Option<&Live<S>>, _: &Realm) -> Vec<Grant> {
        let Some(live) = live else { return desired.grants() };
        let mut all = fields::fields(&live.spec);
        all.extend(fields::fields(desired));
        serde_json::from_value(Value::Object(all)).unwrap_or_else(|_| desired.clone()).grants()
    }

    fn granted(observed: &Live<S>) -> Vec<Grant> {
        observed.spec.grants()
    }

    fn rotation_permissions(desired: &S, _: &Realm) -> Vec<Permission> {
        let mut asked = desired.clone();
        asked.rotate();
        asked.rotation().map(permissions::write).into_iter().collect()
    }

    fn rotate(desired: &mut S, turn: Turn) -> bool {
        turn == Turn::Forward && desired.rotate()
    }

    fn resend(desired: &mut S) {
        for (_, source) in desired.secrets() {
            source.resend();
        }
    }

    fn sources(desired: &mut S) -> Vec<&mut SecretSource> {
        desired.secrets().into_iter().map(|(_, source)| source).collect()
    }

    /// Reads the responses of [`PlainObject::PARTS`] too when outputs are wanted, or when they contain
    /// compared fields.
    async fn observe(client: &VaultClient, id: &ObjectId, look: Look<'_, Self>) -> Result<Option<Live<S>>> {
        let told = match client.get(&id.path).await {
            Err(error) if S::is_absence(&error) => None,
            told => told?.filter(S::is_set),
        };
        let Some(mut told) = told else {
            if let Some(plugin) = S::PLUGIN {
                client.require_plugin(plugin).await?;
            }
            return Ok(None);
        };
        let reported = told.as_object().cloned().unwrap_or_default();
        let with_parts = look.outputs || look.declares(S::compares_parts);
        // One after the other: concurrent reads fail, because OpenBao reads in transactions.
        for part in S::PARTS.iter().filter(|_| with_parts) {
            let part = client.get(&format!("{}/{part}", id.path)).await?;
            if let (Some(Value::Object(part)), Value::Object(told)) = (part, &mut told) {
                told.extend(part);
            }
        }
        Ok(Some(Live { reported, ..live(id, told)? }))
    }

    fn diff(desired: &S, observed: &Live<S>) -> Diff {
        let (live, mut declared) = (fields::fields(&observed.spec), secrets::readable(desired));
        declared.retain(|name, _| !S::SENT_ONLY.contains(&name.as_str()));
        let mut diff = fields::compare(&live, &declared, &desired.fixed(&observed.spec));
        if let Some((field, why)) = S::broken(&observed.told) {
            diff.immutable(field, &observed.told[field], &Value::Null, &why);
        }
        secrets::asked_again(desired, &mut diff);
        if let Some((field, before, after)) = desired.rotated(&observed.told) {
            diff.push(field, before, after).note("the engine makes another one");
        }
        if !diff.is_empty() {
            for (field, becomes) in S::RESET {
                diff.reset(field, Value::from(*becomes));
            }
        }
        if !diff.is_empty() && desired.sends_secrets_again() {
            secrets::sent_again(desired, &mut diff);
        }
        diff
    }

    async fn create(w: &Writer<'_, VaultClient>, desired: &S) -> Result<()> {
        // These paths take a write in any case: the server has no request that only creates.
        let id = Self::id(desired);
        if !S::COMES_WITH_MOUNT {
            refuse_existing(Self::observe(w, &id, Look::BARE).await?.is_some(), &id.path)?;
        }
        send(w, desired, None).await
    }

    /// Writes every declared field that can change. Undeclared fields keep their values: the server
    /// keeps them, or they are sent back unchanged.
    async fn update(w: &Writer<'_, VaultClient>, desired: &S, observed: &Live<S>) -> Result<()> {
        let diff = Self::diff(desired, observed);
        refuse_blocked(&diff, S::KIND, &desired.path())?;
        let shown = desired.rotated(&observed.told).map(|(field, ..)| field);
        if diff.changes.iter().any(|change| Some(change.path.as_str()) != shown) {
            send(w, desired, Some(observed)).await?;
        }
        match desired.rotation() {
            Some(path) => w.post(w.permit(), &path, &Value::Object(Map::new())).await.map(drop),
            None => Ok(()),
        }
    }

    async fn delete(w: &Writer<'_, VaultClient>, id: &ObjectId) -> Result<()> {
        match S::PERMANENT {
            Some(why) => Err(Error::new(ErrorKind::Rejected, format!("DELETE {id}"), why)),
            None => match w.delete(w.permit(), &id.path).await {
                Err(error) if S::is_absence(&error) => Ok(()),
                deleted => deleted,
            },
        }
    }

    fn permanent(_: &ObjectId) -> Option<&'static str> {
        S::PERMANENT
    }

    async fn attachments(client: &VaultClient, _: &ObjectId, observed: &Live<S>) -> Result<Vec<Attachment>> {
        observed.spec.attachments(client, &observed.told).await
    }

    fn part_of(id: &ObjectId, observed: &Live<S>) -> Option<Part> {
        let mount = id.identity.get("mount").and_then(Value::as_str)?;
        let part = |why: &str| Part { kind: Mount::KIND, id: mount.to_owned(), why: why.to_owned() };
        observed.spec.undeletable().map(part)
    }

    async fn prove(prover: &Prover<'_, VaultClient>, desired: &S, observed: &Live<S>) {
        S::prove(prover, desired, &observed.told).await;
    }

    fn workload(desired: &S) -> Option<Workload> {
        desired.workload()
    }

    fn outputs(observed: &Live<S>) -> ObjectOutputs<S> {
        ObjectOutputs::told(&observed.spec, &observed.told)
    }

    fn predicted_outputs(desired: &S, _: &Realm) -> Partial {
        outputs::predicted(desired)
    }
}

async fn send<S: PlainObject>(
    w: &Writer<'_, VaultClient>,
    desired: &S,
    live: Option<&Live<S>>,
) -> Result<()> {
    let spec = live.map(|live| &live.spec);
    let with_secrets = live.is_none() || desired.sends_secrets_again() || secrets::is_asked_again(desired);
    let mut declared = secrets::body(desired, with_secrets)?;
    let fixed = |name: &str| S::FIXED.iter().any(|(field, _)| *field == name);
    declared.retain(|name, _| !S::IDENTITY.contains(&name.as_str()) && (live.is_none() || !fixed(name)));
    let mut body = match live.filter(|_| S::REPLACED_WHOLE) {
        Some(live) => desired.kept(live.reported.clone(), &live.spec),
        None => Map::new(),
    };
    body.extend(declared);
    for (path, body) in desired.requests(body, spec) {
        w.post(w.permit(), &path, &Value::Object(body)).await?;
    }
    Ok(())
}

fn live<S: PlainObject>(id: &ObjectId, told: Value) -> Result<Live<S>> {
    let told = S::understand(told);
    let schema = schemars::schema_for!(S);
    let properties = schema.get("properties").and_then(Value::as_object);
    let names: Vec<&str> = properties
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .filter(|name| !S::IDENTITY.contains(name))
        .collect();
    let mut spec = fields::parse::<Map<String, Value>>(&told, &names, [])?;
    spec.extend(id.identity.clone());
    let spec = fields::parse(&Value::Object(spec.clone()), &keys(&spec), [])?;
    Ok(Live { spec, told, reported: Map::new() })
}

fn keys(fields: &Map<String, Value>) -> Vec<&str> {
    fields.keys().map(String::as_str).collect()
}

/// A name that can be part of a path.
fn check_name(field: &str, name: &str) -> Option<FieldError> {
    let wrong = name.is_empty() || name.contains('/');
    wrong.then(|| FieldError::new(field, "is not a valid name").help("use letters, digits, `-`, `_` and `.`"))
}

/// Returns a field error unless `value` is one of `known`.
fn check_one_of(field: &str, value: &str, known: &[&str]) -> Option<FieldError> {
    let wrong = !known.contains(&value);
    wrong.then(|| {
        FieldError::new(field, format!("`{value}` is not known")).help(format!("one of {}", known.join(", ")))
    })
}

/// The policies in `names`, as requirements for the graph.
fn policies<'a>(names: impl Iterator<Item = &'a str>) -> impl Iterator<Item = Requirement> {
    names.map(|name| Requirement::thing("vault.policy", name))
}

/// The default of fields that are on by default.
const fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The observation of `declared` when the server responds with `told`.
    pub(super) fn live_of<S: PlainObject>(declared: &S, told: &Value) -> Live<S> {
        live(&Object::<S>::id(declared), told.clone()).expect("understood")
    }
}
