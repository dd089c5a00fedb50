//! A changeset in a file, between its review and its application.
//!
//! The file is compared, never obeyed: `apply` computes the changeset again from the plan, the caller's
//! variables and the live systems, and continues only when that is exactly what the file says. So a
//! forged file can bring nothing about that the plan would not. It holds no secret and no hash of one:
//! of a secret value it has the server's own version number. A key of the caller seals it, where there
//! is one.

pub mod commit;
mod compare;
mod content;
mod file;
mod key;
mod variables;

pub use compare::{Difference, differences};
pub use content::{AwsIdentity, Content, Identities, Origin, PlanRecord, VaultIdentity};
pub use file::{Saved, is_saved, write};
pub use key::{SEAL_KEY, SealKey};
pub use variables::require_same;
