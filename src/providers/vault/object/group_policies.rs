//! The policies of groups and users, for methods that map names to policies:
//! <https://developer.hashicorp.com/vault/api-docs/auth/ldap#create-update-ldap-group>,
//! <https://developer.hashicorp.com/vault/api-docs/auth/github#map-github-teams>.

use serde_json::{Map, Value, json};

use super::super::notation::{GroupNames, LowerName, PolicyNames};
use super::super::server::Plugin;
use super::super::states::login;
use super::{Making, Object, PlainObject, check_name, policies};
use crate::access::{Grant, Granting};
use crate::error::FieldError;
use crate::proof::Proof;
use crate::providers::vault::risk::of_policy_names;
use crate::resource::Requirement;
use crate::resource::risk::Category::BroaderGrant;
use crate::resource::risk::{Risks, added, analysed, identity};

/// The policies of an LDAP group's members.
pub type LdapGroup = Object<LdapGroupSpec>;
/// The policies of an LDAP user.
pub type LdapUser = Object<LdapUserSpec>;
/// The policies of a GitHub team's members.
pub type GithubTeam = Object<GithubTeamSpec>;
/// The policies of a GitHub user.
pub type GithubUser = Object<GithubUserSpec>;

/// Declares the fields of a named group or user with policies: the method, the name, the policies,
/// and its own fields.
///
/// A macro, because serde cannot both take fields from another struct and refuse unknown ones.
macro_rules! has_policies {
    (
        $(#[$about:meta])*
        pub struct $spec:ident {
            $(#[$mount_about:meta])* pub mount: String,
            $(#[$name_about:meta])* pub name: LowerName,
            $($(#[$field_about:meta])* pub $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $spec {
            /// The method's path below `auth/`.
            $(#[$mount_about])* pub mount: String,
            $(#[$name_about])* pub name: LowerName,
            /// Policies of its tokens.
            pub policies: PolicyNames,
            $($(#[$field_about])* pub $field: $type,)*
        }

        impl Named for $spec {
            fn named(&self) -> (&str, &LowerName, &PolicyNames) {
                (&self.mount, &self.name, &self.policies)
            }
        }
    };
}

has_policies! {
    /// The declared fields of an LDAP group.
    pub struct LdapGroupSpec {
        #[serde(default = "ldap")]
        pub mount: String,
        /// The group's name; Vault converts it to lowercase.
        pub name: LowerName,
    }
}

has_policies! {
    /// The declared fields of an LDAP user.
    pub struct LdapUserSpec {
        #[serde(default = "ldap")]
        pub mount: String,
        /// The user's name; Vault converts it to lowercase.
        pub name: LowerName,
        /// Groups in addition to those of the directory; Vault converts them to lowercase.
        #[serde(default)]
        pub groups: GroupNames,
    }
}

has_policies! {
    /// The declared fields of a GitHub team.
    pub struct GithubTeamSpec {
        #[serde(default = "github")]
        pub mount: String,
        /// The team's slug: its name in GitHub's URLs.
        pub name: LowerName,
    }
}

has_policies! {
    /// The declared fields of a GitHub user.
    pub struct GithubUserSpec {
        #[serde(default = "github")]
        pub mount: String,
        /// The user's name at GitHub.
        pub name: LowerName,
    }
}

fn ldap() -> String {
    "ldap".to_owned()
}

fn github() -> String {
    "github".to_owned()
}

/// A group or user with policies: the method's path, the name and the policies.
trait Named {
    fn named(&self) -> (&str, &LowerName, &PolicyNames);
}

/// The requirements of a group or user with policies.
fn requires(named: &impl Named) -> Vec<Requirement> {
    let (mount, _, names) = named.named();
    std::iter::once(Requirement::thing("vault.auth_method", mount)).chain(policies(names.iter())).collect()
}

/// Those that log in as this user, or as a member of this group.
fn grants<S: Named + PlainObject>(named: &S) -> Vec<Grant> {
    let (mount, name, names) = named.named();
    login(mount, name, &PlainObject::path(named), names.iter(), false)
}

/// The path of a group or user, in this folder of the method.
fn path(named: &impl Named, folder: &str) -> String {
    let (mount, name, _) = named.named();
    format!("auth/{mount}/{folder}/{name}")
}

fn check(named: &impl Named) -> Vec<FieldError> {
    check_name("name", named.named().1).into_iter().collect()
}

/// The parts of a comma-separated text.
fn parts(text: &Value) -> Vec<&str> {
    let parts = text.as_str().unwrap_or_default().split(',').map(str::trim);
    parts.filter(|part| !part.is_empty()).collect()
}

impl PlainObject for LdapGroupSpec {
    const KIND: &'static str = "vault.ldap_group";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str = "The policies of an LDAP group. HashiCorp Vault, or OpenBao before 2.7.";
    const EXAMPLE: &'static str = "\
directory_operators:
  kind: vault.ldap_group
  name: operators
  policies: [operations]
";
    const RISKS: Risks = &[&[identity("mount name"), analysed("policies", of_policy_names)]];
    const PROOF: Proof =
        Proof::InSync("it takes effect at a login that the directory or GitHub itself checks");
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const MAKING: Making = Making::Unknown;
    const PLUGIN: Option<Plugin<'static>> = Some(Plugin::Auth("ldap"));

    fn path(&self) -> String {
        path(self, "groups")
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn grants(&self) -> Vec<Grant> {
        grants(self)
    }

    fn check(&self) -> Vec<FieldError> {
        check(self)
    }

    fn requires(&self) -> Vec<Requirement> {
        requires(self)
    }
}

impl PlainObject for LdapUserSpec {
    const KIND: &'static str = "vault.ldap_user";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str =
        "The policies and groups of an LDAP user. HashiCorp Vault, or OpenBao before 2.7.";
    const EXAMPLE: &'static str = "\
directory_alice:
  kind: vault.ldap_user
  name: alice
  policies: [operations]
  groups: [on-call]
";
    const RISKS: Risks = &[&[
        identity("mount name"),
        analysed("policies", of_policy_names),
        added("groups").medium(BroaderGrant, "joins groups, with their policies"),
    ]];
    const PROOF: Proof =
        Proof::InSync("it takes effect at a login that the directory or GitHub itself checks");
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const MAKING: Making = Making::Unknown;
    const PLUGIN: Option<Plugin<'static>> = Some(Plugin::Auth("ldap"));

    fn path(&self) -> String {
        path(self, "users")
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn grants(&self) -> Vec<Grant> {
        grants(self)
    }

    fn check(&self) -> Vec<FieldError> {
        check(self)
    }

    fn requires(&self) -> Vec<Requirement> {
        requires(self)
    }

    /// The method stores a comma-separated text.
    fn understand(mut told: Value) -> Value {
        told["groups"] = json!(parts(&told["groups"]));
        told
    }
}

/// A request's body for GitHub teams and users, whose policies are a comma-separated text.
fn one_text(named: &impl Named) -> Map<String, Value> {
    let names: Vec<&str> = named.named().2.iter().collect();
    Map::from_iter([("value".to_owned(), json!(names.join(",")))])
}

fn from_one_text(told: &Value) -> Value {
    json!({ "policies": parts(&told["value"]) })
}

/// The server also returns names that were never mapped.
fn is_mapped(told: &Value) -> bool {
    !parts(&told["value"]).is_empty()
}

impl PlainObject for GithubTeamSpec {
    const KIND: &'static str = "vault.github_team";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str = "The policies of a GitHub team. HashiCorp Vault.";
    const EXAMPLE: &'static str = "\
github_platform:
  kind: vault.github_team
  name: platform
  policies: [operations]
";
    const RISKS: Risks = &[&[identity("mount name"), analysed("policies", of_policy_names)]];
    const PROOF: Proof =
        Proof::InSync("it takes effect at a login that the directory or GitHub itself checks");
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const MAKING: Making = Making::Unknown;
    const PLUGIN: Option<Plugin<'static>> = Some(Plugin::Auth("github"));

    fn path(&self) -> String {
        path(self, "map/teams")
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn grants(&self) -> Vec<Grant> {
        grants(self)
    }

    fn check(&self) -> Vec<FieldError> {
        check(self)
    }

    fn requires(&self) -> Vec<Requirement> {
        requires(self)
    }

    fn understand(told: Value) -> Value {
        from_one_text(&told)
    }

    fn is_set(told: &Value) -> bool {
        is_mapped(told)
    }

    fn requests(&self, _: Map<String, Value>, _: Option<&Self>) -> Vec<(String, Map<String, Value>)> {
        vec![(self.path(), one_text(self))]
    }
}

impl PlainObject for GithubUserSpec {
    const KIND: &'static str = "vault.github_user";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str =
        "The policies of a GitHub user, in addition to those of teams. HashiCorp Vault.";
    const EXAMPLE: &'static str = "\
github_alice:
  kind: vault.github_user
  name: alice
  policies: [operations]
";
    const RISKS: Risks = &[&[identity("mount name"), analysed("policies", of_policy_names)]];
    const PROOF: Proof =
        Proof::InSync("it takes effect at a login that the directory or GitHub itself checks");
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const MAKING: Making = Making::Unknown;
    const PLUGIN: Option<Plugin<'static>> = Some(Plugin::Auth("github"));

    fn path(&self) -> String {
        path(self, "map/users")
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn grants(&self) -> Vec<Grant> {
        grants(self)
    }

    fn check(&self) -> Vec<FieldError> {
        check(self)
    }

    fn requires(&self) -> Vec<Requirement> {
        requires(self)
    }

    fn understand(told: Value) -> Value {
        from_one_text(&told)
    }

    fn is_set(told: &Value) -> bool {
        is_mapped(told)
    }

    fn requests(&self, _: Map<String, Value>, _: Option<&Self>) -> Vec<(String, Map<String, Value>)> {
        vec![(self.path(), one_text(self))]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::live_of;
    use super::*;
    use crate::resource::{Diff, Resource};

    #[test]
    fn github_policies_are_comma_separated_text() {
        let declared = json!({ "name": "Platform", "policies": ["B", "a"] });
        let team: GithubTeamSpec = serde_json::from_value(declared.clone()).expect("valid");
        let user: GithubUserSpec = serde_json::from_value(declared).expect("valid");
        // A response according to the documentation.
        let told = json!({ "key": "platform", "value": "a, b" });
        assert_eq!(GithubTeam::diff(&team, &live_of(&team, &told)), Diff::none());
        assert_eq!(GithubUser::diff(&user, &live_of(&user, &told)), Diff::none());
        let (path, body) = team.requests(Map::new(), None).remove(0);
        assert_eq!((path.as_str(), &body["value"]), ("auth/github/map/teams/platform", &json!("a,b")));
        assert_eq!(user.requests(Map::new(), None)[0].0, "auth/github/map/users/platform");
        assert!(!GithubTeamSpec::is_set(&json!({ "key": "platform", "value": "" })));
    }

    #[test]
    fn ldap_groups_are_text_and_policies_lists() {
        let declared = json!({ "name": "ops", "policies": ["operations"] });
        let declared: LdapGroupSpec = serde_json::from_value(declared).expect("valid");
        let told = json!({ "policies": ["operations"] });
        assert_eq!(LdapGroup::diff(&declared, &live_of(&declared, &told)), Diff::none());
        // A response of OpenBao 2.6.2.
        let told = json!({ "groups": "b,x", "policies": ["a", "b"] });
        let declared = json!({ "name": "Alice", "policies": ["B", "a"], "groups": ["X", "b"] });
        let declared: LdapUserSpec = serde_json::from_value(declared).expect("valid");
        assert_eq!(LdapUser::diff(&declared, &live_of(&declared, &told)), Diff::none());
    }
}
