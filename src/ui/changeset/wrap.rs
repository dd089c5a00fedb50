//! Text in columns of a terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that a text takes.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// The text with spaces behind it, up to `width` columns.
pub fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

/// The text, or its beginning and end when it takes more than `width` columns; between them stands how
/// many characters are left out, where there is room for a number.
pub fn shortened(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let all = text.chars().count();
    // The number that is shown is the smaller one, so that it fits.
    let room = width.saturating_sub(columns(&left_out(all, width)));
    let head = taken(text.chars(), room - room / 3);
    let tail: String = taken(text.chars().rev(), room / 3).chars().rev().collect();
    let gap = left_out(all - head.chars().count() - tail.chars().count(), width);
    format!("{head}{gap}{tail}")
}

fn left_out(count: usize, width: usize) -> String {
    match width {
        0..16 => "…".to_owned(),
        16..48 => format!("…{}…", thousands(count)),
        _ => format!("… {} characters …", thousands(count)),
    }
}

/// A number as people read it: `1,234`.
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Names behind each other, in at most `width` columns if two of them fit: the first ones and the
/// last, with how many are left out between them.
pub fn some_of(names: &[&str], width: usize) -> String {
    let all = names.join(", ");
    let [first, .., last] = names else { return all };
    if columns(&all) <= width {
        return all;
    }
    let gap = |left_out: usize| format!(", … {left_out} more …, {last}");
    let room = width.saturating_sub(columns(&gap(names.len())));
    let (mut text, mut shown) = ((*first).to_owned(), 1);
    for name in &names[1..names.len() - 1] {
        if columns(&text) + 2 + columns(name) > room {
            break;
        }
        text = format!("{text}, {name}");
        shown += 1;
    }
    match names.len() - 1 - shown {
        0 => all,
        left_out => text + &gap(left_out),
    }
}

fn taken(chars: impl Iterator<Item = char>, width: usize) -> String {
    let mut left = width;
    chars
        .take_while(|c| {
            let fits = c.width().unwrap_or(0) <= left;
            left = left.saturating_sub(c.width().unwrap_or(0));
            fits
        })
        .collect()
}

/// The text in lines of at most `width` columns, broken where words or parts of names end.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(8);
    let mut lines = Vec::new();
    let mut rest = text;
    while columns(rest) > width {
        let end = line_end(rest, width);
        lines.push(rest[..end].trim_end().to_owned());
        rest = rest[end..].trim_start();
    }
    if !rest.is_empty() || lines.is_empty() {
        lines.push(rest.to_owned());
    }
    lines
}

/// Where the first line ends: behind the last place that may be broken, if it is not too near to
/// the beginning.
fn line_end(text: &str, width: usize) -> usize {
    let (mut used, mut end, mut space, mut part) = (0, 0, None, None);
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        end = at + c.len_utf8();
        match c {
            ' ' if used > width / 2 => space = Some(end),
            '/' | ',' | ':' | ';' | '&' | '-' if used > width / 2 => part = Some(end),
            _ => {}
        }
    }
    // A single character may be wider than the line.
    space.or(part).unwrap_or(end.max(text.chars().next().map_or(0, char::len_utf8)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_within_long_ones() {
        assert_eq!(wrapped("one two three four", 10), ["one two", "three four"]);
        assert_eq!(wrapped("arn:aws:s3:::bucket/some/key", 16), ["arn:aws:s3:::", "bucket/some/key"]);
        assert_eq!(wrapped(&"x".repeat(20), 8), ["xxxxxxxx", "xxxxxxxx", "xxxx"]);
        assert_eq!(wrapped("", 8), [""]);
        assert_eq!(wrapped("漢字漢字漢字", 8), ["漢字漢字", "漢字"]);
        assert!(wrapped(&"漢 ".repeat(50), 1).iter().all(|line| columns(line) <= 8));
    }

    #[test]
    fn long_lists_show_first_and_last_names() {
        let names = ["one", "two", "three", "four", "five"];
        assert_eq!(some_of(&names, 40), "one, two, three, four, five");
        assert_eq!(some_of(&names, 26), "one, two, … 2 more …, five");
        assert_eq!(some_of(&names, 1), "one, … 3 more …, five");
        assert_eq!(some_of(&names[..2], 1), "one, two");
        assert_eq!(some_of(&[], 1), "");
    }

    #[test]
    fn long_text_is_shortened_in_the_middle() {
        assert_eq!(shortened("short", 10), "short");
        let text = shortened("alias/a-very-long-name-of-a-key", 15);
        assert_eq!((columns(&text), text.as_str()), (15, "alias/a-ve…-key"));
        let long = format!("begin{}end", "x".repeat(1_500));
        let text = shortened(&long, 20);
        assert_eq!((columns(&text), text.as_str()), (20, "beginxxxx…1,495…xend"));
        let text = shortened(&long, 60);
        assert_eq!(columns(&text), 60);
        let shown = text.chars().filter(|c| *c == 'x').count();
        assert!(text.contains(&format!("… {} characters …", thousands(1_508 - shown - 8))), "{text}");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert!((0..80).all(|width| columns(&shortened(&"漢x".repeat(90), width)) <= width.max(1)));
    }
}
