//! Secrets that a step takes from another step of the plan: `secret: STEP.PATH`.

use super::{Resolved, Step};
use crate::plan::{Diagnostic, Node, Span};
use crate::resource::erased::Instance;
use crate::suggest::closest;

/// A secret of a step: the step's index, and the path of the secret below it, such as `data.password`.
pub type StepSecret = (usize, String);

impl Resolved {
    /// The secret that `written` names in the fields of a step: `ID.PATH`, or `ID[KEY].PATH` of a repeated one. In
    /// a group, its own steps come first. `None` when there is no such step.
    pub fn step_secret(&self, step: &Step, written: &str) -> Option<StepSecret> {
        let (id, path) = split(written)?;
        let base = id.split('[').next().unwrap_or(id);
        let scope = self.document.steps[step.declared].scope.as_ref();
        let local = scope.and_then(|scope| scope.steps.get(base));
        let id = local.map_or_else(|| id.to_owned(), |local| id.replacen(base, local, 1));
        Some((self.index_of(&id)?, path.to_owned()))
    }
}

/// Takes a reference apart at the first dot that is not part of a key.
fn split(written: &str) -> Option<(&str, &str)> {
    let has_key = written.find(['.', '[']).is_some_and(|at| written[at..].starts_with('['));
    let start = written.find(']').filter(|_| has_key).map_or(0, |end| end + 1);
    let dot = start + written[start..].find('.')?;
    Some((&written[..dot], &written[dot + 1..]))
}

/// References to steps that are not there, or that have no such secret.
pub fn check(resolved: &Resolved, instances: &[Option<Box<dyn Instance>>]) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    for (step, instance) in resolved.steps.iter().zip(instances) {
        let Some(instance) = instance else { continue };
        for written in instance.step_secrets() {
            mistakes.extend(mistake(resolved, instances, step, &written));
        }
    }
    mistakes
}

fn mistake(
    resolved: &Resolved,
    instances: &[Option<Box<dyn Instance>>],
    step: &Step,
    written: &str,
) -> Option<Diagnostic> {
    let declared = &resolved.document.steps[step.declared];
    let span = place(&declared.fields, written).unwrap_or(declared.id.span);
    let Some((index, path)) = resolved.step_secret(step, written) else {
        let id = split(written).map_or(written, |(id, _)| id);
        let mistake = Diagnostic::error(span, format!("there is no step `{id}` to take a secret from"));
        let ids = resolved.steps.iter().map(|step| step.id.as_str());
        return Some(match closest(id, ids) {
            None => mistake.help("write STEP.FIELD, such as `database.data.password`"),
            candidate => mistake.did_you_mean(candidate),
        });
    };
    let offered = instances[index].as_ref()?.offered();
    let other = &resolved.steps[index];
    if offered.contains(&path) {
        return None;
    }
    let mistake = Diagnostic::error(span, format!("step `{}` has no secret `{path}`", other.id));
    Some(match closest(&path, offered.iter().map(String::as_str)) {
        _ if offered.is_empty() => {
            mistake.help(format!("secrets of the kind `{}` cannot be read again", other.kind.name()))
        }
        None => mistake.help(format!("it has {}", offered.join(", "))),
        candidate => mistake.did_you_mean(candidate),
    })
}

/// Where a reference stands among the fields of a step.
fn place(fields: &Node, written: &str) -> Option<Span> {
    let mut found = None;
    fields.strings(&mut |text, span| {
        if found.is_none() && text.contains(written) {
            found = Some(span);
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_is_split_behind_the_key() {
        assert_eq!(split("db.data.password"), Some(("db", "data.password")));
        assert_eq!(split("db[a.b].value"), Some(("db[a.b]", "value")));
        assert_eq!(split("db.data.list[0]"), Some(("db", "data.list[0]")));
        assert_eq!(split("db"), None);
    }
}
