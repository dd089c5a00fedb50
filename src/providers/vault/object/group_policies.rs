//! What members of a group may do, for methods that know groups of their own:
//! <https://developer.hashicorp.com/vault/api-docs/auth/ldap#create-update-ldap-group>,
//! <https://developer.hashicorp.com/vault/api-docs/auth/github#map-github-teams>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::notation::{LowerName, PolicyNames};
use super::super::server::Plugin;
use super::{Object, PlainObject, check_name, policies};
use crate::resource::{FieldError, Requirement};

/// What members of a directory's group may do.
pub type LdapGroup = Object<LdapGroupSpec>;
/// What members of a GitHub team may do.
pub type GithubTeam = Object<GithubTeamSpec>;

/// The declared fields of a directory's group.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LdapGroupSpec {
    /// The method's path below `auth/`.
    #[serde(default = "ldap")]
    pub mount: String,
    /// The group's name; Vault lowers its case.
    pub name: LowerName,
    /// Policies that its members have.
    pub policies: PolicyNames,
}

/// The declared fields of a team.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GithubTeamSpec {
    /// The method's path below `auth/`.
    #[serde(default = "github")]
    pub mount: String,
    /// The team's name in GitHub's addresses, its slug.
    pub name: LowerName,
    /// Policies that its members have.
    pub policies: PolicyNames,
}

fn ldap() -> String {
    "ldap".to_owned()
}

fn github() -> String {
    "github".to_owned()
}

fn requires(mount: &str, names: &PolicyNames) -> Vec<Requirement> {
    let method = Requirement::thing("vault.auth_method", mount);
    std::iter::once(method).chain(policies(names.iter())).collect()
}

impl PlainObject for LdapGroupSpec {
    const KIND: &'static str = "vault.ldap_group";
    const ABOUT: &'static str = "The policies of a directory's group. HashiCorp Vault.";
    const EXAMPLE: &'static str = "\
directory_operators:
  kind: vault.ldap_group
  name: operators
  policies: [operations]
";
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const PLUGIN: Option<Plugin<'static>> = Some(Plugin::Auth("ldap"));

    fn path(&self) -> String {
        format!("auth/{}/groups/{}", self.mount, self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> Vec<FieldError> {
        check_name("name", &self.name).into_iter().collect()
    }

    fn requires(&self) -> Vec<Requirement> {
        requires(&self.mount, &self.policies)
    }
}

impl PlainObject for GithubTeamSpec {
    const KIND: &'static str = "vault.github_team";
    const ABOUT: &'static str = "The policies of a GitHub team. HashiCorp Vault.";
    const EXAMPLE: &'static str = "\
github_platform:
  kind: vault.github_team
  name: platform
  policies: [operations]
";
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const PLUGIN: Option<Plugin<'static>> = Some(Plugin::Auth("github"));

    fn path(&self) -> String {
        format!("auth/{}/map/teams/{}", self.mount, self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> Vec<FieldError> {
        check_name("name", &self.name).into_iter().collect()
    }

    fn requires(&self) -> Vec<Requirement> {
        requires(&self.mount, &self.policies)
    }

    /// The method keeps a text with commas.
    fn understand(told: Value) -> Value {
        let names = told["value"].as_str().unwrap_or_default().split(',');
        let names: Vec<&str> = names.map(str::trim).filter(|name| !name.is_empty()).collect();
        json!({ "policies": names })
    }

    fn is_set(told: &Value) -> bool {
        told["value"].as_str().is_some_and(|value| !value.is_empty())
    }

    fn requests(&self, _: Map<String, Value>, _: Option<&Self>) -> Vec<(String, Map<String, Value>)> {
        let names: Vec<&str> = self.policies.iter().collect();
        vec![(self.path(), Map::from_iter([("value".to_owned(), json!(names.join(",")))]))]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::live_of;
    use super::*;
    use crate::resource::Resource;

    #[test]
    fn policies_of_a_team_are_one_text() {
        let declared = json!({ "name": "Platform", "policies": ["B", "a"] });
        let declared: GithubTeamSpec = serde_json::from_value(declared).expect("valid");
        // As the documentation shows an answer.
        let told = json!({ "key": "platform", "value": "a, b" });
        assert!(GithubTeam::diff(&declared, &live_of(&declared, &told)).is_empty());
        let (path, body) = declared.requests(Map::new(), None).remove(0);
        assert_eq!((path.as_str(), &body["value"]), ("auth/github/map/teams/platform", &json!("a,b")));
    }

    #[test]
    fn a_directory_group_has_a_list() {
        let declared = json!({ "name": "ops", "policies": ["operations"] });
        let declared: LdapGroupSpec = serde_json::from_value(declared).expect("valid");
        let told = json!({ "policies": ["operations"] });
        assert!(LdapGroup::diff(&declared, &live_of(&declared, &told)).is_empty());
    }
}
