//! Patterns with `*` and `?`, as in actions and resources of policies.

/// Whether a pattern matches everything that `text`, which may itself be a pattern, matches.
pub fn covers(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut in_text) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while in_text < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, in_text));
                at += 1;
            }
            Some(c) if *c == text[in_text] || *c == '?' && text[in_text] != '*' => {
                at += 1;
                in_text += 1;
            }
            _ => match star {
                Some((star_at, from)) => {
                    star = Some((star_at, from + 1));
                    at = star_at + 1;
                    in_text = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

/// Whether there is a text that both patterns match.
pub fn overlap(one: &str, other: &str) -> bool {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    // `met[j]`: whether the rests of both from here on have a text in common.
    let mut met = vec![false; other.len() + 1];
    for i in (0..=one.len()).rev() {
        let mut row = vec![false; other.len() + 1];
        for j in (0..=other.len()).rev() {
            row[j] = match (one.get(i), other.get(j)) {
                (None, None) => true,
                (Some('*'), None) => met[j],
                (None, Some('*')) => row[j + 1],
                // A star stands for nothing more, or takes what the other side has next.
                (Some('*'), Some(_)) | (Some(_), Some('*')) => met[j] || row[j + 1],
                (Some(a), Some(b)) => (a == b || *a == '?' || *b == '?') && met[j + 1],
                _ => false,
            };
        }
        met = row;
    }
    met[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_covers_narrower_patterns() {
        let rows = [
            ("*", "s3:*", true),
            ("s3:*", "s3:get*", true),
            ("s3:get*", "s3:*", false),
            ("s3:getobject", "s3:get*", false),
            ("a?c", "abc", true),
            ("a?c", "a*c", false),
            ("a*c*", "abcbcx", true),
            ("", "", true),
            ("", "a", false),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(covers(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn patterns_overlap_where_a_text_fits_both() {
        let rows = [
            ("b/*", "b/x/*", true),
            ("b/x/*", "b/*", true),
            ("b/x*", "b/*y", true),
            ("b/x", "b/y", false),
            ("b/?", "b/*", true),
            ("b/?", "b/", false),
            ("*", "", true),
            ("a*b", "a*c", false),
            ("a*b*", "*c", true),
            ("arn:*:s3:::b", "arn:aws:s3:::b", true),
            ("abc", "abc", true),
            ("abc", "abcd", false),
        ];
        for (one, other, expected) in rows {
            assert_eq!(overlap(one, other), expected, "{one} {other}");
            assert_eq!(overlap(other, one), expected, "{other} {one}");
        }
    }
}
