//! Backups of Vault: taking them, proving them, and keeping them.

mod bundle;
mod check;
mod compare;
mod from_start;
mod keep;
mod manifest;
mod place;
mod stored;
mod take;

pub use bundle::Bundle;
pub use check::{Check, Keys, Opened, ShareCheck, ShareSet, State, check};
pub use compare::{Change, Comparison, Fate};
pub use from_start::{FromStart, unreadable};
pub use keep::{Kept, to_remove};
pub use manifest::{Companion, Manifest, ManifestCheck, Read, Surroundings, Vouching};
pub use place::{BackupFolder, BackupPlace, Payload};
pub use stored::{Latest, fetch, latest, manifests_in, spool};
pub use take::{Parcel, Stored, Taken, store};
