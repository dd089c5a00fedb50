//! The grants that the caller gives through the variables of AWS and Vault.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Grant, Source, Subject};
use crate::confined_path::{KEY, read_caller_file};
use crate::environment::Environment;

/// The servers, the authority and the profile that the environment names.
pub fn grants(environment: &Environment) -> Vec<(Grant, Source)> {
    let variable = |name: &str| environment.text(name).map(str::to_owned);
    let mut found = Vec::new();
    let mut give = |name, subject, values: Vec<String>| {
        found.extend(values.into_iter().map(|value| (Grant::new(subject, value), Source::Variable(name))));
    };
    let list = |text: String| {
        text.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
    };
    give("VAULT_ADDR", Subject::Vault, variable("VAULT_ADDR").into_iter().collect());
    give(
        "GROUNDWORK_VAULT_NODES",
        Subject::Vault,
        variable("GROUNDWORK_VAULT_NODES").map(list).unwrap_or_default(),
    );
    give(
        "VAULT_CACERT",
        Subject::Ca,
        variable("VAULT_CACERT").and_then(|path| authorities(&path)).into_iter().collect(),
    );
    let database = variable("PGHOST").map(|host| {
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        format!("postgres://{host}:{}", variable("PGPORT").unwrap_or_else(|| "5432".to_owned()))
    });
    give("PGHOST", Subject::Server, database.into_iter().collect());
    give("AWS_PROFILE", Subject::AwsProfile, variable("AWS_PROFILE").into_iter().collect());
    found
}

/// The SHA-256 of a file, as grants have it.
pub fn digest(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

/// The digest of a file with authorities; one that cannot be read allows nothing.
fn authorities(path: &str) -> Option<String> {
    read_caller_file(Path::new(path), KEY).ok().map(|content| digest(&content))
}
