//! Who gains or loses what by a changeset, on a terminal.

use anstyle::Style;

use super::wrap::wrapped;
use crate::access::Direction;
use crate::review::Review;
use crate::ui::style::{BAD, CHANGE, GOOD, STRONG, paint};
use crate::visible::sanitize;

/// The sentence in place of the changes where they are not known.
pub const NOT_COMPARED: &str = "not compared in a system with too many principals and things; `groundwork access PLAN ID` \
    shows who can reach one of them";

/// One line for each change; empty when there is nothing to show.
pub fn render(review: &Review, width: usize) -> String {
    let all = &review.changeset.access_changes;
    if all.is_empty() && !review.changeset.access_not_compared {
        return String::new();
    }
    let mut text = format!("\n{}\n", paint(STRONG.underline(), "Access changes"));
    if review.changeset.access_not_compared {
        text.push_str(&format!("  {}\n", wrapped(NOT_COMPARED, width.saturating_sub(2)).join("\n  ")));
    }
    for one in all {
        let (sign, style) = sign(one.change);
        let lines = wrapped(&sanitize(&one.line()), width.saturating_sub(4));
        text.push_str(&format!("  {} {}\n", paint(style, sign), lines.join("\n    ")));
    }
    text
}

/// The sign and the colour of a change. A gain wants as much attention as a loss.
pub fn sign(change: Direction) -> (&'static str, Style) {
    match change {
        Direction::Gains => ("+", GOOD),
        Direction::Loses => ("-", BAD),
        Direction::Changes => ("~", CHANGE),
    }
}
