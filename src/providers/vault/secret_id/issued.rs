//! The secret-ids of a role, as the server reports them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{ACCESSOR, MARK, ROTATION, SITE, SecretIdId};
use crate::error::{ErrorKind, Result};
use crate::providers::vault::VaultClient;
use crate::providers::vault::notation::Cidrs;

/// A secret-id as the server reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Issued {
    pub(super) accessor: String,
    /// Whole seconds since it was made.
    pub(super) age: u64,
    pub(super) cidr_list: Cidrs,
    pub(super) token_bound_cidrs: Cidrs,
    pub(super) metadata: BTreeMap<String, String>,
    /// Where it was delivered, when that was a file.
    pub(super) site: Option<String>,
    /// When it was made.
    pub(super) made: Option<Timestamp>,
    /// The mark that distinguishes it from those before, when a rotation made it.
    pub(super) rotation: Option<String>,
}

impl Issued {
    /// From the answer to a lookup; `None` when it has another name.
    pub(super) fn read(told: &Value, name: &str, now: Timestamp) -> Option<Self> {
        let mut metadata: BTreeMap<String, String> =
            serde_json::from_value(told["metadata"].clone()).unwrap_or_default();
        if metadata.remove(MARK).as_deref() != Some(name) {
            return None;
        }
        let (site, rotation) = (metadata.remove(SITE), metadata.remove(ROTATION));
        let made: Option<Timestamp> = told["creation_time"].as_str().and_then(|time| time.parse().ok());
        let age = made.map_or(0, |made| now.as_second() - made.as_second());
        let cidrs = |field: &str| serde_json::from_value(told[field].clone()).unwrap_or_default();
        Some(Self {
            accessor: told[ACCESSOR].as_str().unwrap_or_default().to_owned(),
            age: u64::try_from(age).unwrap_or(0),
            cidr_list: cidrs("cidr_list"),
            token_bound_cidrs: cidrs("token_bound_cidrs"),
            metadata,
            site,
            made,
            rotation,
        })
    }
}

/// Every secret-id of the role that has the name.
pub(super) async fn issued(vault: &VaultClient, id: &SecretIdId) -> Result<Vec<Issued>> {
    let listing = match vault.list(&format!("{}/secret-id", id.path())).await {
        Err(error) if error.kind == ErrorKind::Rejected && error.message.contains("does not exist") => None,
        listing => listing?,
    };
    let listing = listing.unwrap_or_default();
    let lookup = format!("{}/secret-id-accessor/lookup", id.path());
    let mut found = Vec::new();
    // One after the other: OpenBao reads them in transactions, which fail beside one another.
    for accessor in listing["keys"].as_array().into_iter().flatten() {
        if let Some(told) = vault.ask(&lookup, &json!({ ACCESSOR: accessor })).await? {
            found.extend(Issued::read(&told, &id.name, Timestamp::now()));
        }
    }
    Ok(found)
}
