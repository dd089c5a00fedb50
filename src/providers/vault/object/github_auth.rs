//! The configuration of the GitHub method:
//! <https://developer.hashicorp.com/vault/api-docs/auth/github#configure-method>.

use super::super::notation::BaseUrl;
use super::super::role::{IssuesTokens, role_spec};
use super::super::server::Plugin;
use super::{Making, Object, PlainObject, policies};
use crate::access::Granting;
use crate::error::FieldError;
use crate::proof::Proof;
use crate::providers::vault::risk::{LOGIN_RISKS, TOKEN_RISKS};
use crate::resource::Requirement;
use crate::resource::risk::Category::Destination;
use crate::resource::risk::{Risks, changed, identity};

/// The organisation whose members log in with a GitHub token.
pub type GithubAuth = Object<GithubAuthSpec>;

role_spec! {
    /// The declared fields of the configuration.
    pub struct GithubAuthSpec {
        /// The method's path below `auth/`.
        #[serde(default = "mount")]
        pub mount: String,
        /// The organisation whose members may log in.
        pub organization: String,
        /// The organisation's id. Without it the server asks GitHub once. Not managed when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub organization_id: Option<u64>,
        /// The API address of a GitHub Enterprise server. Not managed when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub base_url: Option<BaseUrl>,
    }
}

fn mount() -> String {
    "github".to_owned()
}

impl PlainObject for GithubAuthSpec {
    const KIND: &'static str = "vault.github_auth";
    const GRANTS: Granting =
        Granting::Never("it says how logins are proven; teams and users say what they get");
    const ABOUT: &'static str =
        "The organisation whose members log in with a personal GitHub token. HashiCorp Vault.";
    const EXAMPLE: &'static str = "\
github_logins:
  kind: vault.auth_method
  type: github
example_org:
  kind: vault.github_auth
  organization: example-org
  organization_id: 1234567
  token_ttl: 8h
";
    const RISKS: Risks = &[
        &[
            identity("mount"),
            changed("organization organization_id")
                .high(Destination, "members of another organisation may log in (`{field}`)"),
            changed("base_url").high(Destination, "another server says who may log in"),
        ],
        TOKEN_RISKS,
        LOGIN_RISKS,
    ];
    const PROOF: Proof = Proof::InSync("GitHub itself checks a login; only its users can pass it");
    const IDENTITY: &'static [&'static str] = &["mount"];
    const MAKING: Making = Making::Unknown;
    const PERMANENT: Option<&'static str> =
        Some("the configuration is deleted with its auth method; remove the step of the method instead");
    const PLUGIN: Option<Plugin<'static>> = Some(Plugin::Auth("github"));

    fn path(&self) -> String {
        format!("auth/{}/config", self.mount)
    }

    fn name(&self) -> &str {
        &self.mount
    }

    fn check(&self) -> Vec<FieldError> {
        let nobody = self.organization.is_empty().then(|| FieldError::new("organization", "is empty"));
        nobody.into_iter().collect()
    }

    fn requires(&self) -> Vec<Requirement> {
        let method = Requirement::thing("vault.auth_method", &self.mount);
        std::iter::once(method).chain(policies(self.policies().iter())).collect()
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
        // A response according to the method's source; the documentation shows an older version.
        let told = json!({
            "organization": "acme-org", "organization_id": 42, "base_url": "https://github.example.com/api/v3/",
            "token_bound_cidrs": [], "token_explicit_max_ttl": 0, "token_max_ttl": 0,
            "token_no_default_policy": false, "token_num_uses": 0, "token_period": 0,
            "token_policies": [], "token_ttl": 28800, "token_type": "default",
        });
        let declared = json!({
            "organization": "acme-org", "base_url": "https://github.example.com/api/v3", "token_ttl": "8h",
        });
        let declared: GithubAuthSpec = serde_json::from_value(declared).expect("valid");
        assert_eq!(GithubAuth::diff(&declared, &live_of(&declared, &told)), Diff::none());
        let older = json!({ "organization": "acme-org", "base_url": "", "ttl": "", "max_ttl": "" });
        let declared = serde_json::from_value(json!({ "organization": "acme-org" })).expect("valid");
        assert_eq!(GithubAuth::diff(&declared, &live_of(&declared, &older)), Diff::none());
    }
}
