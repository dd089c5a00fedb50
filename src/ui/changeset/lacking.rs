//! The permissions that the caller lacks, for people.

use super::wrap::{columns, pad, shortened, wrapped};
use crate::review::Review;
use crate::run::Lack;
use crate::ui::style::{BAD, STRONG, paint};
use crate::visible::sanitize;

/// A section about them, `width` columns wide; empty when none is lacking.
pub fn render(review: &Review, width: usize) -> String {
    let all = &review.changeset.lacking;
    if all.is_empty() {
        return String::new();
    }
    let count = paint(BAD, format_args!("{} missing", all.len()));
    let mut text = format!("\n{}  {count}\n", paint(STRONG.underline(), "Permissions you lack"));
    let column = all.iter().map(|one| columns(&one.step)).max().unwrap_or_default().min(width / 3);
    for one in all {
        let start = 2 + column + 2;
        let lines = wrapped(&sentence(one), width.saturating_sub(start));
        let step = shortened(&sanitize(&one.step), column);
        text.push_str(&format!("  {}  {}\n", paint(STRONG, pad(&step, column)), lines[0]));
        for line in &lines[1..] {
            text.push_str(&format!("{}{line}\n", " ".repeat(start)));
        }
    }
    text
}

/// One of them without its step.
pub fn sentence(one: &Lack) -> String {
    let reason = one.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    sanitize(&format!("{} on {}{reason}", one.action, one.resource))
}
