//! A changeset in a file, between its review and its application.
//!
//! The file is compared, never obeyed: `apply` computes the changeset anew from the plan and the
//! live systems, and goes on only when that is exactly what the file says. So a forged file can
//! bring nothing about that the plan would not. It holds no secret and no hash of one: of a secret
//! value it has the server's own version number.

mod compare;
mod content;
mod file;

pub use compare::{Difference, differences};
pub use content::{AwsIdentity, Content, Identities, Origin, PlanRecord, VaultIdentity};
pub use file::{Saved, is_saved, write};
