//! A changeset under review, in every format.

mod access;
mod destinations;
mod html;
mod human;
mod lacking;
pub(super) mod markdown;
mod svg;
pub(super) mod wrap;

pub use html::render as html;
pub use human::render as human;
pub use markdown::render as markdown;

use crate::console;
use crate::review::Review;

/// Prints a changeset for people; steps that are as declared only with `all`.
pub fn show(review: &Review, all: bool) {
    console::out(human(review, console::width(), all));
}
