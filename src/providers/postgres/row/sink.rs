//! A row's jsonb document as a destination of secrets.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_postgres::types::Type;

use super::super::client::PostgresClient;
use super::super::{needs_schema, sql};
use super::target::{Placed, Scalar, Target};
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::permit::Permit;
use crate::providers::sink::{KeyFields, Sink};
use crate::resource::Requirement;
use crate::secret::{Fields, Secret};

/// A row of a table, and the names that the two halves of an access key get in its document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RowDelivery {
    /// The database; the one of the `postgres` section when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The table's schema.
    #[serde(default = "crate::providers::postgres::public")]
    pub schema: String,
    /// The table.
    pub table: String,
    /// The row: columns and their values, compared as text. Exactly one row must match.
    #[serde(rename = "where")]
    pub row: BTreeMap<String, Scalar>,
    /// The column with the document, of type jsonb.
    pub column: String,
    /// The keys of the object that gets the fields, outermost first; the document itself when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
    /// The names of the fields.
    #[serde(default)]
    pub fields: KeyFields,
}

impl RowDelivery {
    fn target(&self) -> Target {
        let Self { database, schema, table, row, column, .. } = self.clone();
        Target { database, schema, table, row, column }
    }

    /// Its name in a plan's differences.
    pub fn name(&self) -> String {
        let path = self.path.iter().map(|key| format!(".{key}")).collect::<String>();
        format!("{}{path}", self.target())
    }

    /// Mistakes, with paths below it.
    pub fn check(&self) -> Vec<FieldError> {
        self.target().check("")
    }

    /// The steps that it depends on, if the plan declares them.
    pub fn requires(&self) -> Vec<Requirement> {
        needs_schema(self.database.as_deref(), &self.schema)
    }

    /// The destination.
    pub fn sink(&self, client: Arc<PostgresClient>) -> RowSink {
        RowSink { client, target: self.target(), path: self.path.clone() }
    }
}

/// The document of one row.
pub struct RowSink {
    client: Arc<PostgresClient>,
    target: Target,
    path: Vec<String>,
}

impl RowSink {
    fn path_of(&self, field: &str) -> Vec<String> {
        self.path.iter().cloned().chain([field.to_owned()]).collect()
    }
}

#[async_trait]
impl Sink for RowSink {
    async fn holds(&self, expected: &Fields) -> Result<bool> {
        let paths: Vec<Vec<String>> = expected.keys().map(|name| self.path_of(name)).collect();
        let paths: Vec<&[String]> = paths.iter().map(Vec::as_slice).collect();
        // A row that is not there holds nothing.
        let Some(Ok(live)) = self.target.read(&self.client, &paths).await? else { return Ok(false) };
        let same = |(secret, live): (&Secret, Option<Value>)| {
            live.as_ref().and_then(Value::as_str).is_some_and(|text| Secret::from(text.to_owned()) == *secret)
        };
        Ok(expected.values().zip(live).all(same))
    }

    async fn prove(&self) -> Result<()> {
        let operation = format!("deliver to {}", self.target);
        let refused = |kind, message: String, advice: &str| {
            Err(Error::new(kind, operation.as_str(), message)
                .advice(format!("{advice}; the credential was not made")))
        };
        match self.target.read(&self.client, &[&self.path]).await? {
            Some(Ok(_)) => {}
            Some(Err(missing)) => {
                let why = missing.explained(&self.target);
                return refused(ErrorKind::Rejected, why, "make the place first");
            }
            None => {
                let advice = "create the database and run the application's migrations first";
                return refused(ErrorKind::Rejected, "the database does not exist".to_owned(), advice);
            }
        }
        let table = sql::qualified(&self.target.schema, &self.target.table);
        let parameters = [(&table as _, Type::TEXT), (&self.target.column as _, Type::TEXT)];
        let rows =
            self.client.rows(self.target.database.as_deref(), &operation, MAY_WRITE, &parameters).await?;
        match rows.first().map(|row| (row.get(0), row.get(1))) {
            Some((true, true)) => Ok(()),
            Some((false, _)) => {
                let message = format!("the role may not change the column `{}`", self.target.column);
                refused(ErrorKind::Denied, message, "give it UPDATE on the table")
            }
            _ => {
                let message =
                    "the role may not make temporary tables, which keep secrets out of statement logs";
                refused(ErrorKind::Denied, message.to_owned(), "give it TEMPORARY on the database")
            }
        }
    }

    async fn deliver(&self, permit: &Permit, fields: &Fields) -> Result<()> {
        let placed = |(name, secret): (&String, &Secret)| match secret.expose_str() {
            Some(text) => Ok((self.path_of(name), Value::from(text))),
            None => {
                let message = format!("field `{name}` is not text");
                Err(Error::new(ErrorKind::Local, format!("deliver to {}", self.target), message))
            }
        };
        let placed: Vec<Placed> = fields.iter().map(placed).collect::<Result<_>>()?;
        self.target.put(&self.client, permit, placed, false).await
    }
}

/// <https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-ACCESS-TABLE>
const MAY_WRITE: &str = "SELECT pg_catalog.has_column_privilege($1, $2, 'UPDATE'), \
                         pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY')";
