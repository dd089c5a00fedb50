//! All rules, one file for each family. A new rule is a constant in its family's file and list.

mod access;
mod custody;
mod keys;
mod policies;
mod roles;
mod secrets;
pub mod silence;
mod state;
mod storage;
mod text;
mod vault;

use super::Rule;

/// Every family, in the order of the generated documentation.
static FAMILIES: [&[&Rule]; 11] = [
    storage::RULES,
    keys::RULES,
    access::RULES,
    policies::RULES,
    roles::RULES,
    vault::RULES,
    custody::RULES,
    state::RULES,
    secrets::RULES,
    text::RULES,
    silence::RULES,
];

/// Every rule.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    FAMILIES.iter().flat_map(|family| family.iter().copied())
}

/// The rule of this id.
pub fn find(id: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id == id)
}
