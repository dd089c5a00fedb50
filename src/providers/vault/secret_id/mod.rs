//! `vault.approle_secret_id`: a secret-id of a role, delivered to where a machine finds it.
//! <https://openbao.org/api-docs/auth/approle/#generate-new-secret-id>.
//!
//! The server gives a secret-id once. It carries the step's name in its metadata and is delivered
//! together with its accessor. So one that was lost on the way is known by its name, and by standing in
//! no destination: it is destroyed, and another one is made. One that went to a file elsewhere, in another checkout of
//! the plan, is in use there, so its metadata say where.

mod issued;
mod manifest;
mod place;
mod rotation;

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::kv_engine;
use super::notation::{Cidrs, LowerName, Ttl};
use super::permissions;
use crate::access::Granting;
use crate::error::{FieldError, Result};
use crate::health::Due;
use crate::place::Realm;
use crate::proof::Proof;
use crate::providers::vault::risk::LETS_IN;
use crate::resource::risk::Category::{BroaderGrant, Destination, ProtectionOff};
use crate::resource::risk::{Risks, changed, identity, live_safe, safe, unbound, widened};
use crate::resource::{
    Blocked, Diff, Look, Partial, Pending, Replacement, Requirement, Resource, Rotation, Turn, Writer,
};
use crate::run::{Access, Permission, Use};
use crate::secret::{Fields, Secret, SecretChange};
use issued::{Issued, issued};
pub use manifest::Manifest;
pub use place::Depository;
use rotation::{Phase, UnderWay};

/// A secret-id.
#[derive(Debug)]
pub struct ApproleSecretId;

/// The declared fields of a secret-id.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretIdSpec {
    /// The method's path below `auth/`.
    #[serde(default = "mount")]
    pub mount: String,
    /// The role's name.
    pub role: LowerName,
    /// Its name among the role's secret-ids, e.g. that of the machine that gets it.
    pub name: String,
    /// Where it goes, with the role-id and its accessor. A file is on one machine: in another checkout, which does not
    /// have it, the step is blocked.
    pub deliver: SecretIdDelivery,
    /// Deliver a token that gives the secret-id once within this time, instead of the secret-id; 0
    /// delivers the secret-id itself.
    #[serde(default)]
    pub wrap_ttl: Ttl,
    /// How old it may become; then another one replaces it. 0 is without limit.
    #[serde(default)]
    pub rotate_after: Ttl,
    /// How long the one before goes on working after `rotate` has delivered another one, at least. It is destroyed
    /// once nothing has logged in with it for so long.
    #[serde(default = "rotation::usual", skip_serializing_if = "rotation::is_usual")]
    pub overlap: Ttl,
    /// How long it lasts; 0 is as long as the role says. It applies to one that is made.
    #[serde(default)]
    pub ttl: Ttl,
    /// How often it can be used; 0 is as often as the role says. It applies to one that is made.
    #[serde(default)]
    pub num_uses: u64,
    /// Networks from which it can be used; when empty, those of the role. A change replaces the secret-id.
    #[serde(default)]
    pub cidr_list: Cidrs,
    /// Networks from which its tokens can be used; when empty, those of the role. A change replaces the
    /// secret-id.
    #[serde(default)]
    pub token_bound_cidrs: Cidrs,
    /// Data that audit devices log with its logins. A change replaces the secret-id.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Whether another one is made in place of the one that exists.
    #[serde(skip)]
    #[schemars(skip)]
    renewed: bool,
    /// Whether a rotation is asked for, or its next phase.
    #[serde(skip)]
    #[schemars(skip)]
    rotating: bool,
}

/// Where a secret-id goes; exactly one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretIdDelivery {
    /// A file inside the plan's folder, as JSON, readable only by its owner. Keep it out of version
    /// control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A secret in a KV version 2 mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault_kv: Option<KvPlace>,
    /// The manifest of a Kubernetes Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_manifest: Option<Manifest>,
}

/// A secret in a KV version 2 mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvPlace {
    /// The mount.
    pub mount: String,
    /// The path below the mount.
    pub path: String,
}

/// Fields of a delivery.
const ROLE_ID: &str = "role_id";
const SECRET_ID: &str = "secret_id";
const WRAPPING_TOKEN: &str = "wrapping_token";
const ACCESSOR: &str = "secret_id_accessor";

/// The key in a secret-id's metadata that says which step it belongs to.
const MARK: &str = "groundwork";
/// The key that says which machine and folder a file was delivered to, see [`Depository::site`].
const SITE: &str = "groundwork-site";
/// The key that distinguishes a secret-id that a rotation made, and the tokens of it, from those before.
const ROTATION: &str = "groundwork-rotation";

const ELSEWHERE: &str = "it was delivered to a file on another machine or in another folder, and may be in use there: run \
    this plan there, copy the file here, or end that secret-id and make another one here with `--replace` and this step's \
    id";

fn mount() -> String {
    "approle".to_owned()
}

/// Which secret-id, and where it should be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SecretIdId {
    mount: String,
    role: LowerName,
    name: String,
    deliver: SecretIdDelivery,
}

impl fmt::Display for SecretIdId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.mount, self.role, self.name)
    }
}

impl SecretIdId {
    fn path(&self) -> String {
        format!("auth/{}/role/{}", self.mount, self.role)
    }
}

/// The secret-ids with a step's name, and which of them was delivered.
#[derive(Clone, Debug)]
pub struct LiveSecretId {
    issued: Vec<Issued>,
    delivered: Option<String>,
    /// A rotation that is under way.
    rotation: Option<UnderWay>,
    /// The machine and folder of this run.
    site: String,
}

impl LiveSecretId {
    fn current(&self) -> Option<&Issued> {
        self.issued.iter().find(|issued| Some(&issued.accessor) == self.delivered.as_ref())
    }

    /// Whether one was delivered to a file of another machine or folder.
    fn is_elsewhere(&self) -> bool {
        self.issued.iter().any(|issued| issued.site.as_ref().is_some_and(|site| *site != self.site))
    }

    fn left_over(&self) -> impl Iterator<Item = &Issued> {
        rotation::left_over(&self.issued, self.delivered.as_deref(), self.rotation.as_ref())
    }
}

/// The outputs that other steps may refer to; never the secret-id.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SecretIdOutputs {
    /// Identifies it for lookup and destruction.
    pub accessor: String,
}

impl Resource for ApproleSecretId {
    const KIND: &'static str = "vault.approle_secret_id";
    const GRANTS: Granting = Granting::Never("a secret-id has the rights of its role");
    const ABOUT: &'static str = "A secret-id of an AppRole role, made once, delivered to a file, a secret or a Kubernetes manifest, and \
        replaced by age.";
    const EXAMPLE: &'static str = "\
pipeline:
  kind: vault.approle_role
  name: pipeline
pipeline_secret_id:
  kind: vault.approle_secret_id
  role: pipeline
  name: runner-1
  deliver: { file: secrets/runner-1.json }
  wrap_ttl: 30m
  rotate_after: 30d
";
    const RISKS: Risks = &[&[
        live_safe("proven rotated", "a rotation goes on"),
        live_safe("secret_ids", "only those are destroyed that were never delivered, or are replaced"),
        identity("mount role name"),
        safe("deliver", "a place that has none gets one of its own, which is shown as a new secret-id"),
        safe(
            "wrap_ttl rotate_after overlap ttl num_uses",
            "it applies to the next secret-id, not to the one that exists",
        ),
        unbound("cidr_list").medium(ProtectionOff, "works from wherever its role allows"),
        unbound("token_bound_cidrs").medium(ProtectionOff, "its tokens work from anywhere"),
        widened("cidr_list token_bound_cidrs").low(BroaderGrant, LETS_IN),
        safe("metadata", "audit devices log it, and nothing is decided by it"),
        changed("secret_id").live().low(Destination, "another secret-id is issued and delivered"),
    ]];
    const PROOF: Proof =
        Proof::InSync("the server knows the delivered secret-id by its accessor; a login could use it up");
    const REPLACEMENT: Replacement = Replacement::Renewed;
    const ROTATION: Rotation = Rotation::Phased(
        "another one is made and delivered beside this one, which is destroyed once no login uses it",
    );

    type Client = Depository;
    type Id = SecretIdId;
    type Desired = SecretIdSpec;
    type Observed = LiveSecretId;
    type Outputs = SecretIdOutputs;

    fn id(desired: &SecretIdSpec) -> SecretIdId {
        let SecretIdSpec { mount, role, name, deliver, .. } = desired.clone();
        SecretIdId { mount, role, name, deliver }
    }

    fn check(desired: &SecretIdSpec) -> Vec<FieldError> {
        let mut errors = place::check(&desired.deliver);
        if desired.name.is_empty() {
            errors.push(FieldError::new("name", "is empty"));
        }
        for key in [MARK, SITE, ROTATION].into_iter().filter(|key| desired.metadata.contains_key(*key)) {
            errors.push(FieldError::new("metadata", format!("`{key}` is the program's own key")));
        }
        errors
    }

    fn permissions(desired: &SecretIdSpec, used: Use<'_>) -> Vec<Permission> {
        let role = Self::id(desired).path();
        let ids = format!("{role}/secret-id");
        let accessor = |what: &str| permissions::write(format!("{role}/secret-id-accessor/{what}"));
        let kv = desired.deliver.vault_kv.iter();
        let kv = kv.flat_map(|kv| permissions::delivery(&kv.mount, &kv.path, used.access));
        let own = match used.access {
            Access::Read => vec![permissions::list(ids), accessor("lookup")],
            Access::Create => vec![permissions::read(format!("{role}/role-id")), permissions::write(ids)],
            Access::Update => vec![
                permissions::read(format!("{role}/role-id")),
                permissions::write(ids),
                accessor("destroy"),
            ],
            Access::Delete => vec![accessor("destroy")],
            Access::Prove => Vec::new(),
        };
        own.into_iter().chain(kv).collect()
    }

    fn rotation_permissions(_: &SecretIdSpec, _: &Realm) -> Vec<Permission> {
        let accessors = "auth/token/accessors";
        vec![
            permissions::list(accessors),
            Permission::new(accessors, &["sudo"]),
            permissions::write("auth/token/lookup-accessor"),
        ]
    }

    fn requires(desired: &SecretIdSpec) -> Vec<Requirement> {
        let role = Requirement::thing("vault.approle_role", Self::id(desired).path());
        let kv = desired.deliver.vault_kv.iter();
        let kv = kv.flat_map(|place| kv_engine(&place.mount));
        [Requirement::Kind("vault.init"), role].into_iter().chain(kv).collect()
    }

    async fn observe(
        client: &Depository,
        id: &SecretIdId,
        _: Look<'_, Self>,
    ) -> Result<Option<LiveSecretId>> {
        let issued = issued(client.vault(), id).await?;
        if issued.is_empty() {
            return Ok(None);
        }
        let delivered = client.accessor(&id.deliver).await?;
        let rotation = client.under_way(id, &issued, delivered.as_deref()).await?;
        Ok(Some(LiveSecretId { issued, delivered, rotation, site: client.site() }))
    }

    fn diff(desired: &SecretIdSpec, observed: &LiveSecretId) -> Diff {
        let mut diff = Diff::none();
        match observed.current() {
            None => {
                diff.secret(SECRET_ID, SecretChange::New, None);
                diff.note("none of this name stands where it is delivered to");
                if desired.deliver.is_here() && observed.is_elsewhere() && !desired.renewed {
                    diff.blocked.push(Blocked::new(SECRET_ID, ELSEWHERE));
                }
            }
            Some(current) => {
                if desired.renewed {
                    diff.secret(SECRET_ID, SecretChange::Changed, None);
                    diff.note("another one is made and delivered, then this one is destroyed");
                } else if let Ttl::Seconds(limit @ 1..) = desired.rotate_after
                    && current.age >= limit
                {
                    diff.secret(SECRET_ID, SecretChange::Changed, None);
                    diff.note(format!("it is {} days old", current.age / 86_400));
                }
                if desired.rotating {
                    rotation::compare(&mut diff, desired, observed.rotation.as_ref());
                }
                diff.field("cidr_list", &current.cidr_list, &desired.cidr_list);
                diff.field("token_bound_cidrs", &current.token_bound_cidrs, &desired.token_bound_cidrs);
                diff.field("metadata", &current.metadata, &desired.metadata);
            }
        }
        for issued in observed.left_over() {
            diff.push(&format!("secret_ids[{}]", issued.accessor), json!("exists"), Value::Null);
            diff.note("it was never delivered, or its successor was");
        }
        diff
    }

    fn renew(desired: &mut SecretIdSpec) -> bool {
        desired.renewed = true;
        true
    }

    /// The value of the one before is kept nowhere, so there is no way back to it.
    fn rotate(desired: &mut SecretIdSpec, turn: Turn) -> bool {
        desired.rotating = turn == Turn::Forward;
        desired.rotating
    }

    fn pending(desired: &SecretIdSpec, observed: &LiveSecretId) -> Option<Pending> {
        let rotation = observed.rotation.as_ref().filter(|rotation| !rotation.is_current);
        rotation.map(|rotation| rotation.pending(&desired.overlap))
    }

    fn due(desired: &SecretIdSpec, observed: &LiveSecretId) -> Vec<Due> {
        let Ttl::Seconds(age @ 1..) = desired.rotate_after else { return Vec::new() };
        let made = observed.current().and_then(|current| current.made);
        made.map(|made| Due::after_seconds("secret-id", made, age)).into_iter().collect()
    }

    async fn create(w: &Writer<'_, Depository>, desired: &SecretIdSpec) -> Result<()> {
        let id = Self::id(desired);
        // None that was lost on the way stays behind.
        let before = issued(w.vault(), &id).await?;
        make(w, desired, &id).await?;
        destroy(w, &id, before.iter()).await
    }

    /// The new one is delivered before the old ones go, so that there is no time without any.
    async fn update(
        w: &Writer<'_, Depository>,
        desired: &SecretIdSpec,
        observed: &LiveSecretId,
    ) -> Result<()> {
        let id = Self::id(desired);
        if desired.rotating && observed.current().is_some() {
            return turn(w, desired, observed, &id).await;
        }
        let renew =
            Self::diff(desired, observed).changes.iter().any(|change| !change.path.starts_with("secret_ids"));
        if renew {
            make(w, desired, &id).await?;
            destroy(w, &id, observed.issued.iter()).await
        } else {
            destroy(w, &id, observed.left_over()).await
        }
    }

    /// The file goes first: a run that ends in between finds the secret-id again, but not whose file it was.
    async fn delete(w: &Writer<'_, Depository>, id: &SecretIdId) -> Result<()> {
        let issued = issued(w.vault(), id).await?;
        let accessors = issued.iter().map(|issued| issued.accessor.as_str());
        w.withdraw(w.permit(), &id.deliver, accessors).await?;
        destroy(w, id, issued.iter()).await?;
        w.end_rotation(w.permit(), id).await
    }

    fn outputs(observed: &LiveSecretId) -> SecretIdOutputs {
        // The destination may hold anything, so only an accessor that the role has is an output.
        let accessor = observed.current().map(|issued| issued.accessor.clone());
        SecretIdOutputs { accessor: accessor.unwrap_or_default() }
    }

    fn predicted_outputs(_: &SecretIdSpec, _: &Realm) -> Partial {
        Partial::default()
    }
}

/// The next phase of a rotation, or its beginning.
async fn turn(
    w: &Writer<'_, Depository>,
    desired: &SecretIdSpec,
    observed: &LiveSecretId,
    id: &SecretIdId,
) -> Result<()> {
    destroy(w, id, observed.left_over()).await?;
    let Some(current) = observed.current() else { return Ok(()) };
    let phase = observed.rotation.as_ref().map_or(Phase::Make, |rotation| rotation.phase(&desired.overlap));
    match phase {
        Phase::Make => {
            w.announce(w.permit(), w.step(), id, &current.accessor).await?;
            make(w, desired, id).await?;
            w.note_delivery(w.permit(), id).await
        }
        Phase::Note => w.note_delivery(w.permit(), id).await,
        Phase::Wait(..) => Ok(()),
        Phase::Destroy => {
            let old = observed.rotation.as_ref().map(|rotation| rotation.old.as_str()).unwrap_or_default();
            destroy_one(w, id, old).await?;
            w.end_rotation(w.permit(), id).await
        }
        Phase::End => w.end_rotation(w.permit(), id).await,
    }
}

/// Makes one and delivers it, after checking that its destination can take it. If the delivery still
/// fails, the secret-id is destroyed, so that no valid one is left without a holder.
async fn make(w: &Writer<'_, Depository>, desired: &SecretIdSpec, id: &SecretIdId) -> Result<()> {
    w.prove(&desired.deliver).await?;
    let role_id = w.vault().get(&format!("{}/role-id", id.path())).await?.unwrap_or_default();
    let _waiting = w.awaiting(id);
    let path = format!("{}/secret-id", id.path());
    let body = Value::Object(body(desired, &w.site()));
    let mut fields = Fields::new();
    let mut take = |name: &str, value: &Value| {
        fields.insert(name.to_owned(), Secret::from(value.as_str().unwrap_or_default().to_owned()));
    };
    take(ROLE_ID, &role_id[ROLE_ID]);
    match desired.wrap_ttl {
        Ttl::Seconds(seconds @ 1..) => {
            let wrapped = w.vault().post_wrapped(w.permit(), &path, &body, seconds).await?;
            take(WRAPPING_TOKEN, &wrapped["token"]);
            take(ACCESSOR, &wrapped["wrapped_accessor"]);
        }
        _ => {
            let given = w.vault().post(w.permit(), &path, &body).await?;
            take(SECRET_ID, &given[SECRET_ID]);
            take(ACCESSOR, &given[ACCESSOR]);
        }
    }
    let Err(error) = w.deliver(w.permit(), &desired.deliver, &fields).await else { return Ok(()) };
    if let Some(accessor) = fields.get(ACCESSOR).and_then(Secret::expose_str) {
        // If this fails too, the next run finds it by its name.
        let _ = destroy_one(w, id, accessor).await;
    }
    Err(error)
}

fn body(desired: &SecretIdSpec, site: &str) -> Map<String, Value> {
    let mut metadata = desired.metadata.clone();
    metadata.insert(MARK.to_owned(), desired.name.clone());
    if desired.deliver.is_here() {
        metadata.insert(SITE.to_owned(), site.to_owned());
    }
    if desired.rotating {
        metadata.insert(ROTATION.to_owned(), uuid::Uuid::new_v4().to_string());
    }
    // The server takes metadata as JSON in a text.
    let mut body = Map::from_iter([("metadata".to_owned(), json!(json!(metadata).to_string()))]);
    if desired.ttl != Ttl::default() {
        body.insert("ttl".to_owned(), json!(desired.ttl));
    }
    if desired.num_uses > 0 {
        body.insert("num_uses".to_owned(), json!(desired.num_uses));
    }
    for (name, networks) in
        [("cidr_list", &desired.cidr_list), ("token_bound_cidrs", &desired.token_bound_cidrs)]
    {
        if *networks != Cidrs::default() {
            body.insert(name.to_owned(), json!(networks));
        }
    }
    body
}

async fn destroy(
    w: &Writer<'_, Depository>,
    id: &SecretIdId,
    issued: impl Iterator<Item = &Issued> + Send,
) -> Result<()> {
    let accessors: Vec<&str> = issued.map(|issued| issued.accessor.as_str()).collect();
    for accessor in accessors {
        destroy_one(w, id, accessor).await?;
    }
    Ok(())
}

async fn destroy_one(w: &Writer<'_, Depository>, id: &SecretIdId, accessor: &str) -> Result<()> {
    let path = format!("{}/secret-id-accessor/destroy", id.path());
    w.vault().post(w.permit(), &path, &json!({ ACCESSOR: accessor })).await.map(drop)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn spec(value: Value) -> SecretIdSpec {
        let mut fields = json!({ "role": "ci", "name": "runner", "deliver": { "file": "runner.json" } });
        for (name, value) in value.as_object().expect("fields") {
            fields[name] = value.clone();
        }
        serde_json::from_value(fields).expect("valid")
    }

    fn one(accessor: &str, age: u64) -> Issued {
        let made = Timestamp::from_second(1_800_000_000).expect("a time");
        let now = Timestamp::from_second(1_800_000_000 + i64::try_from(age).expect("short")).expect("a time");
        let told = json!({
            "secret_id_accessor": accessor, "creation_time": made.to_string(), "cidr_list": ["10.0.0.1/32"],
            "token_bound_cidrs": [], "metadata": { "groundwork": "runner", "team": "a" },
        });
        assert_eq!(Issued::read(&told, "other", now), None);
        Issued::read(&told, "runner", now).expect("of this name")
    }

    fn paths(declared: Value, delivered: Option<&str>, issued: Vec<Issued>) -> Vec<String> {
        let mut declared = declared;
        declared["cidr_list"] = json!(["10.0.0.1"]);
        declared["metadata"] = json!({ "team": "a" });
        let delivered = delivered.map(str::to_owned);
        let live = LiveSecretId { issued, delivered, rotation: None, site: "here".to_owned() };
        ApproleSecretId::diff(&spec(declared), &live).changes.into_iter().map(|change| change.path).collect()
    }

    #[test]
    fn secret_id_in_use_elsewhere_is_not_ended() {
        let at = |site: &str| Issued { site: Some(site.to_owned()), ..one("a", 0) };
        let blocked = |declared: &SecretIdSpec, issued: Issued| {
            let (issued, delivered, rotation) = (vec![issued], None, None);
            let live = LiveSecretId { issued, delivered, rotation, site: "here".to_owned() };
            ApproleSecretId::diff(declared, &live).blocked.len()
        };
        let mut declared = spec(json!({}));
        assert_eq!(blocked(&declared, at("there")), 1);
        assert_eq!(blocked(&declared, at("here")), 0);
        // One of an older version does not say where it is.
        assert_eq!(blocked(&declared, one("a", 0)), 0);
        ApproleSecretId::renew(&mut declared);
        assert_eq!(blocked(&declared, at("there")), 0);
        let kv = json!({ "deliver": { "vault_kv": { "mount": "secret", "path": "runner" } } });
        assert_eq!(blocked(&spec(kv), at("there")), 0);
    }

    #[test]
    fn delivered_secret_id_is_kept_until_rotation_age() {
        assert!(paths(json!({ "rotate_after": "2d" }), Some("a"), vec![one("a", 86_400)]).is_empty());
        assert_eq!(paths(json!({ "rotate_after": "1d" }), Some("a"), vec![one("a", 86_400)]), ["secret_id"]);
    }

    #[test]
    fn undelivered_secret_id_is_removed() {
        let both = paths(json!({}), None, vec![one("a", 0)]);
        assert_eq!(both, ["secret_id", "secret_ids[a]"]);
        let left = paths(json!({}), Some("b"), vec![one("a", 9), one("b", 0)]);
        assert_eq!(left, ["secret_ids[a]"]);
    }

    #[test]
    fn request_carries_only_name_and_declared_fields() {
        let body = Value::Object(body(&spec(json!({ "num_uses": 3 })), "here"));
        let metadata = r#"{"groundwork":"runner","groundwork-site":"here"}"#;
        assert_eq!(body, json!({ "metadata": metadata, "num_uses": 3 }));
    }
}
