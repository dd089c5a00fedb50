//! Roles of the database engine: <https://openbao.org/api-docs/secret/databases/#create-role>.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::fields::Fixed;
use super::super::notation::Ttl;
use super::super::{VaultClient, prove};
use super::{Making, Object, PlainObject, check_name};
use crate::access::Granting;
use crate::error::FieldError;
use crate::proof::{Proof, Prover};
use crate::resource::Requirement;
use crate::resource::risk::Category::{BroaderGrant, Destination, ProtectionOff};
use crate::resource::risk::{Risks, changed, fixed, identity, loosened};
use crate::run::Permission;

/// Database users that an engine creates on request.
pub type DatabaseRole = Object<DatabaseRoleSpec>;

/// The declared fields of a database role.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseRoleSpec {
    /// The engine's path.
    #[serde(default = "mount")]
    pub mount: String,
    /// The role's name.
    pub name: String,
    /// The connection's name, e.g. `{{ orders_database.name }}`.
    pub db_name: String,
    /// Statements that create a user, with `{{name}}`, `{{password}}` and `{{expiration}}`. The
    /// server fills them in.
    #[schemars(extend("x-placeholders" = "statement"))]
    pub creation_statements: Vec<String>,
    /// Statements that remove a user; an empty list means the plugin's.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "statement"))]
    pub revocation_statements: Vec<String>,
    /// Statements that roll back a failed creation; an empty list means the plugin's.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "statement"))]
    pub rollback_statements: Vec<String>,
    /// Statements that renew a user; an empty list means the plugin's.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "statement"))]
    pub renew_statements: Vec<String>,
    /// The default TTL of users; 0 is the engine's default.
    #[serde(default)]
    pub default_ttl: Ttl,
    /// The maximum TTL of users; 0 is the engine's limit.
    #[serde(default)]
    pub max_ttl: Ttl,
    /// The type of credential: `password`, or `rsa_private_key` or `client_certificate` if the
    /// plugin supports it. Fixed.
    #[serde(default = "password")]
    pub credential_type: String,
    /// Settings of the type of credential.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "username"))]
    pub credential_config: BTreeMap<String, String>,
}

fn mount() -> String {
    "database".to_owned()
}

fn password() -> String {
    "password".to_owned()
}

impl PlainObject for DatabaseRoleSpec {
    const KIND: &'static str = "vault.database_role";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str = "A role of the database engine: temporary users that it creates on request.";
    const EXAMPLE: &'static str = "\
orders_app:
  kind: vault.database_role
  name: orders-app
  db_name: orders
  creation_statements:
    - |
      CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';
      GRANT SELECT ON ALL TABLES IN SCHEMA public TO \"{{name}}\";
  default_ttl: 1h
  max_ttl: 24h
";
    const RISKS: Risks = &[&[
        identity("mount name"),
        changed("db_name").medium(Destination, "its users are made in another database"),
        changed("creation_statements")
            .medium(BroaderGrant, "its users are made, with their rights, by other statements"),
        changed("revocation_statements rollback_statements renew_statements")
            .medium(ProtectionOff, "other statements run with the engine's rights (`{field}`)"),
        loosened("default_ttl max_ttl").low(BroaderGrant, "its users last longer (`{field}`)"),
        fixed("credential_type"),
        changed("credential_config").low(ProtectionOff, "credentials are made in another way"),
    ]];
    const PROOF: Proof = Proof::Tried("makes a user of the database, who ends at once");
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const MAKING: Making = Making::Create;
    const FIXED: &'static [Fixed] =
        &[("credential_type", "applications use the issued credentials; create a role under another name")];

    fn path(&self) -> String {
        format!("{}/roles/{}", self.mount, self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> Vec<FieldError> {
        let none = self.creation_statements.is_empty();
        let none = none.then(|| FieldError::new("creation_statements", "is empty"));
        check_name("name", &self.name).into_iter().chain(none).collect()
    }

    /// Settings of credentials are text in a request, and some of them are numbers in the response.
    fn understand(mut told: Value) -> Value {
        for value in told["credential_config"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            if !value.is_string() {
                *value = Value::from(value.to_string());
            }
        }
        told
    }

    fn proof_permissions(&self) -> Vec<Permission> {
        prove::engines::database_needs(&format!("{}/creds/{}", self.mount, self.name))
    }

    async fn prove(prover: &Prover<'_, VaultClient>, desired: &Self, _: &Value) {
        prove::engines::database(prover, &format!("{}/creds/{}", desired.mount, desired.name)).await;
    }

    fn requires(&self) -> Vec<Requirement> {
        vec![
            Requirement::thing("vault.mount", &self.mount),
            Requirement::thing(
                "vault.database_connection",
                format!("{}/config/{}", self.mount, self.db_name),
            ),
        ]
    }
}
