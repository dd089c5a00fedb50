//! Which texts may stand in a plan, and as a name.

use crate::visible::{acts, is_marker};

/// Why a text cannot stand in a plan.
pub fn forbidden(text: &str) -> Option<&'static str> {
    if text.contains(is_marker) {
        return Some("the private-use characters U+F8F0 to U+F8F3 are reserved");
    }
    text.contains(acts).then_some(
        "control characters, invisible ones, and those that turn the direction of writing, must not stand in a plan",
    )
}

/// Whether no text with this character can stand in a plan.
pub fn is_forbidden(c: char) -> bool {
    is_marker(c) || acts(c)
}

/// Whether a step or a variable may have this name.
pub fn is_identifier(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_lowercase())
        && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
