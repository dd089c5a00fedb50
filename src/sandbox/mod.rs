//! A local AWS and a real Vault, for rehearsal, demonstration and tests.
//!
//! [`up`] installs pinned servers into a cache folder, starts them on free loopback ports and
//! waits until they answer: one AWS emulator (MiniStack, with IAM enforced) and one or more
//! OpenBao nodes with Raft storage, uninitialised, and on request further servers ([`Extra`]).
//! [`status`] looks, [`down`] ends it. All that
//! belongs to one sandbox lives in one folder, so that any number of them run side by side.
//!
//! Nothing is lost track of: a server runs only once its process is on record (`gate`), a record
//! is believed only if number, start time and program match (`process`), a lock keeps two
//! commands apart, and an installation counts only when it is whole (`install`).

mod aws_key;
mod certificate;
mod down;
mod enclosure;
mod environment;
mod error;
mod gate;
mod health;
mod home;
mod install;
mod kms;
mod kubernetes;
mod lock;
mod options;
mod port;
mod postgres;
mod process;
mod programs;
mod python;
mod requirements;
mod running;
mod single;
mod start;
mod state;
mod status;
mod trust;
mod up;
mod vault_binary;
mod vault_config;

pub use down::down;
pub use enclosure::{Enclosed, EnclosedSeal, Enclosing, Enclosure, Room};
pub use error::Error;
pub use health::Health;
pub use options::{Extra, Host, MAX_NODES, OpenBao, Options, Seal, Settings, VaultServer};
pub use running::Running;
pub use single::{lose, restart};
pub use status::{ServerStatus, Status, status};
pub use up::up;
