//! Keeps the secrets in this process's memory from leaking out of it.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Turns off core dumps, and keeps other processes of the same user from reading the memory. Commands
/// that handle secrets call this before they read one.
///
/// If a system does not allow this (none is known), the command works all the same.
pub fn keep_memory_private() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = setrlimit(Resource::Core, none);
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
