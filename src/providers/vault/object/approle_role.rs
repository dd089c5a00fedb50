//! Roles of the AppRole method: <https://openbao.org/api-docs/auth/approle/>.

use serde_json::Value;

use super::super::fields::{self, Fixed};
use super::super::notation::{Cidrs, LowerName, Ttl};
use super::super::role::{check_role, requirements, role_spec};
use super::super::states::{WRITE, login_role};
use super::super::{VaultClient, content, prove};
use super::{Making, Object, PlainObject, yes};
use crate::access::{Grant, Granting, Operation};
use crate::error::{FieldError, Result};
use crate::proof::{Proof, Prover};
use crate::providers::vault::risk::{LETS_IN, LOGIN_RISKS, TOKEN_RISKS};
use crate::resource::risk::Category::{BroaderGrant, ProtectionOff};
use crate::resource::risk::{Risks, changed, fixed, identity, loosened, off, unbound, widened};
use crate::resource::{Attachment, Requirement};
use crate::run::Permission;

/// A role with which a machine logs in by a role-id and a secret-id.
pub type ApproleRole = Object<ApproleRoleSpec>;

role_spec! {
    /// The declared fields of an AppRole role.
    pub struct ApproleRoleSpec {
        /// The method's path below `auth/`.
        #[serde(default = "mount")]
        pub mount: String,
        /// The role's name; Vault converts it to lowercase.
        pub name: LowerName,
        /// The role-id, instead of one that the server generates. Not managed when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub role_id: Option<String>,
        /// Whether a login needs a secret-id.
        #[serde(default = "yes")]
        pub bind_secret_id: bool,
        /// How long secret-ids are valid; 0 is unlimited.
        #[serde(default)]
        pub secret_id_ttl: Ttl,
        /// How often a secret-id can be used; 0 is unlimited.
        #[serde(default)]
        pub secret_id_num_uses: u64,
        /// Networks from which secret-ids can be used; an empty list allows all.
        #[serde(default)]
        pub secret_id_bound_cidrs: Cidrs,
        /// Secret-ids are not replicated to other clusters. Fixed.
        #[serde(default)]
        pub local_secret_ids: bool,
    }
}

fn mount() -> String {
    "approle".to_owned()
}

impl PlainObject for ApproleRoleSpec {
    const KIND: &'static str = "vault.approle_role";
    const GRANTS: Granting = Granting::States;
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
    const RISKS: Risks = &[
        &[
            identity("mount name"),
            changed("role_id").low(BroaderGrant, "another role-id logs in"),
            off("bind_secret_id").high(ProtectionOff, "anyone who knows the role-id can log in"),
            loosened("secret_id_ttl secret_id_num_uses")
                .medium(ProtectionOff, "secret-ids can be used for longer or more often (`{field}`)"),
            unbound("secret_id_bound_cidrs").medium(ProtectionOff, "its secret-ids work from anywhere"),
            widened("secret_id_bound_cidrs").low(BroaderGrant, LETS_IN),
            fixed("local_secret_ids"),
        ],
        TOKEN_RISKS,
        LOGIN_RISKS,
    ];
    const PROOF: Proof =
        Proof::Tried("logs in with a secret-id of one use; the token is compared with the role");
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const MAKING: Making = Making::Create;
    const FIXED: &'static [Fixed] = &[(
        "local_secret_ids",
        "the storage of secret-ids is decided at the role's creation; create a role with another name and move its users",
    )];
    const OUTPUTS: &'static [(&'static str, &'static str)] =
        &[("role_id", "The role-id, one of the two values for a login.")];
    const PARTS: &'static [&'static str] = &["role-id"];

    fn path(&self) -> String {
        format!("auth/{}/role/{}", self.mount, self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn proof_permissions(&self) -> Vec<Permission> {
        prove::approle::needs(&self.path(), &fields::fields(self))
    }

    async fn prove(prover: &Prover<'_, VaultClient>, desired: &Self, _: &Value) {
        prove::approle::prove(prover, &desired.path(), &fields::fields(desired)).await;
    }

    fn grants(&self) -> Vec<Grant> {
        let mut grants = login_role(&self.mount, &self.name, &self.path(), self);
        if let Some(Grant::Target(role)) = grants.last_mut() {
            role.operations.push(Operation::new("issue secret-ids", WRITE, self.path() + "/secret-id"));
        }
        grants
    }

    async fn attachments(&self, client: &VaultClient, _: &Value) -> Result<Vec<Attachment>> {
        content::secret_ids(client, &self.mount, &self.name).await
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors = check_role(&self.name, self);
        let bound =
            self.secret_id_bound_cidrs != Cidrs::default() || self.token_bound_cidrs != Cidrs::default();
        if !self.bind_secret_id && !bound {
            let help = "a login needs at least one credential: leave it true, or bind the role to networks";
            errors.push(FieldError::new("bind_secret_id", "leaves the role open to everyone").help(help));
        }
        errors
    }

    fn requires(&self) -> Vec<Requirement> {
        requirements(&self.mount, self)
    }

    fn compares_parts(&self) -> bool {
        self.role_id.is_some()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::live_of;
    use super::*;
    use crate::resource::{Diff, Resource};

    fn spec(value: Value) -> ApproleRoleSpec {
        serde_json::from_value(value).expect("valid")
    }

    #[test]
    fn servers_notation_is_not_a_change() {
        let told = json!({
            "bind_secret_id": true, "local_secret_ids": false, "secret_id_bound_cidrs": ["10.0.0.1/32"],
            "secret_id_num_uses": 5, "secret_id_ttl": 86400, "token_bound_cidrs": ["10.0.0.1", "10.1.0.0/16"],
            "token_explicit_max_ttl": 0, "token_max_ttl": 7200, "token_no_default_policy": false,
            "token_num_uses": 0, "token_period": 0, "token_policies": ["B", "a", "B"],
            "token_strictly_bind_ip": false, "token_ttl": 3600, "token_type": "default", "role_id": "r",
        });
        let declared = spec(json!({
            "name": "CI", "token_policies": ["a", "b"], "token_ttl": "1h", "token_max_ttl": "120m",
            "token_bound_cidrs": ["10.1.0.0/16", "10.0.0.1/32"], "secret_id_bound_cidrs": ["10.0.0.1"],
            "secret_id_ttl": "24h", "secret_id_num_uses": 5,
        }));
        let live = live_of(&declared, &told);
        assert_eq!(ApproleRole::diff(&declared, &live), Diff::none());
        let changed = ApproleRoleSpec { token_num_uses: 3, local_secret_ids: true, ..declared };
        let diff = ApproleRole::diff(&changed, &live);
        assert!(diff.touches("token_num_uses") && diff.blocked[0].path == "local_secret_ids");
    }

    #[test]
    fn role_without_any_proof_is_refused() {
        assert_eq!(ApproleRole::check(&spec(json!({ "name": "a", "bind_secret_id": false }))).len(), 1);
        let bound = json!({ "name": "a", "bind_secret_id": false, "token_bound_cidrs": ["10.0.0.0/8"] });
        assert!(ApproleRole::check(&spec(bound)).is_empty());
    }

    #[test]
    fn role_requires_its_method_and_policies() {
        let requires = ApproleRole::requires(&spec(json!({ "name": "a", "token_policies": ["Payments"] })));
        assert!(requires.contains(&Requirement::thing("vault.policy", "payments")));
        assert!(requires.contains(&Requirement::thing("vault.auth_method", "approle")));
    }
}
