//! Where a changeset goes, on a terminal.

use super::wrap::{columns, pad, wrapped};
use crate::destination::{Destination, value_text};
use crate::review::Review;
use crate::ui::style::{CHANGE, FAINT, STRONG, paint};
use crate::visible::sanitize;

/// One block of aligned lines; empty when there is nothing to show.
pub fn render(review: &Review, width: usize) -> String {
    let all = review.destinations();
    if all.is_empty() {
        return String::new();
    }
    let remark = review.destinations_remark().map(|text| format!("  {}", paint(FAINT, text)));
    let mut text =
        format!("\n{}{}\n", paint(STRONG.underline(), "Where this goes"), remark.unwrap_or_default());
    let column = all.iter().map(|one| columns(&one.name)).max().unwrap_or_default().min(width / 3);
    for one in all {
        text.push_str(&line(one, column, width));
    }
    text
}

fn line(one: &Destination, column: usize, width: usize) -> String {
    let (sign, style) = if one.before.is_some() { ("~", CHANGE) } else { (" ", FAINT) };
    let room = width.saturating_sub(column + 6);
    let values = sanitize(&value_text(&one.values));
    let start = format!("  {} {}  ", paint(style, sign), pad(&sanitize(&one.name), column));
    let mut lines = wrapped(&values, room);
    let was =
        one.before.iter().flat_map(|before| wrapped(&format!("was {}", sanitize(&value_text(before))), room));
    let was: Vec<String> = was.map(|line| paint(FAINT, line)).collect();
    lines.extend(was);
    format!("{start}{}\n", lines.join(&format!("\n{}", " ".repeat(column + 6))))
}
