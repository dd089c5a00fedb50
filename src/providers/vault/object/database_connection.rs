//! Connections of the database engine:
//! <https://openbao.org/api-docs/secret/databases/#configure-connection>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::fields::Fixed;
use super::super::notation::{Names, Ttl};
use super::super::permissions;
use super::{Making, Object, PlainObject, check_name, yes};
use crate::access::Granting;
use crate::error::FieldError;
use crate::proof::Proof;
use crate::resource::risk::Category::{BroaderGrant, Destination, Destroy, ProtectionOff, Wildcard};
use crate::resource::risk::{Risks, added, becomes, changed, fixed, identity, includes, on, safe};
use crate::resource::{Requirement, Rotation};
use crate::run::{Access, Permission};
use crate::secret::{SecretSource, connection};

/// An engine's connection to a database.
pub type DatabaseConnection = Object<DatabaseConnectionSpec>;

/// The declared fields of a connection.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConnectionSpec {
    /// The engine's path.
    #[serde(default = "mount")]
    pub mount: String,
    /// The connection's name.
    pub name: String,
    /// The plugin, e.g. `postgresql-database-plugin` or `mysql-database-plugin`. Fixed.
    pub plugin_name: String,
    /// The database's address, with the placeholders `{{username}}` and `{{password}}`. The server
    /// fills them in.
    #[schemars(extend("x-placeholders" = "connection"))]
    pub connection_url: String,
    /// The user with which the engine logs in.
    #[serde(default)]
    pub username: String,
    /// That user's password. The server never returns it: a new value is sent only together with
    /// another change, and never after the engine has rotated it (`rotate_root`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretSource>,
    /// Whether the server connects to the database before it keeps the connection. `false` is for a database
    /// that does not exist yet. Sent whenever the connection is written, and never compared: the server keeps
    /// no record of it.
    #[serde(default = "yes")]
    pub verify_connection: bool,
    /// Let the engine rotate the password once, after it is connected, to a password that only the
    /// engine knows. This cannot be undone.
    #[serde(default)]
    pub rotate_root: bool,
    /// Roles that may use the connection; `*` is any.
    #[serde(default)]
    pub allowed_roles: Names,
    /// The maximum number of open connections; 0 is the plugin's default.
    #[serde(default)]
    pub max_open_connections: u64,
    /// The maximum number of idle connections; 0 is as many as may be open, less than 0 is none.
    #[serde(default)]
    pub max_idle_connections: i64,
    /// How long a connection is used; 0 is unlimited.
    #[serde(default)]
    pub max_connection_lifetime: Ttl,
    /// A template of user names, such as `v-{{.RoleName}}-{{random 8}}`; empty is the plugin's
    /// default.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "username"))]
    pub username_template: String,
    /// The storage of passwords in PostgreSQL: `password` or `scram-sha-256`. Not managed when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_authentication: Option<String>,
    /// The password policy for generated passwords; empty is the server's.
    #[serde(default)]
    pub password_policy: String,
    /// Statements that change the engine's own password; an empty list means the plugin's.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "statement"))]
    pub root_rotation_statements: Vec<String>,
    /// Whether the engine is asked for another one.
    #[serde(skip)]
    #[schemars(skip)]
    rotating: bool,
}

fn mount() -> String {
    "database".to_owned()
}

/// The server keeps entries that it does not know. This one records that the password was rotated.
/// It is written after the rotation, so that an interrupted rotation is repeated.
const ROTATED: &str = "groundwork_root_rotated";

impl PlainObject for DatabaseConnectionSpec {
    const KIND: &'static str = "vault.database_connection";
    const GRANTS: Granting = Granting::Never("the mount's own login at the database");
    const ABOUT: &'static str = "A database engine's connection to a database, with its credentials.";
    const EXAMPLE: &'static str = "\
databases:
  kind: vault.mount
  path: database
  type: database
orders_database:
  kind: vault.database_connection
  name: orders
  plugin_name: postgresql-database-plugin
  connection_url: \"postgresql://{{username}}:{{password}}@db.example.internal:5432/orders\"
  username: vault
  password: { env: ORDERS_DB_PASSWORD }
  rotate_root: true
  allowed_roles: [orders-app]
";
    const RISKS: Risks = &[&[
        identity("mount name"),
        fixed("plugin_name"),
        changed("connection_url").high(Destination, "the engine sends its password to another address"),
        changed("username").low(BroaderGrant, "the engine works with the rights of another user"),
        safe("password", "it opens nothing in Vault"),
        safe("verify_connection", "it decides whether a write tries the connection"),
        on("rotate_root").medium(Destroy, "the password is replaced by one that only the engine knows"),
        includes("allowed_roles", "*").medium(Wildcard, "every role of the engine may use it (`*`)"),
        added("allowed_roles").low(BroaderGrant, "more roles may use it"),
        safe(
            "max_open_connections max_idle_connections max_connection_lifetime",
            "it decides the load on the database",
        ),
        changed("username_template").low(ProtectionOff, "the database names its users in another way"),
        becomes("password_authentication", "password")
            .low(ProtectionOff, "the database receives passwords in the clear"),
        changed("password_policy").low(ProtectionOff, "passwords are generated by other rules"),
        changed("root_rotation_statements")
            .medium(BroaderGrant, "other statements run with the engine's rights"),
    ]];
    const PROOF: Proof =
        Proof::InSync("the server connected when it was written; its roles are proven by their own steps");
    const ROTATION: Rotation = Rotation::InPlace(
        "with `rotate_root: true`, the engine gives its own user another password, which only the engine knows",
    );
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const MAKING: Making = Making::Create;
    const SENT_ONLY: &'static [&'static str] = &["verify_connection"];
    const FIXED: &'static [Fixed] =
        &[("plugin_name", "issued credentials belong to this plugin; create another connection")];

    fn path(&self) -> String {
        format!("{}/config/{}", self.mount, self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors: Vec<FieldError> = check_name("name", &self.name).into_iter().collect();
        if !connection::passwords_of(&self.connection_url).is_empty() {
            let help = "replace it with {{username}}:{{password}}, and set `password`";
            errors.push(FieldError::new("connection_url", "holds a password").help(help).secret());
        }
        if self.rotate_root && !self.verify_connection {
            let message = "the engine connects to the database to rotate the password";
            let help = "leave `rotate_root` out until the database exists, or `verify_connection`";
            errors.push(FieldError::new("rotate_root", message).help(help).reading("verify_connection"));
        }
        errors
    }

    fn permissions(&self, access: Access) -> Vec<Permission> {
        let rotated = self.rotate_root && matches!(access, Access::Create | Access::Update);
        let rotated =
            rotated.then(|| permissions::write(format!("{}/rotate-root/{}", self.mount, self.name)));
        permissions::at(&self.path(), access, Self::MAKING).into_iter().chain(rotated).collect()
    }

    fn requires(&self) -> Vec<Requirement> {
        vec![
            Requirement::thing("vault.mount", &self.mount),
            Requirement::thing(
                "vault.password_policy",
                format!("sys/policies/password/{}", self.password_policy),
            ),
        ]
    }

    fn secrets(&mut self) -> Vec<(&'static str, &mut SecretSource)> {
        self.password.iter_mut().map(|source| ("password", source)).collect()
    }

    /// Only where the engine made the password itself: another one would be declared in the plan.
    fn rotate(&mut self) -> bool {
        self.rotating = self.rotate_root;
        self.rotating
    }

    fn rotation(&self) -> Option<String> {
        self.rotating.then(|| format!("{}/rotate-root/{}", self.mount, self.name))
    }

    fn rotated(&self, _: &Value) -> Option<(&'static str, Value, Value)> {
        self.rotating.then(|| ("credential", json!("in use"), json!("another one")))
    }

    fn sends_secrets_again(&self) -> bool {
        !self.rotate_root
    }

    fn fixed(&self, live: &Self) -> Vec<Fixed> {
        let lost = "only the engine knows the password now; set a new password in the database and recreate the connection";
        let lost = (live.rotate_root && !self.rotate_root).then_some(("rotate_root", lost));
        Self::FIXED.iter().copied().chain(lost).collect()
    }

    /// Most fields are nested in the response, and one has another name.
    fn understand(mut told: Value) -> Value {
        let details = told["connection_details"].as_object().cloned().unwrap_or_default();
        let statements = told["root_credentials_rotate_statements"].take();
        if let Some(fields) = told.as_object_mut() {
            fields.extend(details);
            fields.insert("root_rotation_statements".to_owned(), statements);
            let rotated = fields.get(ROTATED).is_some_and(|marker| marker == "true");
            fields.insert("rotate_root".to_owned(), json!(rotated));
        }
        told
    }

    fn requests(
        &self,
        mut body: Map<String, Value>,
        live: Option<&Self>,
    ) -> Vec<(String, Map<String, Value>)> {
        let rotate = self.rotate_root && live.is_none_or(|live| !live.rotate_root);
        body.remove("rotate_root");
        body.insert("plugin_name".to_owned(), json!(self.plugin_name));
        // The plugin requires a text here, and the server keeps the value as sent.
        if let Ttl::Seconds(seconds) = self.max_connection_lifetime {
            body.insert("max_connection_lifetime".to_owned(), json!(format!("{seconds}s")));
        }
        let mut requests = vec![(self.path(), body)];
        if rotate {
            let marker = [("plugin_name", json!(self.plugin_name)), (ROTATED, json!("true"))];
            let marker = marker.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
            requests.push((format!("{}/rotate-root/{}", self.mount, self.name), Map::new()));
            requests.push((self.path(), marker));
        }
        requests
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fields::fields;
    use super::super::tests::live_of;
    use super::*;
    use crate::resource::{Diff, Resource};

    fn spec(value: Value) -> DatabaseConnectionSpec {
        let mut fields = json!({
            "name": "pg", "plugin_name": "postgresql-database-plugin", "username": "vault",
            "connection_url": "postgresql://{{username}}:{{password}}@db/postgres",
            "password": { "env": "PASSWORD" }, "max_connection_lifetime": "1m",
        });
        for (name, value) in value.as_object().expect("fields") {
            fields[name] = value.clone();
        }
        serde_json::from_value(fields).expect("valid")
    }

    fn told(rotated: bool) -> Value {
        let mut details = json!({
            "connection_url": "postgresql://{{username}}:{{password}}@db/postgres", "username": "vault",
            "max_connection_lifetime": "60s", "username_template": "",
        });
        if rotated {
            details[ROTATED] = json!("true");
        }
        json!({
            "allowed_roles": [], "connection_details": details, "password_policy": "", "plugin_version": "",
            "plugin_name": "postgresql-database-plugin", "root_credentials_rotate_statements": [],
        })
    }

    fn diff(declared: Value, rotated: bool) -> Diff {
        let declared = spec(declared);
        DatabaseConnection::diff(&declared, &live_of(&declared, &told(rotated)))
    }

    #[test]
    fn nested_fields_of_the_response_are_found() {
        assert!(diff(json!({}), false).is_empty());
        assert!(diff(json!({ "rotate_root": true }), true).is_empty());
    }

    #[test]
    fn verification_is_sent_and_never_compared() {
        assert!(diff(json!({ "verify_connection": false }), false).is_empty());
        let unverified = spec(json!({ "verify_connection": false }));
        assert_eq!(fields(&unverified)["verify_connection"], false);
        assert!(unverified.check().is_empty());
        let rotated = spec(json!({ "verify_connection": false, "rotate_root": true }));
        assert_eq!(rotated.check()[0].path, "rotate_root");
    }

    #[test]
    fn password_of_the_engine_is_never_overwritten() {
        let changed = diff(json!({ "allowed_roles": ["a"] }), false);
        assert!(changed.touches("password") && changed.touches("allowed_roles"));
        let changed = diff(json!({ "rotate_root": true, "allowed_roles": ["a"] }), true);
        assert!(!changed.touches("password") && changed.touches("allowed_roles"));
        assert_eq!(diff(json!({}), true).blocked[0].path, "rotate_root");
    }

    #[test]
    fn rotation_is_requested_once_and_recorded_last() {
        let declared = spec(json!({ "rotate_root": true }));
        let paths = |live: Option<&DatabaseConnectionSpec>| {
            let requests = declared.requests(Map::new(), live).into_iter();
            requests.map(|(path, _)| path).collect::<Vec<_>>()
        };
        let all = ["database/config/pg", "database/rotate-root/pg", "database/config/pg"];
        assert_eq!(paths(None), all);
        assert_eq!(paths(Some(&spec(json!({})))), all);
        assert_eq!(paths(Some(&declared)), ["database/config/pg"]);
    }

    #[test]
    fn password_in_the_address_is_refused() {
        let check = |url: &str| spec(json!({ "connection_url": url })).check().len();
        for url in [
            "postgresql://vault:secret@db/postgres",
            "host=db user=vault password=secret",
            "vault:secret@tcp(db:3306)/",
            "sqlserver://vault:secret@db:1433",
            "server=db;user id=vault;password=secret",
            "vault/secret@//db:1521/orcl",
            "vault:secret@account/db",
            "mongodb://vault:secret@db/admin",
        ] {
            assert_eq!(check(url), 1, "{url}");
        }
        for url in [
            "postgresql://{{username}}:{{password}}@db/postgres",
            "{{username}}:{{password}}@tcp(db:3306)/",
            "{{username}}/{{password}}@//db:1521/orcl",
            "server=db;user id={{username}};password={{password}}",
            "postgresql://db:5432/postgres",
        ] {
            assert_eq!(check(url), 0, "{url}");
        }
    }
}
