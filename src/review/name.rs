//! The part of an id in which a step differs from others like it, and its other occurrences.

/// Stands for a name; no plan may contain it.
const PLACE: char = '\u{f8f2}';
/// The most words of an id for which sequences of words are tried; in longer ids, only single words.
const FEW: usize = 6;

/// Parts of an id that may be a step's name, each with the id around it: words, several words in
/// sequence, and the number at a word's end.
pub fn candidates(id: &str) -> Vec<(&str, String)> {
    let words = words(id);
    let longest = if words.len() <= FEW { words.len() } else { 1 };
    let runs = (1..=longest).flat_map(|length| words.windows(length));
    let runs = runs.map(|run| (run[0].0, run[run.len() - 1].1));
    let numbers = words.iter().filter_map(|(start, end)| {
        let digits = id[*start..*end].chars().rev().take_while(char::is_ascii_digit).count();
        (digits > 0 && digits < end - start).then_some((end - digits, *end))
    });
    let around =
        |(start, end): (usize, usize)| (&id[start..end], format!("{}{PLACE}{}", &id[..start], &id[end..]));
    runs.chain(numbers).map(around).collect()
}

/// The start and end of each word of an id.
fn words(id: &str) -> Vec<(usize, usize)> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in id.char_indices().chain([(id.len(), '_')]) {
        match (start, c.is_alphanumeric()) {
            (None, true) => start = Some(at),
            (Some(begun), false) => {
                words.push((begun, at));
                start = None;
            }
            _ => {}
        }
    }
    words
}

/// `text` with a placeholder for each occurrence of the name as a separate word, in this notation or
/// in that of paths, host names and environment variables.
pub fn written_with_place(text: &str, name: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut previous) = (text, None);
    while let Some(next) = rest.chars().next() {
        let found = notation(rest, name)
            .filter(|(length, _)| stands_alone(previous, name, rest[*length..].chars().next()));
        let taken = match found {
            Some((length, notation)) => {
                out.push(PLACE);
                out.push_str(&notation);
                length
            }
            None => {
                out.push(next);
                next.len_utf8()
            }
        };
        previous = rest[..taken].chars().next_back();
        rest = &rest[taken..];
    }
    out
}

/// The number of bytes of `text` that are the name, and its notation there: the separators, and
/// whether it is in capitals.
fn notation(text: &str, name: &str) -> Option<(usize, String)> {
    let (mut separators, mut length) = (String::new(), 0);
    let (mut small, mut capital) = (true, true);
    let mut rest = text.chars();
    for expected in name.chars() {
        let found = rest.next()?;
        length += found.len_utf8();
        match expected {
            '_' | '-' | '.' | '/' if ['_', '-', '.', '/'].contains(&found) => separators.push(found),
            _ => {
                small &= found == expected;
                capital &= found == expected.to_ascii_uppercase();
                if !small && !capital {
                    return None;
                }
            }
        }
    }
    if !small {
        separators.push('A');
    }
    Some((length, separators))
}

/// Whether the characters around a name are not part of the same word. A number may end a word.
fn stands_alone(previous: Option<char>, name: &str, next: Option<char>) -> bool {
    let is_number = name.chars().all(|c| c.is_ascii_digit());
    let joins_before = |c: char| if is_number { c.is_ascii_digit() } else { c.is_alphanumeric() };
    !previous.is_some_and(joins_before) && !next.is_some_and(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_yields_words_sequences_and_numbers() {
        let names = |id| candidates(id).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names("pay"), ["pay"]);
        assert_eq!(names("t01_eu_role"), ["t01", "eu", "role", "t01_eu", "eu_role", "t01_eu_role", "01"]);
        assert_eq!(candidates("a_b")[0].1, format!("{PLACE}_b"));
        assert_eq!(names("a_b_c_d_e_f_g").len(), 7);
    }

    #[test]
    fn name_is_found_as_word_in_every_notation() {
        let rows = [
            ("secret/data/pay_eu/*", "pay_eu", "secret/data/\u{f8f2}_/*"),
            ("pay-eu.example", "pay_eu", "\u{f8f2}-.example"),
            ("env PAY_EU_URL", "pay_eu", "env \u{f8f2}_A_URL"),
            ("repay_eu", "pay_eu", "repay_eu"),
            ("Pay_eu", "pay_eu", "Pay_eu"),
            ("app7 70 v7b 7", "7", "app\u{f8f2} 70 v7b \u{f8f2}"),
            ("t0001-t00010", "t0001", "\u{f8f2}-t00010"),
            ("é7", "7", "é\u{f8f2}"),
        ];
        for (text, name, expected) in rows {
            assert_eq!(written_with_place(text, name), expected, "{name} in {text}");
        }
    }
}
