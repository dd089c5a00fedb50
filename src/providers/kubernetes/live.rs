//! An object as it is, and what the server says a write would make of it.

use serde_json::Value;

use super::address::Address;
use super::client::{Applied, KubernetesClient, Mode};
use super::error::{CONFLICT_ADVICE, in_words};
use super::ownership;
use crate::error::{Error, ErrorKind, Result};
use crate::resource::{Blocked, Tags};

/// An object as it is. `Debug` shows no content: it may be a Secret.
#[derive(Clone)]
pub struct Live {
    /// The object; `null` for one that does not exist and that the server refuses to create.
    pub object: Value,
    /// The manager of this plan's fields.
    pub manager: String,
    /// The plan that looks at it.
    pub plan: String,
    /// The result of a write, once the server was asked for it.
    pub forecast: Option<Forecast>,
    tags: Tags,
}

/// The server's answer to a dry run.
#[derive(Clone)]
pub struct Forecast {
    /// The object that was to be applied.
    pub declared: Value,
    /// The result.
    pub outcome: Outcome,
}

/// The result of a dry run.
#[derive(Clone)]
pub enum Outcome {
    /// This object.
    Becomes(Value),
    /// The server refuses it: the field and the reason.
    Refused(Blocked),
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let metadata = &self.object["metadata"];
        write!(f, "Live({} {})", metadata["namespace"], metadata["name"])
    }
}

impl Live {
    /// An object that was read.
    pub fn new(client: &KubernetesClient, object: Value) -> Self {
        let tags = ownership::tags(&object, client.plan());
        let (manager, plan) = (client.manager().to_owned(), client.plan().to_owned());
        Self { object, manager, plan, forecast: None, tags }
    }

    /// Whether it does not exist: the server refuses to create it.
    pub fn is_refused(&self) -> bool {
        self.object.is_null()
    }

    /// The plan that made it, as the engine's tags say it.
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// The uid.
    pub fn uid(&self) -> &str {
        self.object["metadata"]["uid"].as_str().unwrap_or_default()
    }

    /// Why it still exists although it is being deleted.
    pub fn deletion(&self) -> Option<Blocked> {
        let since = self.object["metadata"]["deletionTimestamp"].as_str()?;
        Some(Blocked::new("", &format!("it is being deleted since {since}{}", kept_by(&self.object))))
    }

    /// The answer to a dry run of this very declaration.
    pub fn outcome(&self, declared: &Value) -> Option<&Outcome> {
        self.forecast
            .as_ref()
            .filter(|forecast| forecast.declared == *declared)
            .map(|forecast| &forecast.outcome)
    }

    /// The status of a condition: `True`, `False`, `Unknown`; and its message.
    pub fn condition(&self, name: &str) -> Option<(&str, &str)> {
        condition(&self.object, name)
    }
}

/// The status and the message of a condition.
pub fn condition<'a>(object: &'a Value, name: &str) -> Option<(&'a str, &'a str)> {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let found = conditions.into_iter().find(|one| one["type"] == name)?;
    Some((found["status"].as_str()?, found["message"].as_str().unwrap_or_default()))
}

/// Who keeps an object that was deleted.
pub fn kept_by(object: &Value) -> String {
    let of = |list: &Value| {
        let names: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        names.join(", ")
    };
    let finalizers = [of(&object["metadata"]["finalizers"]), of(&object["spec"]["finalizers"])];
    let finalizers: Vec<&str> =
        finalizers.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let reasons = conditions.filter(|one| one["status"] == "True").filter_map(|one| one["message"].as_str());
    let reasons: Vec<&str> = reasons.collect();
    let because = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) };
    match finalizers.is_empty() {
        true => because,
        false => {
            format!(", and its finalizers wait for their controllers: {}{because}", finalizers.join(", "))
        }
    }
}

/// Asks the server what applying an object would do, without doing it. `None` when it cannot say: the
/// namespace or the definition may be made by the same run.
pub async fn rehearse(
    client: &KubernetesClient,
    address: &Address,
    declared: Value,
    force: bool,
    observed: Option<&Live>,
) -> Result<Option<Live>> {
    let outcome = match client.apply(Mode::DryRun, address, &declared, force).await? {
        Applied::Done { .. } if observed.is_none() => return Ok(None),
        Applied::Done { object, .. } => Outcome::Becomes(object),
        Applied::Refused { error, .. } if is_undecided(&error) => return Ok(None),
        Applied::Refused { error, conflicts } => Outcome::Refused(refusal(&error, &conflicts)),
    };
    let mut live = observed.cloned().unwrap_or_else(|| Live::new(client, Value::Null));
    live.forecast = Some(Forecast { declared, outcome });
    Ok(Some(live))
}

/// Refusals that say nothing about the real write.
fn is_undecided(error: &Error) -> bool {
    error.is("NotFound") || has_no_dry_run(error)
}

/// Whether a webhook, which may do more than answer, keeps the server from a dry run.
pub fn has_no_dry_run(error: &Error) -> bool {
    error.message.contains("does not support dry run")
}

fn refusal(error: &Error, conflicts: &[super::error::FieldConflict]) -> Blocked {
    if let Some(first) = conflicts.first() {
        let all: Vec<String> = conflicts.iter().map(in_words).collect();
        let why = format!("managed by another: {}; {CONFLICT_ADVICE}", all.join(", "));
        return Blocked::new(first.field.trim_start_matches('.'), &why);
    }
    let advice = error.advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default();
    Blocked::new("", &format!("the server would refuse it: {}{advice}", error.message))
}

/// The error of a real apply.
pub fn into_result(applied: Applied) -> Result<(Value, bool)> {
    match applied {
        Applied::Done { object, created } => Ok((object, created)),
        // Its namespace or definition may have been created a moment ago.
        Applied::Refused { error, .. } if error.is("NotFound") => {
            let again = Error::new(ErrorKind::Eventual, error.operation.to_string(), error.message.clone());
            Err(again.code(Some("NotFound")).advice(
                "its namespace or the definition of its kind does not exist: declare it in the plan, and name its step \
                 in `needs:`",
            ))
        }
        Applied::Refused { error, .. } => Err(error),
    }
}
