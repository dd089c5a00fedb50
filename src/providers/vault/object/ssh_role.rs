//! Roles of the SSH engine: <https://openbao.org/api-docs/secret/ssh/#create-role>.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::fields::{self, Fixed};
use super::super::notation::{CommaNames, Ttl};
use super::super::{VaultClient, prove};
use super::{Object, PlainObject, check_name, check_one_of};
use crate::access::Granting;
use crate::error::FieldError;
use crate::proof::{Proof, Prover};
use crate::providers::vault::risk::LETS_IN;
use crate::resource::Requirement;
use crate::resource::risk::Category::{BroaderGrant, ProtectionOff, Wildcard};
use crate::resource::risk::{
    Risks, added, becomes, changed, fixed, identity, includes, loosened, removed, safe, turned_on, unbound,
    widened,
};
use crate::run::Permission;

/// The users and hosts for which an SSH engine gives access.
pub type SshRole = Object<SshRoleSpec>;

/// The declared fields of an SSH role.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SshRoleSpec {
    /// The engine's path.
    #[serde(default = "mount")]
    pub mount: String,
    /// The role's name.
    pub name: String,
    /// `ca`, which signs keys, or `otp`, which issues passwords for one login. Fixed.
    #[serde(default = "ca")]
    pub key_type: String,
    /// The user of a login that does not name one; required for `otp` roles.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "identity"))]
    pub default_user: String,
    /// Users that a login may name; `*` allows all.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "identity"))]
    pub allowed_users: CommaNames,
    /// `allowed_users` contains templates such as `{{identity.entity.name}}`.
    #[serde(default)]
    pub allowed_users_template: bool,
    /// `default_user` is a template such as `{{identity.entity.name}}`.
    #[serde(default)]
    pub default_user_template: bool,
    /// Users' keys are signed.
    #[serde(default)]
    pub allow_user_certificates: bool,
    /// Hosts' keys are signed.
    #[serde(default)]
    pub allow_host_certificates: bool,
    /// Allowed domains of hosts; `*` allows all.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "identity"))]
    pub allowed_domains: CommaNames,
    /// Hosts may have the names of the domains themselves.
    #[serde(default)]
    pub allow_bare_domains: bool,
    /// Hosts may have names below the domains.
    #[serde(default)]
    pub allow_subdomains: bool,
    /// A request may choose the certificate's key id.
    #[serde(default)]
    pub allow_user_key_ids: bool,
    /// A template of the certificate's key id, such as `{{token_display_name}}`; empty is the server's.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "key_id"))]
    pub key_id_format: String,
    /// Critical options that a request may choose; an empty list allows all.
    #[serde(default)]
    pub allowed_critical_options: CommaNames,
    /// Extensions that a request may choose; `*` allows all.
    #[serde(default)]
    pub allowed_extensions: CommaNames,
    /// Critical options of certificates whose request does not name any.
    #[serde(default)]
    pub default_critical_options: BTreeMap<String, String>,
    /// Extensions of certificates whose request does not name any, e.g. `permit-pty`.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "identity"))]
    pub default_extensions: BTreeMap<String, String>,
    /// `default_extensions` contains templates such as `{{identity.entity.name}}`.
    #[serde(default)]
    pub default_extensions_template: bool,
    /// The signature's algorithm, e.g. `rsa-sha2-512`, or `default`.
    #[serde(default = "default")]
    pub algorithm_signer: String,
    /// The default TTL of certificates; 0 is the engine's default.
    #[serde(default)]
    pub ttl: Ttl,
    /// The maximum TTL of certificates; 0 is the engine's limit.
    #[serde(default)]
    pub max_ttl: Ttl,
    /// How far in the past certificates begin, for slow clocks.
    #[serde(default = "half_a_minute")]
    pub not_before_duration: Ttl,
    /// Allowed networks of hosts; only for `otp` roles.
    #[serde(default)]
    pub cidr_list: CommaNames,
    /// Excluded networks of hosts; only for `otp` roles.
    #[serde(default)]
    pub exclude_cidr_list: CommaNames,
    /// The port of SSH; only for `otp` roles.
    #[serde(default = "ssh_port")]
    pub port: u16,
}

fn mount() -> String {
    "ssh".to_owned()
}

fn ca() -> String {
    "ca".to_owned()
}

fn default() -> String {
    "default".to_owned()
}

const fn half_a_minute() -> Ttl {
    Ttl::Seconds(30)
}

const fn ssh_port() -> u16 {
    22
}

/// Lists that the engine accepts as one text.
const COMMAS: [&str; 6] = [
    "allowed_users",
    "allowed_domains",
    "allowed_critical_options",
    "allowed_extensions",
    "cidr_list",
    "exclude_cidr_list",
];

impl PlainObject for SshRoleSpec {
    const KIND: &'static str = "vault.ssh_role";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str =
        "A role of the SSH engine: the keys that it signs, for which users and hosts.";
    const EXAMPLE: &'static str = "\
operators_ssh:
  kind: vault.ssh_role
  name: operators
  allow_user_certificates: true
  allowed_users: [admin, ubuntu]
  default_user: ubuntu
  default_extensions: { permit-pty: \"\" }
  ttl: 30m
";
    const RISKS: Risks = &[&[
        identity("mount name"),
        fixed("key_type"),
        changed("default_user").medium(BroaderGrant, "logins that name no user are another's"),
        includes("allowed_users", "*").high(Wildcard, "may log in as every user (`*`)"),
        added("allowed_users").medium(BroaderGrant, "may log in as more users"),
        changed("allowed_users_template default_user_template default_extensions_template")
            .low(BroaderGrant, "templates of the caller's identity are filled in, or no longer (`{field}`)"),
        turned_on("allow_user_certificates allow_host_certificates")
            .medium(BroaderGrant, "signs more keys (`{field}`)"),
        includes("allowed_domains", "*").high(Wildcard, "signs keys of hosts of any name (`*`)"),
        added("allowed_domains").low(BroaderGrant, LETS_IN),
        turned_on("allow_bare_domains allow_subdomains")
            .low(BroaderGrant, "signs keys of more hosts (`{field}`)"),
        turned_on("allow_user_key_ids").low(ProtectionOff, "the caller chooses how logs name a certificate"),
        changed("key_id_format").low(ProtectionOff, "logs name its certificates in another way"),
        unbound("allowed_critical_options").low(BroaderGrant, "the caller may choose every critical option"),
        widened("allowed_critical_options").low(BroaderGrant, "the caller may choose more critical options"),
        includes("allowed_extensions", "*").medium(Wildcard, "the caller may choose every extension (`*`)"),
        added("allowed_extensions").low(BroaderGrant, "the caller may choose more extensions"),
        removed("default_critical_options")
            .medium(ProtectionOff, "certificates are no longer limited as before"),
        added("default_extensions").low(BroaderGrant, "certificates allow more"),
        becomes("algorithm_signer", "ssh-rsa").medium(ProtectionOff, "signs with SHA-1"),
        loosened("ttl max_ttl").low(BroaderGrant, "its certificates last longer (`{field}`)"),
        safe("not_before_duration", "a beginning in the past gives no more time to come"),
        unbound("cidr_list").medium(ProtectionOff, "issues passwords for hosts anywhere"),
        widened("cidr_list").low(BroaderGrant, "issues passwords for more hosts"),
        removed("exclude_cidr_list").medium(BroaderGrant, "hosts are no longer excluded"),
        safe("port", "the client reads it to choose the port, and nothing is decided by it"),
    ]];
    const PROOF: Proof = Proof::Tried("signs a key for a minute, or makes a password and uses it up");
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const REPLACED_WHOLE: bool = true;
    const FIXED: &'static [Fixed] = &[(
        "key_type",
        "signing and one-time passwords are set up differently on hosts; create another role",
    )];

    fn path(&self) -> String {
        format!("{}/roles/{}", self.mount, self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn proof_permissions(&self) -> Vec<Permission> {
        prove::ssh::needs(&fields::fields(self))
    }

    async fn prove(prover: &Prover<'_, VaultClient>, desired: &Self, _: &Value) {
        prove::ssh::prove(prover, &fields::fields(desired)).await;
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors: Vec<FieldError> = check_name("name", &self.name).into_iter().collect();
        errors.extend(check_one_of("key_type", &self.key_type, &["ca", "otp"]));
        if self.key_type == "ca" && !self.allow_user_certificates && !self.allow_host_certificates {
            let help = "set `allow_user_certificates` or `allow_host_certificates`";
            errors.push(FieldError::new("", "the role does not sign any keys").help(help));
        }
        if self.key_type == "otp" && self.default_user.is_empty() {
            errors.push(FieldError::new("default_user", "is required for `key_type: otp`"));
        }
        errors
    }

    fn requires(&self) -> Vec<Requirement> {
        vec![Requirement::thing("vault.mount", &self.mount)]
    }

    /// The server requires the type with every change.
    fn requests(&self, mut body: Map<String, Value>, _: Option<&Self>) -> Vec<(String, Map<String, Value>)> {
        for name in COMMAS {
            if let Some(Value::Array(names)) = body.get(name) {
                let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                body.insert(name.to_owned(), json!(names.join(",")));
            }
        }
        body.insert("key_type".to_owned(), json!(self.key_type));
        vec![(self.path(), body)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::live_of;
    use super::*;
    use crate::resource::Resource;

    #[test]
    fn lists_are_comma_separated_in_requests() {
        let declared = json!({ "name": "a", "allow_user_certificates": true, "allowed_users": ["b", "a"] });
        let declared: SshRoleSpec = serde_json::from_value(declared).expect("valid");
        let told = json!({ "key_type": "ca", "allowed_users": "a,b", "allow_user_certificates": true });
        assert!(SshRole::diff(&declared, &live_of(&declared, &told)).is_empty());
        let body = fields::fields(&declared);
        assert_eq!(declared.requests(body, None)[0].1["allowed_users"], "a,b");
    }
}
