//! Aliases: the names by which an auth method knows an entity or a group.
//! <https://openbao.org/api-docs/secret/identity/entity-alias/>,
//! <https://openbao.org/api-docs/secret/identity/group-alias/>.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::VaultClient;
use super::cache::Listing;
use super::fields;
use super::mount::refuse_existing;
use super::permissions;
use crate::access::{Grant, Granting};
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::providers::vault::risk::METADATA;
use crate::resource::risk::Category::BroaderGrant;
use crate::resource::risk::{Risks, changed, identity};
use crate::resource::{Diff, Look, Partial, Requirement, Resource, Writer};
use crate::run::{Access, Permission, Use};

/// The name by which an auth method knows an entity.
pub type EntityAlias = Alias<EntityAliasSpec>;
/// The name by which an auth method knows a group.
pub type GroupAlias = Alias<GroupAliasSpec>;

/// The kind of an alias.
pub struct Alias<S>(PhantomData<fn() -> S>);

/// The declared fields of an entity's alias.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EntityAliasSpec {
    /// The method's name for the user: a role-id for `approle`, a user's name for `userpass`, the
    /// `user_claim` for `jwt`.
    pub name: String,
    /// The method's path below `auth/`.
    pub mount: String,
    /// The entity's id, e.g. `{{ payments_service.id }}`.
    pub canonical_id: String,
    /// Metadata for policy templates. Not managed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_metadata: Option<BTreeMap<String, String>>,
}

/// The declared fields of a group's alias.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupAliasSpec {
    /// The method's name for the group.
    pub name: String,
    /// The method's path below `auth/`.
    pub mount: String,
    /// The id of an external group, e.g. `{{ developers.id }}`.
    pub canonical_id: String,
}

/// The differences between aliases of entities and of groups.
pub trait AliasSpec: Clone + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// As [`Resource::KIND`].
    const KIND: &'static str;
    /// As [`Resource::ABOUT`].
    const ABOUT: &'static str;
    /// As [`Resource::EXAMPLE`].
    const EXAMPLE: &'static str;
    /// As [`Resource::RISKS`].
    const RISKS: Risks;
    /// The path at which aliases are created.
    const PATH: &'static str;
    /// Fields besides the name and the accessor.
    const FIELDS: &'static [&'static str];

    /// The name that an auth method uses, and that method's path.
    fn known_as(&self) -> (&str, &str);
    /// The id of the entity or the group.
    fn leads_to(&self) -> &str;
    /// As [`Resource::occupies`].
    fn occupies(&self) -> String;
    /// Whether a listed alias is in the place that this one occupies.
    fn shares_slot(&self, told: &Value) -> bool;
}

impl AliasSpec for EntityAliasSpec {
    const KIND: &'static str = "vault.entity_alias";
    const ABOUT: &'static str = "The name by which an auth method knows an entity.";
    const EXAMPLE: &'static str = "\
people:
  kind: vault.auth_method
  type: userpass
alice:
  kind: vault.entity
  name: alice
alice_at_userpass:
  kind: vault.entity_alias
  name: alice
  mount: userpass
  canonical_id: \"{{ alice.id }}\"
";
    const RISKS: Risks = &[&[
        identity("name mount"),
        changed("canonical_id").medium(BroaderGrant, "this login gets the policies of another entity"),
        changed("custom_metadata").low(BroaderGrant, METADATA),
    ]];
    const PATH: &'static str = "identity/entity-alias";
    const FIELDS: &'static [&'static str] = &["canonical_id", "custom_metadata"];

    fn known_as(&self) -> (&str, &str) {
        (&self.name, &self.mount)
    }

    fn leads_to(&self) -> &str {
        &self.canonical_id
    }

    fn occupies(&self) -> String {
        format!("the alias at `{}` of the entity {}", self.mount, self.canonical_id)
    }

    fn shares_slot(&self, told: &Value) -> bool {
        text(&told["canonical_id"]) == self.canonical_id && is_at(told, &self.mount)
    }
}

impl AliasSpec for GroupAliasSpec {
    const KIND: &'static str = "vault.group_alias";
    const ABOUT: &'static str = "The name by which an auth method knows an external group.";
    const EXAMPLE: &'static str = "\
github:
  kind: vault.auth_method
  type: jwt
developers:
  kind: vault.group
  name: developers
  type: external
developers_at_github:
  kind: vault.group_alias
  name: example-developers
  mount: jwt
  canonical_id: \"{{ developers.id }}\"
";
    const RISKS: Risks = &[&[
        identity("name mount"),
        changed("canonical_id").medium(BroaderGrant, "members get the policies of another group"),
    ]];
    const PATH: &'static str = "identity/group-alias";
    const FIELDS: &'static [&'static str] = &["canonical_id"];

    fn known_as(&self) -> (&str, &str) {
        (&self.name, &self.mount)
    }

    fn leads_to(&self) -> &str {
        &self.canonical_id
    }

    fn occupies(&self) -> String {
        format!("the only alias of the group {}", self.canonical_id)
    }

    fn shares_slot(&self, told: &Value) -> bool {
        text(&told["canonical_id"]) == self.canonical_id
    }
}

/// The alias's name, and the method that knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AliasId {
    name: String,
    mount: String,
}

impl fmt::Display for AliasId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.mount)
    }
}

/// A live alias.
#[derive(Clone, Debug)]
pub struct LiveAlias<S> {
    alias: S,
    id: String,
    /// The custom metadata, which a write without it would delete.
    custom_metadata: Value,
}

/// The outputs for other steps.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AliasOutputs {
    /// The name.
    pub name: String,
    /// The id that the server assigned to the alias.
    pub id: String,
}

async fn listing<S: AliasSpec>(client: &VaultClient) -> Result<Arc<Listing>> {
    match S::PATH {
        "identity/group-alias" => client.group_aliases().await,
        _ => client.entity_aliases().await,
    }
}

/// The alias of this name. The server ignores case: it would move the one in another notation.
fn find<S: AliasSpec>(listing: &Listing, id: &AliasId) -> Result<Option<LiveAlias<S>>> {
    let is_same = |told: &Value| is_at(told, &id.mount) && folded(text(&told["name"])) == folded(&id.name);
    let exact = listing.iter().find(|(_, told)| is_same(told) && text(&told["name"]) == id.name);
    let Some((found, told)) = exact.or_else(|| listing.iter().find(|(_, told)| is_same(told))) else {
        return Ok(None);
    };
    let own = [("name", json!(id.name)), ("mount", json!(id.mount))];
    let alias = fields::parse(told, S::FIELDS, own)?;
    Ok(Some(LiveAlias { alias, id: found.clone(), custom_metadata: told["custom_metadata"].clone() }))
}

/// Whether a listed alias is one at the auth method of this path.
fn is_at(told: &Value, mount: &str) -> bool {
    text(&told["mount_path"]) == format!("auth/{mount}/")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn folded(name: &str) -> String {
    name.to_lowercase()
}

/// Whether another alias now has the name, or the one place that its entity or group has for it. A write
/// would take it away, as the server has no request that only creates an alias.
async fn is_taken<S: AliasSpec>(client: &VaultClient, desired: &S) -> Result<bool> {
    let listing = client.list(&format!("{}/id", S::PATH)).await?.unwrap_or_default();
    let Some(listing) = listing["key_info"].as_object() else { return Ok(false) };
    let is_named = find::<S>(listing, &Alias::<S>::id(desired))?.is_some();
    Ok(is_named || listing.values().any(|told| desired.shares_slot(told)))
}

/// The fields of a request. The server requires the method's accessor, which the listing of methods
/// contains.
async fn body<S: AliasSpec>(client: &VaultClient, desired: &S) -> Result<Value> {
    let (_, mount) = desired.known_as();
    let methods = client.auth_methods().await?;
    let Some(accessor) = methods.get(&format!("{mount}/")).and_then(|method| method.get("accessor")) else {
        let message = format!("no auth method is mounted at `{mount}`");
        return Err(Error::new(ErrorKind::Rejected, format!("POST {}", S::PATH), message)
            .advice("declare it as a `vault.auth_method` step"));
    };
    let mut body = fields::fields(desired);
    body.remove("mount");
    body.insert("mount_accessor".to_owned(), accessor.clone());
    Ok(Value::Object(body))
}

/// Logins with this method get what the entity or the group has.
fn login<S: AliasSpec>(alias: &S) -> Vec<Grant> {
    let (name, method) = alias.known_as();
    let principal = alias.leads_to().to_owned();
    vec![Grant::Login { name: name.to_owned(), method: method.to_owned(), principal }]
}

impl<S: AliasSpec> Resource for Alias<S> {
    const KIND: &'static str = S::KIND;
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str = S::ABOUT;
    const EXAMPLE: &'static str = S::EXAMPLE;
    const RISKS: Risks = S::RISKS;
    const PROOF: Proof = Proof::InSync("it takes effect at the next login of its name");

    type Client = VaultClient;
    type Id = AliasId;
    type Desired = S;
    type Observed = LiveAlias<S>;
    type Outputs = AliasOutputs;

    fn id(desired: &S) -> AliasId {
        let (name, mount) = desired.known_as();
        AliasId { name: name.to_owned(), mount: mount.to_owned() }
    }

    fn same_name(id: &AliasId) -> String {
        AliasId { name: folded(&id.name), ..id.clone() }.to_string()
    }

    fn occupies(desired: &S) -> Option<String> {
        Some(AliasSpec::occupies(desired))
    }

    fn check(desired: &S) -> Vec<FieldError> {
        let (name, _) = desired.known_as();
        name.is_empty().then(|| FieldError::new("name", "is empty")).into_iter().collect()
    }

    fn permissions(_: &S, used: Use<'_>) -> Vec<Permission> {
        let any = format!("{}/id/+", S::PATH);
        match used.access {
            Access::Read => vec![permissions::list(format!("{}/id", S::PATH))],
            Access::Create => vec![permissions::write(S::PATH), permissions::read("sys/auth")],
            Access::Update => vec![permissions::write(any), permissions::read("sys/auth")],
            Access::Delete => vec![permissions::delete(any)],
            Access::Prove => Vec::new(),
        }
    }

    fn grants(desired: &S, _: Option<&LiveAlias<S>>, _: &Realm) -> Vec<Grant> {
        login(desired)
    }

    fn granted(observed: &LiveAlias<S>) -> Vec<Grant> {
        login(&observed.alias)
    }

    fn requires(desired: &S) -> Vec<Requirement> {
        vec![Requirement::Kind("vault.init"), Requirement::thing("vault.auth_method", desired.known_as().1)]
    }

    async fn observe(client: &VaultClient, id: &AliasId, _: Look<'_, Self>) -> Result<Option<LiveAlias<S>>> {
        find(&*listing::<S>(client).await?, id)
    }

    fn diff(desired: &S, observed: &LiveAlias<S>) -> Diff {
        fields::compare(&observed.alias, desired, &[])
    }

    async fn create(w: &Writer<'_, VaultClient>, desired: &S) -> Result<()> {
        refuse_existing(is_taken(w, desired).await?, S::PATH)?;
        w.post(w.permit(), S::PATH, &body(w, desired).await?).await.map(drop)
    }

    async fn update(w: &Writer<'_, VaultClient>, desired: &S, observed: &LiveAlias<S>) -> Result<()> {
        let path = format!("{}/id/{}", S::PATH, observed.id);
        let mut body = body(w, desired).await?;
        if body["custom_metadata"].is_null() && !observed.custom_metadata.is_null() {
            body["custom_metadata"] = observed.custom_metadata.clone();
        }
        w.post(w.permit(), &path, &body).await.map(drop)
    }

    async fn delete(w: &Writer<'_, VaultClient>, id: &AliasId) -> Result<()> {
        match find::<S>(&*listing::<S>(w).await?, id)? {
            Some(alias) => w.delete(w.permit(), &format!("{}/id/{}", S::PATH, alias.id)).await,
            None => Ok(()),
        }
    }

    fn outputs(observed: &LiveAlias<S>) -> AliasOutputs {
        AliasOutputs { name: observed.alias.known_as().0.to_owned(), id: observed.id.clone() }
    }

    fn predicted_outputs(desired: &S, _: &Realm) -> Partial {
        Partial::default().with("name", desired.known_as().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alias_is_found_by_name_and_method() {
        let told = json!({
            "1": { "name": "alice", "mount_path": "auth/a/", "canonical_id": "x", "custom_metadata": null },
            "2": { "name": "alice", "mount_path": "auth/b/", "canonical_id": "y", "custom_metadata": { "k": "v" } },
        });
        let listing = told.as_object().expect("a listing");
        let id = |mount: &str| AliasId { name: "alice".to_owned(), mount: mount.to_owned() };
        let found = find::<EntityAliasSpec>(listing, &id("b")).expect("valid").expect("there");
        assert_eq!((found.id.as_str(), found.alias.canonical_id.as_str()), ("2", "y"));
        assert!(find::<EntityAliasSpec>(listing, &id("c")).expect("valid").is_none());
    }

    #[test]
    fn alias_in_another_case_is_the_same() {
        let told = json!({
            "1": { "name": "Alice", "mount_path": "auth/a/", "canonical_id": "x" },
            "2": { "name": "bob", "mount_path": "auth/a/", "canonical_id": "y" },
            "3": { "name": "BOB", "mount_path": "auth/a/", "canonical_id": "z" },
        });
        let listing = told.as_object().expect("a listing");
        let find = |name: &str| {
            let id = AliasId { name: name.to_owned(), mount: "a".to_owned() };
            find::<EntityAliasSpec>(listing, &id).expect("valid").map(|alias| alias.id)
        };
        assert_eq!(find("alice").as_deref(), Some("1"));
        assert_eq!(find("BOB").as_deref(), Some("3"), "the exact one is preferred");
        let id = |name: &str| AliasId { name: name.to_owned(), mount: "Mount".to_owned() };
        assert_eq!(EntityAlias::same_name(&id("ALICE")), EntityAlias::same_name(&id("alice")));
        assert_eq!(EntityAlias::same_name(&id("a")), "a at Mount", "a mount's path is as it is written");
    }
}
