//! An access key is proven by a request that is signed with it.

use crate::error::ErrorKind;
use crate::proof::Prover;
use crate::providers::aws::iam_access_key::{KeyCustodian, Status};

/// Asks AWS whose the key is, with what custody has of it; the destinations were compared with that. A key that
/// is declared inactive must be refused.
pub(in crate::providers::aws) async fn prove(
    prover: &Prover<'_, KeyCustodian>,
    user: &str,
    key: &str,
    declared: Status,
) {
    let owner = prover.owner_of(user, key).await;
    match (declared, owner) {
        (Status::Active, owner) => {
            let tried = "AWS takes the key for its user's";
            let Some(owner) = prover.ask(tried, &format!("the key {key} of {user}"), owner) else { return };
            let advice = "what custody has was replaced: deactivate that key and investigate";
            prover.compare(tried, &user, &owner.as_str(), advice);
        }
        (Status::Inactive, Ok(owner)) => prover.failed(
            REFUSED,
            format!("AWS refuses the key {key}"),
            format!("AWS takes it for the user {owner}"),
            "find out who activated it and what it was used for; `groundwork apply` deactivates it",
        ),
        // AWS answers for an inactive key as for one that it does not know.
        (Status::Inactive, Err(error)) if error.kind == ErrorKind::Eventual => prover.proven(REFUSED),
        (Status::Inactive, Err(error)) => prover.refused(REFUSED, "AWS refuses the key", &error),
    }
}

const REFUSED: &str = "AWS refuses the inactive key";
