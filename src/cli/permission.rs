//! Permissions that a plan wants and its caller has not given: asked for once, and remembered.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;

use jiff::Timestamp;

use super::ENVIRONMENT;
use crate::console;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Diagnostic, Diagnostics, Document, Sources};
use crate::session::{Checked, Purpose, Wanted};
use crate::trust::{Grant, Store};
use crate::ui;

/// Asks the person at a terminal for the missing permissions, remembers those that are given, and
/// returns them. Returns none if there is no person to ask. The first "no" ends the questions.
pub async fn ask(checked: &Checked, purpose: Purpose) -> Vec<Grant> {
    let missing: Vec<Wanted> = checked.missing(purpose).cloned().collect();
    if missing.is_empty() || !can_ask() {
        return Vec::new();
    }
    let document = &checked.resolved.document;
    let allowed = ask_each(&document.sources, &document.name, missing).await;
    if let Err(error) = remember(document, &allowed) {
        console::note(format_args!("warning: {error}; this holds for this run only"));
    }
    allowed
}

/// Whether a person sees a question and can answer it. In a pipeline none can, even if it has a terminal.
pub(super) fn can_ask() -> bool {
    let in_pipeline = ENVIRONMENT.path("CI").is_some_and(|value| value != Path::new("false"));
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal() && !in_pipeline
}

async fn ask_each(sources: &Sources, plan: &str, missing: Vec<Wanted>) -> Vec<Grant> {
    let mut allowed = Vec::new();
    for Wanted { grant, span, why } in missing {
        let what = Diagnostics::new(sources.clone(), vec![Diagnostic::note(span, why)]);
        let question = format!("Allow {grant} to the plan {plan} from now on? [y/N] ");
        // Not on this thread, which has to hear of signals meanwhile.
        let answer = tokio::task::spawn_blocking(move || {
            ui::diagnostics::show_all(&what);
            console::ask(question)
        });
        match answer.await {
            Ok(true) => allowed.push(grant),
            _ => break,
        }
    }
    allowed
}

/// The place where permissions of a plan are remembered.
///
/// # Errors
/// `Local` when there is none.
pub fn store(document: &Document) -> Result<Store> {
    Store::of_plan(&ENVIRONMENT, &document.folder, &document.name).ok_or_else(|| {
        Error::new(ErrorKind::Local, "trust", "there is no folder to remember it in")
            .advice("set HOME or GROUNDWORK_CONFIG_DIR")
    })
}

/// Adds permissions to those that are remembered for a plan. Each keeps the time when it was first given.
///
/// # Errors
/// When the place is not known, or cannot be read or written.
pub fn remember(document: &Document, grants: &[Grant]) -> Result<()> {
    if grants.is_empty() {
        return Ok(());
    }
    let store = store(document)?;
    let now = Timestamp::now();
    let mut all: BTreeMap<Grant, Timestamp> = grants.iter().map(|grant| (grant.clone(), now)).collect();
    all.extend(store.load()?);
    store.save(all)
}
