//! A snapshot of a Vault with raft storage, read and opened without a server.
//!
//! A snapshot is a compressed archive of the storage as it is on the disk: names of entries in the clear,
//! values encrypted. [`scan`] reads one strictly and in a fixed amount of memory; [`Vitals`] is what it says of
//! itself without a key; [`Unlocked`] opens and authenticates every entry, with key shares or with the key
//! of the seal; [`Contents`] lists what it holds, without a value.

mod blob;
mod cipher;
mod container;
mod contents;
mod flaw;
mod kv;
mod record;
mod secret_at;
mod shamir;
mod shares;
mod vitals;
mod wire;

#[cfg(test)]
mod tests;

pub use blob::Blob;
pub use cipher::Unlocked;
pub use container::{Frame, Meta, Server, scan};
pub use contents::{AuditDevice, Contents, Counts, Mount, Table, read};
pub use flaw::Flaw;
pub use kv::{KvSecret, KvVersion};
pub use secret_at::Located;
pub use shares::{ShareReport, Verdict, belong_together, seal_key};
pub use vitals::{Seal, SealConfig, Vitals, outline};

/// The receiver of each entry: its key, and its value as it is stored.
pub type Visit<'a> = dyn FnMut(&str, &[u8]) -> Result<(), Flaw> + 'a;
