//! The journal, for people and as JSON.

use std::collections::BTreeSet;

use serde_json::json;

use super::style::{BAD, CHANGE, FAINT, GOOD, STRONG, paint};
use crate::console;
use crate::journal::{Entry, OperationOutcome, Record, Things};
use crate::signing::Signer;
use crate::visible::sanitize;

/// Prints all records, one a line, with a heading for each run; at the end what is still open.
pub fn show(plan: &str, records: &[Record], open: &[Record]) {
    console::out(render(plan, records, open));
}

/// Prints all records as JSON.
pub fn json(plan: &str, records: &[Record], signer: Option<Signer>) {
    console::json(&json!({ "format_version": "1", "plan": plan, "signer": signer, "entries": records }));
}

/// Says whose key has signed it, for people to compare.
pub fn show_signer(signer: Option<Signer>) {
    if let Some(signer) = signer {
        console::out(format_args!("Signed with the key {signer}."));
    }
}

/// A time as people read it.
const TIME: &str = "%Y-%m-%d %H:%M:%S UTC";

/// Shows the claims that a person is asked to vouch for: the journal's writers, and the things that it
/// records as the plan's.
pub fn show_claims(records: &[Record], things: &Things) {
    let mut text = format!("{} lines", records.len());
    if let (Some(first), Some(last)) = (records.first(), records.last()) {
        let [first, last] = [first, last].map(|record| record.time.strftime(TIME));
        text.push_str(&format!(", from {first} to {last}"));
    }
    let writers: BTreeSet<&str> = records.iter().map(|record| record.who.who.as_str()).collect();
    for writer in writers {
        text.push_str(&format!("\n  written by {}", sanitize(writer)));
    }
    for thing in things.iter() {
        let (target, step) = (sanitize(&thing.target), sanitize(&thing.step));
        text.push_str(&format!("\n  {target} belongs to the step {step}"));
    }
    console::out(text);
}

fn render(plan: &str, records: &[Record], open: &[Record]) -> String {
    if records.is_empty() {
        return format!("{plan} has never been applied.");
    }
    let mut text = String::new();
    let mut run = "";
    for record in records {
        if record.who.run != run {
            run = &record.who.run;
            text.push_str(&heading(record));
        }
        text.push_str(&format!(
            "  {} {}  {}\n",
            paint(FAINT, format_args!("{:>4}", record.seq)),
            paint(FAINT, record.time.strftime("%H:%M:%S")),
            describe(&record.entry)
        ));
    }
    match open.len() {
        0 => text.push_str("\nNothing is open. How every intent ended is known."),
        _ => text.push_str(&format!("\n{}", paint(BAD, "Not known to have ended:"))),
    }
    for record in open {
        let time = paint(FAINT, record.time.strftime(TIME));
        text.push_str(&format!("\n  {time}  {}", describe(&record.entry)));
    }
    text
}

/// When, who and which plan: the same for all records of a run.
fn heading(record: &Record) -> String {
    let who = &record.who;
    let plan: String = who.plan.chars().take("sha256:".len() + 12).collect();
    format!(
        "{}  {}\n",
        paint(
            STRONG,
            format_args!("{}  {}", record.time.strftime("%Y-%m-%d %H:%M:%S UTC"), sanitize(&who.who))
        ),
        paint(FAINT, format_args!("process {}, run {}, plan {plan}", who.pid, who.run))
    )
}

fn describe(entry: &Entry) -> String {
    let (style, word, about) = match entry {
        Entry::RunStarted => (FAINT, "run", "begins to write".to_owned()),
        Entry::Destinations { destinations } => {
            let parts = destinations.iter().map(|(name, values)| format!("{name} {}", values.join(", ")));
            (FAINT, "went to", sanitize(&parts.collect::<Vec<_>>().join("; ")))
        }
        Entry::Node { origin, tls, .. } => {
            let tls = tls.as_deref().unwrap_or("no TLS");
            (GOOD, "node", sanitize(&format!("{origin} belongs to the cluster ({tls})")))
        }
        Entry::RunFinished => (FAINT, "run", "ends".to_owned()),
        Entry::Adopted { lines } => {
            (GOOD, "adopted", format!("a person vouches for the {lines} lines before this one"))
        }
        Entry::Intent { step, operation, target, detail } => {
            (CHANGE, "intent", format!("{operation} {target} for the step {step}{}", list(detail)))
        }
        Entry::Escrowed { operation, target, object } => {
            (CHANGE, "kept", format!("{operation} {target}: the answer is in custody as {object}"))
        }
        Entry::Verified { operation, target } => {
            (GOOD, "proven", format!("{operation} {target}: what custody holds works"))
        }
        Entry::Committed { operation, target, detail } => {
            (GOOD, "done", format!("{operation} {target}{}", list(detail)))
        }
        Entry::Outcome { operation, target, result, message } => {
            let (word, style) = match result {
                OperationOutcome::Ok => ("ok", GOOD),
                OperationOutcome::Failed => ("failed", BAD),
                OperationOutcome::Unknown => ("unknown", BAD),
            };
            (style, word, format!("{operation} {target}: {}", sanitize(message)))
        }
        Entry::Making(thing) => {
            (CHANGE, "intent", format!("create {} for the step {}", sanitize(&thing.target), thing.step))
        }
        Entry::Owned(thing) => {
            (GOOD, "owned", format!("{} belongs to the step {}", sanitize(&thing.target), thing.step))
        }
    };
    format!("{}  {about}", paint(style, format_args!("{word:<7}")))
}

fn list(detail: &[String]) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({})", detail.join(", ")) }
}
