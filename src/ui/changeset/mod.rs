//! A changeset under review, in every format.

mod html;
mod human;
mod markdown;
mod svg;
mod wrap;

pub use html::render as html;
pub use human::render as human;
pub use markdown::render as markdown;

use super::console;
use crate::changeset::Changeset;
use crate::resource::Scope;
use crate::review::Review;

/// Prints a changeset for people; steps that are as declared only with `all`.
pub fn show(changeset: &Changeset, scope: &Scope, all: bool) {
    console::out(human(&Review::new(changeset, scope), console::width(), all));
}
