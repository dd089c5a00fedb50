//! Errors of live systems and of this machine.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::style::{BAD, STRONG, paint};
use crate::console;
use crate::error::Error;
use crate::saved::Difference;

/// How many entries of a list are shown.
const LISTED: usize = 50;

/// Shows an error with its causes and what to do about it.
pub fn show(error: &Error) {
    console::note(text(error));
}

/// Shows an error that says itself what to do about it, with its causes.
pub fn show_plain(error: &dyn std::error::Error) {
    console::note(with_causes(error));
}

/// Shows what is not as it was when a saved changeset was reviewed.
pub fn show_outdated(differences: &[Difference]) {
    let title = "the saved changeset is out of date; nothing was changed";
    console::note(list(
        title,
        differences.iter().map(ToString::to_string),
        "save the changes again with `groundwork plan PLAN --out FILE`, and review them",
    ));
}

/// Shows what could not be observed or planned, with `--strict`; each reason is given only once.
pub fn show_incomplete(left: &[(String, String)]) {
    let title = "this cannot be planned yet, and `--strict` wants everything planned";
    let mut first = HashMap::new();
    let told = left.iter().map(|(what, why)| match first.entry(why) {
        Entry::Occupied(known) => format!("{what}: for the same reason as {}", known.get()),
        Entry::Vacant(place) => {
            place.insert(what);
            format!("{what}: {why}")
        }
    });
    console::note(list(
        title,
        told,
        "see to what each of them waits for, or leave `--strict` out to do the others first",
    ));
}

fn list(title: &str, items: impl ExactSizeIterator<Item = String>, what_to_do: &str) -> String {
    let more = items.len().saturating_sub(LISTED);
    let mut text = format!("{}: {title}", paint(BAD.bold(), "error"));
    for item in items.take(LISTED) {
        text.push_str(&format!("\n  {item}"));
    }
    if more > 0 {
        text.push_str(&format!("\n  and {more} more"));
    }
    text.push_str(&format!("\n  {}: {what_to_do}", paint(STRONG, "what to do")));
    text
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = format!("{}: {error}", paint(BAD.bold(), "error"));
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(&format!("\n  because: {source}"));
        cause = source.source();
    }
    text
}

fn text(error: &Error) -> String {
    let mut text = with_causes(error);
    if let Some(id) = &error.request_id {
        text.push_str(&format!("\n  request: {id}"));
    }
    if let Some(advice) = &error.advice {
        text.push_str(&format!("\n  {}: {advice}", paint(STRONG, "what to do")));
    }
    text
}
