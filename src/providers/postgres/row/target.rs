//! One jsonb document in one row of a table: how it is found, read and changed.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio_postgres::types::Type;

use super::super::client::{HIDDEN, Parameter, PostgresClient, Transaction};
use super::super::sql;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::permit::Permit;
use crate::secret::Secret;

/// A value by which a row is found; it is compared as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Value")]
#[schemars(transform = scalar_schema)]
pub struct Scalar(String);

fn scalar_schema(schema: &mut schemars::Schema) {
    schema.insert("type".to_owned(), json!(["string", "number", "boolean"]));
}

impl TryFrom<Value> for Scalar {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(Self(text)),
            Value::Number(_) | Value::Bool(_) => Ok(Self(value.to_string())),
            _ => Err("expected a text, a number or a boolean".to_owned()),
        }
    }
}

/// A jsonb column of one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The database; the connection's own when absent.
    pub database: Option<String>,
    /// The table's schema.
    pub schema: String,
    /// The table.
    pub table: String,
    /// The row: a value for each of these columns.
    pub row: BTreeMap<String, Scalar>,
    /// The column with the document.
    pub column: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.row.iter().map(|(column, Scalar(value))| format!("{column}={value}"));
        let row = row.collect::<Vec<_>>().join(",");
        let database = self.database.iter().map(|name| format!("{name}/")).collect::<String>();
        write!(f, "{database}{}.{}[{row}].{}", self.schema, self.table, self.column)
    }
}

/// Why there is no such place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// There is no such table.
    Table,
    /// The table lacks this column of `where`.
    Key(String),
    /// The table lacks the column with the document.
    Column,
    /// The column has another type.
    NotJsonb(String),
    /// Not exactly one row matches.
    Rows(usize),
    /// What is at this part of the path is not an object.
    NotAnObject(Vec<String>),
}

impl Missing {
    /// Why there is no such place, and what to do.
    pub fn explained(&self, target: &Target) -> String {
        let table = format!("{}.{}", target.schema, target.table);
        match self {
            Self::Table => format!("there is no table {table}; run the application's migrations first"),
            Self::Key(column) => format!("the table {table} has no column `{column}`"),
            Self::Column => format!("the table {table} has no column `{}`", target.column),
            Self::NotJsonb(other) => {
                let column = &target.column;
                format!("the column `{column}` has the type {other}; only jsonb can be changed in part")
            }
            Self::Rows(0) => "no row matches, and rows are not made here; insert it first".to_owned(),
            Self::Rows(_) => "several rows match, and only one is ever changed; name more columns".to_owned(),
            Self::NotAnObject(path) => {
                format!("`{}` is not an object, so nothing can be put into it", path.join("."))
            }
        }
    }

    /// The same as an error.
    pub fn error(&self, operation: &str, target: &Target) -> Error {
        Error::new(ErrorKind::Rejected, operation, self.explained(target))
            .advice("nothing was written; plan again once the row is there")
    }
}

/// The values at some paths of a document, each `None` where there is nothing.
pub type Values = std::result::Result<Vec<Option<Value>>, Missing>;

/// A value and its path in the document.
pub type Placed = (Vec<String>, Value);

impl Target {
    /// Mistakes in the names.
    pub fn check(&self, at: &str) -> Vec<FieldError> {
        let field = |name: &str| format!("{at}{name}");
        let names = [("schema", &self.schema), ("table", &self.table), ("column", &self.column)];
        let mut found: Vec<FieldError> =
            names.into_iter().filter_map(|(name, text)| sql::mistake_in_name(&field(name), text)).collect();
        let database = self.database.as_ref();
        found.extend(database.and_then(|name| sql::mistake_in_name(&field("database"), name)));
        if self.row.is_empty() {
            found.push(
                FieldError::new(field("where"), "no column is named, so every row would match")
                    .help("write `where: { name: VALUE }` with columns that only one row has"),
            );
        }
        found.extend(self.row.keys().filter_map(|column| sql::mistake_in_name(&field("where"), column)));
        found
    }

    /// The values at these paths, read without a lock; `None` where the database does not exist.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn read(&self, client: &PostgresClient, paths: &[&[String]]) -> Result<Option<Values>> {
        let operation = format!("read {self}");
        let database = self.database.as_deref();
        let table = sql::qualified(&self.schema, &self.table);
        let parameters: [Parameter<'_>; 1] = [(&table, Type::TEXT)];
        let Some(columns) = client.rows_if_there(database, &operation, COLUMNS, &parameters).await? else {
            return Ok(None);
        };
        let columns: BTreeMap<String, String> = columns.iter().map(|row| (row.get(0), row.get(1))).collect();
        if let Some(missing) = self.missing_column(&columns) {
            return Ok(Some(Err(missing)));
        }
        let keys: Vec<&Scalar> = self.row.values().collect();
        let parameters: Vec<Parameter<'_>> = keys
            .iter()
            .map(|Scalar(value)| (value as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT))
            .collect();
        let rows = client.rows(database, &operation, &self.select(""), &parameters).await?;
        let documents: Vec<Value> = rows.iter().map(|row| document(row.get(0))).collect();
        Ok(Some(values(&documents, paths)))
    }

    fn missing_column(&self, columns: &BTreeMap<String, String>) -> Option<Missing> {
        if columns.is_empty() {
            return Some(Missing::Table);
        }
        if let Some(column) = self.row.keys().find(|column| !columns.contains_key(*column)) {
            return Some(Missing::Key(column.clone()));
        }
        match columns.get(&self.column).map(String::as_str) {
            None => Some(Missing::Column),
            Some("jsonb") => None,
            Some(other) => Some(Missing::NotJsonb(other.to_owned())),
        }
    }

    /// Two rows are enough to see that there is more than one.
    fn select(&self, lock: &str) -> String {
        format!(
            "SELECT t.{}::text FROM {} AS t WHERE {} LIMIT 2{lock}",
            sql::name(&self.column),
            sql::qualified(&self.schema, &self.table),
            self.condition(1)
        )
    }

    /// The condition, with parameters from this number on.
    fn condition(&self, first: usize) -> String {
        let columns = self.row.keys().enumerate();
        let each =
            columns.map(|(index, column)| format!("t.{}::text = ${}", sql::name(column), first + index));
        each.collect::<Vec<_>>().join(" AND ")
    }

    /// Puts values at their paths, in one transaction and without touching any other key. With `only_new` it fails
    /// if one of the paths has a value by now.
    ///
    /// # Errors
    /// When there is not exactly one row, or the server refuses it.
    pub async fn put(
        &self,
        client: &PostgresClient,
        permit: &Permit,
        placed: Vec<Placed>,
        only_new: bool,
    ) -> Result<()> {
        let operation = format!("change {self}");
        let transaction = client.begin(permit, self.database.as_deref(), &operation).await?;
        let document = self.locked(&transaction, &operation).await?;
        let paths: Vec<&[String]> = placed.iter().map(|(path, _)| path.as_slice()).collect();
        let live = values(std::slice::from_ref(&document), &paths)
            .map_err(|missing| missing.error(&operation, self))?;
        if only_new && live.iter().any(Option::is_some) {
            return Err(Error::made_meanwhile(operation.as_str()));
        }
        let mut document = document;
        let mut changes = Vec::new();
        for (path, value) in placed {
            changes.push(grown(&document, &path, value.clone()));
            insert(&mut document, &path, value);
        }
        self.write(&transaction, changes).await?;
        transaction.commit().await
    }

    /// Takes the values at these paths away; success if the row no longer exists.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn take(&self, client: &PostgresClient, permit: &Permit, paths: &[&[String]]) -> Result<()> {
        match self.read(client, paths).await? {
            Some(Ok(live)) if live.iter().any(Option::is_some) => {}
            _ => return Ok(()),
        }
        let operation = format!("change {self}");
        let transaction = client.begin(permit, self.database.as_deref(), &operation).await?;
        self.locked(&transaction, &operation).await?;
        let column = sql::name(&self.column);
        let mut parameters: Vec<Parameter<'_>> = Vec::new();
        let mut document = format!("t.{column}");
        for path in paths {
            parameters.push((path, Type::TEXT_ARRAY));
            document = format!("{document} #- ${}", parameters.len());
        }
        self.update(&transaction, &document, parameters).await?;
        transaction.commit().await
    }

    /// The document. Its row is locked until the transaction ends.
    async fn locked(&self, transaction: &Transaction<'_>, operation: &str) -> Result<Value> {
        let parameters: Vec<Parameter<'_>> = self
            .row
            .values()
            .map(|Scalar(value)| (value as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT))
            .collect();
        let rows = transaction.rows(&self.select(" FOR UPDATE"), &parameters).await?;
        match rows.as_slice() {
            [row] => Ok(document(row.get(0))),
            rows => Err(Missing::Rows(rows.len()).error(operation, self)),
        }
    }

    /// The values are copied in rather than bound: statement logs have parameters.
    async fn write(&self, transaction: &Transaction<'_>, changes: Vec<Placed>) -> Result<()> {
        let hidden: Vec<Secret> = changes.iter().map(|(_, value)| Secret::from(value.to_string())).collect();
        transaction.hide(&hidden).await?;
        let mut document = format!("coalesce(t.{}, '{{}}'::jsonb)", sql::name(&self.column));
        let mut parameters: Vec<Parameter<'_>> = Vec::new();
        for (number, (path, _)) in changes.iter().enumerate() {
            parameters.push((path, Type::TEXT_ARRAY));
            let value = format!("(SELECT value::jsonb FROM pg_temp.{HIDDEN} WHERE number = {number})");
            document = format!("pg_catalog.jsonb_set({document}, ${}, {value}, true)", parameters.len());
        }
        self.update(transaction, &document, parameters).await
    }

    async fn update<'a>(
        &'a self,
        transaction: &Transaction<'_>,
        document: &str,
        mut parameters: Vec<Parameter<'a>>,
    ) -> Result<()> {
        let statement = format!(
            "UPDATE {} AS t SET {} = {document} WHERE {} RETURNING 1",
            sql::qualified(&self.schema, &self.table),
            sql::name(&self.column),
            self.condition(parameters.len() + 1)
        );
        for Scalar(value) in self.row.values() {
            parameters.push((value, Type::TEXT));
        }
        let changed = transaction.rows(&statement, &parameters).await?.len();
        // The row is locked, so only a rule or trigger of the table can come to another number.
        match changed {
            1 => Ok(()),
            others => {
                let message = format!("{others} rows would change instead of one; nothing was written");
                Err(Error::new(ErrorKind::Conflict, format!("change {self}"), message)
                    .advice("look at the table's rules and triggers"))
            }
        }
    }
}

/// The columns of a table with their types.
/// <https://www.postgresql.org/docs/current/catalog-pg-attribute.html>
const COLUMNS: &str = "SELECT attname::text, pg_catalog.format_type(atttypid, NULL) FROM pg_catalog.pg_attribute \
                       WHERE attrelid = pg_catalog.to_regclass($1) AND attnum > 0 AND NOT attisdropped";

/// A document as the server writes it; an empty one for a column without a value.
fn document(text: Option<String>) -> Value {
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_else(|| json!({}))
}

/// The values at these paths of the one document.
fn values(documents: &[Value], paths: &[&[String]]) -> Values {
    match documents {
        [document] => paths.iter().map(|path| value_at(document, path)).collect(),
        others => Err(Missing::Rows(others.len())),
    }
}

fn value_at(document: &Value, path: &[String]) -> std::result::Result<Option<Value>, Missing> {
    let mut here = document;
    for (depth, key) in path.iter().enumerate() {
        let Some(fields) = here.as_object() else { return Err(Missing::NotAnObject(path[..depth].to_vec())) };
        match fields.get(key) {
            Some(inner) => here = inner,
            None => return Ok(None),
        }
    }
    Ok(Some(here.clone()))
}

/// The shortest path that the document lacks, and the value with the objects below that path around it. Everything
/// above exists already.
fn grown(document: &Value, path: &[String], value: Value) -> Placed {
    let mut here = document;
    let mut depth = 0;
    while let Some(inner) = path.get(depth).filter(|_| depth + 1 < path.len()).and_then(|key| here.get(key)) {
        here = inner;
        depth += 1;
    }
    let around = path[depth + 1..]
        .iter()
        .rev()
        .fold(value, |inner, key| Value::Object(Map::from_iter([(key.clone(), inner)])));
    (path[..=depth].to_vec(), around)
}

fn insert(document: &mut Value, path: &[String], value: Value) {
    let Some((last, above)) = path.split_last() else { return };
    let mut here = document;
    for key in above {
        here = &mut here[key.as_str()];
    }
    here[last.as_str()] = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn value_is_found_at_its_path() {
        let document = json!({ "a": { "b": 1 }, "c": [1] });
        assert_eq!(value_at(&document, &path("a.b")), Ok(Some(json!(1))));
        assert_eq!(value_at(&document, &path("a.x.y")), Ok(None));
        assert_eq!(value_at(&document, &path("c.0")), Err(Missing::NotAnObject(path("c"))));
        assert_eq!(values(&[], &[]), Err(Missing::Rows(0)));
        assert_eq!(values(&[json!({}), json!({})], &[]), Err(Missing::Rows(2)));
    }

    #[test]
    fn only_missing_objects_are_made() {
        let document = json!({ "a": { "b": { "kept": true } } });
        assert_eq!(grown(&document, &path("a.b.c"), json!(1)), (path("a.b.c"), json!(1)));
        assert_eq!(grown(&document, &path("a.x.c"), json!(1)), (path("a.x"), json!({ "c": 1 })));
        assert_eq!(grown(&document, &path("x.y.z"), json!(1)), (path("x"), json!({ "y": { "z": 1 } })));
        assert_eq!(grown(&document, &path("a"), json!(1)), (path("a"), json!(1)));
        let mut grows = document.clone();
        insert(&mut grows, &path("x.y"), json!(2));
        assert_eq!(
            grown(&grows, &path("x.z"), json!(3)),
            (path("x.z"), json!(3)),
            "a second value finds the first"
        );
    }

    #[test]
    fn names_never_leave_their_quotes() {
        let target = Target {
            database: None,
            schema: "public".to_owned(),
            table: "a\" b".to_owned(),
            row: BTreeMap::from([("k\"".to_owned(), Scalar("v'".to_owned()))]),
            column: "c".to_owned(),
        };
        assert_eq!(
            target.select(""),
            r#"SELECT t."c"::text FROM "public"."a"" b" AS t WHERE t."k"""::text = $1 LIMIT 2"#
        );
    }
}
