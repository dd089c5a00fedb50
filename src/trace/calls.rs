//! Counts requests to the live systems, for the summary and the call budgets.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Counts requests as they are sent; shared by all clients of a run.
///
/// Logins are counted separately: a login issues a token but does not change anything that a plan
/// declares.
#[derive(Debug, Default)]
pub struct Calls {
    read: AtomicU64,
    write: AtomicU64,
    login: AtomicU64,
}

/// How many requests a run has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CallCount {
    /// Requests that cannot change anything.
    pub read: u64,
    /// Requests that may change something.
    pub write: u64,
    /// Logins to Vault, and roles assumed in AWS.
    pub login: u64,
}

impl Calls {
    /// Counts one request that cannot change anything.
    pub fn count_read(&self) {
        self.read.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one request that may change something.
    pub fn count_write(&self) {
        self.write.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one login.
    pub fn count_login(&self) {
        self.login.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts so far.
    pub fn total(&self) -> CallCount {
        CallCount {
            read: self.read.load(Ordering::Relaxed),
            write: self.write.load(Ordering::Relaxed),
            login: self.login.load(Ordering::Relaxed),
        }
    }
}
