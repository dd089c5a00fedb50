//! The `postgres:` section of a plan.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::net::endpoint;
use crate::secret::{Input, SecretSource};
use crate::template::unknown::is_unknown;

/// Declares a structure with the fields of a server and the login there. serde cannot refuse unknown fields of a
/// structure that is flattened into another one.
macro_rules! server {
    ($(#[$about:meta])* pub struct $name:ident { $($more:tt)* }) => {
        #[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
        $(#[$about])*
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The host's name or address. Default: `PGHOST`.
            #[serde(default)]
            pub host: Option<String>,
            /// The port. Default: `PGPORT`, then 5432.
            #[serde(default)]
            pub port: Option<u16>,
            /// The database of steps that do not name one. Default: `PGDATABASE`, then the user's name.
            #[serde(default)]
            pub database: Option<String>,
            /// The role that logs in. Default: `PGUSER`.
            #[serde(default)]
            pub user: Option<String>,
            /// Its password, from `env` or `file`. Default: `PGPASSWORD`.
            #[serde(default)]
            pub password: Option<SecretSource>,
            /// How the connection is protected. Default: `PGSSLMODE`, then `verify-full`.
            #[serde(default)]
            pub sslmode: Option<SslMode>,
            /// The authority that signed the server's certificate, a PEM file beside the plan. Default:
            /// `PGSSLROOTCERT`, then the system's authorities.
            #[serde(default)]
            pub ca_cert: Option<PathBuf>,
            $($more)*
        }
    };
}

server! {
    /// One server, and the login there.
    #[schemars(rename = "PostgresServer")]
    pub struct Server {}
}

server! {
    /// The `postgres:` section: where the server is and how to log in.
    pub struct PostgresSettings {
        /// Further servers or databases, for steps with `provider: postgres.NAME`.
        #[serde(default)]
        pub aliases: BTreeMap<String, Server>,
    }
}

impl PostgresSettings {
    /// The plan's own server, and the further ones.
    pub fn divided(self) -> (Server, BTreeMap<String, Server>) {
        let Self { host, port, database, user, password, sslmode, ca_cert, aliases } = self;
        (Server { host, port, database, user, password, sslmode, ca_cert }, aliases)
    }
}

/// How a connection is protected, with the names that libpq has for it.
/// <https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// Without TLS.
    Disable,
    /// With TLS if the server has it; the server is not verified. libpq tries without TLS first.
    Allow,
    /// With TLS if the server has it; the server is not verified.
    Prefer,
    /// Only with TLS; the server is verified only if an authority is named.
    Require,
    /// Only with TLS and a certificate of the authority, for whatever host.
    VerifyCa,
    /// Only with TLS and a certificate of the authority for this host.
    VerifyFull,
}

impl SslMode {
    fn parse(text: &str) -> Option<Self> {
        serde_json::from_value(text.into()).ok()
    }

    /// Whether others on the network could read along.
    pub fn may_be_plain(self) -> bool {
        matches!(self, Self::Disable | Self::Allow | Self::Prefer)
    }
}

/// Where to connect, with the defaults of the environment filled in.
#[derive(Clone, Debug)]
pub struct Target {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The role that logs in.
    pub user: String,
    /// The database of steps that do not name one.
    pub database: String,
    /// How the connection is protected.
    pub sslmode: SslMode,
}

impl Target {
    /// The address as grants have it.
    pub fn address(&self) -> String {
        address(&self.host, self.port)
    }
}

/// The address of a server: `postgres://db.example:5432`.
pub fn address(host: &str, port: u16) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_ascii_lowercase() };
    format!("postgres://{host}:{port}")
}

/// The port of servers that do not say otherwise.
pub const PORT: u16 = 5432;

impl Server {
    /// The declared address, if there is one.
    pub fn address(&self) -> Option<String> {
        let host = self.host.as_deref().filter(|host| !is_unknown(host))?;
        Some(address(host, self.port.unwrap_or(PORT)))
    }

    /// Mistakes, with paths below `section`.
    pub fn mistakes(&self, section: &str) -> Vec<FieldError> {
        let at = |field: &str| format!("{section}{field}");
        let host = self.host.iter().filter(|host| !is_unknown(host)).filter_map(|host| {
            let wrong = mistake_in_host(host)?;
            Some(FieldError::new(at("host"), wrong))
        });
        let password =
            self.password.iter().filter(|source| !matches!(source.input(), Input::Env(_) | Input::File(_)));
        let password = password.map(|_| {
            FieldError::new(at("password"), "the section takes a password only from `env` or `file`")
                .help("write `password: { env: DB_PASSWORD }`, or leave it out and set PGPASSWORD")
                .secret()
        });
        host.chain(password).collect()
    }

    /// Where to connect.
    ///
    /// # Errors
    /// When neither the plan nor the environment says it, or a variable is wrong.
    pub fn target(&self, environment: &Environment) -> Result<Target> {
        let variable = |name: &str| environment.text(name).map(str::to_owned);
        let missing = |field: &str, name: &str| {
            Error::new(ErrorKind::Local, "connect to PostgreSQL", format!("no {field} is known"))
                .advice(format!("declare `postgres.{field}` in the plan or set {name}"))
        };
        let host =
            self.host.clone().or_else(|| variable("PGHOST")).ok_or_else(|| missing("host", "PGHOST"))?;
        if let Some(wrong) = mistake_in_host(&host) {
            return Err(Error::new(ErrorKind::Rejected, "connect to PostgreSQL", wrong));
        }
        let user =
            self.user.clone().or_else(|| variable("PGUSER")).ok_or_else(|| missing("user", "PGUSER"))?;
        let database =
            self.database.clone().or_else(|| variable("PGDATABASE")).unwrap_or_else(|| user.clone());
        let wrong = |name: &str, expected: &str| {
            Error::new(ErrorKind::Local, "connect to PostgreSQL", format!("{name} is not {expected}"))
                .advice("correct the variable, or declare the field in the plan")
        };
        let port = match (self.port, environment.text("PGPORT")) {
            (Some(port), _) => port,
            (None, Some(text)) => text.parse().map_err(|_| wrong("PGPORT", "a port"))?,
            (None, None) => PORT,
        };
        let sslmode = match (self.sslmode, environment.text("PGSSLMODE")) {
            (Some(mode), _) => mode,
            (None, Some(text)) => {
                SslMode::parse(text).ok_or_else(|| wrong("PGSSLMODE", "a mode of libpq"))?
            }
            (None, None) => SslMode::VerifyFull,
        };
        Ok(Target { host, port, user, database, sslmode })
    }
}

/// What is wrong with a host.
fn mistake_in_host(host: &str) -> Option<&'static str> {
    match () {
        () if host.is_empty() => Some("the host is empty"),
        () if host.starts_with('/') => {
            Some("this is the folder of a socket; only TCP is supported, so give a host name or an address")
        }
        () if host.contains([',', '@', '/', '?', ' ']) => {
            Some("this is not the name or address of one host; write only `db.example.internal`")
        }
        () if endpoint::is_metadata(&format!("http://{}", bracketed(host))) => {
            Some("this is the address of a metadata service, never a server's")
        }
        () => None,
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn settings(text: Value) -> Server {
        serde_json::from_value(text).expect("valid")
    }

    #[test]
    fn environment_fills_what_the_plan_leaves_open() {
        let environment = Environment::new([
            ("PGHOST", "db.example"),
            ("PGPORT", "5433"),
            ("PGUSER", "app"),
            ("PGSSLMODE", "verify-ca"),
        ]);
        let target = settings(json!({})).target(&environment).expect("known");
        assert_eq!(
            (target.address().as_str(), target.database.as_str()),
            ("postgres://db.example:5433", "app")
        );
        assert_eq!(target.sslmode, SslMode::VerifyCa);
        let declared = settings(json!({ "host": "Other.example", "port": 1, "user": "u", "database": "d" }));
        let target = declared.target(&environment).expect("known");
        assert_eq!(
            (target.address().as_str(), target.database.as_str()),
            ("postgres://other.example:1", "d")
        );
        let nothing = Environment::default();
        assert_eq!(declared.target(&nothing).expect("known").sslmode, SslMode::VerifyFull);
        assert!(settings(json!({})).target(&nothing).is_err());
    }

    #[test]
    fn hosts_that_cannot_be_meant_are_mistakes() {
        for host in ["", "/run/postgresql", "a,b", "app@db", "169.254.169.254", "metadata.google.internal"] {
            assert_eq!(settings(json!({ "host": host })).mistakes("").len(), 1, "{host}");
        }
        assert!(settings(json!({ "host": "::1" })).mistakes("").is_empty());
    }

    #[test]
    fn password_is_never_in_the_section_itself() {
        let found = settings(json!({ "password": "hunter2" })).mistakes("");
        assert!(found.len() == 1 && found[0].secret && !format!("{found:?}").contains("hunter2"));
        assert!(settings(json!({ "password": { "env": "DB_PASSWORD" } })).mistakes("").is_empty());
    }
}
