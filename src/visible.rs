//! Shows others' text to a person such that nothing in it acts, hides, or passes for something else.
//!
//! Terminals obey control characters, job logs obey lines with a certain beginning, and eyes are
//! deceived by characters that have no shape, that turn the direction of writing, or that look like
//! letters of another script. All of them are shown as what they are: `\u{202e}`.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::fmt::Write;

/// Text that job logs obey as a command anywhere in a line: GitHub's older notation, Azure's,
/// TeamCity's.
const COMMANDS: [&str; 3] = ["##[", "##vso[", "##teamcity["];

/// Text of others, harmless on a terminal and among other text. Line ends and tabs stay.
pub fn sanitize(text: &str) -> String {
    let mut deceiving = deceiving(text).peekable();
    let mut shown = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let deceives = deceiving.next_if_eq(&at).is_some();
        if deceives || is_hidden(c) && !is_marker(c) {
            escape(c, &mut shown);
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The first of these texts, and how many more there are.
pub fn first_few(all: impl IntoIterator<Item = String>, shown: usize, separator: &str) -> String {
    let mut all = all.into_iter();
    let mut told: Vec<String> = all.by_ref().take(shown).collect();
    let more = all.count();
    told.extend((more > 0).then(|| format!("{more} more")));
    told.join(separator)
}

/// Why a name can look the same as another name.
pub fn deceptive(name: &str) -> Option<String> {
    if let Some(c) = name.chars().find(|c| is_hidden(*c) && !is_marker(*c)) {
        return Some(format!("it holds the invisible character U+{:04X}", u32::from(c)));
    }
    let mixed = name.split(|c: char| !is_part_of_name(c)).find(|part| mixes_scripts(part))?;
    let foreign = mixed.chars().find(|c| looks_foreign(*c))?;
    Some(format!(
        "it mixes letters of several scripts, `{foreign}` (U+{:04X}) among them",
        u32::from(foreign)
    ))
}

/// Whether a character must not stand in a plan at all, not even in a comment: it drives a terminal, turns
/// the direction of writing, ends a line for some readers only, or has no other use than to hide.
pub fn acts(c: char) -> bool {
    const NEVER: [(char, char); 6] = [
        ('\u{200b}', '\u{200b}'),
        ('\u{200e}', '\u{200f}'),
        ('\u{2028}', '\u{202e}'),
        ('\u{2060}', '\u{206f}'),
        ('\u{feff}', '\u{feff}'),
        ('\u{e0000}', '\u{e007f}'),
    ];
    c != '\n' && c != '\t' && (c.is_control() || !c.is_ascii() && is_within(c, &NEVER))
}

/// All that goes to a terminal or a job log: colours stay, and nothing else acts.
pub fn on_terminal(text: &str) -> Cow<'_, str> {
    if text.split('\n').all(|line| line.bytes().all(|b| matches!(b, b' '..=b'~' | b'\t')) && !commands(line))
    {
        return Cow::Borrowed(text);
    }
    let lines: Vec<String> = text.split('\n').map(line).collect();
    Cow::Owned(lines.join("\n"))
}

/// JSON, in which the same characters are written as JSON escapes them.
pub fn in_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_hidden) && !json.contains("##") {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len());
    for c in json.replace("##", "\\u0023\\u0023").chars() {
        // Outside of its strings JSON is ASCII.
        if is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

fn escape(c: char, to: &mut String) {
    let _ = write!(to, "\\u{{{:x}}}", u32::from(c));
}

/// One line, which may have colours of ours.
fn line(line: &str) -> String {
    let (visible, colours) = without_colours(line);
    let acting: HashSet<usize> = command_starts(&visible).into_iter().chain(deceiving(&visible)).collect();
    let mut colours = colours.into_iter().peekable();
    let mut shown = String::with_capacity(line.len());
    for (at, c) in visible.char_indices() {
        while let Some((_, colour)) = colours.next_if(|(before, _)| *before <= at) {
            shown.push_str(colour);
        }
        if is_hidden(c) || acting.contains(&at) {
            escape(c, &mut shown);
        } else {
            shown.push(c);
        }
    }
    shown.extend(colours.map(|(_, colour)| colour));
    shown
}

/// Where letters stand that look like those beside them.
fn deceiving(text: &str) -> impl Iterator<Item = usize> {
    let runs = text.split_inclusive(|c: char| !is_part_of_name(c));
    let starts = runs.scan(0, |end, run| {
        *end += run.len();
        Some((*end - run.len(), run))
    });
    let mixed = starts.filter(|(_, run)| mixes_scripts(run));
    mixed.flat_map(|(start, run)| {
        run.char_indices().filter(|(_, c)| looks_foreign(*c)).map(move |(at, _)| start + at)
    })
}

/// The text of a line, and its colours with the place that each stands before.
fn without_colours(line: &str) -> (String, Vec<(usize, &str)>) {
    let (mut visible, mut colours, mut rest) = (String::with_capacity(line.len()), Vec::new(), line);
    while let Some(start) = rest.find('\u{1b}') {
        visible.push_str(&rest[..start]);
        rest = &rest[start..];
        let length = colour_length(rest);
        if length == 0 {
            visible.push('\u{1b}');
            rest = &rest[1..];
        } else {
            colours.push((visible.len(), &rest[..length]));
            rest = &rest[length..];
        }
    }
    visible.push_str(rest);
    (visible, colours)
}

/// The length of a sequence that paints text in a colour that can be read; zero for any other, those among them
/// that hide text.
fn colour_length(text: &str) -> usize {
    let Some(rest) = text.strip_prefix("\u{1b}[") else { return 0 };
    let Some((codes, _)) = rest.split_once('m') else { return 0 };
    let known = |code: &str| code.is_empty() || matches!(code.parse(), Ok(0..=4 | 31..=36 | 91..=96));
    if codes.split(';').all(known) { "\u{1b}[".len() + codes.len() + 1 } else { 0 }
}

fn commands(line: &str) -> bool {
    !command_starts(line).is_empty()
}

/// Where a job log would begin to read a command. GitHub skips spaces before `::name::`; GitLab reads
/// `section_start:`.
fn command_starts(line: &str) -> Vec<usize> {
    let mut starts: Vec<usize> =
        COMMANDS.iter().flat_map(|command| line.match_indices(command).map(|(at, _)| at)).collect();
    let text = line.trim_start();
    let start = line.len() - text.len();
    let github = text.strip_prefix("::").is_some_and(|rest| rest.contains("::"));
    if github || text.starts_with("section_start:") || text.starts_with("section_end:") {
        starts.push(start);
    }
    starts
}

/// Characters without a shape, that change how others are shown, or that a font decides about.
const HIDDEN: [(char, char); 20] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
    ('\u{e000}', '\u{f8ff}'),
    ('\u{f0000}', '\u{10ffff}'),
];

/// Whether a character has no shape, drives a terminal, or changes how others are shown.
fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_control() && c != '\n' && c != '\t';
    }
    c.is_control() || c.is_whitespace() || is_within(c, &HIDDEN)
}

fn is_within(c: char, ranges: &[(char, char)]) -> bool {
    ranges.iter().any(|(first, last)| (first..=last).contains(&&c))
}

/// Whether a character marks a value that is not known yet. These are put into words after others' text was.
pub fn is_marker(c: char) -> bool {
    matches!(c, '\u{f8f0}'..='\u{f8f3}')
}

fn is_part_of_name(c: char) -> bool {
    c.is_alphanumeric() || !c.is_ascii() && !c.is_whitespace() || matches!(c, '-' | '_' | '.' | '@')
}

/// Whether letters stand beside those of a script that looks alike. Chinese, Japanese and Korean are
/// written with Latin letters among them.
fn mixes_scripts(text: &str) -> bool {
    if text.is_ascii() {
        return false;
    }
    let scripts: BTreeSet<u32> = text.chars().filter_map(script).collect();
    scripts.len() > 1 && scripts != BTreeSet::from([LATIN, EAST_ASIAN])
}

const LATIN: u32 = 0;
const EAST_ASIAN: u32 = 1;

/// Scripts with several blocks of Unicode: Latin, those of East Asia, Greek, Cyrillic, Arabic.
const SCRIPTS: [&[(char, char)]; 5] = [
    &[('A', 'z'), ('À', 'ʯ'), ('\u{1e00}', '\u{1eff}'), ('\u{2c60}', '\u{2c7f}'), ('\u{a720}', '\u{a7ff}')],
    &[
        ('\u{1100}', '\u{11ff}'),
        ('\u{2e80}', '\u{31ff}'),
        ('\u{3400}', '\u{9fff}'),
        ('\u{ac00}', '\u{d7ff}'),
        ('\u{f900}', '\u{faff}'),
        ('\u{20000}', '\u{3ffff}'),
    ],
    &[('\u{370}', '\u{3ff}'), ('\u{1f00}', '\u{1fff}')],
    &[('\u{400}', '\u{52f}'), ('\u{1c80}', '\u{1c8f}'), ('\u{2de0}', '\u{2dff}'), ('\u{a640}', '\u{a69f}')],
    &[
        ('\u{600}', '\u{6ff}'),
        ('\u{750}', '\u{77f}'),
        ('\u{8a0}', '\u{8ff}'),
        ('\u{fb50}', '\u{fdff}'),
        ('\u{fe70}', '\u{fefe}'),
    ],
];

/// A number for the script of a letter: its place in the table, or else its block of Unicode, since most
/// scripts have one block of 128 characters. The micro sign and the ordinals belong to no script.
fn script(c: char) -> Option<u32> {
    if !c.is_alphabetic() || matches!(c, 'µ' | 'ª' | 'º') {
        return None;
    }
    let block = 16 + (u32::from(c) >> 7);
    Some((LATIN..).zip(SCRIPTS).find(|(_, ranges)| is_within(c, ranges)).map_or(block, |(number, _)| number))
}

fn looks_foreign(c: char) -> bool {
    !c.is_ascii() && script(c).is_some_and(|script| script != LATIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_shown_escaped() {
        let rows = [
            ("a\n\tb é 漢字", "a\n\tb é 漢字"),
            ("gone\u{1b}]0;owned\u{7}\r", "gone\\u{1b}]0;owned\\u{7}\\u{d}"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("a\u{202e}txet\u{2066}", "a\\u{202e}txet\\u{2066}"),
            ("zero\u{200b}width\u{2060}\u{feff}", "zero\\u{200b}width\\u{2060}\\u{feff}"),
            ("tag\u{e0041}\u{e007f}", "tag\\u{e0041}\\u{e007f}"),
            ("soft\u{ad}hyphen\u{a0}space\u{3164}", "soft\\u{ad}hyphen\\u{a0}space\\u{3164}"),
            ("vs\u{fe0f}\u{e0100}", "vs\\u{fe0f}\\u{e0100}"),
            ("private\u{e000}", "private\\u{e000}"),
            ("(known after \u{f8f0}a\u{f8f1})", "(known after \u{f8f0}a\u{f8f1})"),
        ];
        for (text, shown) in rows {
            assert_eq!(sanitize(text), shown);
            assert_eq!(sanitize(shown), shown, "shown twice");
        }
    }

    #[test]
    fn mixed_scripts_in_a_name_are_escaped() {
        let rows = [
            ("p\u{430}ypal", "p\\u{430}ypal"),
            ("k\u{3bf}s-\u{5d0}", "k\\u{3bf}s-\\u{5d0}"),
            ("admin.\u{440}\u{443}", "admin.\\u{440}\\u{443}"),
            ("\u{ff41}dmin", "\\u{ff41}dmin"),
            ("\u{1d41a}dmin", "\\u{1d41a}dmin"),
            ("naïve-Größe", "naïve-Größe"),
            ("фото", "фото"),
            ("s3/фото", "s3/фото"),
            ("東京-prod", "東京-prod"),
            ("5µs", "5µs"),
        ];
        for (text, shown) in rows {
            assert_eq!(sanitize(text), shown, "{text}");
        }
    }

    #[test]
    fn deceptive_name_is_reported_with_its_reason() {
        for good in ["app", "größe", "фото", "東京-prod", "a b", "kv/фото", "a/b-c.d_e@f"] {
            assert_eq!(deceptive(good), None, "{good}");
        }
        for (bad, why) in [
            ("a\u{200b}", "U+200B"),
            ("a\u{202e}b", "U+202E"),
            ("a\u{a0}b", "U+00A0"),
            ("p\u{430}y", "several scripts"),
            ("kv/p\u{430}y", "U+0430"),
            ("\u{e0041}", "U+E0041"),
        ] {
            assert!(deceptive(bad).is_some_and(|told| told.contains(why)), "{bad}");
        }
    }

    #[test]
    fn terminal_receives_only_our_colours() {
        let painted = "\u{1b}[1m\u{1b}[31mbad\u{1b}[0m ✓ → ⋯";
        assert_eq!(on_terminal(painted), painted);
        let rows = [
            ("\u{1b}[8mhidden", "\\u{1b}[8mhidden"),
            ("\u{1b}[2J\u{1b}[H", "\\u{1b}[2J\\u{1b}[H"),
            ("\u{1b}]0;t\u{7}", "\\u{1b}]0;t\\u{7}"),
            ("\u{1b}[38;5;0mx", "\\u{1b}[38;5;0mx"),
            ("\u{1b}[31", "\\u{1b}[31"),
            ("a\r\nb\u{8}", "a\\u{d}\nb\\u{8}"),
            ("\u{f8f0}", "\\u{f8f0}"),
            ("\u{1b}[1mp\u{430}y\u{1b}[0m x", "\u{1b}[1mp\\u{430}y\u{1b}[0m x"),
        ];
        for (text, shown) in rows {
            assert_eq!(on_terminal(text), shown);
        }
    }

    #[test]
    fn values_are_not_runner_commands_in_job_logs() {
        let rows = [
            ("::add-mask::x", "\\u{3a}:add-mask::x"),
            ("a\n \t::stop-commands::x", "a\n \t\\u{3a}:stop-commands::x"),
            ("::warning file=a::b", "\\u{3a}:warning file=a::b"),
            ("see ##vso[task.setvariable]x", "see \\u{23}#vso[task.setvariable]x"),
            ("##[add-mask]x", "\\u{23}#[add-mask]x"),
            ("a ##teamcity[x]", "a \\u{23}#teamcity[x]"),
            ("###[x]", "#\\u{23}#[x]"),
            ("section_start:1:x\r\u{1b}[0K", "\\u{73}ection_start:1:x\\u{d}\\u{1b}[0K"),
            ("\u{1b}[31m::add-mask::x\u{1b}[0m", "\u{1b}[31m\\u{3a}:add-mask::x\u{1b}[0m"),
            (":\u{1b}[0m:add-mask::x", "\\u{3a}\u{1b}[0m:add-mask::x"),
        ];
        for (text, shown) in rows {
            assert_eq!(on_terminal(text), shown);
        }
        for plain in ["::1/128", "a::b::c", "## title", "- [x] ##", "secret/data::x"] {
            assert_eq!(on_terminal(plain), plain);
        }
    }

    #[test]
    fn escaped_json_keeps_its_value() {
        let value =
            serde_json::json!({ "a\u{202e}": "\u{e0041}\u{9b} ##[add-mask]x ###[x] ####[x] é \u{7f}" });
        let text = value.to_string();
        let safe = in_json(&text);
        assert!(safe.chars().all(|c| !is_hidden(c)) && !safe.contains("##["), "{safe}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
        assert!(matches!(in_json("{\"a\":1}"), Cow::Borrowed(_)));
    }
}
