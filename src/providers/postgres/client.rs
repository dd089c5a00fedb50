//! The client of a server: one connection that reads and one that writes, for each database.
//!
//! The reading one is in read-only mode, so that a plan cannot write by mistake. A write is a transaction that has
//! no effect until its commit.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::SinkExt;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_postgres::config::SslMode as Negotiated;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Error as Failure, Row};

use super::connection::{CLUSTER, Postgres};
use super::error::{NO_DATABASE, Stage, explain, not_connected, unanswered};
use super::settings::{Server, SslMode, Target};
use super::sql;
use super::tls::{self, Connector};
use crate::error::{Error, ErrorKind, Result};
use crate::net::timeout::at_most;
use crate::permit::Permit;
use crate::place::Place;
use crate::resource::Provided;
use crate::run::Run;
use crate::secret::{Loader, Secret};
use crate::trace::{self, Answer, Call, Calls};
use crate::trust::{Grant, Subject};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a statement may take. Creating a database copies a template, which takes seconds on a slow disk.
const STATEMENT_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a write waits for a lock that another transaction holds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// A parameter of a statement, with its type.
pub type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// The client of one server and login, shared by all steps of a run in the same place.
pub struct PostgresClient {
    target: Target,
    config: Config,
    connector: Connector,
    /// The digest of the authority that servers prove themselves by.
    authority: Option<String>,
    calls: Arc<Calls>,
    readers: Mutex<BTreeMap<String, Arc<Client>>>,
    writers: Mutex<BTreeMap<String, Arc<Mutex<Option<Client>>>>>,
}

impl Provided for PostgresClient {
    const PROVIDER: &'static str = "postgres";
    const REALM: &'static [&'static str] = &[CLUSTER];

    async fn provide(run: &Run, place: &Place) -> Result<Arc<Self>> {
        let connection: &Postgres = run.connection()?;
        let server = connection.server(place).ok_or_else(|| {
            Error::new(ErrorKind::Rejected, "connect to PostgreSQL", "the plan has no such connection")
        })?;
        let name = place.connection(Self::PROVIDER);
        let mut clients = connection.clients().lock().await;
        if let Some(client) = clients.get(&name) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(Self::new(server, run)?);
        clients.insert(name, Arc::clone(&client));
        Ok(client)
    }
}

impl PostgresClient {
    /// A client from a plan's settings. Sends nothing.
    fn new(server: &Server, run: &Run) -> Result<Self> {
        let target = server.target(run.environment())?;
        let wanted = Grant::new(Subject::Server, target.address());
        let why = format!("{} is not a server that you have allowed to get a login", wanted.value);
        run.trust.require(&wanted, "connect to PostgreSQL", &why)?;
        let authority = match target.sslmode {
            SslMode::Disable => None,
            _ => tls::authority(server.ca_cert.as_deref(), &run.folder, &run.trust)?,
        };
        let connector = tls::connector(target.sslmode, authority.as_ref())?;
        let authority = authority.map(|authority| authority.fingerprint());
        let mut config = Config::new();
        config.host(&target.host).port(target.port).user(&target.user);
        config.ssl_mode(match target.sslmode {
            SslMode::Disable => Negotiated::Disable,
            SslMode::Allow | SslMode::Prefer => Negotiated::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Negotiated::Require,
        });
        config.application_name("groundwork").connect_timeout(at_most(CONNECT_TIMEOUT));
        if let Some(password) = password(server, run)? {
            config.password(password.expose_bytes());
        }
        let calls = Arc::clone(&run.calls);
        let (readers, writers) = Default::default();
        Ok(Self { target, config, connector, authority, calls, readers, writers })
    }

    /// The database of steps that do not name one.
    pub fn own_database(&self) -> &str {
        &self.target.database
    }

    /// The server, the database and the role, for the review of a changeset.
    pub fn destination(&self) -> String {
        format!("{}/{} as {}", self.target.address(), self.target.database, self.target.user)
    }

    /// The digest of the authority that the server proves itself by, if one is named.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// The number by which the server knows its cluster of databases.
    ///
    /// # Errors
    /// When the server cannot be asked, or the role may not read it.
    pub async fn system_identifier(&self) -> Result<String> {
        let statement = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()";
        let rows = self.rows(None, "read the cluster's identifier", statement, &[]).await?;
        Ok(rows.first().map(|row| row.get(0)).unwrap_or_default())
    }

    /// Logs in as another role and out again.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses the login.
    pub async fn try_login(&self, role: &str, password: &Secret) -> Result<()> {
        let mut config = self.config.clone();
        config.user(role).password(password.expose_bytes());
        self.open(config, &self.target.database).await.map(drop)
    }

    /// Closes all connections, so that nothing that was read before is used.
    pub async fn forget(&self) {
        self.readers.lock().await.clear();
    }

    /// The rows of a statement that only reads, in this database.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses it.
    pub async fn rows(
        &self,
        database: Option<&str>,
        operation: &str,
        statement: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>> {
        let database = database.unwrap_or(&self.target.database);
        let client = self.reader(database).await?;
        self.calls.count_read();
        let answer = client.query_typed(statement, parameters);
        self.timed(database, operation, Stage::WithoutEffect, answer).await
    }

    /// As [`Self::rows`]; nothing where the database does not exist.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub async fn rows_if_there(
        &self,
        database: Option<&str>,
        operation: &str,
        statement: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Option<Vec<Row>>> {
        match self.rows(database, operation, statement, parameters).await {
            Ok(rows) => Ok(Some(rows)),
            Err(error) if error.is(NO_DATABASE) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins a transaction in this database.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses it.
    pub async fn begin<'a>(
        &'a self,
        _: &Permit,
        database: Option<&str>,
        operation: &'a str,
    ) -> Result<Transaction<'a>> {
        let database = database.unwrap_or(&self.target.database).to_owned();
        let session = self.writer(&database).await?;
        self.calls.count_write();
        let transaction = Transaction { server: self, session, database, operation, is_open: true };
        transaction.command("BEGIN READ WRITE").await?;
        Ok(transaction)
    }

    /// Runs one command in a transaction of its own in this database.
    ///
    /// # Errors
    /// As [`Self::begin`] and [`Transaction::commit`].
    pub async fn run(
        &self,
        permit: &Permit,
        database: Option<&str>,
        operation: &str,
        statement: &str,
    ) -> Result<()> {
        let transaction = self.begin(permit, database, operation).await?;
        transaction.command(statement).await?;
        transaction.commit().await
    }

    /// Sends a command that the server takes only outside of transactions.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses it; `Unknown` when it did not answer.
    pub async fn command(&self, _: &Permit, operation: &str, statement: &str) -> Result<()> {
        let database = self.target.database.clone();
        let mut session = self.writer(&database).await?;
        let Some(client) = session.as_ref() else { return Err(lost(operation)) };
        self.calls.count_write();
        let done = self.timed(&database, operation, Stage::Committing, client.batch_execute(statement)).await;
        if done.is_err() {
            // The server may still be at it.
            *session = None;
        }
        done
    }

    /// Closes this client's own connections to a database, which would keep it from removal.
    pub async fn leave(&self, database: &str) {
        self.readers.lock().await.remove(database);
        self.writers.lock().await.remove(database);
    }

    /// Waits for an answer within the limit, and reports how the request ended.
    async fn timed<T>(
        &self,
        database: &str,
        operation: &str,
        stage: Stage,
        answer: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T> {
        let began = Instant::now();
        let limit = at_most(STATEMENT_TIMEOUT);
        let answer = match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer.map_err(|failure| explain(operation, &failure, stage)),
            Err(_) => {
                let message = format!("no answer within {} s", limit.as_secs_f32());
                Err(Error::new(unanswered(stage), operation, message))
            }
        };
        if trace::is_on() {
            trace::tell(&Call {
                system: Self::PROVIDER,
                operation: operation.to_owned(),
                address: format!("{}/{database}", self.target.address()),
                answer: answer
                    .as_ref()
                    .map_or_else(|error| Answer::None(error.message.clone()), |_| Answer::Done),
                took: began.elapsed(),
                request_id: None,
            });
        }
        answer
    }

    async fn reader(&self, database: &str) -> Result<Arc<Client>> {
        let mut readers = self.readers.lock().await;
        if let Some(client) = readers.get(database).filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(self.connect(database, "SET default_transaction_read_only = on").await?);
        readers.insert(database.to_owned(), Arc::clone(&client));
        Ok(client)
    }

    async fn writer(&self, database: &str) -> Result<OwnedMutexGuard<Option<Client>>> {
        let slot = Arc::clone(self.writers.lock().await.entry(database.to_owned()).or_default());
        let mut session = slot.lock_owned().await;
        if session.as_ref().is_none_or(Client::is_closed) {
            let limit = format!("SET lock_timeout = {}", LOCK_TIMEOUT.as_millis());
            *session = Some(self.connect(database, &limit).await?);
        }
        Ok(session)
    }

    /// A new connection, with this setting and a limit for statements that the server keeps as well.
    async fn connect(&self, database: &str, setting: &str) -> Result<Client> {
        let client = self.open(self.config.clone(), database).await?;
        let limit = at_most(STATEMENT_TIMEOUT).as_millis();
        let settings = format!("SET statement_timeout = {limit}; {setting}");
        let done = client.batch_execute(&settings);
        self.timed(database, "set up the session", Stage::WithoutEffect, done).await?;
        Ok(client)
    }

    async fn open(&self, mut config: Config, database: &str) -> Result<Client> {
        config.dbname(database);
        let operation = format!("connect to {}/{database}", self.target.address());
        self.calls.count_login();
        let opened =
            tokio::time::timeout(at_most(CONNECT_TIMEOUT), config.connect(self.connector.clone())).await;
        let (client, connection) = match opened {
            Ok(opened) => opened.map_err(|failure| not_connected(&operation, &failure))?,
            Err(_) => return Err(Error::new(ErrorKind::Unavailable, operation, "no answer to the login")),
        };
        // It ends with the client; a request that waits for an answer then fails.
        tokio::spawn(async move { drop(connection.await) });
        Ok(client)
    }
}

/// The section's password, or `PGPASSWORD`.
fn password(server: &Server, run: &Run) -> Result<Option<Secret>> {
    let Some(declared) = &server.password else {
        return Ok(run.environment().text("PGPASSWORD").map(|text| Secret::from(text.to_owned())));
    };
    let mut source = declared.clone();
    let loader = Loader { folder: run.folder.clone(), trust: run.trust.clone(), ..Loader::default() };
    source.load(&loader).map_err(|error| {
        Error::new(ErrorKind::Local, "read `postgres.password`", error.to_string())
            .advice("allow the variable with `--env NAME`, or correct the source")
    })?;
    let value = source.value().map(|value| value.expose_bytes());
    // A file's last line break is not part of the password.
    Ok(value.map(|bytes| Secret::new(bytes.trim_ascii_end().to_vec())))
}

fn lost(operation: &str) -> Error {
    Error::new(ErrorKind::Unavailable, operation, "the connection was lost").advice("run again")
}

/// A transaction that has not ended. It has no effect unless it is committed: dropping it closes the connection, and
/// the server rolls it back.
pub struct Transaction<'a> {
    server: &'a PostgresClient,
    session: OwnedMutexGuard<Option<Client>>,
    database: String,
    operation: &'a str,
    is_open: bool,
}

impl Transaction<'_> {
    fn client(&self) -> Result<&Client> {
        self.session.deref().as_ref().ok_or_else(|| lost(self.operation))
    }

    /// Sends a command without parameters: one that defines things.
    ///
    /// # Errors
    /// When the server refuses it or does not answer; the transaction then has no effect.
    pub async fn command(&self, statement: &str) -> Result<()> {
        let done = self.client()?.batch_execute(statement);
        self.server.timed(&self.database, self.operation, Stage::WithoutEffect, done).await
    }

    /// The rows that a statement gives.
    ///
    /// # Errors
    /// As [`Self::command`].
    pub async fn rows(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>> {
        let answer = self.client()?.query_typed(statement, parameters);
        self.server.timed(&self.database, self.operation, Stage::WithoutEffect, answer).await
    }

    /// Puts secret values, by number, into a table that only this transaction sees. Statement logs have parameters;
    /// what is copied is in none.
    ///
    /// # Errors
    /// As [`Self::command`]; above all when the role may not make temporary tables.
    pub async fn hide(&self, values: &[Secret]) -> Result<()> {
        self.command(&format!("CREATE TEMPORARY TABLE {HIDDEN} (number int, value text) ON COMMIT DROP"))
            .await?;
        let copied = async {
            let client = self.client()?;
            let failed = |failure: Failure| explain(self.operation, &failure, Stage::WithoutEffect);
            let statement = format!("COPY pg_temp.{HIDDEN} (number, value) FROM STDIN");
            let sink = client.copy_in::<_, Bytes>(&statement).await.map_err(failed)?;
            let mut sink = std::pin::pin!(sink);
            for (number, value) in values.iter().enumerate() {
                let text = value.expose_str().ok_or_else(|| {
                    Error::new(ErrorKind::Local, self.operation, "a value is not text")
                        .advice("keep bytes in base64")
                })?;
                let line = format!("{number}\t{}", sql::copy_line(text));
                sink.send(Bytes::from(line)).await.map_err(failed)?;
            }
            sink.finish().await.map_err(failed).map(drop)
        };
        match tokio::time::timeout(at_most(STATEMENT_TIMEOUT), copied).await {
            Ok(done) => done,
            Err(_) => Err(lost(self.operation)),
        }
    }

    /// Makes it take effect.
    ///
    /// # Errors
    /// `Unknown` when the server did not say whether it has.
    pub async fn commit(mut self) -> Result<()> {
        let done = self.client()?.batch_execute("COMMIT");
        self.server.timed(&self.database, self.operation, Stage::Committing, done).await?;
        self.is_open = false;
        Ok(())
    }
}

/// The name of the table that [`Transaction::hide`] makes.
pub const HIDDEN: &str = "groundwork_values";

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.is_open {
            *self.session = None;
        }
    }
}
