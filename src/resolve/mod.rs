//! Expressions become values.

pub mod unknown;
