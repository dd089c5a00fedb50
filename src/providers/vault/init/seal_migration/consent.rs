//! Entering shares into a server that was started with another seal than its data has. It takes them only together with
//! the consent to move the data, which a run must have been given.

use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;
use crate::providers::vault::{NodeClient, SealStatus};
use crate::secret::Secret;

/// Enters a share; into a server that waits to move to another seal, with the consent to that.
pub(in crate::providers::vault::init) async fn enter_share(
    permit: &Permit,
    node: &NodeClient,
    status: &SealStatus,
    share: &Secret,
) -> Result<SealStatus> {
    match status.migration {
        true => node.migrate(permit, share).await,
        false => node.unseal(permit, share).await,
    }
}

/// Requires that the run may move a server that waits for that.
///
/// # Errors
/// `Denied` with the flag that allows it.
pub(in crate::providers::vault::init) fn require_migration_allowed(
    node: &NodeClient,
    status: &SealStatus,
) -> Result<()> {
    if !(status.sealed && status.migration) || node.may_migrate() {
        return Ok(());
    }
    let message = format!("{} was started with another seal than its data has", node.address());
    Err(Error::new(ErrorKind::Denied, "unseal", message).advice(format!(
        "to move to that seal, run `groundwork restart PLAN --migrate-seal {} -- CMD`, or `groundwork unseal PLAN \
         --migrate-seal` for the servers that were restarted; otherwise start it with the configuration that it had",
        status.seal
    )))
}
