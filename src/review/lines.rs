//! Differences by line.

use similar::{ChangeTag, TextDiff};

/// Unchanged lines that are shown around a change.
const AROUND: usize = 3;

/// One line of a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The change of the line.
    pub sign: Sign,
    /// The line without its line break; for a gap, a description of the omitted lines.
    pub text: String,
}

/// The change of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The line is unchanged.
    Same,
    /// The line is new.
    Added,
    /// The line is removed.
    Removed,
    /// Unchanged lines are omitted here, or this is a remark about the line before.
    Remark,
}

impl Sign {
    /// The character that `diff` prints.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Same => " ",
            Self::Added => "+",
            Self::Removed => "-",
            Self::Remark => "@",
        }
    }
}

/// The lines that differ, with some lines of context.
pub fn difference(before: &str, after: &str) -> Vec<Line> {
    let diff = TextDiff::from_lines(before, after);
    let mut lines = Vec::new();
    let mut shown_to = 0;
    for hunk in diff.grouped_ops(AROUND) {
        let from = hunk.first().map_or(shown_to, |operation| operation.old_range().start);
        gap(&mut lines, from - shown_to);
        shown_to = hunk.last().map_or(from, |operation| operation.old_range().end);
        for change in hunk.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let sign = match change.tag() {
                ChangeTag::Equal => Sign::Same,
                ChangeTag::Insert => Sign::Added,
                ChangeTag::Delete => Sign::Removed,
            };
            lines.push(Line { sign, text: line(change.value(), sign) });
            if change.missing_newline()
                && sign != Sign::Same
                && before.ends_with('\n') != after.ends_with('\n')
            {
                lines.push(Line { sign: Sign::Remark, text: "no line end".to_owned() });
            }
        }
    }
    gap(&mut lines, before.lines().count().saturating_sub(shown_to));
    lines
}

/// A line without its line break. Of one that changes, a carriage return is shown: two lines may differ in
/// nothing else.
fn line(value: &str, sign: Sign) -> String {
    let text = value.trim_end_matches('\n');
    match text.strip_suffix('\r') {
        Some(text) if sign != Sign::Same => format!("{text}\\r"),
        _ => text.to_owned(),
    }
}

fn gap(lines: &mut Vec<Line>, count: usize) {
    match count {
        0 => {}
        1 => lines.push(Line { sign: Sign::Remark, text: "1 line is the same".to_owned() }),
        _ => lines.push(Line { sign: Sign::Remark, text: format!("{count} lines are the same") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(before: &str, after: &str) -> Vec<String> {
        difference(before, after).iter().map(|line| format!("{}{}", line.sign.mark(), line.text)).collect()
    }

    #[test]
    fn lines_far_from_a_change_are_omitted() {
        let text = |middle: &str| format!("1\n2\n3\n4\n5\n{middle}\n6\n7\n8\n9\n");
        assert_eq!(
            told(&text("a"), &text("b")),
            ["@2 lines are the same", " 3", " 4", " 5", "-a", "+b", " 6", " 7", " 8", "@1 line is the same"]
        );
    }

    #[test]
    fn missing_final_newline_is_shown() {
        assert_eq!(told("a\nb", "a\nb\n"), [" a", "-b", "@no line end", "+b"]);
        assert_eq!(told("a", "b"), ["-a", "+b"]);
    }

    #[test]
    fn carriage_return_is_shown_where_it_differs() {
        assert_eq!(told("a\r\nb\r\n", "a\nb\r\n"), ["-a\\r", "+a", " b\r"]);
    }

    #[test]
    fn whole_text_can_be_added_or_removed() {
        assert_eq!(told("", "a\n"), ["+a"]);
        assert_eq!(told("a\n", ""), ["-a"]);
    }
}
