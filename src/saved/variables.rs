//! The stage and the variables of a saved changeset, which the caller has to give again.

use std::collections::BTreeSet;

use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Document, Node, StageChoice};

/// Checks that every variable that was given for the review still has the same value: given again by
/// the caller, or as the plan's default. `reviewed` is the plan with the variables of the review, `now`
/// the plan with the caller's.
///
/// # Errors
/// `Rejected`, naming the variables that differ. Their values are not shown.
pub fn require_same(reviewed: &Document, now: &Document) -> Result<()> {
    let given =
        |document: &'_ Document| document.variables.given.iter().map(|(name, _)| name.clone()).collect();
    let names: [BTreeSet<String>; 2] = [given(reviewed), given(now)];
    let names: BTreeSet<&String> = names.iter().flatten().collect();
    let different: Vec<&str> =
        names.into_iter().filter(|name| !is_same(reviewed, now, name)).map(String::as_str).collect();
    let Some(first) = different.first() else { return Ok(()) };
    let names: Vec<String> = different.iter().map(|name| format!("`{name}`")).collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    let message = format!("{} {verb} not as in the reviewed changes; nothing was changed", names.join(", "));
    Err(Error::new(ErrorKind::Rejected, "check the variables", message).advice(format!(
        "a saved changeset does not set variables: give them to `apply` as you gave them to `plan`, \
         `--var {first}=…` or `--var-file FILE`, or save the changes again"
    )))
}

/// Checks that the caller has chosen the stage that was reviewed: a file must not choose it.
///
/// # Errors
/// `Rejected`, with the stage of the review.
pub fn require_stage(reviewed: Option<&str>, chosen: Option<&StageChoice>) -> Result<()> {
    let chosen = chosen.map(|(StageChoice::Option(name) | StageChoice::Environment(name))| name.as_str());
    let Some(stage) = reviewed.filter(|stage| chosen != Some(stage)) else { return Ok(()) };
    let found = chosen.map_or_else(|| "no stage is chosen".to_owned(), |name| format!("`{name}` is chosen"));
    let message = format!("the reviewed changes are of stage `{stage}`, and {found}; nothing was changed");
    Err(Error::new(ErrorKind::Rejected, "check the stage", message).advice(format!(
        "a saved changeset does not choose a stage: give it to `apply` too, `--stage {stage}`"
    )))
}

fn is_same(reviewed: &Document, now: &Document, name: &str) -> bool {
    let value = |document: &Document| {
        let node = document.vars.iter().find(|(key, _)| key.name == name).map(|(_, node)| node.clone())?;
        // A default is evaluated, a given value is not: `{{ a }}` is not the same in both.
        let fixed = document.variables.is_given(name) || !has_expression(&node);
        fixed.then(|| node.to_value())
    };
    matches!((value(reviewed), value(now)), (Some(before), Some(after)) if before == after)
}

fn has_expression(node: &Node) -> bool {
    let mut found = false;
    node.texts(&mut |text, _| found |= ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)));
    found
}
