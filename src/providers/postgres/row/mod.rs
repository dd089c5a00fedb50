//! `postgres.row`: one value inside the jsonb document of a row that an application keeps.

mod sink;
mod target;

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::sink::RowDelivery;
use self::target::{Scalar, Target};
use super::client::PostgresClient;
use super::connection::{CLUSTER, DATABASE};
use crate::access::Granting;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::resource::risk::Category::Destroy;
use crate::resource::risk::{Deletion, Risks, Severity, identity, replaced};
use crate::resource::{Diff, Look, Partial, Requirement, Resource, Writer};
use crate::secret::{Fields, RenderError, Secret, SecretSource, Sources, check_templates, render};

/// The kind `postgres.row`.
pub struct PgRow;

/// One value inside the jsonb document of a row. The row is the application's: it is never made or removed, and no
/// other key of the document is touched.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PostgresRow")]
pub struct Desired {
    /// The database; the one of the `postgres` section when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The table's schema.
    #[serde(default = "super::public")]
    pub schema: String,
    /// The table.
    pub table: String,
    /// The row: columns and their values, compared as text. Exactly one row must match.
    #[serde(rename = "where")]
    pub row: BTreeMap<String, Scalar>,
    /// The column with the document, of type jsonb.
    pub column: String,
    /// The keys that lead to the value, outermost first. Missing objects on the way are made.
    pub path: Vec<String>,
    /// The value: any JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The source of a secret value, instead of `value`. It becomes a JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretSource>,
}

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Id {
    target: Target,
    path: Vec<String>,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.target, self.path.join("."))
    }
}

/// A value that is there.
pub struct Observed {
    id: Id,
    /// The value; `None` of one that was not to be read.
    live: Option<Value>,
}

/// The outputs for other steps; never the value.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PostgresRowOutputs")]
pub struct Outputs {
    /// The table, with its schema.
    pub table: String,
    /// The column with the document.
    pub column: String,
    /// The keys that lead to the value, joined with dots.
    pub path: String,
}

impl Desired {
    fn sources(&self) -> Sources {
        self.secret.iter().map(|source| (SECRET.to_owned(), source.clone())).collect()
    }

    /// The value to write; a secret that was made once stays what it is.
    fn made(&self, live: Option<&Value>) -> Result<Value> {
        if let Some(value) = &self.value {
            return Ok(value.clone());
        }
        let live = live.map(|value| Fields::from([(SECRET.to_owned(), as_text(value))])).unwrap_or_default();
        let explain = |error: RenderError| {
            Error::new(ErrorKind::Local, format!("write {}", PgRow::id(self)), error.to_string())
                .advice("correct the source of the secret; jsonb holds only text")
        };
        let rendered = render(&self.sources(), &live, true).map_err(explain)?;
        let value = rendered.get(SECRET).cloned().flatten();
        let value = value.ok_or_else(|| explain(RenderError::NotLoaded(SECRET.to_owned())))?;
        let text = value.expose_str().ok_or_else(|| explain(RenderError::NotText(SECRET.to_owned())))?;
        Ok(Value::from(text))
    }
}

const SECRET: &str = "secret";

/// A live value as a secret: a text as it is, anything else as its JSON.
fn as_text(value: &Value) -> Secret {
    match value {
        Value::String(text) => Secret::from(text.clone()),
        other => Secret::from(other.to_string()),
    }
}

impl Resource for PgRow {
    const KIND: &'static str = "postgres.row";
    const GRANTS: Granting = Granting::Never("rights inside a database are PostgreSQL's own");
    const ABOUT: &'static str =
        "One value inside the jsonb document of a table's row, such as the bucket that a data source uses.";
    const EXAMPLE: &'static str = "source_bucket:
  kind: postgres.row
  table: cai_defined_sources
  where: { name: imaging }
  column: config
  path: [bucket]
  value: clinical-ai-imaging
";
    const HOLDS_VALUES: bool = true;
    const REALM: &'static [&'static str] = &[CLUSTER, DATABASE];
    const REMOVAL: Option<&'static str> =
        Some("the value leaves the document; the row and its other keys stay");
    const DELETION: Deletion =
        Deletion::new(Severity::Medium, Destroy, "the application loses this value of its configuration");
    const RISKS: Risks = &[&[
        identity("database schema table where column path"),
        replaced("value")
            .medium(Destroy, "the application gets another value the next time that it reads it"),
        replaced("secret")
            .medium(Destroy, "the application gets another secret the next time that it reads it"),
    ]];
    const PROOF: Proof = Proof::InSync("the row has the value");

    type Client = PostgresClient;
    type Id = Id;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn id(desired: &Desired) -> Id {
        let Desired { database, schema, table, row, column, path, .. } = desired.clone();
        Id { target: Target { database, schema, table, row, column }, path }
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut found = Self::id(desired).target.check("");
        if desired.path.is_empty() {
            found.push(
                FieldError::new("path", "no key is named; the whole document is never replaced")
                    .help("write `path: [bucket]`"),
            );
        }
        if desired.value.is_some() == desired.secret.is_some() {
            found.push(FieldError::new("value", "declare exactly one of `value` and `secret`"));
        }
        let templates = check_templates(&desired.sources());
        found.extend(templates.into_iter().map(|(_, error)| FieldError::new("secret", error.to_string())));
        found
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        super::needs_schema(desired.database.as_deref(), &desired.schema)
    }

    fn sources(desired: &mut Desired) -> Vec<&mut SecretSource> {
        desired.secret.iter_mut().collect()
    }

    fn compared(desired: &mut Desired) -> (&'static str, BTreeMap<String, &mut SecretSource>) {
        ("", desired.secret.iter_mut().map(|source| (SECRET.to_owned(), source)).collect())
    }

    fn secrets(observed: &Observed) -> Fields {
        observed.live.as_ref().map(|value| (SECRET.to_owned(), as_text(value))).into_iter().collect()
    }

    async fn observe(client: &PostgresClient, id: &Id, look: Look<'_, Self>) -> Result<Option<Observed>> {
        let Some(read) = id.target.read(client, &[&id.path]).await? else { return Ok(None) };
        match read {
            Ok(mut values) => {
                let live = values.pop().flatten();
                Ok(live.map(|value| Observed { id: id.clone(), live: Some(value).filter(|_| look.values) }))
            }
            // A place that cannot hold a value holds none; only a step wants one there.
            Err(_) if look.declared.is_none() => Ok(None),
            Err(missing) => Err(missing.error(&format!("read {id}"), &id.target)),
        }
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        match &desired.value {
            Some(value) => diff.content("value", &observed.live, value),
            None => diff.secrets("", &desired.sources(), &Self::secrets(observed), false),
        };
        diff
    }

    async fn create(w: &Writer<'_, PostgresClient>, desired: &Desired) -> Result<()> {
        let Id { target, path } = Self::id(desired);
        target.put(w, w.permit(), vec![(path, desired.made(None)?)], true).await
    }

    async fn update(w: &Writer<'_, PostgresClient>, desired: &Desired, observed: &Observed) -> Result<()> {
        let Id { target, path } = Self::id(desired);
        target.put(w, w.permit(), vec![(path, desired.made(observed.live.as_ref())?)], false).await
    }

    async fn delete(w: &Writer<'_, PostgresClient>, id: &Id) -> Result<()> {
        id.target.take(w, w.permit(), &[&id.path]).await
    }

    fn outputs(observed: &Observed) -> Outputs {
        let Id { target, path } = &observed.id;
        let table = format!("{}.{}", target.schema, target.table);
        Outputs { table, column: target.column.clone(), path: path.join(".") }
    }

    fn predicted_outputs(desired: &Desired, _: &Realm) -> Partial {
        Partial::default()
            .with("table", format!("{}.{}", desired.schema, desired.table))
            .with("column", &desired.column)
            .with("path", desired.path.join("."))
    }
}
