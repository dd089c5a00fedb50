//! PostgreSQL.
//!
//! [`PostgresClient`] is the one way to a server. It reads in a read-only session and writes in transactions. Values
//! are bound as parameters; names are quoted by [`sql`], since commands that define things take no parameters.

mod client;
mod connection;
mod database;
mod error;
mod extension;
mod grant;
mod role;
mod row;
mod schema;
mod scram;
mod settings;
mod sql;
mod tls;

pub use client::PostgresClient;
pub use connection::Postgres;
pub use database::Database;
pub use extension::Extension;
pub use grant::Grant;
pub use role::Role;
pub use row::{PgRow, RowDelivery};
pub use schema::Schema;
pub use settings::PostgresSettings;

use crate::resource::erased::{Kind, kind};
use crate::resource::{Requirement, Resource};

/// The kinds, in the order in which `explain` lists them. A new kind needs one line here.
#[rustfmt::skip]
const KINDS: &[&dyn Kind] = &[
    &kind::<Role>(),
    &kind::<Database>(),
    &kind::<Schema>(),
    &kind::<Extension>(),
    &kind::<Grant>(),
    &kind::<PgRow>(),
];

/// The schema that every new database has.
fn public() -> String {
    "public".to_owned()
}

/// The name of a thing in a database, with the database if it is named.
fn in_database(database: Option<&str>, name: &str) -> String {
    database.map_or_else(|| name.to_owned(), |database| format!("{database}/{name}"))
}

/// The steps that a thing in this database depends on, if the plan declares them.
fn needs_database(database: Option<&str>) -> Vec<Requirement> {
    database.map(|name| Requirement::thing(Database::KIND, name)).into_iter().collect()
}

/// The same for a thing in this schema.
fn needs_schema(database: Option<&str>, schema: &str) -> Vec<Requirement> {
    let mut requires = needs_database(database);
    requires.push(Requirement::thing(Schema::KIND, in_database(database, schema)));
    requires
}
