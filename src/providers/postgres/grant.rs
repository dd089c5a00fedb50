//! `postgres.grant`: the rights of a role on one thing.
//! <https://www.postgresql.org/docs/current/ddl-priv.html>

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;

use super::client::PostgresClient;
use super::connection::{CLUSTER, DATABASE};
use super::role::Role;
use super::{needs_database, needs_schema, sql};
use crate::access::Granting;
use crate::error::{FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::resource::risk::Category::BroaderGrant;
use crate::resource::risk::{Risks, added, identity, on};
use crate::resource::{Diff, Look, Partial, Requirement, Resource, Writer};

/// The kind `postgres.grant`.
pub struct Grant;

/// The rights of a role on one thing: these and no others.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PostgresGrant")]
pub struct Desired {
    /// The role that gets the rights; `public` is every role.
    pub role: String,
    /// The database; the one of the `postgres` section when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The sort of thing.
    pub on: Sort,
    /// The schema: the thing itself, or the one of the table or sequence. Not for a database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The name of the table or sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The rights.
    pub privileges: BTreeSet<Privilege>,
    /// Whether the role may give the rights to others.
    #[serde(default)]
    pub grantable: bool,
}

/// The sort of thing that rights are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// The database.
    Database,
    /// A schema of it.
    Schema,
    /// A table or view.
    Table,
    /// A sequence.
    Sequence,
}

/// A right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Privilege {
    /// Connect to a database.
    Connect,
    /// Create schemas in a database, or things in a schema.
    Create,
    /// Remove rows.
    Delete,
    /// Add rows.
    Insert,
    /// Refer to a table in a foreign key.
    References,
    /// Read.
    Select,
    /// Make temporary tables in a database.
    Temporary,
    /// Put triggers on a table.
    Trigger,
    /// Empty a table.
    Truncate,
    /// Change rows, or set a sequence.
    Update,
    /// Find things in a schema, or take numbers from a sequence.
    Usage,
}

impl Privilege {
    const ALL: [(Self, &str); 11] = [
        (Self::Connect, "CONNECT"),
        (Self::Create, "CREATE"),
        (Self::Delete, "DELETE"),
        (Self::Insert, "INSERT"),
        (Self::References, "REFERENCES"),
        (Self::Select, "SELECT"),
        (Self::Temporary, "TEMPORARY"),
        (Self::Trigger, "TRIGGER"),
        (Self::Truncate, "TRUNCATE"),
        (Self::Update, "UPDATE"),
        (Self::Usage, "USAGE"),
    ];

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(one, _)| *one == self).map_or("", |(_, word)| word)
    }

    fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, one)| *one == word).map(|(privilege, _)| *privilege)
    }
}

impl Sort {
    /// The rights that things of this sort have.
    fn privileges(self) -> &'static [Privilege] {
        use Privilege::{
            Connect, Create, Delete, Insert, References, Select, Temporary, Trigger, Truncate, Update, Usage,
        };
        match self {
            Self::Database => &[Connect, Create, Temporary],
            Self::Schema => &[Create, Usage],
            Self::Table => &[Delete, Insert, References, Select, Trigger, Truncate, Update],
            Self::Sequence => &[Select, Update, Usage],
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Schema => "schema",
            Self::Table => "table",
            Self::Sequence => "sequence",
        }
    }

    /// The statement that lists the rights of a role: the thing is the first parameter, the role's name, or `public`,
    /// the second. Nothing comes back where there is no such thing.
    fn statement(self) -> String {
        let (from, list, name) = match self {
            Self::Database => (
                "pg_catalog.pg_database AS o",
                "coalesce(datacl, pg_catalog.acldefault('d', datdba))",
                "datname = coalesce($1, pg_catalog.current_database())",
            ),
            Self::Schema => (
                "pg_catalog.pg_namespace AS o",
                "coalesce(nspacl, pg_catalog.acldefault('n', nspowner))",
                "nspname = $1",
            ),
            Self::Table => (
                "pg_catalog.pg_class AS o",
                "coalesce(relacl, pg_catalog.acldefault('r', relowner))",
                "o.oid = pg_catalog.to_regclass($1) AND relkind <> 'S'",
            ),
            Self::Sequence => (
                "pg_catalog.pg_class AS o",
                "coalesce(relacl, pg_catalog.acldefault('s', relowner))",
                "o.oid = pg_catalog.to_regclass($1) AND relkind = 'S'",
            ),
        };
        format!(
            "SELECT a.privilege_type, bool_or(a.is_grantable) FROM {from}, pg_catalog.aclexplode({list}) AS a \
             LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee \
             WHERE {name} AND coalesce(r.rolname::text, 'public') = $2 GROUP BY 1"
        )
    }
}

/// Whose rights on what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Id {
    role: String,
    database: Option<String>,
    on: Sort,
    schema: Option<String>,
    name: Option<String>,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.role, self.on.word())?;
        let parts = [&self.database, &self.schema, &self.name];
        let parts: Vec<&str> = parts.into_iter().filter_map(|part| part.as_deref()).collect();
        if parts.is_empty() { Ok(()) } else { write!(f, " {}", parts.join(".")) }
    }
}

impl Id {
    /// The thing as the statement of its sort looks for it.
    fn searched(&self) -> Option<String> {
        let schema = self.schema.as_deref().unwrap_or("public");
        match self.on {
            Sort::Database => self.database.clone(),
            Sort::Schema => Some(schema.to_owned()),
            Sort::Table | Sort::Sequence => {
                Some(sql::qualified(schema, self.name.as_deref().unwrap_or_default()))
            }
        }
    }

    /// The thing as commands name it.
    fn object(&self, client: &PostgresClient) -> String {
        let database = self.database.as_deref().unwrap_or_else(|| client.own_database());
        let schema = self.schema.as_deref().unwrap_or("public");
        match self.on {
            Sort::Database => format!("DATABASE {}", sql::name(database)),
            Sort::Schema => format!("SCHEMA {}", sql::name(schema)),
            Sort::Table => format!("TABLE {}", self.searched().unwrap_or_default()),
            Sort::Sequence => format!("SEQUENCE {}", self.searched().unwrap_or_default()),
        }
    }

    fn grantee(&self) -> String {
        if self.role == EVERYBODY { "PUBLIC".to_owned() } else { sql::name(&self.role) }
    }

    /// The rights that the role has, each with whether it may give it to others.
    async fn rights(&self, client: &PostgresClient) -> Result<BTreeMap<Privilege, bool>> {
        let operation = format!("read the rights of {self}");
        let searched = self.searched();
        let parameters = [(&searched as _, Type::TEXT), (&self.role as _, Type::TEXT)];
        let database = self.database.as_deref();
        let rows = client.rows_if_there(database, &operation, &self.on.statement(), &parameters).await?;
        let rights = rows.unwrap_or_default();
        let right = |row: &tokio_postgres::Row| Some((Privilege::of(row.get(0))?, row.get(1)));
        Ok(rights.iter().filter_map(right).collect())
    }
}

/// The name that stands for every role.
const EVERYBODY: &str = "public";

/// The rights as they are.
pub struct Observed {
    id: Id,
    rights: BTreeMap<Privilege, bool>,
}

/// The outputs for other steps.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PostgresGrantOutputs")]
pub struct Outputs {
    /// The role.
    pub role: String,
}

impl Desired {
    /// The commands that lead from these rights to the declared ones.
    fn commands(&self, live: &BTreeMap<Privilege, bool>, client: &PostgresClient) -> Vec<String> {
        let id = Grant::id(self);
        let (object, grantee) = (id.object(client), id.grantee());
        let words = |privileges: Vec<Privilege>| {
            privileges.into_iter().map(Privilege::word).collect::<Vec<_>>().join(", ")
        };
        let extra: Vec<Privilege> =
            live.keys().filter(|one| !self.privileges.contains(one)).copied().collect();
        let lacking = |one: &&Privilege| live.get(one).is_none_or(|grantable| self.grantable && !grantable);
        let lacking: Vec<Privilege> = self.privileges.iter().filter(lacking).copied().collect();
        let kept = self.privileges.iter().filter(|one| !self.grantable && live.get(one) == Some(&true));
        let kept: Vec<Privilege> = kept.copied().collect();
        let option = if self.grantable { " WITH GRANT OPTION" } else { "" };
        let command = |privileges: Vec<Privilege>, before: &str, after: String| {
            (!privileges.is_empty()).then(|| format!("{before} {} ON {object} {after}", words(privileges)))
        };
        let commands = [
            command(extra, "REVOKE", format!("FROM {grantee}")),
            command(kept, "REVOKE GRANT OPTION FOR", format!("FROM {grantee}")),
            command(lacking, "GRANT", format!("TO {grantee}{option}")),
        ];
        commands.into_iter().flatten().collect()
    }
}

async fn carry_out(w: &Writer<'_, PostgresClient>, id: &Id, commands: Vec<String>) -> Result<()> {
    let operation = format!("change the rights of {id}");
    let transaction = w.begin(w.permit(), id.database.as_deref(), &operation).await?;
    for command in commands {
        transaction.command(&command).await?;
    }
    transaction.commit().await
}

impl Resource for Grant {
    const KIND: &'static str = "postgres.grant";
    const GRANTS: Granting = Granting::Never("rights inside a database are PostgreSQL's own");
    const ABOUT: &'static str =
        "The rights of a role on a database, schema, table or sequence: these and no others.";
    const EXAMPLE: &'static str = "reports_read:
  kind: postgres.grant
  role: reports
  database: orders
  on: table
  schema: public
  name: events
  privileges: [SELECT]
";
    const REALM: &'static [&'static str] = &[CLUSTER, DATABASE];
    const REMOVAL: Option<&'static str> = Some("the role loses all of its rights on it");
    const RISKS: Risks = &[&[
        identity("role database on schema name"),
        added("privileges").medium(BroaderGrant, "the role may do more with it"),
        on("grantable").medium(BroaderGrant, "the role may give these rights to others"),
    ]];
    const PROOF: Proof = Proof::InSync("the role has the rights, and no others on it");

    type Client = PostgresClient;
    type Id = Id;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn id(desired: &Desired) -> Id {
        let Desired { role, database, on, schema, name, .. } = desired.clone();
        Id { role, database, on, schema, name }
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut found: Vec<FieldError> = sql::mistake_in_name("role", &desired.role).into_iter().collect();
        for (field, name) in
            [("database", &desired.database), ("schema", &desired.schema), ("name", &desired.name)]
        {
            found.extend(name.as_deref().and_then(|name| sql::mistake_in_name(field, name)));
        }
        let in_schema = matches!(desired.on, Sort::Table | Sort::Sequence);
        if in_schema != desired.name.is_some() {
            found.push(FieldError::new("name", "names a table or sequence, and each of them needs one"));
        }
        if desired.on == Sort::Database && desired.schema.is_some() {
            found.push(FieldError::new("schema", "is not part of the name of a database"));
        }
        if desired.privileges.is_empty() {
            found.push(FieldError::new("privileges", "no right is named; remove the step instead"));
        }
        let possible = desired.on.privileges();
        if let Some(wrong) = desired.privileges.iter().find(|one| !possible.contains(one)) {
            let names: Vec<&str> = possible.iter().map(|one| one.word()).collect();
            found.push(
                FieldError::new(
                    "privileges",
                    format!("a {} has no right {}", desired.on.word(), wrong.word()),
                )
                .help(format!("there are {}", names.join(", "))),
            );
        }
        if desired.grantable && desired.role == EVERYBODY {
            found
                .push(FieldError::new("grantable", "PostgreSQL never lets every role give rights to others"));
        }
        found
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        let database = desired.database.as_deref();
        let mut requires = match desired.on {
            Sort::Database => needs_database(database),
            _ => needs_schema(database, desired.schema.as_deref().unwrap_or("public")),
        };
        requires.push(Requirement::thing(Role::KIND, &desired.role));
        requires
    }

    async fn observe(client: &PostgresClient, id: &Id, _: Look<'_, Self>) -> Result<Option<Observed>> {
        let rights = id.rights(client).await?;
        Ok((!rights.is_empty()).then(|| Observed { id: id.clone(), rights }))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        let live: BTreeSet<Privilege> = observed.rights.keys().copied().collect();
        diff.field("privileges", &live, &desired.privileges);
        let kept: Vec<bool> =
            desired.privileges.iter().filter_map(|one| observed.rights.get(one)).copied().collect();
        if kept.iter().any(|grantable| *grantable != desired.grantable) {
            diff.field("grantable", &!desired.grantable, &desired.grantable);
        }
        diff
    }

    async fn create(w: &Writer<'_, PostgresClient>, desired: &Desired) -> Result<()> {
        carry_out(w, &Self::id(desired), desired.commands(&BTreeMap::new(), w)).await
    }

    async fn update(w: &Writer<'_, PostgresClient>, desired: &Desired, observed: &Observed) -> Result<()> {
        carry_out(w, &Self::id(desired), desired.commands(&observed.rights, w)).await
    }

    async fn delete(w: &Writer<'_, PostgresClient>, id: &Id) -> Result<()> {
        let rights = id.rights(w).await?;
        if rights.is_empty() {
            return Ok(());
        }
        let words: Vec<&str> = rights.into_keys().map(Privilege::word).collect();
        let command = format!("REVOKE {} ON {} FROM {}", words.join(", "), id.object(w), id.grantee());
        carry_out(w, id, vec![command]).await
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { role: observed.id.role.clone() }
    }

    fn predicted_outputs(desired: &Desired, _: &Realm) -> Partial {
        Partial::default().with("role", &desired.role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_right_has_its_word() {
        for (privilege, word) in Privilege::ALL {
            assert_eq!(serde_json::to_value(privilege).expect("text"), word);
            assert_eq!((Privilege::of(word), privilege.word()), (Some(privilege), word));
        }
    }

    #[test]
    fn rights_that_the_thing_does_not_have_are_mistakes() {
        let fields = |text: serde_json::Value| serde_json::from_value::<Desired>(text).expect("valid");
        let table =
            fields(serde_json::json!({ "role": "a", "on": "table", "name": "t", "privileges": ["USAGE"] }));
        assert_eq!(Grant::check(&table).len(), 1);
        let database =
            fields(serde_json::json!({ "role": "a", "on": "database", "name": "t", "privileges": [] }));
        assert_eq!(Grant::check(&database).len(), 2);
    }
}
