//! Roles of the Azure method: <https://developer.hashicorp.com/vault/api-docs/auth/azure#create-role>.

use super::super::notation::{LowerName, Names};
use super::super::role::{check_role, requirements, role_spec};
use super::super::server::Plugin;
use super::super::states::login_role;
use super::{Making, Object, PlainObject};
use crate::access::{Grant, Granting};
use crate::error::FieldError;
use crate::proof::Proof;
use crate::providers::vault::risk::{LETS_IN, LOGIN_RISKS, TOKEN_RISKS};
use crate::resource::Requirement;
use crate::resource::risk::Category::{BroaderGrant, ProtectionOff, Wildcard};
use crate::resource::risk::{Risks, identity, includes, unbound, widened};

/// A role with which machines and applications in Azure log in.
pub type AzureAuthRole = Object<AzureAuthRoleSpec>;

role_spec! {
    /// The declared fields of a role of the Azure method.
    pub struct AzureAuthRoleSpec {
        /// The method's path below `auth/`.
        #[serde(default = "mount")]
        pub mount: String,
        /// The role's name; Vault converts it to lowercase.
        pub name: LowerName,
        /// Service principals that may log in.
        #[serde(default)]
        pub bound_service_principal_ids: Names,
        /// Groups whose members may log in.
        #[serde(default)]
        pub bound_group_ids: Names,
        /// Allowed locations of machines.
        #[serde(default)]
        pub bound_locations: Names,
        /// Allowed subscriptions of machines.
        #[serde(default)]
        pub bound_subscription_ids: Names,
        /// Allowed resource groups of machines.
        #[serde(default)]
        pub bound_resource_groups: Names,
        /// Allowed scale sets of machines.
        #[serde(default)]
        pub bound_scale_sets: Names,
    }
}

fn mount() -> String {
    "azure".to_owned()
}

/// Fields that limit who may log in.
const BOUND: &str = "bound_service_principal_ids bound_group_ids bound_locations bound_subscription_ids \
                     bound_resource_groups bound_scale_sets";

impl PlainObject for AzureAuthRoleSpec {
    const KIND: &'static str = "vault.azure_auth_role";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str =
        "A role of the Azure method, with which machines and applications log in. HashiCorp Vault.";
    const EXAMPLE: &'static str = "\
azure_logins:
  kind: vault.auth_method
  type: azure
payments_machines:
  kind: vault.azure_auth_role
  name: payments
  bound_subscription_ids: [6a1d5988-5917-4221-b224-904cd7e24a25]
  bound_resource_groups: [payments]
  token_policies: [payments-app]
  token_ttl: 1h
";
    const RISKS: Risks = &[
        &[
            identity("mount name"),
            includes(BOUND, "*").high(Wildcard, "`{field}` lets in everyone (`*`)"),
            unbound(BOUND).medium(ProtectionOff, "`{field}` no longer limits who is let in"),
            widened(BOUND).low(BroaderGrant, LETS_IN),
        ],
        TOKEN_RISKS,
        LOGIN_RISKS,
    ];
    const PROOF: Proof = Proof::InSync("Azure itself checks a login; only a machine there can pass it");
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const MAKING: Making = Making::Unknown;
    const PLUGIN: Option<Plugin<'static>> = Some(Plugin::Auth("azure"));

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
        let bounds = [
            &self.bound_service_principal_ids,
            &self.bound_group_ids,
            &self.bound_locations,
            &self.bound_subscription_ids,
            &self.bound_resource_groups,
            &self.bound_scale_sets,
        ];
        if bounds.iter().all(|names| names.is_empty()) {
            let help = "restrict who may log in, e.g. with `bound_service_principal_ids`";
            errors.push(FieldError::new("", "the role is not bound to anyone").help(help));
        }
        errors
    }

    fn requires(&self) -> Vec<Requirement> {
        let mut required = requirements(&self.mount, self);
        required.push(Requirement::thing("vault.azure_auth", format!("auth/{}/config", self.mount)));
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
        // A response according to the method's source: unset fields are null.
        let told = json!({
            "bound_service_principal_ids": null, "bound_group_ids": null, "bound_subscription_ids": null,
            "bound_resource_groups": ["vault-prod", "vault-dev"], "bound_locations": null, "bound_scale_sets": null,
            "token_bound_cidrs": [], "token_explicit_max_ttl": 0, "token_max_ttl": 0,
            "token_no_default_policy": false, "token_num_uses": 0, "token_period": 0,
            "token_policies": ["default", "dev", "prod"], "token_ttl": 0, "token_type": "default",
        });
        let declared = json!({
            "name": "Dev", "bound_resource_groups": ["vault-dev", "vault-prod"],
            "token_policies": ["prod", "dev", "default"],
        });
        let declared: AzureAuthRoleSpec = serde_json::from_value(declared).expect("valid");
        assert_eq!(AzureAuthRole::diff(&declared, &live_of(&declared, &told)), Diff::none());
        let nobody: AzureAuthRoleSpec = serde_json::from_value(json!({ "name": "a" })).expect("valid");
        assert_eq!(AzureAuthRole::check(&nobody).len(), 1);
    }
}
