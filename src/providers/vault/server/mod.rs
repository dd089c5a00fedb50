//! How servers differ: OpenBao from HashiCorp Vault, and one version from the next. This module asks the
//! server what it is and has, and assumes nothing; the rest of the provider asks here.
//!
//! | | OpenBao 2.6 | OpenBao 2.7 | HashiCorp Vault |
//! |---|---|---|---|
//! | auth methods built in, beside the six of all | ldap, kerberos, radius | none | aws, azure, gcp, github, ldap and more |
//! | policies listed with their texts | yes | yes | no: each is read |
//! | a policy is made only if it is not there (`cas`) | yes | yes | ignored |
//! | audit devices over the API | if the configuration allows it | likewise | yes |
//! | a new root token | by a token and shares | likewise | by shares only |
//! | namespaces | yes | yes | Enterprise |
//! | an SSH engine without a key | has no default issuer | likewise | has no keys |
//! | requests beside one another | one of two transactions may be undone | likewise | wait |
//!
//! Fields that one of them lacks (`token_strictly_bind_ip`, an audience that is not set, times of the
//! Azure method) need nothing here: a field that is not declared is not compared, and a field that the
//! server does not report counts as its default.

mod plugins;
mod rekeying;
mod root_generation;

use serde_json::Value;

use super::cache::Listing;
use super::client::{data, into_listing};
use crate::error::{Error, ErrorKind, Result};

pub(super) use plugins::Plugin;
pub(super) use rekeying::Rekeying;
pub use root_generation::RootGeneration;

/// The path at which OpenBao lists policies with their texts.
pub(super) const POLICIES: &str = "sys/policies/detailed/acl";

/// Every policy by name, from the answer to a LIST of [`POLICIES`]; nothing where the server has no such
/// list or the token may not read it. Every server that has it has the policy `default`.
///
/// # Errors
/// The error of the request, unless it is a refusal.
pub(super) fn listed_policies(answer: Result<Result<Value, Value>>) -> Result<Listing> {
    match answer {
        Ok(Ok(detailed)) => Ok(into_listing(data(detailed)["key_info"].take())),
        // A namespace that is not there holds nothing, and will have this one from the start.
        Ok(Err(remains)) if lacks_namespace(&remains) => {
            Ok(Listing::from_iter([("default".to_owned(), Value::Null)]))
        }
        Ok(Err(_)) => Ok(Listing::new()),
        Err(error) if matches!(error.kind, ErrorKind::Denied | ErrorKind::Rejected) => Ok(Listing::new()),
        Err(error) => Err(error),
    }
}

/// Whether an answer of 404 is about the namespace rather than what was asked for in it.
fn lacks_namespace(remains: &Value) -> bool {
    let errors = remains["errors"].as_array().into_iter().flatten();
    errors.filter_map(Value::as_str).any(|error| error.contains("namespace not found"))
}

/// Whether a refusal means that audit devices are declared only in the server's configuration.
pub(super) fn takes_audit_by_configuration(refusal: &Error) -> bool {
    refusal.kind == ErrorKind::Rejected && refusal.message.contains("audit device via API")
}

/// Whether a refusal means that an SSH engine has no key yet. OpenBao has issuers, of which none is the
/// default; HashiCorp Vault has keys.
pub(super) fn lacks_ssh_key(refusal: &Error) -> bool {
    let words = ["no default issuer currently configured", "keys haven't been configured yet"];
    words.iter().any(|words| refusal.message.contains(words))
}

/// Whether an answer of 500 means that nothing was done, and the same request may succeed. OpenBao's
/// transactions are optimistic: of two at once, one is undone. Even reads can be such.
pub(super) fn undid_transaction(said: &str) -> bool {
    said.contains("transaction commit failed")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn policy_listing_understands_every_server_response() {
        // As OpenBao 2.6.2 and 2.7.2 answer, shortened.
        let openbao =
            json!({ "data": { "keys": ["app"], "key_info": { "app": { "policy": "path \"a\" {}" } } } });
        let listed = listed_policies(Ok(Ok(openbao))).expect("listed");
        assert_eq!(listed["app"]["policy"], "path \"a\" {}");
        // As both answer for a namespace that is not there.
        let remains = json!({ "errors": ["namespace not found"] });
        let absent = listed_policies(Ok(Err(remains))).expect("known");
        assert!(absent.contains_key("default") && !absent.contains_key("app"));
        // A server without such a list: each policy is to be read.
        let unknown = json!({ "errors": ["no handler for route \"sys/policies/detailed/acl\""] });
        assert!(listed_policies(Ok(Err(unknown))).expect("known").is_empty());
        let failed = |kind| listed_policies(Err(Error::new(kind, "LIST", "unsupported path")));
        assert!(failed(ErrorKind::Rejected).expect("known").is_empty());
        assert!(failed(ErrorKind::Denied).expect("known").is_empty());
        assert!(failed(ErrorKind::Unavailable).is_err(), "a server that is away is no answer");
    }

    #[test]
    fn missing_ssh_key_is_recognised_for_both_products() {
        let refused = |words: &str| Error::new(ErrorKind::Rejected, "GET ssh/config/ca", words);
        assert!(lacks_ssh_key(&refused("no default issuer currently configured (400)")));
        assert!(lacks_ssh_key(&refused("keys haven't been configured yet (400)")));
        assert!(!lacks_ssh_key(&refused("permission denied (403)")));
    }
}
