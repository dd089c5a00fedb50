//! How much of a file is read, in bytes. More is refused, whatever length the file claims.

/// A plan, one include, or a file with variables.
pub const PLAN: u64 = 4 << 20;
/// A plan with all its includes.
pub const PLAN_IN_ALL: u64 = 8 << 20;
/// A template, as any text with expressions.
pub const TEMPLATE: u64 = 128 << 10;
/// A public key or a bundle of certificates.
pub const KEY: u64 = 1 << 20;
/// Content that a plan takes as it is, and what lies where a file is written.
pub const FILE: u64 = 16 << 20;
/// An object in custody.
pub const OBJECT: u64 = 4 << 20;
/// A journal.
pub const JOURNAL: u64 = 256 << 20;
