//! Keys that a place does not have.

use super::diagnostic::Diagnostic;
use super::node::{Key, Node};
use crate::suggest::closest;

/// The mistake of a key that is none of `known`: the nearest one is suggested, or else `help` given.
pub fn unknown_key<'a>(
    key: &Key,
    known: impl IntoIterator<Item = &'a str>,
    help: impl Into<String>,
) -> Diagnostic {
    let mistake = Diagnostic::error(key.span, format!("unknown key `{}`", key.name));
    match closest(&key.name, known) {
        None => mistake.help(help.into()),
        candidate => mistake.did_you_mean(candidate),
    }
}

/// The mistakes of all keys of a map that are none of `known`.
pub fn unknown_keys(map: &Node, known: &[&str], help: &str) -> Vec<Diagnostic> {
    let unknown = map.entries().iter().filter(|(key, _)| !known.contains(&key.name.as_str()));
    unknown.map(|(key, _)| unknown_key(key, known.iter().copied(), help)).collect()
}
