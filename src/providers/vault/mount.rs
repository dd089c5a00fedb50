//! Secrets engines: <https://openbao.org/api-docs/system/mounts/>.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::VaultClient;
use super::content;
use super::fields::{self, Fixed};
use super::notation::{Names, Ttl};
use super::permissions;
use super::server::Plugin;
use super::states::{manage, target};
use crate::access::{Grant, Granting};
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::providers::vault::risk::TUNING_RISKS;
use crate::resource::risk::Category::{Destroy, ProtectionOff};
use crate::resource::risk::{Deletion, LABELS, Risks, Severity, changed, fixed, identity, raised, safe};
use crate::resource::{Attachment, Diff, Look, Partial, Requirement, Resource, Writer};
use crate::run::{Access, Permission, Use};

/// A secrets engine.
#[derive(Debug)]
pub struct Mount;

/// The declared fields of a secrets engine.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MountSpec {
    /// Its mount path, without leading or trailing slashes.
    pub path: String,
    /// The engine: `kv`, `transit`, `pki`, `database`, `ssh`, `totp`, `aws` and so on. Fixed.
    #[serde(rename = "type")]
    pub engine: String,
    /// The version of a `kv` engine, 1 or 2 (the default). It can only be raised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2))]
    pub version: Option<u8>,
    /// A sentence for people.
    #[serde(default)]
    pub description: String,
    /// The default TTL of leases; 0 is the server's default.
    #[serde(default)]
    pub default_lease_ttl: Ttl,
    /// The maximum TTL of leases; 0 is the server's default.
    #[serde(default)]
    pub max_lease_ttl: Ttl,
    /// Whether the login page shows it to everyone.
    #[serde(default)]
    pub listing_visibility: Visibility,
    /// Keys of requests that audit devices log in plain text.
    #[serde(default)]
    pub audit_non_hmac_request_keys: Names,
    /// Keys of responses that audit devices log in plain text.
    #[serde(default)]
    pub audit_non_hmac_response_keys: Names,
    /// Request headers that are passed to the engine.
    #[serde(default)]
    pub passthrough_request_headers: Names,
    /// Headers that the engine may set in responses.
    #[serde(default)]
    pub allowed_response_headers: Names,
    /// The engine's own options, except a `kv` engine's version. Undeclared options are not
    /// managed: the server never removes any.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Not replicated to other clusters. Fixed.
    #[serde(default)]
    pub local: bool,
    /// Encrypted again by the seal, where the server supports it. Fixed.
    #[serde(default)]
    pub seal_wrap: bool,
    /// Uses the seal's source of randomness, where the server supports it. Fixed.
    #[serde(default)]
    pub external_entropy_access: bool,
    /// Without the server's cache. Fixed.
    #[serde(default)]
    pub force_no_cache: bool,
}

/// Who sees a mount on the login page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// No one. Vault also writes it as an empty string.
    #[default]
    #[serde(alias = "")]
    Hidden,
    /// Everyone.
    Unauth,
    /// A value that this program does not know; only servers send it.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

/// A live secrets engine.
#[derive(Clone, Debug)]
pub struct LiveMount {
    mount: MountSpec,
    accessor: String,
    uuid: String,
}

/// The mount path, and the server features that the engine needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub(super) path: String,
    pub(super) plugin: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

/// The outputs for other steps.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MountOutputs {
    /// Its mount path.
    pub path: String,
    /// The server's name for it, e.g. `kv_ee278ae8`.
    pub accessor: String,
    /// The storage's name for it.
    pub uuid: String,
}

/// Fields that `sys/mounts` reports besides an engine's `config`.
const OWN: [&str; 6] = ["type", "description", "options", "local", "seal_wrap", "external_entropy_access"];
/// Fields of `config`, which tuning changes.
pub(super) const TUNED: [&str; 7] = [
    "default_lease_ttl",
    "max_lease_ttl",
    "listing_visibility",
    "audit_non_hmac_request_keys",
    "audit_non_hmac_response_keys",
    "passthrough_request_headers",
    "allowed_response_headers",
];

/// Why some fields of secrets engines and auth methods cannot change.
pub(super) const FIXED: [Fixed; 5] = [
    ("type", "the type of a mount cannot change; mount a new engine at another path and move the content"),
    ("local", "replication is decided when it is mounted; mount a new one at another path"),
    ("seal_wrap", "seal wrapping is decided when it is mounted; mount a new one at another path"),
    (
        "external_entropy_access",
        "the source of randomness is decided when it is mounted; mount a new one at another path",
    ),
    ("force_no_cache", "caching is decided when it is mounted; mount a new one at another path"),
];

impl MountSpec {
    /// Includes the default version, so that it is compared.
    fn effective(&self) -> Self {
        let version = (self.engine == "kv").then(|| self.version.unwrap_or(2));
        Self { version, ..self.clone() }
    }

    /// The options including the version, as the server keeps them.
    fn all_options(&self) -> BTreeMap<String, String> {
        let version = self.effective().version.map(|version| ("version".to_owned(), version.to_string()));
        self.options.clone().into_iter().chain(version).collect()
    }

    fn body(&self) -> Value {
        let all = fields::fields(self);
        let mut body = pick(&all, &OWN);
        let mut config = pick(&all, &TUNED);
        config.insert("force_no_cache".to_owned(), json!(self.force_no_cache));
        body.insert("config".to_owned(), Value::Object(config));
        body.insert("options".to_owned(), json!(self.all_options()));
        Value::Object(body)
    }
}

/// The entries of `all` whose names are in `names`.
pub(super) fn pick(all: &Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    all.iter()
        .filter(|(name, _)| names.contains(&name.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// Merges a mount's entry in a listing with its `config`.
pub(super) fn flatten(told: &Value) -> Value {
    let own = told.as_object().cloned().unwrap_or_default();
    let config = told["config"].as_object().cloned().unwrap_or_default();
    Value::Object(own.into_iter().chain(config).collect())
}

fn live_spec(path: &str, told: &Value) -> Result<MountSpec> {
    let names: Vec<&str> = OWN.iter().chain(&TUNED).copied().chain(["force_no_cache"]).collect();
    let mut mount: MountSpec = fields::parse(&flatten(told), &names, [("path", json!(path))])?;
    let version = mount.options.remove("version");
    // A kv engine without a version has version 1; a version that is not a number becomes an
    // unknown version.
    let version = version.map_or(Ok(1), |version| version.parse());
    mount.version = (mount.engine == "kv").then(|| version.unwrap_or(u8::MAX));
    Ok(mount)
}

/// A field error when `path` cannot be the path of a mount.
pub(super) fn check_path(path: &str) -> Option<FieldError> {
    let bad = path.split('/').any(|segment| matches!(segment, "" | "." | ".."));
    bad.then(|| {
        FieldError::new("path", "is not a path that Vault can address")
            .help("write it without slashes at its ends, double slashes or `..`")
    })
}

/// The error for an unknown visibility.
pub(super) fn visibility_error() -> FieldError {
    FieldError::new("listing_visibility", "is not known").help("one of hidden, unauth")
}

impl Resource for Mount {
    const KIND: &'static str = "vault.mount";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str = "A secrets engine, such as kv, transit or pki, with its tuning.";
    const EXAMPLE: &'static str = "\
secrets:
  kind: vault.mount
  path: secret
  type: kv
  version: 2
  description: Secrets of applications
  max_lease_ttl: 24h
";
    const DELETION: Deletion = Deletion::new(Severity::High, Destroy, "is deleted, with everything in it");
    const RISKS: Risks = &[
        &[
            identity("path"),
            fixed("type local seal_wrap external_entropy_access force_no_cache"),
            raised("version").medium(Destroy, "the upgrade of the engine cannot be undone"),
            safe("description", LABELS),
            changed("options").low(ProtectionOff, "the engine works with other options"),
        ],
        TUNING_RISKS,
    ];
    const PROOF: Proof =
        Proof::InSync("the engine answers at its path, and what is in it is proven by its own steps");
    const PROTECTED: bool = true;
    const REMOVAL: Option<&'static str> =
        Some("also deletes all of its content, including content from other sources");

    type Client = VaultClient;
    type Id = Place;
    type Desired = MountSpec;
    type Observed = LiveMount;
    type Outputs = MountOutputs;

    fn id(desired: &MountSpec) -> Place {
        Place { path: desired.path.clone(), plugin: desired.engine.clone() }
    }

    fn check(desired: &MountSpec) -> Vec<FieldError> {
        let mut errors: Vec<FieldError> = check_path(&desired.path).into_iter().collect();
        if desired.engine == "kv-v2" || desired.engine == "kv-v1" {
            errors.push(
                FieldError::new("type", "is an alias").help("write `type: kv` and `version: 2` (or 1)"),
            );
        }
        if desired.version.is_some_and(|version| !(1..=2).contains(&version)) {
            errors.push(FieldError::new("version", "is neither 1 nor 2"));
        }
        if desired.listing_visibility == Visibility::Unknown {
            errors.push(visibility_error());
        }
        if desired.version.is_some() && desired.engine != "kv" {
            errors.push(FieldError::new("version", "is only for engines of type `kv`").reading("type"));
        }
        if desired.options.contains_key("version") {
            errors.push(
                FieldError::new("options.version", "is not an option")
                    .help("write `version:` beside `type:`"),
            );
        }
        errors
    }

    fn grants(desired: &MountSpec, _: Option<&LiveMount>, _: &Realm) -> Vec<Grant> {
        vec![target("mount", &desired.path, manage(&format!("sys/mounts/{}", desired.path)))]
    }

    fn granted(observed: &LiveMount) -> Vec<Grant> {
        let path = &observed.mount.path;
        vec![target("mount", path, manage(&format!("sys/mounts/{path}")))]
    }

    fn permissions(desired: &MountSpec, used: Use<'_>) -> Vec<Permission> {
        let path = format!("sys/mounts/{}", desired.path);
        match used.access {
            Access::Read => vec![permissions::read("sys/mounts")],
            Access::Create => vec![permissions::write(path)],
            Access::Update => vec![permissions::write(path + "/tune")],
            Access::Delete => vec![permissions::delete(path)],
            Access::Prove => Vec::new(),
        }
    }

    fn requires(_: &MountSpec) -> Vec<Requirement> {
        vec![Requirement::Kind("vault.init")]
    }

    async fn observe(client: &VaultClient, id: &Place, _: Look<'_, Self>) -> Result<Option<LiveMount>> {
        let mounts = client.mounts().await?;
        let Some(told) = mounts.get(&format!("{id}/")) else {
            return client.require_plugin(Plugin::Secrets(&id.plugin)).await.map(|()| None);
        };
        let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
        let mount = live_spec(&id.path, told)?;
        Ok(Some(LiveMount { mount, accessor: text("accessor"), uuid: text("uuid") }))
    }

    fn diff(desired: &MountSpec, observed: &LiveMount) -> Diff {
        let (live, desired) = (&observed.mount, desired.effective());
        let downgrade =
            ("version", "a kv engine cannot go back to version 1; mount another one and copy the secrets");
        let fixed: Vec<Fixed> = match live.version > desired.version {
            true => FIXED.into_iter().chain([downgrade]).collect(),
            false => FIXED.to_vec(),
        };
        let options = live.options.iter().filter(|(name, _)| desired.options.contains_key(*name));
        let options = options.map(|(name, value)| (name.clone(), value.clone())).collect();
        fields::compare(&MountSpec { options, ..live.clone() }, &desired, &fixed)
    }

    async fn create(w: &Writer<'_, VaultClient>, desired: &MountSpec) -> Result<()> {
        w.post(w.permit(), &format!("sys/mounts/{}", desired.path), &desired.body()).await.map(drop)
    }

    async fn update(w: &Writer<'_, VaultClient>, desired: &MountSpec, observed: &LiveMount) -> Result<()> {
        let diff = Self::diff(desired, observed);
        refuse_blocked(&diff, Self::KIND, &desired.path)?;
        let mut body = fields::changed(&desired.effective(), &diff);
        if body.remove("version").is_some() || body.contains_key("options") {
            body.insert("options".to_owned(), json!(desired.all_options()));
        }
        w.post(w.permit(), &format!("sys/mounts/{}/tune", desired.path), &Value::Object(body)).await.map(drop)
    }

    async fn delete(w: &Writer<'_, VaultClient>, id: &Place) -> Result<()> {
        w.delete(w.permit(), &format!("sys/mounts/{id}")).await
    }

    async fn attachments(client: &VaultClient, id: &Place, observed: &LiveMount) -> Result<Vec<Attachment>> {
        content::of_engine(client, &id.path, &observed.mount.engine, observed.mount.version).await
    }

    fn permanent(id: &Place) -> Option<&'static str> {
        ["sys", "identity", "cubbyhole"].contains(&id.path.as_str()).then_some(VAULTS_OWN)
    }

    fn outputs(observed: &LiveMount) -> MountOutputs {
        MountOutputs {
            path: observed.mount.path.clone(),
            accessor: observed.accessor.clone(),
            uuid: observed.uuid.clone(),
        }
    }

    fn predicted_outputs(desired: &MountSpec, _: &Realm) -> Partial {
        Partial::default().with("path", &desired.path)
    }
}

/// Why a built-in thing is never removed.
pub(super) const VAULTS_OWN: &str = "it belongs to Vault itself";

/// Refuses a creation when something exists by now: it is not this plan's.
pub(super) fn refuse_existing(found: bool, path: &str) -> Result<()> {
    if found { Err(Error::made_meanwhile(format!("POST {path}"))) } else { Ok(()) }
}

/// The engine never updates blocked fields; this check makes sure that nothing is written.
pub(super) fn refuse_blocked(diff: &Diff, kind: &str, id: &str) -> Result<()> {
    match diff.blocked.first() {
        None => Ok(()),
        Some(blocked) => {
            let message = format!("`{}` cannot be changed: {}", blocked.path, blocked.why);
            Err(Error::new(ErrorKind::Rejected, format!("update {kind} {id}"), message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(value: Value) -> MountSpec {
        serde_json::from_value(value).expect("valid")
    }

    fn live(told: Value) -> LiveMount {
        LiveMount {
            mount: live_spec("team", &told).expect("valid"),
            accessor: String::new(),
            uuid: String::new(),
        }
    }

    fn paths(declared: Value, told: Value) -> (Vec<String>, Vec<String>) {
        let diff = Mount::diff(&spec(declared), &live(told));
        let changes = diff.changes.into_iter().map(|change| change.path).collect();
        (changes, diff.blocked.into_iter().map(|blocked| blocked.path).collect())
    }

    #[test]
    fn servers_notation_is_not_a_change() {
        let told = json!({
            "type": "kv", "description": "", "options": { "version": "2" }, "uuid": "u", "accessor": "a",
            "running_plugin_version": "v2", "deprecation_status": "supported", "local": false,
            "config": { "default_lease_ttl": 3600, "max_lease_ttl": 0, "force_no_cache": false, "listing_visibility": "" },
        });
        let declared = json!({ "path": "team", "type": "kv", "default_lease_ttl": "1h" });
        assert_eq!(paths(declared, told), (vec![], vec![]));
    }

    #[test]
    fn version_may_rise_but_not_fall() {
        let told = |version: &str| json!({ "type": "kv", "options": { "version": version }, "config": {} });
        let declared = |version: u8| json!({ "path": "team", "type": "kv", "version": version });
        let version = || vec!["version".to_owned()];
        assert_eq!(paths(declared(2), told("1")), (version(), vec![]));
        assert_eq!(paths(declared(1), told("2")), (version(), version()));
        assert_eq!(
            paths(declared(1), json!({ "type": "kv", "options": null, "config": {} })),
            (vec![], vec![])
        );
    }

    #[test]
    fn mistakes_are_found_by_check() {
        let errors = |value: Value| Mount::check(&spec(value)).len();
        assert_eq!(errors(json!({ "path": "a/", "type": "kv-v2" })), 2);
        assert_eq!(errors(json!({ "path": "a", "type": "transit", "version": 2 })), 1);
        assert_eq!(errors(json!({ "path": "a/b", "type": "kv" })), 0);
    }
}
