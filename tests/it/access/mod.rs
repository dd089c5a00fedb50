//! Who can reach what: the program's answers against those of the servers themselves.

mod iam_rights;
mod shown;
mod vault_rights;

/// A number that the caller may give, for long runs.
fn asked(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}
