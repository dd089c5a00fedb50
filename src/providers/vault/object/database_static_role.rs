//! Static roles of the database engine:
//! <https://openbao.org/api-docs/secret/databases/#create-static-role>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::fields::Fixed;
use super::super::notation::Ttl;
use super::super::{VaultClient, permissions, prove};
use super::{Making, Object, PlainObject, check_name};
use crate::access::Granting;
use crate::error::FieldError;
use crate::proof::{Proof, Prover};
use crate::resource::risk::Category::{BroaderGrant, ProtectionOff};
use crate::resource::risk::{Risks, changed, fixed, identity, raised};
use crate::resource::{Replacement, Requirement, Rotation};
use crate::run::Permission;

/// A database user whose password the engine rotates.
pub type DatabaseStaticRole = Object<DatabaseStaticRoleSpec>;

/// The declared fields of a static role.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseStaticRoleSpec {
    /// The engine's path.
    #[serde(default = "mount")]
    pub mount: String,
    /// The role's name.
    pub name: String,
    /// The connection's name. Fixed.
    pub db_name: String,
    /// The user, who must exist in the database. The password is rotated immediately. Fixed.
    pub username: String,
    /// How often the password is rotated, at least 5 seconds.
    pub rotation_period: Ttl,
    /// Statements that change the password; an empty list means the plugin's.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "statement"))]
    pub rotation_statements: Vec<String>,
    /// Whether the engine is asked for another one.
    #[serde(skip)]
    #[schemars(skip)]
    rotating: bool,
}

fn mount() -> String {
    "database".to_owned()
}

const DECIDED: &str = "the engine manages this user's password; create a role under another name";

impl PlainObject for DatabaseStaticRoleSpec {
    const KIND: &'static str = "vault.database_static_role";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str = "A database user whose password the engine rotates periodically.";
    const EXAMPLE: &'static str = "\
orders_reports:
  kind: vault.database_static_role
  name: orders-reports
  db_name: orders
  username: reports
  rotation_period: 24h
";
    const RISKS: Risks = &[&[
        identity("mount name"),
        fixed("db_name username"),
        raised("rotation_period").low(ProtectionOff, "the password is rotated less often"),
        changed("rotation_statements").medium(BroaderGrant, "other statements run with the engine's rights"),
    ]];
    const PROOF: Proof = Proof::Tried("gives the user's credential");
    const PROTECTED: bool = true;
    const REPLACEMENT: Replacement =
        Replacement::Never("`groundwork rotate PLAN STEP` gives the account another password");
    const ROTATION: Rotation = Rotation::InPlace(
        "the engine gives the account another password, which its users read from the engine; the old one ends at once",
    );
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const MAKING: Making = Making::Create;
    const FIXED: &'static [Fixed] = &[("db_name", DECIDED), ("username", DECIDED)];

    fn path(&self) -> String {
        format!("{}/static-roles/{}", self.mount, self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> Vec<FieldError> {
        let short = matches!(self.rotation_period, Ttl::Seconds(0..5));
        let short = short.then(|| FieldError::new("rotation_period", "is less than 5 seconds"));
        check_name("name", &self.name).into_iter().chain(short).collect()
    }

    fn proof_permissions(&self) -> Vec<Permission> {
        vec![permissions::read(format!("{}/static-creds/{}", self.mount, self.name))]
    }

    async fn prove(prover: &Prover<'_, VaultClient>, desired: &Self, _: &Value) {
        prove::engines::static_user(prover, &format!("{}/static-creds/{}", desired.mount, desired.name))
            .await;
    }

    fn rotate(&mut self) -> bool {
        self.rotating = true;
        true
    }

    fn rotation(&self) -> Option<String> {
        self.rotating.then(|| format!("{}/rotate-role/{}", self.mount, self.name))
    }

    fn rotated(&self, _: &Value) -> Option<(&'static str, Value, Value)> {
        self.rotating.then(|| ("credential", json!("in use"), json!("another one")))
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

    /// The server requires the connection and the user with every change, and refuses other values
    /// than the current ones.
    fn requests(&self, mut body: Map<String, Value>, _: Option<&Self>) -> Vec<(String, Map<String, Value>)> {
        body.insert("db_name".to_owned(), self.db_name.clone().into());
        body.insert("username".to_owned(), self.username.clone().into());
        vec![(self.path(), body)]
    }
}
