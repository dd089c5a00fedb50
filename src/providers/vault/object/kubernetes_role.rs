//! Roles of the Kubernetes method: <https://openbao.org/api-docs/auth/kubernetes/#create-update-role>.

use serde_json::Value;

use super::super::fields;
use super::super::notation::{LowerName, Names};
use super::super::role::{check_role, requirements, role_spec};
use super::super::states::login_role;
use super::super::{VaultClient, prove};
use super::{Making, Object, PlainObject};
use crate::access::{Grant, Granting};
use crate::error::FieldError;
use crate::proof::{Proof, Prover};
use crate::providers::vault::risk::{LETS_IN, LOGIN_RISKS, TOKEN_RISKS};
use crate::resource::Requirement;
use crate::resource::risk::Category::{BroaderGrant, ProtectionOff, Wildcard};
use crate::resource::risk::{Risks, added, becomes, identity, includes, replaced, unbound, widened};
use crate::run::{Permission, Workload};

/// A role with which service accounts of a Kubernetes cluster log in.
pub type KubernetesRole = Object<KubernetesRoleSpec>;

role_spec! {
    /// The declared fields of a Kubernetes role.
    pub struct KubernetesRoleSpec {
        /// The method's path below `auth/`.
        #[serde(default = "mount")]
        pub mount: String,
        /// The role's name; Vault converts it to lowercase.
        pub name: LowerName,
        /// Service accounts that may log in; `*` allows all.
        pub bound_service_account_names: Names,
        /// Allowed namespaces; `*` allows all.
        #[serde(default)]
        pub bound_service_account_namespaces: Names,
        /// Allowed namespaces by label: a Kubernetes label selector as JSON.
        #[serde(default)]
        pub bound_service_account_namespace_selector: String,
        /// The audience that a service account's token must have; empty allows all.
        #[serde(default)]
        pub audience: String,
        /// The alias name: `serviceaccount_uid` or `serviceaccount_name`.
        #[serde(default = "alias_name_source")]
        pub alias_name_source: String,
    }
}

fn mount() -> String {
    "kubernetes".to_owned()
}

fn alias_name_source() -> String {
    "serviceaccount_uid".to_owned()
}

impl PlainObject for KubernetesRoleSpec {
    const KIND: &'static str = "vault.kubernetes_role";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str = "A role of the Kubernetes method, with which service accounts log in.";
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
    const RISKS: Risks = &[
        &[
            identity("mount name"),
            includes("bound_service_account_names", "*")
                .medium(Wildcard, "is bound to every service account (`*`)"),
            includes("bound_service_account_namespaces", "*")
                .high(Wildcard, "is bound to every namespace (`*`)"),
            widened("bound_service_account_names bound_service_account_namespaces")
                .low(BroaderGrant, LETS_IN),
            added("bound_service_account_namespace_selector")
                .medium(BroaderGrant, "other namespaces are let in, by label"),
            unbound("audience").medium(ProtectionOff, "takes tokens that were issued for others"),
            replaced("audience").low(BroaderGrant, "takes tokens that were issued for another audience"),
            becomes("alias_name_source", "serviceaccount_name").medium(
                BroaderGrant,
                "a service account that is created again under the same name is the same entity",
            ),
        ],
        TOKEN_RISKS,
        LOGIN_RISKS,
    ];
    const PROOF: Proof = Proof::Tried(
        "logs in with a service account's token, requested of the plan's cluster or given by the caller; the token of \
         the login is compared with the role",
    );
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const MAKING: Making = Making::Create;

    fn path(&self) -> String {
        format!("auth/{}/role/{}", self.mount, self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn grants(&self) -> Vec<Grant> {
        login_role(&self.mount, &self.name, &self.path(), self)
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors = check_role(&self.name, self);
        let open = self.bound_service_account_namespaces == Names::default()
            && self.bound_service_account_namespace_selector.is_empty();
        if open {
            let help = "list the namespaces, or set `bound_service_account_namespace_selector`";
            errors.push(FieldError::new("bound_service_account_namespaces", "is empty").help(help));
        }
        errors
    }

    fn proof_permissions(&self) -> Vec<Permission> {
        prove::token_needs(&fields::fields(self))
    }

    async fn prove(prover: &Prover<'_, VaultClient>, desired: &Self, _: &Value) {
        let kind = prove::given::Credential::Jwt;
        prove::given::prove(prover, kind, &desired.mount, &fields::fields(desired)).await;
    }

    /// The first service account that the role lets in by name.
    fn workload(&self) -> Option<Workload> {
        let named = |names: &Names| names.iter().find(|name| *name != "*").map(str::to_owned);
        let audience = Some(self.audience.clone()).filter(|audience| !audience.is_empty());
        let namespace = named(&self.bound_service_account_namespaces)?;
        Some(Workload { namespace, account: named(&self.bound_service_account_names)?, audience })
    }

    fn requires(&self) -> Vec<Requirement> {
        let mut required = requirements(&self.mount, self);
        required.push(Requirement::thing("vault.kubernetes_auth", &self.mount));
        required
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::live_of;
    use super::*;
    use crate::resource::{Diff, Resource};

    #[test]
    fn servers_notation_is_not_a_change() {
        // The server omits `audience` when it is empty.
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
        assert_eq!(KubernetesRole::diff(&declared, &live_of(&declared, &told)), Diff::none());
    }
}
