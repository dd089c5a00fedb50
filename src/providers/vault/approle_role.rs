//! Roles of the AppRole method: <https://openbao.org/api-docs/auth/approle/>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::VaultClient;
use super::fields::{self, Fixed};
use super::mount::refuse_blocked;
use super::notation::{Cidrs, PolicyNames, Ttl, lower};
use super::role::{RoleId, TOKEN, check_role, default_token_type, requirements};
use crate::resource::{Diff, FieldError, Partial, Requirement, Resource, Result, Scope, Writer};

/// A role through which a machine logs in with a role-id and a secret-id.
#[derive(Debug)]
pub struct ApproleRole;

/// The declared fields of an AppRole role.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproleRoleSpec {
    /// The method's path below `auth/`.
    #[serde(default = "default_mount")]
    pub mount: String,
    /// The role's name; Vault lowers its case.
    pub name: String,
    /// The role-id to have, instead of one that the server makes; left alone when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_id: Option<String>,
    /// Whether a login needs a secret-id.
    #[serde(default = "yes")]
    pub bind_secret_id: bool,
    /// How long secret-ids last; 0 is for ever.
    #[serde(default)]
    pub secret_id_ttl: Ttl,
    /// How often a secret-id can be used; 0 is without limit.
    #[serde(default)]
    pub secret_id_num_uses: u64,
    /// Networks from which secret-ids can be used; none is any.
    #[serde(default)]
    pub secret_id_bound_cidrs: Cidrs,
    /// Secret-ids are not replicated to other clusters. Fixed.
    #[serde(default)]
    pub local_secret_ids: bool,
    /// Policies that its tokens have, beside `default`.
    #[serde(default)]
    pub token_policies: PolicyNames,
    /// How long its tokens last; 0 is the method's default.
    #[serde(default)]
    pub token_ttl: Ttl,
    /// How long its tokens last at most, renewals included; 0 is the method's default.
    #[serde(default)]
    pub token_max_ttl: Ttl,
    /// A limit that even periodic tokens have; 0 is none.
    #[serde(default)]
    pub token_explicit_max_ttl: Ttl,
    /// Tokens can be renewed for ever, each time for this long; 0 is not so.
    #[serde(default)]
    pub token_period: Ttl,
    /// How often a token can be used; 0 is without limit.
    #[serde(default)]
    pub token_num_uses: u64,
    /// Without the policy `default`.
    #[serde(default)]
    pub token_no_default_policy: bool,
    /// `service` or `batch`, or `default` for what the method says.
    #[serde(default = "default_token_type")]
    pub token_type: String,
    /// Networks from which its tokens can be used; none is any.
    #[serde(default)]
    pub token_bound_cidrs: Cidrs,
    /// Tokens can be used from the address of the login alone. OpenBao only; left alone when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_strictly_bind_ip: Option<bool>,
}

/// An AppRole role as it is.
#[derive(Clone, Debug)]
pub struct LiveApproleRole {
    role: ApproleRoleSpec,
    id: RoleId,
    role_id: String,
}

/// What other steps may refer to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ApproleRoleOutputs {
    /// The role's name as the server keeps it.
    pub name: String,
    /// The method's path below `auth/`.
    pub mount: String,
    /// The role-id, one half of what a login needs.
    pub role_id: String,
}

const OWN: [&str; 5] =
    ["bind_secret_id", "secret_id_ttl", "secret_id_num_uses", "secret_id_bound_cidrs", "local_secret_ids"];

const FIXED: [Fixed; 1] = [(
    "local_secret_ids",
    "where secret-ids are kept is decided when the role is made; make a role with another name and move its users",
)];

fn default_mount() -> String {
    "approle".to_owned()
}

const fn yes() -> bool {
    true
}

fn live_spec(declared_id: &RoleId, told: &Value, role_id: &str) -> Result<ApproleRoleSpec> {
    let names: Vec<&str> = OWN.iter().chain(&TOKEN).copied().collect();
    let own =
        [("mount", json!(declared_id.mount)), ("name", json!(declared_id.name)), ("role_id", json!(role_id))];
    fields::parse(told, &names, own)
}

impl ApproleRoleSpec {
    /// With the name in the case in which the server keeps it.
    fn lowered(&self) -> Self {
        Self { name: lower(&self.name), ..self.clone() }
    }

    /// The fields of the request that makes the role; its name stands in the path.
    fn body(&self) -> Value {
        let mut body = fields::fields(self);
        body.retain(|name, _| name != "mount" && name != "name");
        Value::Object(body)
    }
}

impl Resource for ApproleRole {
    const KIND: &'static str = "vault.approle_role";
    const ABOUT: &'static str = "A role of the AppRole method, through which a machine logs in.";
    const EXAMPLE: &'static str = "\
approle:
  kind: vault.auth_method
  type: approle
pipeline:
  kind: vault.approle_role
  name: pipeline
  token_policies: [payments-app]
  token_ttl: 20m
  token_max_ttl: 1h
  secret_id_ttl: 90d
  secret_id_bound_cidrs: [10.20.0.0/16]
";

    type Client = VaultClient;
    type Id = RoleId;
    type Desired = ApproleRoleSpec;
    type Observed = LiveApproleRole;
    type Outputs = ApproleRoleOutputs;

    fn id(desired: &ApproleRoleSpec) -> RoleId {
        RoleId { mount: desired.mount.clone(), name: lower(&desired.name) }
    }

    fn check(desired: &ApproleRoleSpec) -> Vec<FieldError> {
        let mut errors = check_role(&desired.name, &desired.token_type);
        let bound = desired.secret_id_bound_cidrs != Cidrs::default()
            || desired.token_bound_cidrs != Cidrs::default();
        if !desired.bind_secret_id && !bound {
            let help = "a login needs at least one proof: leave it true, or bind the role to networks";
            errors.push(FieldError::new("bind_secret_id", "leaves the role open to everybody").help(help));
        }
        errors
    }

    fn requires(desired: &ApproleRoleSpec) -> Vec<Requirement> {
        requirements(&desired.mount, &desired.token_policies)
    }

    async fn observe(client: &VaultClient, id: &RoleId) -> Result<Option<LiveApproleRole>> {
        // One after the other: OpenBao reads a role in a transaction, which fails beside another one.
        let Some(role) = client.get(&id.path()).await? else { return Ok(None) };
        let role_id = client.get(&format!("{}/role-id", id.path())).await?.unwrap_or_default();
        let role_id = role_id["role_id"].as_str().unwrap_or_default().to_owned();
        Ok(Some(LiveApproleRole { role: live_spec(id, &role, &role_id)?, id: id.clone(), role_id }))
    }

    fn diff(desired: &ApproleRoleSpec, observed: &LiveApproleRole) -> Diff {
        fields::compare(&observed.role, &desired.lowered(), &FIXED)
    }

    async fn create(w: &Writer<'_, VaultClient>, desired: &ApproleRoleSpec) -> Result<()> {
        w.post(w.permit(), &Self::id(desired).path(), &desired.body()).await.map(drop)
    }

    async fn update(
        w: &Writer<'_, VaultClient>,
        desired: &ApproleRoleSpec,
        observed: &LiveApproleRole,
    ) -> Result<()> {
        let diff = Self::diff(desired, observed);
        let id = Self::id(desired);
        refuse_blocked(&diff, Self::KIND, &id.to_string())?;
        // The server merges: fields that are not in the request keep their values.
        let body = Value::Object(fields::changed(desired, &diff));
        w.post(w.permit(), &id.path(), &body).await.map(drop)
    }

    async fn delete(w: &Writer<'_, VaultClient>, id: &RoleId) -> Result<()> {
        w.delete(w.permit(), &id.path()).await
    }

    fn outputs(observed: &LiveApproleRole) -> ApproleRoleOutputs {
        let RoleId { mount, name } = observed.id.clone();
        ApproleRoleOutputs { name, mount, role_id: observed.role_id.clone() }
    }

    fn predicted_outputs(desired: &ApproleRoleSpec, _: &Scope) -> Partial {
        let RoleId { mount, name } = Self::id(desired);
        Partial::default()
            .with("name", name)
            .with("mount", mount)
            .with_some("role_id", desired.role_id.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(value: Value) -> ApproleRoleSpec {
        serde_json::from_value(value).expect("valid")
    }

    #[test]
    fn what_the_server_writes_differently_is_no_change() {
        let told = json!({
            "bind_secret_id": true, "local_secret_ids": false, "secret_id_bound_cidrs": ["10.0.0.1/32"],
            "secret_id_num_uses": 5, "secret_id_ttl": 86400, "token_bound_cidrs": ["10.0.0.1", "10.1.0.0/16"],
            "token_explicit_max_ttl": 0, "token_max_ttl": 7200, "token_no_default_policy": false,
            "token_num_uses": 0, "token_period": 0, "token_policies": ["B", "a", "B"],
            "token_strictly_bind_ip": false, "token_ttl": 3600, "token_type": "default",
        });
        let declared = spec(json!({
            "name": "CI", "token_policies": ["a", "b"], "token_ttl": "1h", "token_max_ttl": "120m",
            "token_bound_cidrs": ["10.1.0.0/16", "10.0.0.1/32"], "secret_id_bound_cidrs": ["10.0.0.1"],
            "secret_id_ttl": "24h", "secret_id_num_uses": 5,
        }));
        let id = ApproleRole::id(&declared);
        let live =
            LiveApproleRole { role: live_spec(&id, &told, "r").expect("valid"), id, role_id: String::new() };
        assert_eq!(ApproleRole::diff(&declared, &live), Diff::none());
        let changed = ApproleRoleSpec { token_num_uses: 3, local_secret_ids: true, ..declared };
        let diff = ApproleRole::diff(&changed, &live);
        assert!(diff.touches("token_num_uses") && diff.blocked[0].path == "local_secret_ids");
    }

    #[test]
    fn a_role_without_any_proof_is_refused() {
        assert_eq!(ApproleRole::check(&spec(json!({ "name": "a", "bind_secret_id": false }))).len(), 1);
        let bound = json!({ "name": "a", "bind_secret_id": false, "token_bound_cidrs": ["10.0.0.0/8"] });
        assert!(ApproleRole::check(&spec(bound)).is_empty());
    }

    #[test]
    fn it_needs_its_method_and_its_policies() {
        let requires = ApproleRole::requires(&spec(json!({ "name": "a", "token_policies": ["Payments"] })));
        assert!(requires.contains(&Requirement::thing("vault.policy", "payments")));
        assert!(requires.contains(&Requirement::thing("vault.auth_method", "approle")));
    }
}
