//! How an environment stands now. It is the command of the worst day: its parts are asked at the same time, each
//! within a limit of its own, and whatever fails is a line of the report and stops nothing else.

mod backups;
mod custody;
mod gather;
mod judge;
mod places;
mod report;

pub use gather::{Options, gather};
pub use judge::{Finding, Limits, Severity};
pub use report::{
    Backups, Custody, Drift, Generation, KeptBackup, LastDrill, LockHeld, Locks, OpenOutcome, Report, Seen,
    StoreOfBackups, StoreOfCustody,
};
