//! `postgres.schema`: a schema of a database.
//! <https://www.postgresql.org/docs/current/sql-createschema.html>

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;

use super::client::PostgresClient;
use super::connection::{CLUSTER, DATABASE};
use super::role::Role;
use super::{in_database, needs_database, sql};
use crate::access::Granting;
use crate::error::{FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::resource::risk::Category::{BroaderGrant, Destroy};
use crate::resource::risk::{Deletion, Risks, Severity, identity, replaced};
use crate::resource::{Diff, Look, Partial, Requirement, Resource, Writer};

/// The kind `postgres.schema`.
pub struct Schema;

/// A schema.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PostgresSchema")]
pub struct Desired {
    /// The database; the one of the `postgres` section when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The name.
    pub name: String,
    /// The role that owns it. Not managed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// Where something with a name is in a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Id {
    /// The database; the connection's own when absent.
    pub database: Option<String>,
    /// The name.
    pub name: String,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&in_database(self.database.as_deref(), &self.name))
    }
}

/// A schema as it is.
pub struct Observed {
    name: String,
    owner: String,
}

/// The outputs for other steps.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PostgresSchemaOutputs")]
pub struct Outputs {
    /// The name.
    pub name: String,
}

/// <https://www.postgresql.org/docs/current/catalog-pg-namespace.html>
const SCHEMA: &str =
    "SELECT pg_catalog.pg_get_userbyid(nspowner)::text FROM pg_catalog.pg_namespace WHERE nspname = $1";

impl Resource for Schema {
    const KIND: &'static str = "postgres.schema";
    const GRANTS: Granting = Granting::Never("rights inside a database are PostgreSQL's own");
    const ABOUT: &'static str = "A schema of a database, which holds tables and other things.";
    const EXAMPLE: &'static str = "reporting:
  kind: postgres.schema
  database: orders
  name: reporting
  owner: orders_owner
";
    const REALM: &'static [&'static str] = &[CLUSTER, DATABASE];
    const REMOVAL: Option<&'static str> = Some("PostgreSQL refuses while there is anything in it");
    const DELETION: Deletion = Deletion::new(Severity::Low, Destroy, "an empty schema is deleted");
    const RISKS: Risks = &[&[
        identity("database name"),
        replaced("owner").medium(BroaderGrant, "another role may do everything in it"),
    ]];
    const PROOF: Proof = Proof::InSync("the schema is there with its owner");

    type Client = PostgresClient;
    type Id = Id;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn id(desired: &Desired) -> Id {
        Id { database: desired.database.clone(), name: desired.name.clone() }
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut found: Vec<FieldError> = sql::mistake_in_name("name", &desired.name).into_iter().collect();
        if desired.name.starts_with("pg_") || desired.name == "information_schema" {
            found.push(FieldError::new("name", "PostgreSQL keeps this name for itself"));
        }
        found.extend(desired.database.as_deref().and_then(|name| sql::mistake_in_name("database", name)));
        found.extend(desired.owner.as_deref().and_then(|owner| sql::mistake_in_name("owner", owner)));
        found
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        let owner = desired.owner.iter().map(|owner| Requirement::thing(Role::KIND, owner));
        needs_database(desired.database.as_deref()).into_iter().chain(owner).collect()
    }

    async fn observe(client: &PostgresClient, id: &Id, _: Look<'_, Self>) -> Result<Option<Observed>> {
        let operation = format!("read the schema {id}");
        let parameters = [(&id.name as _, Type::TEXT)];
        let rows = client.rows_if_there(id.database.as_deref(), &operation, SCHEMA, &parameters).await?;
        let rows = rows.unwrap_or_default();
        Ok(rows.first().map(|row| Observed { name: id.name.clone(), owner: row.get(0) }))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        if let Some(owner) = &desired.owner {
            diff.field("owner", &observed.owner, owner);
        }
        diff
    }

    async fn create(w: &Writer<'_, PostgresClient>, desired: &Desired) -> Result<()> {
        let operation = format!("create the schema {}", Self::id(desired));
        let owner = desired.owner.iter().map(|owner| format!(" AUTHORIZATION {}", sql::name(owner)));
        let statement = format!("CREATE SCHEMA {}{}", sql::name(&desired.name), owner.collect::<String>());
        w.run(w.permit(), desired.database.as_deref(), &operation, &statement).await
    }

    async fn update(w: &Writer<'_, PostgresClient>, desired: &Desired, observed: &Observed) -> Result<()> {
        let Some(owner) = desired.owner.as_ref().filter(|owner| **owner != observed.owner) else {
            return Ok(());
        };
        let operation = format!("change the schema {}", Self::id(desired));
        let statement = format!("ALTER SCHEMA {} OWNER TO {}", sql::name(&desired.name), sql::name(owner));
        w.run(w.permit(), desired.database.as_deref(), &operation, &statement).await
    }

    async fn delete(w: &Writer<'_, PostgresClient>, id: &Id) -> Result<()> {
        drop_in(w, id, "SCHEMA").await
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { name: observed.name.clone() }
    }

    fn predicted_outputs(desired: &Desired, _: &Realm) -> Partial {
        Partial::default().with("name", &desired.name)
    }
}

/// Removes a thing of this sort, unless something depends on it; success where it, or its database, is gone.
///
/// # Errors
/// When something depends on it, or the server cannot be reached.
pub async fn drop_in(w: &Writer<'_, PostgresClient>, id: &Id, sort: &str) -> Result<()> {
    let operation = format!("remove the {} {id}", sort.to_lowercase());
    let transaction = match w.begin(w.permit(), id.database.as_deref(), &operation).await {
        Err(error) if error.is(super::error::NO_DATABASE) => return Ok(()),
        begun => begun?,
    };
    transaction.command(&format!("DROP {sort} IF EXISTS {} RESTRICT", sql::name(&id.name))).await?;
    transaction.commit().await
}
