//! The configuration of a KV version 2 engine:
//! <https://openbao.org/api-docs/secret/kv/kv-v2/#configure-the-kv-engine>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::notation::Ttl;
use super::{Object, PlainObject};
use crate::access::Granting;
use crate::proof::Proof;
use crate::providers::vault::risk::KV_RISKS;
use crate::resource::Requirement;
use crate::resource::risk::{Risks, identity};

/// The defaults for all secrets of an engine.
pub type KvConfig = Object<KvConfigSpec>;

/// The declared fields of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvConfigSpec {
    /// The engine's path.
    pub mount: String,
    /// How many versions of a secret are kept; 0 is the server's default, 10.
    #[serde(default)]
    pub max_versions: u64,
    /// Require every write to name the version that it replaces (check-and-set).
    #[serde(default)]
    pub cas_required: bool,
    /// When versions are deleted automatically; 0 is never.
    #[serde(default)]
    pub delete_version_after: Ttl,
}

impl PlainObject for KvConfigSpec {
    const KIND: &'static str = "vault.kv_config";
    const GRANTS: Granting = Granting::Never("a setting of its mount");
    const ABOUT: &'static str =
        "The versions that a KV version 2 engine keeps, their lifetime, and check-and-set.";
    const EXAMPLE: &'static str = "\
secret_versions:
  kind: vault.kv_config
  mount: secret
  max_versions: 20
  cas_required: true
";
    const RISKS: Risks = &[&[identity("mount")], KV_RISKS];
    const PROOF: Proof =
        Proof::InSync("it takes effect at the next write of a secret, which a proof does not make");
    const IDENTITY: &'static [&'static str] = &["mount"];
    const COMES_WITH_MOUNT: bool = true;
    const PERMANENT: Option<&'static str> =
        Some("the configuration is deleted with its mount; remove the step of the mount instead");

    fn path(&self) -> String {
        format!("{}/config", self.mount)
    }

    fn name(&self) -> &str {
        &self.mount
    }

    fn requires(&self) -> Vec<Requirement> {
        vec![Requirement::thing("vault.mount", &self.mount)]
    }
}
