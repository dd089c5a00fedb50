//! `postgres.database`: a database of a cluster.
//! <https://www.postgresql.org/docs/current/sql-createdatabase.html>

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;

use super::client::PostgresClient;
use super::role::Role;
use super::sql;
use crate::access::Granting;
use crate::error::{FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::resource::risk::Category::{BroaderGrant, ProtectionOff};
use crate::resource::risk::{Risks, fixed, identity, raised, replaced};
use crate::resource::{Diff, Look, Partial, Requirement, Resource, Writer};

/// The kind `postgres.database`.
pub struct Database;

/// A database.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PostgresDatabase")]
pub struct Desired {
    /// The name.
    pub name: String,
    /// The role that owns it. Not managed when absent: then it is the role that this run logs in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// How many connections it takes at a time; -1 is any number.
    #[serde(default = "unlimited")]
    pub connection_limit: i32,
    /// The encoding, such as `UTF8`. Cannot be changed. Default: that of the server's template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// The order of texts, such as `C` or `en_US.UTF-8`. Cannot be changed. Default: that of the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collate: Option<String>,
    /// The classes of characters. Cannot be changed. Default: that of the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub character_type: Option<String>,
}

const fn unlimited() -> i32 {
    -1
}

/// A database as it is.
pub struct Observed {
    name: String,
    owner: String,
    connection_limit: i32,
    encoding: String,
    collate: Option<String>,
    character_type: Option<String>,
}

/// The outputs for other steps.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PostgresDatabaseOutputs")]
pub struct Outputs {
    /// The name.
    pub name: String,
}

/// <https://www.postgresql.org/docs/current/catalog-pg-database.html>
const DATABASE: &str = "SELECT pg_catalog.pg_get_userbyid(datdba)::text, datconnlimit, \
     pg_catalog.pg_encoding_to_char(encoding)::text, datcollate::text, datctype::text \
     FROM pg_catalog.pg_database WHERE datname = $1";

const DECIDED: &str = "PostgreSQL decides it when the database is created; make another database, copy the data with \
                       pg_dump and pg_restore, and remove this one";

impl Resource for Database {
    const KIND: &'static str = "postgres.database";
    const GRANTS: Granting = Granting::Never("rights inside a database are PostgreSQL's own");
    const ABOUT: &'static str = "A database of PostgreSQL.";
    const EXAMPLE: &'static str = "owner:
  kind: postgres.role
  name: orders_owner
orders:
  kind: postgres.database
  name: orders
  owner: orders_owner
";
    const PROTECTED: bool = true;
    const REMOVAL: Option<&'static str> = Some("with all of its data, which only a backup brings back");
    const REBUILT: Option<&'static str> = Some("empty");
    const RISKS: Risks = &[&[
        identity("name"),
        replaced("owner").medium(BroaderGrant, "another role may do everything with it"),
        raised("connection_limit").low(ProtectionOff, "it takes more connections"),
        fixed("encoding collate character_type"),
    ]];
    const PROOF: Proof = Proof::InSync("the database is there with its settings");

    type Client = PostgresClient;
    type Id = String;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn id(desired: &Desired) -> String {
        desired.name.clone()
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut found: Vec<FieldError> = sql::mistake_in_name("name", &desired.name).into_iter().collect();
        if ["template0", "template1", "postgres"].contains(&desired.name.as_str()) {
            found.push(FieldError::new("name", "PostgreSQL needs this database for itself"));
        }
        found.extend(desired.owner.as_deref().and_then(|owner| sql::mistake_in_name("owner", owner)));
        if desired.connection_limit < -1 {
            found.push(FieldError::new("connection_limit", "is a number of connections, or -1 for any"));
        }
        found
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        desired.owner.iter().map(|owner| Requirement::thing(Role::KIND, owner)).collect()
    }

    async fn observe(client: &PostgresClient, name: &String, _: Look<'_, Self>) -> Result<Option<Observed>> {
        let operation = format!("read the database {name}");
        let rows = client.rows(None, &operation, DATABASE, &[(name, Type::TEXT)]).await?;
        Ok(rows.first().map(|row| Observed {
            name: name.clone(),
            owner: row.get(0),
            connection_limit: row.get(1),
            encoding: row.get(2),
            collate: row.get(3),
            character_type: row.get(4),
        }))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        if let Some(owner) = &desired.owner {
            diff.field("owner", &observed.owner, owner);
        }
        diff.field("connection_limit", &observed.connection_limit, &desired.connection_limit);
        if let Some(encoding) = desired.encoding.as_ref().filter(|one| !is_same(one, &observed.encoding)) {
            diff.immutable("encoding", &observed.encoding, encoding, DECIDED);
        }
        if desired.collate.is_some() {
            diff.immutable("collate", &observed.collate, &desired.collate, DECIDED);
        }
        if desired.character_type.is_some() {
            diff.immutable("character_type", &observed.character_type, &desired.character_type, DECIDED);
        }
        diff
    }

    /// It cannot be created inside of a transaction.
    async fn create(w: &Writer<'_, PostgresClient>, desired: &Desired) -> Result<()> {
        let operation = format!("create the database {}", desired.name);
        let mut statement = format!("CREATE DATABASE {}", sql::name(&desired.name));
        if let Some(owner) = &desired.owner {
            statement.push_str(&format!(" OWNER {}", sql::name(owner)));
        }
        let settings = [
            ("ENCODING", &desired.encoding),
            ("LC_COLLATE", &desired.collate),
            ("LC_CTYPE", &desired.character_type),
        ];
        let settings: Vec<String> = settings
            .into_iter()
            .filter_map(|(word, value)| Some(format!(" {word} {}", sql::text(value.as_ref()?))))
            .collect();
        if !settings.is_empty() {
            // Only this template takes other settings than its own.
            statement.push_str(&format!(" TEMPLATE template0{}", settings.concat()));
        }
        statement.push_str(&format!(" CONNECTION LIMIT {}", desired.connection_limit));
        w.command(w.permit(), &operation, &statement).await
    }

    async fn update(w: &Writer<'_, PostgresClient>, desired: &Desired, observed: &Observed) -> Result<()> {
        let operation = format!("change the database {}", desired.name);
        let diff = Self::diff(desired, observed);
        let database = sql::name(&desired.name);
        let transaction = w.begin(w.permit(), None, &operation).await?;
        if let Some(owner) = desired.owner.as_ref().filter(|_| diff.touches("owner")) {
            transaction.command(&format!("ALTER DATABASE {database} OWNER TO {}", sql::name(owner))).await?;
        }
        if diff.touches("connection_limit") {
            let limit = desired.connection_limit;
            transaction.command(&format!("ALTER DATABASE {database} CONNECTION LIMIT {limit}")).await?;
        }
        transaction.commit().await
    }

    async fn delete(w: &Writer<'_, PostgresClient>, name: &String) -> Result<()> {
        let operation = format!("remove the database {name}");
        w.leave(name).await;
        w.command(w.permit(), &operation, &format!("DROP DATABASE IF EXISTS {}", sql::name(name))).await
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { name: observed.name.clone() }
    }

    fn predicted_outputs(desired: &Desired, _: &Realm) -> Partial {
        Partial::default().with("name", &desired.name)
    }
}

/// PostgreSQL takes `utf-8` for `UTF8`.
fn is_same(one: &str, other: &str) -> bool {
    let plain = |text: &str| text.replace(['-', '_'], "").to_ascii_uppercase();
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_compared_without_their_hyphens() {
        assert!(is_same("utf-8", "UTF8") && is_same("LATIN1", "latin1") && !is_same("UTF8", "LATIN1"));
    }
}
