//! Roles of the Kubernetes method: <https://openbao.org/api-docs/auth/kubernetes/#create-update-role>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::VaultClient;
use super::fields;
use super::notation::{Cidrs, Names, PolicyNames, Ttl, lower};
use super::role::{RoleId, TOKEN, check_role, default_token_type, requirements};
use crate::resource::{Diff, FieldError, Partial, Requirement, Resource, Result, Scope, Writer};

/// A role through which the service accounts of a Kubernetes cluster log in.
#[derive(Debug)]
pub struct KubernetesRole;

/// The declared fields of a Kubernetes role.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KubernetesRoleSpec {
    /// The method's path below `auth/`.
    #[serde(default = "default_mount")]
    pub mount: String,
    /// The role's name; Vault lowers its case.
    pub name: String,
    /// Service accounts that may log in; `*` is any.
    pub bound_service_account_names: Names,
    /// Namespaces they may be in; `*` is any.
    #[serde(default)]
    pub bound_service_account_namespaces: Names,
    /// Namespaces they may be in, by label: a Kubernetes label selector as JSON.
    #[serde(default)]
    pub bound_service_account_namespace_selector: String,
    /// The audience that a service account's token must be for; empty is any.
    #[serde(default)]
    pub audience: String,
    /// What names the alias: `serviceaccount_uid` or `serviceaccount_name`.
    #[serde(default = "default_alias_source")]
    pub alias_name_source: String,
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

/// A Kubernetes role as it is.
#[derive(Clone, Debug)]
pub struct LiveKubernetesRole {
    role: KubernetesRoleSpec,
    id: RoleId,
}

/// What other steps may refer to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KubernetesRoleOutputs {
    /// The role's name as the server keeps it.
    pub name: String,
    /// The method's path below `auth/`.
    pub mount: String,
}

const OWN: [&str; 5] = [
    "bound_service_account_names",
    "bound_service_account_namespaces",
    "bound_service_account_namespace_selector",
    "audience",
    "alias_name_source",
];

fn default_mount() -> String {
    "kubernetes".to_owned()
}

fn default_alias_source() -> String {
    "serviceaccount_uid".to_owned()
}

fn live_spec(id: &RoleId, told: &Value) -> Result<KubernetesRoleSpec> {
    let names: Vec<&str> = OWN.iter().chain(&TOKEN).copied().collect();
    fields::parse(told, &names, [("mount", json!(id.mount)), ("name", json!(id.name))])
}

impl KubernetesRoleSpec {
    fn lowered(&self) -> Self {
        Self { name: lower(&self.name), ..self.clone() }
    }

    /// Every field: the server merges some of what a request leaves out, and empties the rest.
    fn body(&self) -> Value {
        let mut body = fields::fields(self);
        body.retain(|name, _| name != "mount" && name != "name");
        Value::Object(body)
    }
}

impl Resource for KubernetesRole {
    const KIND: &'static str = "vault.kubernetes_role";
    const ABOUT: &'static str = "A role of the Kubernetes method, through which service accounts log in.";
    const EXAMPLE: &'static str = "\
payments_pods:
  kind: vault.kubernetes_role
  name: payments
  bound_service_account_names: [payments]
  bound_service_account_namespaces: [payments]
  audience: vault
  token_policies: [payments-app]
  token_ttl: 1h
";

    type Client = VaultClient;
    type Id = RoleId;
    type Desired = KubernetesRoleSpec;
    type Observed = LiveKubernetesRole;
    type Outputs = KubernetesRoleOutputs;

    fn id(desired: &KubernetesRoleSpec) -> RoleId {
        RoleId { mount: desired.mount.clone(), name: lower(&desired.name) }
    }

    fn check(desired: &KubernetesRoleSpec) -> Vec<FieldError> {
        let mut errors = check_role(&desired.name, &desired.token_type);
        let open = desired.bound_service_account_namespaces == Names::default()
            && desired.bound_service_account_namespace_selector.is_empty();
        if open {
            let help = "name the namespaces, or give `bound_service_account_namespace_selector`";
            errors.push(FieldError::new("bound_service_account_namespaces", "is empty").help(help));
        }
        errors
    }

    fn requires(desired: &KubernetesRoleSpec) -> Vec<Requirement> {
        let mut required = requirements(&desired.mount, &desired.token_policies);
        required.push(Requirement::thing("vault.kubernetes_auth", &desired.mount));
        required
    }

    async fn observe(client: &VaultClient, id: &RoleId) -> Result<Option<LiveKubernetesRole>> {
        let Some(told) = client.get(&id.path()).await? else { return Ok(None) };
        Ok(Some(LiveKubernetesRole { role: live_spec(id, &told)?, id: id.clone() }))
    }

    fn diff(desired: &KubernetesRoleSpec, observed: &LiveKubernetesRole) -> Diff {
        fields::compare(&observed.role, &desired.lowered(), &[])
    }

    async fn create(w: &Writer<'_, VaultClient>, desired: &KubernetesRoleSpec) -> Result<()> {
        w.post(w.permit(), &Self::id(desired).path(), &desired.body()).await.map(drop)
    }

    async fn update(
        w: &Writer<'_, VaultClient>,
        desired: &KubernetesRoleSpec,
        _: &LiveKubernetesRole,
    ) -> Result<()> {
        Self::create(w, desired).await
    }

    async fn delete(w: &Writer<'_, VaultClient>, id: &RoleId) -> Result<()> {
        w.delete(w.permit(), &id.path()).await
    }

    fn outputs(observed: &LiveKubernetesRole) -> KubernetesRoleOutputs {
        let RoleId { mount, name } = observed.id.clone();
        KubernetesRoleOutputs { name, mount }
    }

    fn predicted_outputs(desired: &KubernetesRoleSpec, _: &Scope) -> Partial {
        let RoleId { mount, name } = Self::id(desired);
        Partial::default().with("name", name).with("mount", mount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_writes_differently_is_no_change() {
        // Without `audience`, which the server leaves out when it is empty.
        let told = json!({
            "alias_name_source": "serviceaccount_uid", "bound_service_account_names": ["b", "a"],
            "bound_service_account_namespace_selector": "", "bound_service_account_namespaces": ["*"],
            "token_bound_cidrs": [], "token_explicit_max_ttl": 0, "token_max_ttl": 0,
            "token_no_default_policy": false, "token_num_uses": 0, "token_period": 0,
            "token_policies": [], "token_ttl": 3600, "token_type": "default",
        });
        let declared = json!({
            "name": "Web", "bound_service_account_names": ["a", "b"],
            "bound_service_account_namespaces": ["*"], "token_ttl": "1h",
        });
        let declared: KubernetesRoleSpec = serde_json::from_value(declared).expect("valid");
        let id = KubernetesRole::id(&declared);
        let live = LiveKubernetesRole { role: live_spec(&id, &told).expect("valid"), id };
        assert_eq!(KubernetesRole::diff(&declared, &live), Diff::none());
    }
}
