//! The rights that the run itself needs in Vault: to prove a cluster, to back it up, and to restore it.

use super::permissions::{list, read, sudo, write};
use super::server;
use crate::run::{Command, Kept, Permission};

/// Where a snapshot is taken from, and restored into.
const SNAPSHOT: &str = "sys/storage/raft/snapshot";
/// The tables that nodes have in memory.
const TABLES: [&str; 2] = ["sys/mounts", "sys/auth"];
const POLICIES: &str = "sys/policies/acl";

/// The permissions, each with the part of the run that needs it. `nodes` is how many servers the plan names.
pub(super) fn of(command: Command, kept: &Kept<'_>, nodes: usize) -> Vec<(&'static str, Permission)> {
    let several = nodes > 1;
    let (what, needed) = match command {
        Command::Verify if is_used(kept) => ("cluster", of_proof(several)),
        Command::Backup => ("backup", vec![read(SNAPSHOT)]),
        Command::Restore => ("restore", of_restore(several)),
        Command::Verify | Command::Plan | Command::Apply | Command::Destroy | Command::Rotate => {
            return Vec::new();
        }
    };
    needed.into_iter().map(|one| (what, one)).collect()
}

/// Whether a step of the plan is in Vault.
fn is_used(kept: &Kept<'_>) -> bool {
    kept.steps.iter().any(|step| step.kind().starts_with("vault."))
}

/// The storage reports how its servers are. With several, each is asked for its tables.
fn of_proof(several: bool) -> Vec<Permission> {
    let tables = TABLES.map(read).into_iter().chain([list(server::POLICIES)]).filter(|_| several);
    std::iter::once(read("sys/storage/raft/autopilot/state")).chain(tables).collect()
}

/// The cluster is compared with the backup before and after. Further nodes are sealed, so that they read their
/// tables again, which are then compared.
fn of_restore(several: bool) -> Vec<Permission> {
    let sealed = [write("sys/seal"), sudo("sys/seal"), list(POLICIES), read(format!("{POLICIES}/+"))];
    let sealed = sealed.into_iter().chain(TABLES.map(read)).filter(|_| several);
    [read(SNAPSHOT), write(SNAPSHOT), read("sys/config/state/sanitized")].into_iter().chain(sealed).collect()
}
