//! The systems that Groundwork talks to, one folder each.

pub mod aws;
pub mod file;
#[cfg(test)]
mod kinds_tests;
pub mod kubernetes;
mod leaves;
pub mod patience;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod sink;
pub mod vault;

use crate::provider::{Registry, provider};

/// Every provider. A new one needs one line here.
pub static PROVIDERS: Registry = Registry::new(&[
    &provider::<aws::Aws>(),
    &provider::<vault::Vault>(),
    &provider::<kubernetes::Kubernetes>(),
    #[cfg(feature = "postgres")]
    &provider::<postgres::Postgres>(),
    &provider::<file::File>(),
])
.lacking(&[("postgres", "postgres")]);
