//! Connections of the database engine:
//! <https://openbao.org/api-docs/secret/databases/#configure-connection>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::fields::Fixed;
use super::super::notation::{Names, Ttl};
use super::{Object, PlainObject, check_name};
use crate::resource::{FieldError, Requirement};
use crate::secret::{SecretSource, connection};

/// How an engine reaches a database.
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
    /// The database's address, with `{{username}}` and `{{password}}` where they go. The server
    /// fills them in.
    #[schemars(extend("x-placeholders" = "connection"))]
    pub connection_url: String,
    /// The user as whom the engine logs in.
    #[serde(default)]
    pub username: String,
    /// That user's password. The server never gives it back: a new value is sent only together with
    /// another change, and not at all once the engine has made its own (`rotate_root`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretSource>,
    /// Let the engine change the password to one that it alone knows, once, after it is connected. It
    /// cannot be taken back.
    #[serde(default)]
    pub rotate_root: bool,
    /// Roles that may use the connection; `*` is any.
    #[serde(default)]
    pub allowed_roles: Names,
    /// How many connections are open at most; 0 is the plugin's default.
    #[serde(default)]
    pub max_open_connections: u64,
    /// How many connections wait for use; 0 is as many as may be open, less than 0 is none.
    #[serde(default)]
    pub max_idle_connections: i64,
    /// How long a connection is used; 0 is without limit.
    #[serde(default)]
    pub max_connection_lifetime: Ttl,
    /// A template of the names of users, such as `v-{{.RoleName}}-{{random 8}}`; empty is the plugin's.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "username"))]
    pub username_template: String,
    /// How PostgreSQL keeps passwords: `password` or `scram-sha-256`. Left alone when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_authentication: Option<String>,
    /// The policy by which passwords are made; empty is the server's.
    #[serde(default)]
    pub password_policy: String,
    /// Statements that change the engine's own password; none is the plugin's.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "statement"))]
    pub root_rotation_statements: Vec<String>,
}

fn mount() -> String {
    "database".to_owned()
}

/// The server keeps entries that it does not know. This one says that the password was rotated; it is
/// written after the rotation, so that one that was cut off is done again.
const ROTATED: &str = "groundwork_root_rotated";

impl PlainObject for DatabaseConnectionSpec {
    const KIND: &'static str = "vault.database_connection";
    const ABOUT: &'static str = "How a database engine reaches a database, and as whom.";
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
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const FIXED: &'static [Fixed] =
        &[("plugin_name", "credentials that were given out belong to this plugin; make another connection")];

    fn path(&self) -> String {
        format!("{}/config/{}", self.mount, self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors: Vec<FieldError> = check_name("name", &self.name).into_iter().collect();
        if !connection::passwords_of(&self.connection_url).is_empty() {
            let help = "write {{username}}:{{password}} in its place, and give `password`";
            errors.push(FieldError::new("connection_url", "holds a password").help(help).secret());
        }
        errors
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

    fn sends_secrets_again(&self) -> bool {
        !self.rotate_root
    }

    fn fixed(&self, live: &Self) -> Vec<Fixed> {
        let lost = "the engine alone knows the password now; set another one in the database and make the connection anew";
        let lost = (live.rotate_root && !self.rotate_root).then_some(("rotate_root", lost));
        Self::FIXED.iter().copied().chain(lost).collect()
    }

    /// Most fields are read back below another one, and one under another name.
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
        // The plugin wants a text here, and the server keeps what it is told.
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
    fn what_stands_elsewhere_in_the_answer_is_found() {
        assert!(diff(json!({}), false).is_empty());
        assert!(diff(json!({ "rotate_root": true }), true).is_empty());
    }

    #[test]
    fn a_password_that_the_engine_made_is_never_sent_over() {
        let changed = diff(json!({ "allowed_roles": ["a"] }), false);
        assert!(changed.touches("password") && changed.touches("allowed_roles"));
        let changed = diff(json!({ "rotate_root": true, "allowed_roles": ["a"] }), true);
        assert!(!changed.touches("password") && changed.touches("allowed_roles"));
        assert_eq!(diff(json!({}), true).blocked[0].path, "rotate_root");
    }

    #[test]
    fn a_rotation_is_asked_for_once_and_noted_last() {
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
    fn password_in_the_address_is_refused_in_every_notation() {
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
