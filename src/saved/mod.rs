//! A changeset in a file, between its review and its application.
//!
//! The file is only compared, never executed: `apply` computes the changeset again from the plan, the
//! caller's variables and the live systems, and continues only if the result equals the file. A forged
//! file therefore cannot cause any change that the plan would not. The file contains no secret and no
//! hash of one: for a secret value it has the server's version number. If the caller has a key, the key
//! seals the file.

pub mod commit;
mod compare;
mod content;
mod file;
mod key;
mod variables;

pub use compare::{Difference, differences};
pub use content::{Content, Identities, Origin, PlanRecord};
pub use file::{Saved, is_saved, time_of_creation, write};
pub use key::{SEAL_KEY, SealKey};
pub use variables::{require_same, require_stage};
