//! `postgres.role`: a role, which logs in or which others are members of.
//! <https://www.postgresql.org/docs/current/sql-createrole.html>

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;

use super::client::{PostgresClient, Transaction};
use super::scram::Verifier;
use super::sql;
use crate::access::Granting;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::Realm;
use crate::proof::{Proof, Prover};
use crate::resource::risk::Category::{BroaderGrant, Destroy, ProtectionOff};
use crate::resource::risk::{Deletion, Risks, Severity, added, gone, identity, on, raised, safe, turned_on};
use crate::resource::{Diff, Look, Partial, Requirement, Resource, Writer};
use crate::secret::{Input, Secret, SecretChange, SecretSource};

/// The kind `postgres.role`.
pub struct Role;

/// A role of a cluster of databases.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PostgresRole")]
pub struct Desired {
    /// The name.
    pub name: String,
    /// Whether it may log in.
    #[serde(default)]
    pub login: bool,
    /// The source of its password. It is hashed before it is sent, so that the server never sees it. Not managed when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretSource>,
    /// When the password ends, such as `2027-01-01T00:00:00Z`. Not managed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
    /// Whether it has the rights of the roles that it is a member of without `SET ROLE`.
    #[serde(default = "yes")]
    pub inherit: bool,
    /// Whether no right is ever checked.
    #[serde(default)]
    pub superuser: bool,
    /// Whether it may create databases.
    #[serde(default)]
    pub create_database: bool,
    /// Whether it may create roles, and change those that it has created.
    #[serde(default)]
    pub create_role: bool,
    /// Whether it may replicate the whole cluster.
    #[serde(default)]
    pub replication: bool,
    /// Whether row security does not apply to it.
    #[serde(default)]
    pub bypass_row_security: bool,
    /// How many connections it may have at a time; -1 is any number.
    #[serde(default = "unlimited")]
    pub connection_limit: i32,
    /// The roles that it is a member of, and no others. Not managed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_of: Option<BTreeSet<String>>,
}

const fn yes() -> bool {
    true
}

const fn unlimited() -> i32 {
    -1
}

/// A role as it is.
pub struct Observed {
    name: String,
    login: bool,
    inherit: bool,
    superuser: bool,
    create_database: bool,
    create_role: bool,
    replication: bool,
    bypass_row_security: bool,
    connection_limit: i32,
    /// In seconds since 1970; `None` for ever.
    valid_until: Option<i64>,
    member_of: BTreeSet<String>,
    password: Password,
}

/// The visible part of a password.
enum Password {
    /// Only superusers may see it, and this run is none.
    Hidden,
    /// There is none.
    Absent,
    /// Its hash.
    Hashed(Verifier),
    /// A hash of another sort.
    Other,
}

/// The outputs for other steps.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PostgresRoleOutputs")]
pub struct Outputs {
    /// The name.
    pub name: String,
}

/// <https://www.postgresql.org/docs/current/view-pg-roles.html>
const ROLE: &str = "SELECT rolcanlogin, rolinherit, rolsuper, rolcreatedb, rolcreaterole, rolreplication, \
     rolbypassrls, rolconnlimit, \
     CASE WHEN rolvaliduntil = 'infinity' THEN NULL ELSE extract(epoch FROM rolvaliduntil)::int8 END, \
     ARRAY(SELECT g.rolname::text FROM pg_catalog.pg_auth_members AS m \
           JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid WHERE m.member = r.oid), \
     pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT') \
     FROM pg_catalog.pg_roles AS r WHERE rolname = $1";
const HASH: &str = "SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = $1";

/// The attributes, with what the command calls them.
fn attributes(desired: &Desired) -> [(&'static str, bool, &'static str); 7] {
    [
        ("login", desired.login, "LOGIN"),
        ("inherit", desired.inherit, "INHERIT"),
        ("superuser", desired.superuser, "SUPERUSER"),
        ("create_database", desired.create_database, "CREATEDB"),
        ("create_role", desired.create_role, "CREATEROLE"),
        ("replication", desired.replication, "REPLICATION"),
        ("bypass_row_security", desired.bypass_row_security, "BYPASSRLS"),
    ]
}

/// The options of a command that brings these fields to the declared state.
fn options(desired: &Desired, is_wanted: impl Fn(&str) -> bool) -> Result<String> {
    let mut options = String::new();
    for (field, value, word) in attributes(desired) {
        if is_wanted(field) {
            options.push_str(if value { " " } else { " NO" });
            options.push_str(word);
        }
    }
    if is_wanted("connection_limit") {
        options.push_str(&format!(" CONNECTION LIMIT {}", desired.connection_limit));
    }
    if let Some(until) = desired.valid_until.as_deref().filter(|_| is_wanted("valid_until")) {
        options.push_str(&format!(" VALID UNTIL {}", sql::text(until)));
    }
    if let Some(source) = desired.password.as_ref().filter(|_| is_wanted("password")) {
        let verifier = Verifier::of(&password(source, &desired.name)?);
        options.push_str(&format!(" PASSWORD {}", sql::text(&verifier.text())));
    }
    Ok(options)
}

/// A password, without the line break that ends a file.
fn password(source: &SecretSource, role: &str) -> Result<Secret> {
    let wrong = |message: &str, advice: &str| {
        Error::new(ErrorKind::Local, format!("set the password of {role}"), message).advice(advice)
    };
    let value = source
        .value()
        .ok_or_else(|| wrong("its value is not known", "apply the step that it comes from first"))?;
    let bytes = value.expose_bytes();
    let end = bytes.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
    match bytes[..end].contains(&0) {
        _ if end == 0 => Err(wrong("it is empty", "PostgreSQL never accepts an empty password")),
        true => Err(wrong("it contains a zero byte", "PostgreSQL takes text only")),
        false => Ok(Secret::new(bytes[..end].to_vec())),
    }
}

/// Takes care of memberships: those that are wanted and no others.
async fn join(transaction: &Transaction<'_>, desired: &Desired, live: &BTreeSet<String>) -> Result<()> {
    let Some(wanted) = &desired.member_of else { return Ok(()) };
    let role = sql::name(&desired.name);
    for group in wanted.difference(live) {
        transaction.command(&format!("GRANT {} TO {role}", sql::name(group))).await?;
    }
    for group in live.difference(wanted) {
        transaction.command(&format!("REVOKE {} FROM {role}", sql::name(group))).await?;
    }
    Ok(())
}

impl Resource for Role {
    const KIND: &'static str = "postgres.role";
    const GRANTS: Granting = Granting::Never("rights inside a database are PostgreSQL's own");
    const ABOUT: &'static str = "A role of PostgreSQL, which logs in or which others are members of.";
    const EXAMPLE: &'static str = "readers:
  kind: postgres.role
  name: readers
reports:
  kind: postgres.role
  name: reports
  login: true
  password: { env: REPORTS_PASSWORD }
  member_of: [readers]
";
    const REMOVAL: Option<&'static str> =
        Some("no login as it works any longer; PostgreSQL refuses while it owns things or has rights");
    const DELETION: Deletion = Deletion::new(Severity::Medium, Destroy, "what logs in as it no longer can");
    const RISKS: Risks = &[&[
        identity("name"),
        safe("login inherit", "rights are what decides"),
        safe("password", "it is replaced by what the plan's source has"),
        gone("valid_until").low(ProtectionOff, "the password no longer ends"),
        on("superuser").high(BroaderGrant, "no right is ever checked"),
        turned_on("create_database").low(BroaderGrant, "it may create databases"),
        on("create_role").medium(BroaderGrant, "it may create roles and change those that it has created"),
        on("replication").medium(BroaderGrant, "it may copy the whole cluster"),
        on("bypass_row_security").medium(BroaderGrant, "it sees every row, whatever the policies say"),
        raised("connection_limit").low(ProtectionOff, "it may open more connections"),
        added("member_of").medium(BroaderGrant, "it gets the rights of more roles"),
    ]];
    const PROOF: Proof = Proof::Tried("a role with a password logs in with it");

    type Client = PostgresClient;
    type Id = String;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn id(desired: &Desired) -> String {
        desired.name.clone()
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut found: Vec<FieldError> = sql::mistake_in_role("name", &desired.name).into_iter().collect();
        for group in desired.member_of.iter().flatten() {
            found.extend(sql::mistake_in_name("member_of", group));
            if *group == desired.name {
                found.push(FieldError::new("member_of", "a role cannot be a member of itself"));
            }
        }
        if desired.connection_limit < -1 {
            found.push(FieldError::new("connection_limit", "is a number of connections, or -1 for any"));
        }
        if desired.valid_until.as_deref().is_some_and(|text| text.parse::<Timestamp>().is_err()) {
            found.push(
                FieldError::new("valid_until", "is not a time").help("write it as `2027-01-01T00:00:00Z`"),
            );
        }
        let of_outside = |source: &&SecretSource| {
            matches!(source.input(), Input::Env(_) | Input::File(_) | Input::Step(_))
        };
        if desired.password.as_ref().is_some_and(|source| !of_outside(&source)) {
            found.push(
                FieldError::new("password", "cannot be read back from PostgreSQL, so it must be kept elsewhere")
                    .help(
                        "take it from `env` or `file`, or with `secret: STEP.data.password` from a `vault.kv_secret`, \
                         which can generate it",
                    ),
            );
        }
        found
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        desired.member_of.iter().flatten().map(|group| Requirement::thing(Self::KIND, group)).collect()
    }

    fn sources(desired: &mut Desired) -> Vec<&mut SecretSource> {
        desired.password.iter_mut().collect()
    }

    fn compared(desired: &mut Desired) -> (&'static str, BTreeMap<String, &mut SecretSource>) {
        ("", desired.password.iter_mut().map(|source| ("password".to_owned(), source)).collect())
    }

    async fn observe(
        client: &PostgresClient,
        name: &String,
        look: Look<'_, Self>,
    ) -> Result<Option<Observed>> {
        let operation = format!("read the role {name}");
        let rows = client.rows(None, &operation, ROLE, &[(name, Type::TEXT)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let hash = match row.get(10) {
            true if look.values => client.rows(None, &operation, HASH, &[(name, Type::TEXT)]).await?,
            _ => Vec::new(),
        };
        let password = match hash.first().map(|row| row.get::<_, Option<String>>(0)) {
            None => Password::Hidden,
            Some(None) => Password::Absent,
            Some(Some(text)) => Verifier::parse(&text).map_or(Password::Other, Password::Hashed),
        };
        Ok(Some(Observed {
            name: name.clone(),
            login: row.get(0),
            inherit: row.get(1),
            superuser: row.get(2),
            create_database: row.get(3),
            create_role: row.get(4),
            replication: row.get(5),
            bypass_row_security: row.get(6),
            connection_limit: row.get(7),
            valid_until: row.get(8),
            member_of: row.get::<_, Vec<String>>(9).into_iter().collect(),
            password,
        }))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        diff.field("login", &observed.login, &desired.login);
        if let Some(source) = &desired.password {
            diff_password(&mut diff, source, &observed.password);
        }
        if let Some(until) = &desired.valid_until {
            let wanted = until.parse::<Timestamp>().ok().map(Timestamp::as_second);
            if wanted != observed.valid_until {
                let live = observed.valid_until.and_then(|second| Timestamp::from_second(second).ok());
                diff.field("valid_until", &live.map(|time| time.to_string()), until);
            }
        }
        diff.field("inherit", &observed.inherit, &desired.inherit);
        diff.field("superuser", &observed.superuser, &desired.superuser);
        diff.field("create_database", &observed.create_database, &desired.create_database);
        diff.field("create_role", &observed.create_role, &desired.create_role);
        diff.field("replication", &observed.replication, &desired.replication);
        diff.field("bypass_row_security", &observed.bypass_row_security, &desired.bypass_row_security);
        diff.field("connection_limit", &observed.connection_limit, &desired.connection_limit);
        if let Some(groups) = &desired.member_of {
            diff.field("member_of", &observed.member_of, groups);
        }
        diff
    }

    async fn create(w: &Writer<'_, PostgresClient>, desired: &Desired) -> Result<()> {
        let operation = format!("create the role {}", desired.name);
        let transaction = w.begin(w.permit(), None, &operation).await?;
        let options = options(desired, |_| true)?;
        transaction.command(&format!("CREATE ROLE {}{options}", sql::name(&desired.name))).await?;
        join(&transaction, desired, &BTreeSet::new()).await?;
        transaction.commit().await
    }

    async fn update(w: &Writer<'_, PostgresClient>, desired: &Desired, observed: &Observed) -> Result<()> {
        let operation = format!("change the role {}", desired.name);
        let diff = Self::diff(desired, observed);
        let transaction = w.begin(w.permit(), None, &operation).await?;
        let options = options(desired, |field| diff.touches(field))?;
        if !options.is_empty() {
            transaction.command(&format!("ALTER ROLE {}{options}", sql::name(&desired.name))).await?;
        }
        join(&transaction, desired, &observed.member_of).await?;
        transaction.commit().await
    }

    async fn delete(w: &Writer<'_, PostgresClient>, name: &String) -> Result<()> {
        let operation = format!("remove the role {name}");
        w.run(w.permit(), None, &operation, &format!("DROP ROLE IF EXISTS {}", sql::name(name))).await
    }

    async fn prove(prover: &Prover<'_, PostgresClient>, desired: &Desired, _: &Observed) {
        let Some(source) = desired.password.as_ref().filter(|_| desired.login) else { return };
        let tried = "logs in with its password";
        let outcome = match password(source, &desired.name) {
            Ok(password) => prover.try_login(&desired.name, &password).await,
            Err(error) => return prover.untried(tried, error.to_string()),
        };
        match outcome {
            Ok(()) => prover.proven(tried),
            Err(error) => prover.refused(tried, "the server takes it", &error),
        }
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { name: observed.name.clone() }
    }

    fn predicted_outputs(desired: &Desired, _: &Realm) -> Partial {
        Partial::default().with("name", &desired.name)
    }
}

/// A password that cannot be seen is sent again once its declaration changes.
fn diff_password(diff: &mut Diff, source: &SecretSource, live: &Password) {
    let what = match (source.unseen(), live, source.value()) {
        (Some(unseen), ..) => unseen,
        (None, Password::Hidden, _) => SecretChange::Unchanged,
        (None, Password::Absent, _) => SecretChange::New,
        (None, Password::Hashed(hash), Some(value)) if is_of(hash, value) => SecretChange::Unchanged,
        (None, Password::Hashed(_) | Password::Other, _) => SecretChange::Changed,
    };
    diff.secret("password", what, Some(source.describe()));
    if matches!((live, what), (Password::Other, SecretChange::Changed)) {
        diff.note("PostgreSQL has a hash of another sort, which becomes SCRAM-SHA-256");
    }
}

fn is_of(hash: &Verifier, value: &Secret) -> bool {
    let bytes = value.expose_bytes();
    let end = bytes.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
    hash.is_of(&Secret::new(bytes[..end].to_vec()))
}
