//! Compares what a page shows with what was printed.
//!
//! In a page `...` on a line of its own stands for any lines, and `…` within a line for any text. Times, ports
//! and counts of requests may differ, and so may the order of the lines that report finished steps.

/// Requires that the lines of a page are those that were printed.
pub fn compare(shown: &[String], printed: &str) -> Result<(), String> {
    let shown: Vec<String> = shown.iter().map(|line| normal(line)).filter(|line| !line.is_empty()).collect();
    let printed: Vec<String> = printed.lines().map(normal).filter(|line| !line.is_empty()).collect();
    let elided = shown.iter().any(|line| line == "...");
    let (steps, shown): (Vec<String>, Vec<String>) =
        shown.into_iter().partition(|line| finished(line).is_some());
    let (mut done, printed): (Vec<String>, Vec<String>) =
        printed.into_iter().partition(|line| finished(line).is_some());
    for step in &steps {
        let same =
            |other: &String| fits(finished(step).unwrap_or_default(), finished(other).unwrap_or_default());
        let index = done.iter().position(same).ok_or_else(|| format!("no step reports {step:?}"))?;
        done.remove(index);
    }
    if !elided && !done.is_empty() {
        return Err(format!("the page does not show {:?}", done[0]));
    }
    groups(&shown, &printed)
}

/// What a line says of a finished step: `[ 3/18] ✓ created kv # s`.
fn finished(line: &str) -> Option<&str> {
    let (counter, rest) = line.strip_prefix('[')?.split_once(']')?;
    counter.contains('/').then_some(rest.trim())
}

/// The lines between two `...` follow one another; the first begin the output and the last end it.
fn groups(shown: &[String], printed: &[String]) -> Result<(), String> {
    let groups: Vec<&[String]> = shown.split(|line| line == "...").collect();
    let mut at = 0;
    for (index, group) in groups.iter().enumerate() {
        let (first, last) = (index == 0, index + 1 == groups.len());
        let starts = if last && !group.is_empty() {
            // A group that is both stands for the whole output.
            let start = printed
                .len()
                .checked_sub(group.len())
                .filter(|start| *start >= at && (!first || *start == 0));
            start.map_or(0..0, |start| start..start + 1)
        } else if first {
            0..1
        } else {
            at..printed.len() + 1
        };
        let whole = |start: &usize| {
            let lines = printed.get(*start..start + group.len());
            lines.is_some_and(|lines| group.iter().zip(lines).all(|(shown, line)| fits(shown, line)))
        };
        let Some(start) = starts.clone().find(whole) else {
            let missing = group.iter().find(|shown| !printed.iter().any(|line| fits(shown, line)));
            return Err(match missing {
                Some(line) => format!("{line:?} was not printed"),
                None => {
                    format!("the lines from {:?} stand elsewhere or have others between them", group.first())
                }
            });
        };
        at = start + group.len();
    }
    let ends_open = groups.last().is_some_and(|group| group.is_empty()) && groups.len() > 1;
    match printed.get(at) {
        Some(line) if !ends_open => Err(format!("the page does not show {line:?}")),
        _ => Ok(()),
    }
}

/// Whether a line is what a page shows, with `…` for any text.
fn fits(shown: &str, line: &str) -> bool {
    let mut pieces = shown.split('…');
    let Some(mut rest) = line.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else { return rest.is_empty() };
    for piece in middle {
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// A line with one space between words, and without what differs from run to run.
fn normal(line: &str) -> String {
    let words: Vec<String> = line.split_whitespace().map(settled).collect();
    let mut line = words.join(" ");
    if let Some((before, counts)) = line.clone().split_once("API calls:") {
        line = format!("{before}API calls:{}", digits(counts));
    }
    line
}

fn settled(word: &str) -> String {
    let is_time = |word: &str| {
        word.split_once('.').is_some_and(|(whole, part)| {
            [whole, part].iter().all(|one| !one.is_empty() && one.bytes().all(|byte| byte.is_ascii_digit()))
        })
    };
    if is_time(word) {
        return "#".to_owned();
    }
    match word.split_once("127.0.0.1:") {
        Some((before, after)) => {
            let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{before}127.0.0.1:#{rest}")
        }
        None => word.to_owned(),
    }
}

/// Every number the same.
fn digits(text: &str) -> String {
    let mut found = String::new();
    for c in text.chars() {
        let c = if c.is_ascii_digit() { '#' } else { c };
        if c != '#' || !found.ends_with('#') {
            found.push(c);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn differing_lines_are_noticed() {
        let printed = "Plan x  account 1\n\nA\nB\nC\nD\n[1/2] ✓  created a  0.1 s\n[2/2] ✓  created b  0.2 s\n2 done in 3.1 s";
        for same in [
            "Plan x  account 1\n\nA\nB\nC\nD\n[1/2] ✓  created b  9.1 s\n[2/2] ✓  created a  0.1 s\n2 done in 1.0 s",
            "...\nA\nB\n...\nD\n2 done in 1.0 s",
            "Plan x account …\n...",
            "...\n[1/2] ✓ created b 0.0 s\n...",
            "Plan …\nA\n...\n2 done in 0.0 s",
        ] {
            assert_eq!(compare(&lines(same), printed), Ok(()), "{same}");
        }
        for other in [
            "Plan x  account 1\n\nA\nB\nC\nD\n[1/2] ✓  created b  9.1 s\n2 done in 1.0 s",
            "Plan x  account 2\n...",
            "A\n...",
            "...\nA\nC\n...",
            "...\nB\n...\nA\n...",
            "...\nC",
            "...\n[1/2] ✓ created c 0.0 s\n...",
            "...\n3 done in 1.0 s",
            "Plan x account 1\nA\nB\nC\nD",
            "",
        ] {
            assert!(compare(&lines(other), printed).is_err(), "{other}");
        }
        assert!(compare(&[], "").is_ok());
        assert!(compare(&lines("A"), "").is_err());
    }
}
