//! The `vault:` section of a plan.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::notation::nanoseconds;
use crate::error::FieldError;
use crate::template::unknown::is_unknown;

/// The `vault:` section: where Vault is and how to log in.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultSettings {
    /// The cluster's address, e.g. `https://vault.example.internal:8200`. Default: `VAULT_ADDR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Every node's own address, for unsealing. Default: `GROUNDWORK_VAULT_NODES`, separated by
    /// commas, then only `address`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// The certificate authority that signed the servers' certificates, a PEM file beside the
    /// plan. Default: `VAULT_CACERT`, then the system's authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<PathBuf>,
    /// The namespace, on servers that have them. Default: `VAULT_NAMESPACE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// How later runs log in. Default: `VAULT_TOKEN`, then `~/.vault-token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<VaultAuth>,
    /// How fast the cluster is to be, for `groundwork verify --load`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceTargets>,
}

/// How fast reads of secrets are to be.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceTargets {
    /// The time within which 99 of a hundred reads end, e.g. `100ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<String>,
    /// How many reads end in a second, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads_per_second: Option<u64>,
}

/// The path of a target, below the section.
const P99: &str = "service.p99";

impl ServiceTargets {
    /// The limit of the 99th percentile in milliseconds.
    pub(super) fn p99_ms(&self) -> Option<f64> {
        let nanoseconds = nanoseconds(self.p99.as_deref()?)?;
        // Whole microseconds are exact in a float.
        Some(u32::try_from(nanoseconds / 1_000).map_or(f64::MAX, f64::from) / 1_000.0)
    }

    /// Mistakes in the targets, with paths below the section.
    pub(super) fn mistakes(&self) -> Option<FieldError> {
        let p99 = self.p99.as_deref().filter(|text| !is_unknown(text))?;
        nanoseconds(p99)
            .is_none_or(|time| time == 0)
            .then(|| FieldError::new(P99, "is not a duration").help("write it as `100ms`"))
    }
}

/// How runs after the first one log in to Vault. `VAULT_TOKEN`, when set, goes first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum VaultAuth {
    /// Through an AppRole whose secret-id custody holds.
    Approle(ApproleLogin),
}

/// An AppRole to log in through.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproleLogin {
    /// Where the AppRole method is mounted.
    #[serde(default = "default_approle_mount")]
    pub mount: String,
    /// The role's name.
    pub role: String,
}

fn default_approle_mount() -> String {
    "approle".to_owned()
}
