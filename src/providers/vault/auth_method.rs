//! Auth methods: <https://openbao.org/api-docs/system/auth/>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::VaultClient;
use super::content;
use super::fields;
use super::mount::{
    FIXED, Place, TUNED, VAULTS_OWN, Visibility, check_path, flatten, pick, refuse_blocked, visibility_error,
};
use super::notation::{Names, Ttl};
use super::permissions;
use super::server::Plugin;
use super::states::{manage, target};
use crate::access::{Grant, Granting};
use crate::error::{FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::providers::vault::risk::{BATCH, NOT_REVOCABLE, TUNING_RISKS};
use crate::resource::risk::Category::ProtectionOff;
use crate::resource::risk::{
    Category, Deletion, LABELS, Risks, Severity, becomes, fixed, identity, loosened, lowered, on, safe,
};
use crate::resource::{Attachment, Diff, Look, Partial, Requirement, Resource, Writer};
use crate::run::{Access, Permission, Use};

/// An auth method.
#[derive(Debug)]
pub struct AuthMethod;

/// The declared fields of an auth method.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthMethodSpec {
    /// Its mount path below `auth/`. Default: its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The method: `approle`, `kubernetes`, `jwt`, `userpass` and so on. Fixed.
    #[serde(rename = "type")]
    pub method: String,
    /// A sentence for people.
    #[serde(default)]
    pub description: String,
    /// The default TTL of its tokens; 0 is the server's default.
    #[serde(default)]
    pub default_lease_ttl: Ttl,
    /// The maximum TTL of its tokens; 0 is the server's default.
    #[serde(default)]
    pub max_lease_ttl: Ttl,
    /// The type of tokens: `default-service`, `default-batch`, `service` or `batch`. Not managed
    /// when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_type: Option<String>,
    /// Whether the login page shows it to everyone.
    #[serde(default)]
    pub listing_visibility: Visibility,
    /// Keys of requests that audit devices log in plain text.
    #[serde(default)]
    pub audit_non_hmac_request_keys: Names,
    /// Keys of responses that audit devices log in plain text.
    #[serde(default)]
    pub audit_non_hmac_response_keys: Names,
    /// Request headers that are passed to the method.
    #[serde(default)]
    pub passthrough_request_headers: Names,
    /// Headers that the method may set in responses.
    #[serde(default)]
    pub allowed_response_headers: Names,
    /// When wrong passwords lock a user out; for `userpass`, `ldap` and `approle`. Not managed when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_lockout: Option<UserLockout>,
    /// Not replicated to other clusters. Fixed.
    #[serde(default)]
    pub local: bool,
    /// Encrypted again by the seal, where the server supports it. Fixed.
    #[serde(default)]
    pub seal_wrap: bool,
}

/// When wrong passwords lock a user out. 0 is the server's default everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UserLockout {
    /// The number of failures before a lockout.
    pub threshold: u64,
    /// The length of a lockout.
    pub duration: Ttl,
    /// The time after which failures are forgotten.
    pub counter_reset: Ttl,
    /// Never lock users out.
    pub disable: bool,
}

/// A live auth method.
#[derive(Clone, Debug)]
pub struct LiveAuthMethod {
    method: AuthMethodSpec,
    path: String,
    accessor: String,
}

/// The outputs for other steps.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AuthMethodOutputs {
    /// Its mount path below `auth/`.
    pub path: String,
    /// The server's name for it, e.g. `auth_approle_c89aba04`, for identity aliases and policies.
    pub accessor: String,
}

const OWN: [&str; 4] = ["type", "description", "local", "seal_wrap"];

impl AuthMethodSpec {
    fn path(&self) -> &str {
        self.path.as_deref().unwrap_or(&self.method)
    }

    fn body(&self) -> Value {
        let all = fields::fields(self);
        let mut config = pick(&all, &TUNED);
        config.extend(pick(&all, &["token_type"]));
        let mut body = pick(&all, &OWN);
        body.insert("config".to_owned(), Value::Object(config));
        Value::Object(body)
    }
}

fn live_spec(path: &str, told: &Value) -> Result<AuthMethodSpec> {
    let names: Vec<&str> = OWN.iter().chain(&TUNED).copied().chain(["token_type"]).collect();
    let lockout = live_lockout(&told["config"]["user_lockout_config"])?;
    fields::parse(&flatten(told), &names, [("path", json!(path)), ("user_lockout", json!(lockout))])
}

/// Vault reads and writes these fields under different names.
fn live_lockout(told: &Value) -> Result<UserLockout> {
    let names = [
        ("threshold", "user_lockout_threshold"),
        ("duration", "user_lockout_duration"),
        ("counter_reset", "user_lockout_counter_reset_duration"),
        ("disable", "user_lockout_disable"),
    ];
    let known = names.into_iter().filter_map(|(name, theirs)| Some((name, told.get(theirs)?.clone())));
    fields::parse(&Value::Null, &[], known)
}

/// A body for tuning; the server requires numbers as text.
fn lockout_body(lockout: &UserLockout) -> Value {
    let UserLockout { threshold, duration, counter_reset, disable } = lockout;
    let text = |ttl: &Ttl| match ttl {
        Ttl::Seconds(seconds) => seconds.to_string(),
        Ttl::Unknown(text) => text.clone(),
    };
    json!({
        "lockout_threshold": threshold.to_string(),
        "lockout_duration": text(duration),
        "lockout_counter_reset_duration": text(counter_reset),
        "lockout_disable": disable,
    })
}

/// The body of a request that tunes `fields` of the declared method.
fn tune_body(desired: &AuthMethodSpec, mut fields: Map<String, Value>) -> Value {
    if let Some(lockout) = fields.remove("user_lockout").and(desired.user_lockout.as_ref()) {
        fields.insert("user_lockout_config".to_owned(), lockout_body(lockout));
    }
    Value::Object(fields)
}

impl Resource for AuthMethod {
    const KIND: &'static str = "vault.auth_method";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str = "An auth method, such as approle or kubernetes, with its tuning.";
    const EXAMPLE: &'static str = "\
approle:
  kind: vault.auth_method
  type: approle
  description: Applications and pipelines
  max_lease_ttl: 24h
";
    const DELETION: Deletion = Deletion::new(
        Severity::High,
        Category::Destroy,
        "is deleted, with its roles; logins through it no longer work",
    );
    const RISKS: Risks = &[
        &[
            identity("path"),
            fixed("type local seal_wrap"),
            safe("description", LABELS),
            becomes("token_type", BATCH).low(ProtectionOff, NOT_REVOCABLE),
            on("user_lockout.disable").medium(ProtectionOff, "passwords can be guessed without end"),
            loosened("user_lockout.threshold")
                .low(ProtectionOff, "more passwords can be guessed before a lockout"),
            lowered("user_lockout.duration user_lockout.counter_reset")
                .low(ProtectionOff, "passwords can be guessed faster (`{field}`)"),
        ],
        TUNING_RISKS,
    ];
    const PROOF: Proof =
        Proof::InSync("the method answers at its path, and its roles are proven by their own steps");
    const PROTECTED: bool = true;
    const REMOVAL: Option<&'static str> =
        Some("also deletes its roles and revokes every token that it has issued");

    type Client = VaultClient;
    type Id = Place;
    type Desired = AuthMethodSpec;
    type Observed = LiveAuthMethod;
    type Outputs = AuthMethodOutputs;

    fn id(desired: &AuthMethodSpec) -> Place {
        Place { path: desired.path().to_owned(), plugin: desired.method.clone() }
    }

    fn check(desired: &AuthMethodSpec) -> Vec<FieldError> {
        let types = ["default-service", "default-batch", "service", "batch"];
        let mut errors: Vec<FieldError> = check_path(desired.path()).into_iter().collect();
        if desired.listing_visibility == Visibility::Unknown {
            errors.push(visibility_error());
        }
        if desired.token_type.as_deref().is_some_and(|declared| !types.contains(&declared)) {
            errors.push(
                FieldError::new("token_type", "is not a type of token")
                    .help(format!("one of {}", types.join(", "))),
            );
        }
        errors
    }

    fn grants(desired: &AuthMethodSpec, _: Option<&LiveAuthMethod>, _: &Realm) -> Vec<Grant> {
        vec![target("auth method", desired.path(), manage(&format!("sys/auth/{}", desired.path())))]
    }

    fn granted(observed: &LiveAuthMethod) -> Vec<Grant> {
        vec![target("auth method", &observed.path, manage(&format!("sys/auth/{}", observed.path)))]
    }

    fn permissions(desired: &AuthMethodSpec, used: Use<'_>) -> Vec<Permission> {
        let path = format!("sys/auth/{}", desired.path());
        let tune = format!("{path}/tune");
        let guarded = |path: &str, of: fn(String) -> Permission| {
            [of(path.to_owned()), permissions::sudo(path)].into_iter().collect::<Vec<_>>()
        };
        match used.access {
            Access::Read => vec![permissions::read("sys/auth")],
            Access::Create => {
                let tuned = desired.user_lockout.is_some().then(|| guarded(&tune, permissions::write));
                guarded(&path, permissions::write).into_iter().chain(tuned.into_iter().flatten()).collect()
            }
            Access::Update => guarded(&tune, permissions::write),
            Access::Delete => guarded(&path, permissions::delete),
            Access::Prove => Vec::new(),
        }
    }

    fn requires(_: &AuthMethodSpec) -> Vec<Requirement> {
        vec![Requirement::Kind("vault.init")]
    }

    async fn observe(client: &VaultClient, id: &Place, _: Look<'_, Self>) -> Result<Option<LiveAuthMethod>> {
        let methods = client.auth_methods().await?;
        let Some(told) = methods.get(&format!("{id}/")) else {
            return client.require_plugin(Plugin::Auth(&id.plugin)).await.map(|()| None);
        };
        let accessor = told["accessor"].as_str().unwrap_or_default().to_owned();
        Ok(Some(LiveAuthMethod { method: live_spec(&id.path, told)?, path: id.path.clone(), accessor }))
    }

    fn diff(desired: &AuthMethodSpec, observed: &LiveAuthMethod) -> Diff {
        fields::compare(&observed.method, desired, &FIXED)
    }

    async fn create(w: &Writer<'_, VaultClient>, desired: &AuthMethodSpec) -> Result<()> {
        let path = format!("sys/auth/{}", desired.path());
        w.post(w.permit(), &path, &desired.body()).await?;
        // Only tuning accepts this field.
        match pick(&fields::fields(desired), &["user_lockout"]) {
            none if none.is_empty() => Ok(()),
            lockout => {
                w.post(w.permit(), &format!("{path}/tune"), &tune_body(desired, lockout)).await.map(drop)
            }
        }
    }

    async fn update(
        w: &Writer<'_, VaultClient>,
        desired: &AuthMethodSpec,
        observed: &LiveAuthMethod,
    ) -> Result<()> {
        let diff = Self::diff(desired, observed);
        refuse_blocked(&diff, Self::KIND, desired.path())?;
        let body = tune_body(desired, fields::changed(desired, &diff));
        w.post(w.permit(), &format!("sys/auth/{}/tune", desired.path()), &body).await.map(drop)
    }

    async fn delete(w: &Writer<'_, VaultClient>, id: &Place) -> Result<()> {
        w.delete(w.permit(), &format!("sys/auth/{id}")).await
    }

    async fn attachments(
        client: &VaultClient,
        id: &Place,
        observed: &LiveAuthMethod,
    ) -> Result<Vec<Attachment>> {
        content::of_method(client, &id.path, &observed.method.method).await
    }

    fn permanent(id: &Place) -> Option<&'static str> {
        (id.path == "token").then_some(VAULTS_OWN)
    }

    fn outputs(observed: &LiveAuthMethod) -> AuthMethodOutputs {
        AuthMethodOutputs { path: observed.path.clone(), accessor: observed.accessor.clone() }
    }

    fn predicted_outputs(desired: &AuthMethodSpec, _: &Realm) -> Partial {
        Partial::default().with("path", desired.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_notation_is_not_a_change() {
        let told = json!({
            "type": "approle", "description": "", "options": {}, "accessor": "a", "local": false, "seal_wrap": false,
            "config": { "default_lease_ttl": 3600, "max_lease_ttl": 0, "token_type": "default-service" },
        });
        let declared = json!({ "type": "approle", "default_lease_ttl": "60m" });
        let declared: AuthMethodSpec = serde_json::from_value(declared).expect("valid");
        let live = LiveAuthMethod {
            method: live_spec("approle", &told).expect("valid"),
            path: "approle".to_owned(),
            accessor: String::new(),
        };
        assert!(AuthMethod::diff(&declared, &live).is_empty());
    }

    #[test]
    fn lockout_uses_different_names_in_responses() {
        let told = json!({
            "user_lockout_threshold": 4, "user_lockout_duration": 300,
            "user_lockout_counter_reset_duration": 360, "user_lockout_disable": false,
        });
        let declared: UserLockout =
            serde_json::from_value(json!({ "threshold": 4, "duration": "5m", "counter_reset": "6m" }))
                .expect("valid");
        assert_eq!(live_lockout(&told).expect("valid"), declared);
        assert_eq!(live_lockout(&Value::Null).expect("valid"), UserLockout::default());
        assert_eq!(lockout_body(&declared)["lockout_threshold"], "4");
    }
}
