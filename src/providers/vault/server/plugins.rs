//! A server's built-in plugins: <https://openbao.org/api-docs/system/plugins-catalog/>.

use std::fmt;

use serde_json::Value;

use super::super::VaultClient;
use super::super::cache::Listing;
use crate::error::{Error, ErrorKind, Result};
use crate::template::unknown::is_unknown;

/// Something that not every server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin<'a> {
    /// An auth method of this type.
    Auth(&'a str),
    /// A secrets engine of this type.
    Secrets(&'a str),
    /// A database plugin of this name.
    Database(&'a str),
}

impl Plugin<'_> {
    /// Its key in the catalog, and its name there.
    fn entry(&self) -> (&'static str, &str) {
        match self {
            Self::Auth(name) => ("auth", name),
            Self::Secrets(name) => ("secret", name),
            Self::Database(name) => ("database", name),
        }
    }

    /// Types that are built in without being plugins, or that are other names of one.
    fn is_core(&self) -> bool {
        match self {
            Self::Auth(name) => *name == "token",
            Self::Secrets(name) => {
                ["system", "identity", "cubbyhole", "generic", "kv-v1", "kv-v2", "database"].contains(name)
            }
            Self::Database(_) => false,
        }
    }
}

impl fmt::Display for Plugin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auth(name) => write!(f, "the auth method `{name}`"),
            Self::Secrets(name) => write!(f, "the secrets engine `{name}`"),
            Self::Database(name) => write!(f, "the database plugin `{name}`"),
        }
    }
}

/// A server's plugin catalog: <https://openbao.org/api-docs/system/plugins-catalog/#list-plugins>.
struct Catalog<'a>(&'a Listing);

impl Catalog<'_> {
    /// Whether the server has `plugin`.
    fn has(&self, plugin: &Plugin<'_>) -> bool {
        let (kind, name) = plugin.entry();
        plugin.is_core() || self.names(kind).any(|known| known == name)
    }

    fn names(&self, kind: &str) -> impl Iterator<Item = &str> {
        self.0.get(kind).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// The product and its version, as its own plugins report them: `v2.7.2+builtin.bao`,
    /// `v1.15.6+builtin.vault`.
    fn product(&self) -> Option<String> {
        let detailed = self.0.get("detailed")?.as_array()?;
        let versions = detailed.iter().filter_map(|plugin| plugin["version"].as_str());
        versions.filter_map(|version| version.split_once("+builtin")).find_map(|(version, build)| {
            let product = match build {
                ".bao" => "OpenBao",
                ".vault" | "" => "HashiCorp Vault",
                _ => return None,
            };
            Some(format!("{product} {}", version.trim_start_matches('v')))
        })
    }

    /// # Errors
    /// `Rejected` when the server does not have `plugin`, with what it has instead.
    fn require(&self, plugin: &Plugin<'_>) -> Result<()> {
        // When the server lists no plugins, using this one shows whether it is there.
        if self.0.is_empty() || is_unknown(plugin.entry().1) || self.has(plugin) {
            return Ok(());
        }
        let (kind, _) = plugin.entry();
        let product = self.product().unwrap_or_else(|| "the server".to_owned());
        let known: Vec<&str> = self.names(kind).collect();
        let message = format!("{plugin} is not on this server: {product} has {}", known.join(", "));
        Err(Error::new(ErrorKind::Rejected, "GET sys/plugins/catalog", message)
            .advice("register the plugin at the server, use a server that has it, or take the step out"))
    }
}

impl VaultClient {
    /// Fails, clearly, when the server does not have `plugin`.
    ///
    /// # Errors
    /// `Rejected` when it does not; whatever reading the catalog failed with, a refusal aside.
    pub(in crate::providers::vault) async fn require_plugin(&self, plugin: Plugin<'_>) -> Result<()> {
        Catalog(&*self.plugins().await?).require(&plugin)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As OpenBao 2.7.2 answers, shortened.
    fn openbao() -> Value {
        json!({
            "auth": ["approle", "cert", "jwt", "kubernetes", "oidc", "userpass"],
            "database": ["cassandra-database-plugin", "postgresql-database-plugin"],
            "secret": ["kubernetes", "kv", "pki", "rabbitmq", "ssh", "totp", "transit"],
            "detailed": [{
                "builtin": true, "deprecation_status": "supported", "name": "approle", "type": "auth",
                "version": "v2.7.2+builtin.bao",
            }],
        })
    }

    /// As HashiCorp Vault answers, by its documentation
    /// (<https://developer.hashicorp.com/vault/api-docs/system/plugins-catalog#list-plugins>).
    fn vault() -> Value {
        json!({
            "auth": ["approle", "aws", "azure", "cert", "gcp", "github", "jwt", "ldap", "userpass"],
            "database": ["postgresql-database-plugin"],
            "secret": ["aws", "kv", "pki"],
            "detailed": [
                { "name": "mine", "type": "auth", "version": "v0.1.0" },
                { "builtin": true, "name": "aws", "type": "auth", "version": "v1.15.6+builtin.vault" },
            ],
        })
    }

    fn requires(catalog: &Value, plugin: Plugin<'_>) -> Result<(), String> {
        let listing = catalog.as_object().cloned().unwrap_or_default();
        Catalog(&listing).require(&plugin).map_err(|error| error.message)
    }

    #[test]
    fn missing_plugin_error_lists_available_plugins() {
        assert_eq!(requires(&openbao(), Plugin::Auth("approle")), Ok(()));
        assert_eq!(requires(&openbao(), Plugin::Secrets("kv-v2")), Ok(()));
        // The catalog does not list the engine, but its plugins.
        assert_eq!(requires(&openbao(), Plugin::Secrets("database")), Ok(()));
        assert_eq!(requires(&vault(), Plugin::Auth("ldap")), Ok(()));
        assert_eq!(requires(&vault(), Plugin::Secrets("aws")), Ok(()));
        assert_eq!(
            requires(&openbao(), Plugin::Auth("ldap")).expect_err("not there"),
            "the auth method `ldap` is not on this server: OpenBao 2.7.2 has approle, cert, jwt, kubernetes, \
             oidc, userpass"
        );
        let message = requires(&vault(), Plugin::Secrets("totp")).expect_err("not there");
        assert!(message.contains("HashiCorp Vault 1.15.6 has aws, kv, pki"), "{message}");
    }

    #[test]
    fn server_without_plugin_catalog_is_not_refused() {
        assert_eq!(requires(&json!({}), Plugin::Auth("ldap")), Ok(()));
    }
}
