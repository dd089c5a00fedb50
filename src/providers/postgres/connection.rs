//! PostgreSQL in one run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::KINDS;
use super::client::PostgresClient;
use super::settings::{PostgresSettings, Server};
use super::tls::Authority;
use crate::destination::Destinations;
use crate::error::{ErrorKind, FieldError, Result};
use crate::place::{Place, Realm};
use crate::provider::Provider;
use crate::resource::Provided;
use crate::resource::erased::Kind;
use crate::run::{Connection, Run, Want};
use crate::trust::{Grant, Subject};

/// PostgreSQL in a plan: its servers. A client connects when a step first asks for it.
pub struct Postgres {
    own: Server,
    aliases: BTreeMap<String, Server>,
    /// The clients by the name of their connection, see [`Place::connection`].
    clients: Mutex<BTreeMap<String, Arc<PostgresClient>>>,
}

/// The part of a realm that says which cluster of databases a thing is in.
pub const CLUSTER: &str = "cluster";
/// The part that says which database of it.
pub const DATABASE: &str = "database";

impl Provider for Postgres {
    const NAME: &'static str = "postgres";
    const TITLE: &'static str = "PostgreSQL";
    const KINDS: &'static [&'static dyn Kind] = KINDS;

    type Settings = PostgresSettings;

    fn open(settings: PostgresSettings) -> Self {
        let (own, aliases) = settings.divided();
        Self { own, aliases, clients: Mutex::default() }
    }
}

impl Postgres {
    /// The server of a place.
    pub(super) fn server(&self, place: &Place) -> Option<&Server> {
        match &place.alias {
            None => Some(&self.own),
            Some(name) => self.aliases.get(name),
        }
    }

    /// The clients by the names of their connections.
    pub(super) const fn clients(&self) -> &Mutex<BTreeMap<String, Arc<PostgresClient>>> {
        &self.clients
    }

    /// Every declared server, with the path of its fields below the section.
    fn servers(&self) -> impl Iterator<Item = (String, &Server)> {
        let further = self.aliases.iter().map(|(name, server)| (format!("aliases.{name}."), server));
        std::iter::once((String::new(), &self.own)).chain(further)
    }
}

#[async_trait]
impl Connection for Postgres {
    fn provider(&self) -> &'static str {
        Self::NAME
    }

    fn check(&self) -> Vec<FieldError> {
        self.servers().flat_map(|(path, server)| server.mistakes(&path)).collect()
    }

    fn wants(&self, folder: &Path) -> Vec<Want> {
        self.servers().flat_map(|(path, server)| wants(&path, server, folder)).collect()
    }

    fn aliases(&self) -> Vec<String> {
        self.aliases.keys().cloned().collect()
    }

    fn known_realm(&self, place: &Place) -> Realm {
        let database = self.server(place).and_then(|server| server.database.as_deref());
        Realm::default().with_some(DATABASE, database)
    }

    /// The number that the server made at `initdb` distinguishes clusters. Where the role may not read it, only the
    /// database is known.
    /// <https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-CONTROLDATA>
    async fn realm(&self, run: &Run, place: &Place) -> Result<Realm> {
        let client = PostgresClient::provide(run, place).await?;
        let realm = Realm::default().with(DATABASE, client.own_database());
        match client.system_identifier().await {
            Ok(cluster) => Ok(realm.with(CLUSTER, cluster)),
            Err(error) if error.kind == ErrorKind::Denied => Ok(realm),
            Err(error) => Err(error),
        }
    }

    fn destinations(&self, places: &[Place]) -> Destinations {
        let Ok(clients) = self.clients.try_lock() else { return Destinations::new() };
        let mut all = Destinations::new();
        for connection in places.iter().map(|place| place.connection(Self::NAME)) {
            let Some(client) = clients.get(&connection) else { continue };
            all.insert(format!("{connection}.host"), vec![client.destination()]);
            if let Some(authority) = client.authority() {
                all.insert(format!("{connection}.ca_cert"), vec![authority.to_owned()]);
            }
        }
        all
    }

    fn written(&self) -> Destinations {
        let declared = self.servers().filter_map(|(path, server)| {
            let section = path.strip_prefix("aliases.").map_or(String::new(), |name| format!(".{name}"));
            let name = format!("{}{}.host", Self::NAME, section.trim_end_matches('.'));
            Some((name, vec![server.address()?]))
        });
        declared.collect()
    }

    async fn forget(&self) {
        for client in self.clients.lock().await.values() {
            client.forget().await;
        }
    }
}

/// The permissions that one server needs of the caller.
fn wants(path: &str, server: &Server, folder: &Path) -> Vec<Want> {
    let mut wants = Vec::new();
    if let Some(address) = server.address() {
        let why = match server.sslmode {
            Some(mode) if mode.may_be_plain() => {
                format!("the plan logs in at {address} over a connection that others may read or alter")
            }
            _ => format!("the plan logs in at {address} with a password"),
        };
        wants.push(Want { path: format!("{path}host"), grant: Grant::new(Subject::Server, address), why });
    }
    for name in server.password.iter().flat_map(|source| source.env_names()) {
        let why = format!("the plan logs in to PostgreSQL with {name}");
        wants.push(Want { path: format!("{path}password"), grant: Grant::new(Subject::Env, name), why });
    }
    if let Some(declared) = &server.ca_cert
        && let Ok(authority) = Authority::declared(folder, declared)
    {
        let why = format!("the plan has {} prove who the database server is", declared.display());
        wants.push(Want { path: format!("{path}ca_cert"), grant: authority.grant(), why });
    }
    wants
}
