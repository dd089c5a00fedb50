//! `postgres.extension`: an extension of a database.
//! <https://www.postgresql.org/docs/current/sql-createextension.html>

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;

use super::client::PostgresClient;
use super::connection::{CLUSTER, DATABASE};
use super::schema::{Id, drop_in};
use super::{needs_database, needs_schema, sql};
use crate::access::Granting;
use crate::error::{FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::resource::risk::Category::Destroy;
use crate::resource::risk::{Deletion, Risks, Severity, identity, replaced, safe};
use crate::resource::{Diff, Look, Partial, Requirement, Resource, Writer};

/// The kind `postgres.extension`.
pub struct Extension;

/// An extension that the server has installed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PostgresExtension")]
pub struct Desired {
    /// The database; the one of the `postgres` section when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The name, such as `pg_trgm`.
    pub name: String,
    /// The schema of what it brings along. Not managed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The version. Not managed when absent: then it is the server's current one when it is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// An extension as it is.
pub struct Observed {
    name: String,
    schema: String,
    version: String,
}

/// The outputs for other steps.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PostgresExtensionOutputs")]
pub struct Outputs {
    /// The name.
    pub name: String,
    /// The version.
    pub version: String,
}

/// <https://www.postgresql.org/docs/current/catalog-pg-extension.html>
const EXTENSION: &str = "SELECT n.nspname::text, e.extversion FROM pg_catalog.pg_extension AS e \
                         JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = $1";

impl Resource for Extension {
    const KIND: &'static str = "postgres.extension";
    const GRANTS: Granting = Granting::Never("it brings functions and types along and gives no rights");
    const ABOUT: &'static str = "An extension in a database, which the server must have installed.";
    const EXAMPLE: &'static str = "trigrams:
  kind: postgres.extension
  database: orders
  name: pg_trgm
";
    const REALM: &'static [&'static str] = &[CLUSTER, DATABASE];
    const REMOVAL: Option<&'static str> = Some("PostgreSQL refuses while anything uses it");
    const DELETION: Deletion = Deletion::new(Severity::Low, Destroy, "its functions and types are deleted");
    const RISKS: Risks = &[&[
        identity("database name"),
        replaced("schema").low(Destroy, "what names its functions with the old schema no longer finds them"),
        safe("version", "the extension's own scripts update it"),
    ]];
    const PROOF: Proof = Proof::InSync("the extension is there in its version");

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
        found.extend(desired.database.as_deref().and_then(|name| sql::mistake_in_name("database", name)));
        found.extend(desired.schema.as_deref().and_then(|name| sql::mistake_in_name("schema", name)));
        found
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        let database = desired.database.as_deref();
        match &desired.schema {
            Some(schema) => needs_schema(database, schema),
            None => needs_database(database),
        }
    }

    async fn observe(client: &PostgresClient, id: &Id, _: Look<'_, Self>) -> Result<Option<Observed>> {
        let operation = format!("read the extension {id}");
        let parameters = [(&id.name as _, Type::TEXT)];
        let rows = client.rows_if_there(id.database.as_deref(), &operation, EXTENSION, &parameters).await?;
        let rows = rows.unwrap_or_default();
        let observed = |row: &tokio_postgres::Row| Observed {
            name: id.name.clone(),
            schema: row.get(0),
            version: row.get(1),
        };
        Ok(rows.first().map(observed))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        if let Some(schema) = &desired.schema {
            diff.field("schema", &observed.schema, schema);
        }
        if let Some(version) = &desired.version {
            diff.field("version", &observed.version, version);
        }
        diff
    }

    async fn create(w: &Writer<'_, PostgresClient>, desired: &Desired) -> Result<()> {
        let operation = format!("create the extension {}", Self::id(desired));
        let schema = desired.schema.iter().map(|schema| format!(" SCHEMA {}", sql::name(schema)));
        let version = desired.version.iter().map(|version| format!(" VERSION {}", sql::text(version)));
        let options: String = schema.chain(version).collect();
        let statement = format!("CREATE EXTENSION {}{options}", sql::name(&desired.name));
        w.run(w.permit(), desired.database.as_deref(), &operation, &statement).await
    }

    async fn update(w: &Writer<'_, PostgresClient>, desired: &Desired, observed: &Observed) -> Result<()> {
        let operation = format!("change the extension {}", Self::id(desired));
        let diff = Self::diff(desired, observed);
        let extension = sql::name(&desired.name);
        let transaction = w.begin(w.permit(), desired.database.as_deref(), &operation).await?;
        if let Some(version) = desired.version.as_ref().filter(|_| diff.touches("version")) {
            transaction
                .command(&format!("ALTER EXTENSION {extension} UPDATE TO {}", sql::text(version)))
                .await?;
        }
        if let Some(schema) = desired.schema.as_ref().filter(|_| diff.touches("schema")) {
            transaction
                .command(&format!("ALTER EXTENSION {extension} SET SCHEMA {}", sql::name(schema)))
                .await?;
        }
        transaction.commit().await
    }

    async fn delete(w: &Writer<'_, PostgresClient>, id: &Id) -> Result<()> {
        drop_in(w, id, "EXTENSION").await
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { name: observed.name.clone(), version: observed.version.clone() }
    }

    fn predicted_outputs(desired: &Desired, _: &Realm) -> Partial {
        Partial::default().with("name", &desired.name)
    }
}
