//! Rate-limit quotas: <https://openbao.org/api-docs/system/rate-limit-quotas/>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::fields::Fixed;
use super::super::notation::Ttl;
use super::{Object, PlainObject, check_name};
use crate::access::Granting;
use crate::error::FieldError;
use crate::proof::Proof;
use crate::resource::Requirement;
use crate::resource::risk::Category::ProtectionOff;
use crate::resource::risk::{Risks, changed, fixed, identity, lowered, raised};

/// A limit on the rate of requests to a path.
pub type Quota = Object<QuotaSpec>;

/// The declared fields of a rate-limit quota.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaSpec {
    /// The quota's name.
    pub name: String,
    /// The limited path: a mount or a path with a trailing slash; empty is everything.
    #[serde(default)]
    pub path: String,
    /// The limited login role, for a path of an auth method. Fixed.
    #[serde(default)]
    pub role: String,
    /// Requests per interval.
    pub rate: f64,
    /// The interval.
    #[serde(default = "one_second")]
    pub interval: Ttl,
    /// How long a client that exceeded the limit is refused; 0 is until the interval ends.
    #[serde(default)]
    pub block_interval: Ttl,
}

const fn one_second() -> Ttl {
    Ttl::Seconds(1)
}

impl PlainObject for QuotaSpec {
    const KIND: &'static str = "vault.quota";
    const GRANTS: Granting = Granting::Never("a limit on requests");
    const ABOUT: &'static str = "A limit on the rate of requests to a path or to the whole server.";
    const EXAMPLE: &'static str = "\
everything:
  kind: vault.quota
  name: everything
  rate: 500
  interval: 1s
";
    const RISKS: Risks = &[&[
        identity("name"),
        fixed("role"),
        changed("path").medium(ProtectionOff, "limits another path than before"),
        raised("rate").medium(ProtectionOff, "more requests are let in"),
        lowered("interval").medium(ProtectionOff, "more requests are let in, since the interval is shorter"),
        lowered("block_interval")
            .low(ProtectionOff, "a client that exceeds the limit is let in again sooner"),
    ]];
    const PROOF: Proof = Proof::InSync("reaching it would refuse the requests of others");
    /// The server has quotas only in its root namespace; their path may begin with a namespace.
    const NAMESPACED: bool = false;
    const REALM: &'static [&'static str] = &["cluster"];
    const IDENTITY: &'static [&'static str] = &["name"];
    const REPLACED_WHOLE: bool = true;
    /// OpenBao 2.6 and 2.7 respond with 204 and keep the former role.
    const FIXED: &'static [Fixed] =
        &[("role", "the server ignores a new role for an existing quota; create a quota with another name")];

    fn path(&self) -> String {
        format!("sys/quotas/rate-limit/{}", self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> Vec<FieldError> {
        let rate = (self.rate <= 0.0).then(|| FieldError::new("rate", "must be more than 0"));
        check_name("name", &self.name).into_iter().chain(rate).collect()
    }

    /// The server refuses a path without a mount.
    fn requires(&self) -> Vec<Requirement> {
        let path = self.path.trim_end_matches('/');
        match path.strip_prefix("auth/") {
            Some(method) => vec![Requirement::thing("vault.auth_method", method)],
            None => vec![Requirement::thing("vault.mount", path)],
        }
    }
}
