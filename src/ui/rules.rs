//! The rules of `validate`, for people and as `docs/lint.md`.

use std::fmt::Write;

use super::style::{BAD, CHANGE, FAINT, STRONG, paint};
use crate::lint::{self, Rule, told};
use crate::plan::Severity;

/// All rules, a line each.
pub fn list() -> String {
    let width = lint::all().map(|rule| rule.id.len()).max().unwrap_or_default();
    let line = |rule: &Rule| {
        let style = if rule.severity == Severity::Error { BAD } else { CHANGE };
        let severity = paint(style, format_args!("{:7}", told::name(rule.severity)));
        format!("{}  {severity}  {}", paint(STRONG, format_args!("{:width$}", rule.id)), rule.title)
    };
    lint::all().map(line).collect::<Vec<_>>().join("\n")
}

/// One rule: why, what to do, an example, and how to silence it.
pub fn rule(rule: &Rule) -> String {
    let mut text = format!("{}  {}\n", paint(STRONG, rule.id), paint(FAINT, told::name(rule.severity)));
    let _ = write!(text, "{}.\n\n{}\n\n", rule.title, wrapped(rule.explanation));
    let _ = write!(text, "{}\n{}", paint(STRONG, "What to do"), indented(rule.help));
    let _ = write!(text, "\n{}\n{}", paint(STRONG, "Found"), indented(rule.bad));
    let _ = write!(text, "\n{}\n{}", paint(STRONG, "Not found"), indented(rule.good));
    let _ = write!(text, "\n{}\n{}", paint(STRONG, "To silence it"), indented(&silence(rule)));
    text.trim_end().to_owned()
}

/// All rules as a page of documentation.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Rules of `groundwork validate`\n\n\
         <!-- Made by `make docs`; edit the rules in src/lint/rules instead. -->\n\n\
         `groundwork validate PLAN` checks a plan without the network. Mistakes, with which nothing can be \
         done, are errors. Beside them it judges what is allowed but unwise, by the rules below. An *error* \
         among them makes it end with exit code 1; a *warning* does so with `--strict`. `--format json` and \
         `--format sarif` are for programs and for code scanning.\n\n\
         A rule is silenced with a reason, for one step or for the whole plan:\n\n\
         ```yaml\n\
         lint: { allow: { custody-single-store: \"a rehearsal\" } }     # the whole plan\n\
         steps:\n  key:\n    kind: aws.kms_key\n    alias: alias/example\n    rotation: false\n    \
         lint: { allow: { key-without-rotation: \"goes away in March\" } }\n\
         ```\n\n\
         | rule | severity | what is wrong |\n|---|---|---|\n",
    );
    for rule in lint::all() {
        let _ =
            writeln!(text, "| [`{0}`](#{0}) | {1} | {2} |", rule.id, told::name(rule.severity), rule.title);
    }
    for rule in lint::all() {
        let _ = write!(text, "\n## {}\n\n**{}.** {}\n\n", rule.id, rule.title, rule.explanation);
        let _ = write!(text, "What to do: {}.\n\nFound:\n\n```yaml\n{}```\n", rule.help, rule.bad);
        let _ = write!(text, "\nNot found:\n\n```yaml\n{}```\n", rule.good);
    }
    text
}

fn silence(rule: &Rule) -> String {
    format!("lint: {{ allow: {{ {}: \"the reason\" }} }}    # in the step, or beside `steps:`\n", rule.id)
}

fn indented(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("  {line}\n")).collect()
}

/// Lines of at most 96 characters.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().filter(|line| line.is_empty() || line.len() + word.len() < 96);
        match last {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => line.push_str(&format!(" {word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}
