//! Roles of the Google Cloud method:
//! <https://developer.hashicorp.com/vault/api-docs/auth/gcp#create-role>.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::fields::Fixed;
use super::super::notation::{LowerName, Names, Ttl};
use super::super::role::{check_role, requirements, role_spec};
use super::super::server::Plugin;
use super::super::states::login_role;
use super::{Making, Object, PlainObject, check_one_of, yes};
use crate::access::{Grant, Granting};
use crate::error::FieldError;
use crate::proof::Proof;
use crate::providers::vault::risk::{LETS_IN, LOGIN_RISKS, TOKEN_RISKS};
use crate::resource::Requirement;
use crate::resource::risk::Category::{BroaderGrant, ProtectionOff, Wildcard};
use crate::resource::risk::{Risks, fixed, identity, includes, raised, removed, turned_on, unbound, widened};

/// A role with which service accounts and instances of Google Cloud log in.
pub type GcpAuthRole = Object<GcpAuthRoleSpec>;

role_spec! {
    /// The declared fields of a role of the Google Cloud method.
    pub struct GcpAuthRoleSpec {
        /// The method's path below `auth/`.
        #[serde(default = "mount")]
        pub mount: String,
        /// The role's name; Vault converts it to lowercase.
        pub name: LowerName,
        /// `iam` for service accounts, or `gce` for instances. Fixed.
        #[serde(rename = "type")]
        pub role_type: String,
        /// Service accounts that may log in, by e-mail address or id; `*` allows all.
        #[serde(default)]
        pub bound_service_accounts: Names,
        /// Allowed projects; an empty list allows all.
        #[serde(default)]
        pub bound_projects: Names,
        /// Tokens get group aliases for the project and for the folders and organisation above it.
        #[serde(default)]
        pub add_group_aliases: bool,
        /// How far in the future a login's JWT may expire; for `iam`.
        #[serde(default = "quarter_of_an_hour")]
        pub max_jwt_exp: Ttl,
        /// Instances may log in as their service account; for `iam`.
        #[serde(default = "yes")]
        pub allow_gce_inference: bool,
        /// Allowed zones of instances; for `gce`.
        #[serde(default)]
        pub bound_zones: Names,
        /// Allowed regions of instances; for `gce`.
        #[serde(default)]
        pub bound_regions: Names,
        /// Allowed instance groups, which need a zone or a region; for `gce`.
        #[serde(default)]
        pub bound_instance_groups: Names,
        /// Required labels of instances; for `gce`.
        #[serde(default)]
        pub bound_labels: BTreeMap<String, String>,
    }
}

fn mount() -> String {
    "gcp".to_owned()
}

const fn quarter_of_an_hour() -> Ttl {
    Ttl::Seconds(900)
}

/// Fields that the method refuses in roles of the other type, even empty ones.
const IAM_ALONE: [&str; 2] = ["max_jwt_exp", "allow_gce_inference"];
const GCE_ALONE: [&str; 4] = ["bound_zones", "bound_regions", "bound_instance_groups", "bound_labels"];

impl GcpAuthRoleSpec {
    /// Fields that this type of role does not support.
    fn misplaced(&self) -> Vec<FieldError> {
        let (known, is_set): (&[&str], &[bool]) = match self.role_type.as_str() {
            "gce" => (&IAM_ALONE, &[self.max_jwt_exp != quarter_of_an_hour(), !self.allow_gce_inference]),
            "iam" => (
                &GCE_ALONE,
                &[
                    !self.bound_zones.is_empty(),
                    !self.bound_regions.is_empty(),
                    !self.bound_instance_groups.is_empty(),
                    !self.bound_labels.is_empty(),
                ],
            ),
            _ => return Vec::new(),
        };
        let other = if self.role_type == "iam" { "gce" } else { "iam" };
        let wrong = known.iter().zip(is_set).filter(|(_, set)| **set);
        wrong.map(|(name, _)| FieldError::new(*name, format!("needs `type: {other}`"))).collect()
    }
}

/// Fields that limit who may log in.
const BOUND: &str = "bound_service_accounts bound_projects bound_zones bound_regions bound_instance_groups";

impl PlainObject for GcpAuthRoleSpec {
    const KIND: &'static str = "vault.gcp_auth_role";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str = "A role of the Google Cloud method, with which service accounts and instances log \
        in. HashiCorp Vault.";
    const EXAMPLE: &'static str = "\
gcp_logins:
  kind: vault.auth_method
  type: gcp
payments_service:
  kind: vault.gcp_auth_role
  name: payments
  type: iam
  bound_service_accounts: [payments@example-project.iam.gserviceaccount.com]
  token_policies: [payments-app]
  token_ttl: 1h
";
    const RISKS: Risks = &[
        &[
            identity("mount name"),
            fixed("type"),
            includes("bound_service_accounts", "*").high(Wildcard, "lets in every service account (`*`)"),
            unbound(BOUND).medium(ProtectionOff, "`{field}` no longer limits who is let in"),
            widened(BOUND).low(BroaderGrant, LETS_IN),
            turned_on("add_group_aliases")
                .medium(BroaderGrant, "its tokens get the policies of groups of projects and folders"),
            raised("max_jwt_exp").low(BroaderGrant, "a stolen login can be used for longer"),
            turned_on("allow_gce_inference").low(BroaderGrant, "instances log in as their service account"),
            unbound("bound_labels").medium(ProtectionOff, "`{field}` no longer limits who is let in"),
            removed("bound_labels")
                .medium(BroaderGrant, "labels are no longer asked for, or with other values"),
        ],
        TOKEN_RISKS,
        LOGIN_RISKS,
    ];
    const PROOF: Proof = Proof::InSync("Google itself checks a login; only a machine there can pass it");
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const MAKING: Making = Making::Unknown;
    const FIXED: &'static [Fixed] =
        &[("type", "the type of login is decided at the role's creation; create a role with another name")];
    const OUTPUTS: &'static [(&'static str, &'static str)] = &[(
        "role_id",
        "The id in entity aliases of its logins, unless the method is configured differently.",
    )];
    const PLUGIN: Option<Plugin<'static>> = Some(Plugin::Auth("gcp"));

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
        errors.extend(check_one_of("type", &self.role_type, &["iam", "gce"]));
        if self.role_type == "iam" && self.bound_service_accounts.is_empty() {
            let help = "list who may log in; `*` is every service account";
            errors.push(FieldError::new("bound_service_accounts", "is empty").help(help));
        }
        let somewhere = !self.bound_zones.is_empty() || !self.bound_regions.is_empty();
        if !self.bound_instance_groups.is_empty() && !somewhere {
            let message = "needs `bound_zones` or `bound_regions`";
            errors.push(FieldError::new("bound_instance_groups", message));
        }
        errors.extend(self.misplaced());
        errors
    }

    fn requires(&self) -> Vec<Requirement> {
        let mut required = requirements(&self.mount, self);
        required.push(Requirement::thing("vault.gcp_auth", format!("auth/{}/config", self.mount)));
        required
    }

    /// The method accepts labels as `key:value` and reports them as a map.
    fn requests(&self, mut body: Map<String, Value>, _: Option<&Self>) -> Vec<(String, Map<String, Value>)> {
        let labels = self.bound_labels.iter().map(|(key, value)| json!(format!("{key}:{value}")));
        body.insert("bound_labels".to_owned(), labels.collect());
        let foreign: &[&str] = if self.role_type == "gce" { &IAM_ALONE } else { &GCE_ALONE };
        body.retain(|name, _| !foreign.contains(&name.as_str()));
        vec![(self.path(), body)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::live_of;
    use super::*;
    use crate::resource::{Diff, Resource};

    fn spec(value: Value) -> GcpAuthRoleSpec {
        serde_json::from_value(value).expect("valid")
    }

    #[test]
    fn servers_notation_is_not_a_change() {
        // A response according to the method's source: empty fields are omitted.
        let told = json!({
            "add_group_aliases": false, "add_group_label_aliases": false,
            "bound_labels": { "env": "dev", "team": "a" }, "bound_zones": ["eu-west2-a", "us-east1-b"],
            "role_id": "6bbfab2b-ca32-6044-4829-4515728d87b1", "type": "gce",
            "token_bound_cidrs": [], "token_explicit_max_ttl": 0, "token_max_ttl": 86400,
            "token_no_default_policy": false, "token_num_uses": 0, "token_period": 0,
            "token_policies": ["prod"], "token_ttl": 1800, "token_type": "default",
        });
        let declared = spec(json!({
            "name": "Web", "type": "gce", "bound_zones": ["us-east1-b", "eu-west2-a"],
            "bound_labels": { "team": "a", "env": "dev" }, "token_ttl": "30m", "token_max_ttl": "24h",
            "token_policies": ["prod"],
        }));
        assert_eq!(GcpAuthRole::diff(&declared, &live_of(&declared, &told)), Diff::none());
    }

    #[test]
    fn labels_are_sent_in_the_methods_notation() {
        let declared = spec(json!({ "name": "a", "type": "gce", "bound_labels": { "team": "a" } }));
        let body =
            declared.requests(Map::from_iter([("max_jwt_exp".to_owned(), json!(900))]), None).remove(0).1;
        assert_eq!(json!(body), json!({ "bound_labels": ["team:a"] }));
        let declared = spec(json!({ "name": "a", "type": "iam", "bound_service_accounts": ["*"] }));
        assert!(declared.requests(Map::new(), None)[0].1.is_empty());
    }

    #[test]
    fn fields_of_other_type_are_refused() {
        let paths = |value: Value| {
            let errors = GcpAuthRole::check(&spec(value));
            errors.into_iter().map(|error| error.path).collect::<Vec<_>>()
        };
        let iam = json!({ "name": "a", "type": "iam", "bound_zones": ["a"] });
        assert_eq!(paths(iam), ["bound_service_accounts", "bound_zones"]);
        let gce = json!({ "name": "a", "type": "gce", "max_jwt_exp": "5m", "bound_instance_groups": ["g"] });
        assert_eq!(paths(gce), ["bound_instance_groups", "max_jwt_exp"]);
        assert!(paths(json!({ "name": "a", "type": "gce", "bound_projects": ["p"] })).is_empty());
    }
}
