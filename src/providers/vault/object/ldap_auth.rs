//! The configuration of the LDAP method:
//! <https://developer.hashicorp.com/vault/api-docs/auth/ldap#configure-ldap>.

use super::super::notation::{CommaList, Pem, Ttl};
use super::super::role::{IssuesTokens, role_spec};
use super::super::server::Plugin;
use super::{Making, Object, PlainObject, check_one_of, policies, yes};
use crate::access::Granting;
use crate::error::FieldError;
use crate::proof::Proof;
use crate::providers::vault::risk::{LOGIN_RISKS, TOKEN_RISKS};
use crate::resource::Requirement;
use crate::resource::risk::Category::{BroaderGrant, Destination, ProtectionOff};
use crate::resource::risk::{Risks, becomes, changed, identity, off, on, safe, turned_off, turned_on};
use crate::secret::SecretSource;

/// The configuration of logins with an LDAP account.
pub type LdapAuth = Object<LdapAuthSpec>;

role_spec! {
    /// The declared fields of the configuration.
    pub struct LdapAuthSpec {
        /// The method's path below `auth/`.
        #[serde(default = "mount")]
        pub mount: String,
        /// The directory's addresses, tried in this order, e.g. `ldaps://ldap.example.internal`.
        pub url: CommaList,
        /// The DN with which the directory is searched; empty is an anonymous search.
        #[serde(default)]
        pub binddn: String,
        /// The password of `binddn`. It cannot be read back: a new value is sent only together with
        /// another change.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub bindpass: Option<SecretSource>,
        /// The base DN of users, e.g. `ou=People,dc=example,dc=com`.
        #[serde(default)]
        pub userdn: String,
        /// The attribute that contains the user's name.
        #[serde(default = "cn")]
        pub userattr: String,
        /// A template of the user search, with `{{.UserAttr}}` and `{{.Username}}`; empty is the
        /// method's default.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        #[schemars(extend("x-placeholders" = "directory"))]
        pub userfilter: String,
        /// Find the user's account with an anonymous search.
        #[serde(default)]
        pub discoverdn: bool,
        /// Log in as `name@upndomain`; empty disables it.
        #[serde(default)]
        pub upndomain: String,
        /// The base DN of groups.
        #[serde(default)]
        pub groupdn: String,
        /// The attribute that contains a group's name.
        #[serde(default = "cn")]
        pub groupattr: String,
        /// A template of the group search, with `{{.UserDN}}` and `{{.Username}}`; empty is the
        /// method's default.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        #[schemars(extend("x-placeholders" = "directory"))]
        pub groupfilter: String,
        /// Search for groups anonymously.
        #[serde(default)]
        pub anonymous_group_search: bool,
        /// Find groups by the `tokenGroups` attribute of an account, as in Active Directory.
        #[serde(default)]
        pub use_token_groups: bool,
        /// The page size of the directory's responses; 0 disables paging.
        #[serde(default)]
        pub max_page_size: u64,
        /// Which aliases of the directory are followed: `never`, `finding`, `searching` or `always`.
        #[serde(default = "never")]
        pub dereference_aliases: String,
        /// Encrypt the connection with StartTLS after it is open.
        #[serde(default)]
        pub starttls: bool,
        /// Do not check the directory's certificate.
        #[serde(default)]
        pub insecure_tls: bool,
        /// The CA of the directory's certificate; empty is the system's.
        #[serde(default)]
        pub certificate: Pem,
        /// The minimum TLS version, `tls10` to `tls13`.
        #[serde(default = "tls12")]
        pub tls_min_version: String,
        /// The maximum TLS version, `tls10` to `tls13`.
        #[serde(default = "tls12")]
        pub tls_max_version: String,
        /// How long to wait for a connection before trying the next address.
        #[serde(default = "half_a_minute")]
        pub connection_timeout: Ttl,
        /// How long to wait for a response.
        #[serde(default = "a_minute_and_a_half")]
        pub request_timeout: Ttl,
        /// Entity aliases have the name as typed, not the directory's.
        #[serde(default)]
        pub username_as_alias: bool,
        /// User names are case-sensitive.
        #[serde(default)]
        pub case_sensitive_names: bool,
        /// A login without a password is refused.
        #[serde(default = "yes")]
        pub deny_null_bind: bool,
    }
}

fn mount() -> String {
    "ldap".to_owned()
}

fn cn() -> String {
    "cn".to_owned()
}

fn tls12() -> String {
    "tls12".to_owned()
}

fn never() -> String {
    "never".to_owned()
}

const fn half_a_minute() -> Ttl {
    Ttl::Seconds(30)
}

const fn a_minute_and_a_half() -> Ttl {
    Ttl::Seconds(90)
}

/// The address that an unconfigured method reports.
const UNSET: &str = "ldap://127.0.0.1";

impl PlainObject for LdapAuthSpec {
    const KIND: &'static str = "vault.ldap_auth";
    const GRANTS: Granting =
        Granting::Never("it says how logins are proven; groups and users say what they get");
    const ABOUT: &'static str =
        "The configuration of logins with an LDAP account. HashiCorp Vault, or OpenBao before 2.7.";
    const EXAMPLE: &'static str = "\
directory:
  kind: vault.ldap_auth
  url: [ldaps://ldap.example.internal]
  binddn: cn=vault,ou=Services,dc=example,dc=internal
  bindpass: { env: LDAP_PASSWORD }
  userdn: ou=People,dc=example,dc=internal
  userattr: uid
  groupdn: ou=Groups,dc=example,dc=internal
";
    const RISKS: Risks = &[
        &[
            identity("mount"),
            changed("url")
                .high(Destination, "passwords are sent to another directory, which says who may log in"),
            changed("binddn")
                .low(BroaderGrant, "the directory is searched with the rights of another account"),
            safe("bindpass", "it opens nothing in Vault"),
            changed("userdn userattr userfilter upndomain")
                .medium(BroaderGrant, "other accounts may log in (`{field}`)"),
            turned_on("discoverdn anonymous_group_search")
                .low(ProtectionOff, "the directory is searched anonymously (`{field}`)"),
            changed("groupdn groupattr groupfilter use_token_groups")
                .medium(BroaderGrant, "users may get other groups, with their policies (`{field}`)"),
            changed("dereference_aliases").low(BroaderGrant, "aliases may lead to other accounts"),
            turned_off("starttls").high(ProtectionOff, "passwords may be sent to the directory in the clear"),
            on("insecure_tls")
                .high(ProtectionOff, "any server can pass for the directory, and gets the passwords"),
            changed("certificate").medium(Destination, "trusts another authority to be the directory"),
            becomes("tls_min_version tls_max_version", "tls10 tls11")
                .medium(ProtectionOff, "takes outdated versions of TLS (`{field}`)"),
            safe(
                "max_page_size connection_timeout request_timeout",
                "it decides only how the directory is reached",
            ),
            changed("username_as_alias case_sensitive_names").medium(
                BroaderGrant,
                "users are recognised in another way, and may be taken for others (`{field}`)",
            ),
            off("deny_null_bind").high(ProtectionOff, "a login without a password may be let in"),
        ],
        TOKEN_RISKS,
        LOGIN_RISKS,
    ];
    const PROOF: Proof = Proof::InSync("the directory itself checks a login; only its users can pass it");
    const IDENTITY: &'static [&'static str] = &["mount"];
    const MAKING: Making = Making::Unknown;
    const PERMANENT: Option<&'static str> =
        Some("the configuration is deleted with its auth method; remove the step of the method instead");
    const PLUGIN: Option<Plugin<'static>> = Some(Plugin::Auth("ldap"));

    fn path(&self) -> String {
        format!("auth/{}/config", self.mount)
    }

    fn name(&self) -> &str {
        &self.mount
    }

    fn check(&self) -> Vec<FieldError> {
        let versions = ["tls10", "tls11", "tls12", "tls13"];
        let mut errors: Vec<FieldError> =
            check_one_of("tls_min_version", &self.tls_min_version, &versions).into_iter().collect();
        errors.extend(check_one_of("tls_max_version", &self.tls_max_version, &versions));
        let followed = ["never", "finding", "searching", "always"];
        errors.extend(check_one_of("dereference_aliases", &self.dereference_aliases, &followed));
        if self.url.joined() == UNSET {
            let help = "use `ldap://localhost` for a directory on this machine";
            let message = "is the server's value for a method that was never configured";
            errors.push(FieldError::new("url", message).help(help));
        }
        if self.binddn.is_empty() != self.bindpass.is_none() {
            errors.push(FieldError::new("bindpass", "must be given together with `binddn`"));
        }
        errors
    }

    fn requires(&self) -> Vec<Requirement> {
        let method = Requirement::thing("vault.auth_method", &self.mount);
        std::iter::once(method).chain(policies(self.policies().iter())).collect()
    }

    fn secrets(&mut self) -> Vec<(&'static str, &mut SecretSource)> {
        self.bindpass.iter_mut().map(|source| ("bindpass", source)).collect()
    }

    fn is_set(told: &serde_json::Value) -> bool {
        told["url"].as_str().is_some_and(|url| !url.is_empty() && url != UNSET)
    }

    fn requests(
        &self,
        mut body: serde_json::Map<String, serde_json::Value>,
        _: Option<&Self>,
    ) -> Vec<(String, serde_json::Map<String, serde_json::Value>)> {
        body.insert("url".to_owned(), self.url.joined().into());
        vec![(self.path(), body)]
    }
}
