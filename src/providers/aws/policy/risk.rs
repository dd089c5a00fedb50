//! IAM policies: the permissions of each principal, compared with those before.
//!
//! Grammar and meaning of wildcards:
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html>

use serde_json::Value;

use super::evaluate::covers;
use super::{as_list, is_document, statement};
use crate::resource::Change;
use crate::resource::risk::{Category, FieldChanges, FieldRisk, Finding, Severity, analysed, some};

/// The fields are IAM policies.
pub const fn iam_policy(fields: &'static str) -> FieldRisk {
    analysed(fields, |changes| of_documents(changes, Owner::Anyone))
}

/// The fields are key policies. These let the key's own account administer the key.
pub const fn key_policy(fields: &'static str) -> FieldRisk {
    analysed(fields, |changes| of_documents(changes, Owner::MayAdminister))
}

/// What a policy has to give to the account that owns the thing.
#[derive(Clone, Copy, PartialEq)]
enum Owner {
    /// Nothing in particular.
    Anyone,
    /// Every action: the key's own account must be able to administer it, and IAM policies limit the
    /// account's users.
    MayAdminister,
}

/// Services whose full access gives power over all other services.
const POWERFUL: [&str; 4] = ["iam", "sts", "organizations", "kms"];
/// Elements that name the exceptions.
const NEGATIONS: [&str; 3] = ["NotAction", "NotResource", "NotPrincipal"];

fn of_documents(changes: &FieldChanges<'_>, owner: Owner) -> Vec<Finding> {
    let is_policy = |change: &&&Change| is_document(&change.before) || is_document(&change.after);
    let documents = changes.changes.iter().filter(is_policy);
    documents.flat_map(|change| of_document(change, owner, changes.is_new)).collect()
}

fn of_document(change: &Change, owner: Owner, is_new: bool) -> Vec<Finding> {
    let before = statements(&change.before);
    let after = statements(&change.after);
    let known: Vec<String> = wildcards(owner, &before).into_iter().map(|finding| finding.message).collect();
    let mut found = wildcards(owner, &after);
    found.retain(|finding| !known.contains(&finding.message));
    for finding in &mut found {
        finding.message = format!("{}: {}", change.path, finding.message);
    }
    if !is_new {
        let more = more_than(&before, &after);
        if !more.is_empty() {
            let message = format!("{} grants more than before: {}", change.path, some(&more));
            found.push(Finding::new(Severity::Medium, Category::BroaderGrant, message));
        }
    }
    found
}

/// A statement in the form that is compared.
struct Statement {
    allows: bool,
    /// `*`, `AWS:123456789012`, `Service:s3.amazonaws.com`; one empty text where none is named.
    principals: Vec<String>,
    actions: Vec<String>,
    /// `*` where none is named, as in a trust policy.
    resources: Vec<String>,
    condition: Value,
    /// Its normal form, if it names exceptions; it is then compared as a whole.
    negation: Option<Value>,
}

fn statements(document: &Value) -> Vec<Statement> {
    as_list(document.get("Statement")).iter().map(read).collect()
}

fn read(value: &Value) -> Statement {
    let mut normal = statement(value);
    if let Some(fields) = normal.as_object_mut() {
        fields.shift_remove("Sid");
    }
    let texts = |name: &str| -> Vec<String> {
        as_list(value.get(name)).iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
    };
    let or = |texts: Vec<String>, default: &str| match texts.is_empty() {
        true => vec![default.to_owned()],
        false => texts,
    };
    let is_negation = NEGATIONS.iter().any(|name| normal.get(*name).is_some());
    Statement {
        allows: normal["Effect"] == "Allow",
        principals: or(principals(&normal["Principal"]), ""),
        actions: texts("Action"),
        resources: or(texts("Resource"), "*"),
        condition: normal.get("Condition").cloned().unwrap_or_default(),
        negation: is_negation.then_some(normal),
    }
}

fn principals(normal: &Value) -> Vec<String> {
    let kinds = normal.as_object().into_iter().flatten();
    let named = kinds.flat_map(|(kind, ids)| as_list(Some(ids)).into_iter().map(move |id| (kind, id)));
    named
        .map(|(kind, id)| match id.as_str().unwrap_or_default() {
            "*" => "*".to_owned(),
            id => format!("{kind}:{id}"),
        })
        .collect()
}

fn wildcards(owner: Owner, statements: &[Statement]) -> Vec<Finding> {
    statements.iter().filter(|statement| statement.allows).flat_map(|one| wildcards_of(owner, one)).collect()
}

fn wildcards_of(owner: Owner, statement: &Statement) -> Vec<Finding> {
    let mut found = Vec::new();
    let actions = some(&statement.actions);
    if statement.principals.iter().any(|principal| principal == "*") {
        let (severity, bound) = match statement.condition.is_null() {
            true => (Severity::High, ""),
            false => (Severity::Medium, ", within a condition"),
        };
        let message = format!("everyone (Principal `*`) may {actions}{bound}");
        found.push(Finding::new(severity, Category::PublicExposure, message));
    }
    if let Some(negation) = &statement.negation {
        let names: Vec<&str> = NEGATIONS.into_iter().filter(|name| negation.get(*name).is_some()).collect();
        let message = format!("allows everything that is not named (`{}`)", names.join("`, `"));
        found.push(Finding::new(Severity::High, Category::Wildcard, message));
    }
    let named = statement.principals.iter().all(|principal| principal != "*" && !principal.is_empty());
    if owner == Owner::MayAdminister && named {
        return found;
    }
    for action in &statement.actions {
        match action.split_once(':') {
            _ if action == "*" => {
                found.push(Finding::new(Severity::High, Category::Wildcard, "allows every action (`*`)"));
            }
            Some((service, "*")) => {
                let powerful = POWERFUL.contains(&service.to_lowercase().as_str());
                let severity = if powerful { Severity::High } else { Severity::Medium };
                let on = some(&statement.resources);
                let message = format!("allows every action of {service} (`{action}`) on {on}");
                found.push(Finding::new(severity, Category::Wildcard, message));
            }
            _ => {}
        }
    }
    found
}

/// Descriptions of the permissions that `after` adds to `before`.
fn more_than(before: &[Statement], after: &[Statement]) -> Vec<String> {
    let mut more: Vec<String> = Vec::new();
    let split = |statements: &[Statement], allows: bool| -> Vec<usize> {
        (0..statements.len()).filter(|index| statements[*index].allows == allows).collect()
    };
    for index in split(after, true) {
        more.extend(uncovered(&after[index], before, true));
    }
    for index in split(before, false) {
        more.extend(
            uncovered(&before[index], after, false).iter().map(|what| format!("no longer denied: {what}")),
        );
    }
    more.dedup();
    more
}

/// The parts of a statement that none of `others` with the same effect covers.
fn uncovered(one: &Statement, others: &[Statement], allows: bool) -> Vec<String> {
    let others: Vec<&Statement> = others.iter().filter(|other| other.allows == allows).collect();
    if let Some(negation) = &one.negation {
        let same = others.iter().any(|other| other.negation.as_ref() == Some(negation));
        return if same { Vec::new() } else { vec!["everything that a statement does not name".to_owned()] };
    }
    let mut found = Vec::new();
    for action in &one.actions {
        for resource in &one.resources {
            for principal in &one.principals {
                let part = Part { action, resource, principal, condition: &one.condition };
                if !others.iter().any(|other| part.is_in(other)) {
                    found.push(part.words());
                }
            }
        }
    }
    found
}

struct Part<'a> {
    action: &'a str,
    resource: &'a str,
    principal: &'a str,
    condition: &'a Value,
}

impl Part<'_> {
    fn is_in(&self, other: &Statement) -> bool {
        let action = self.action.to_lowercase();
        other.negation.is_none()
            && (other.condition.is_null() || other.condition == *self.condition)
            && other.actions.iter().any(|pattern| covers(&pattern.to_lowercase(), &action))
            && other.resources.iter().any(|pattern| covers(pattern, self.resource))
            && other.principals.iter().any(|who| who == "*" || who == self.principal)
    }

    fn words(&self) -> String {
        let mut words = self.action.to_owned();
        if self.resource != "*" || self.principal.is_empty() {
            words.push_str(&format!(" on {}", self.resource));
        }
        match self.principal {
            "" => {}
            "*" => words.push_str(" for everyone"),
            who => words.push_str(&format!(" for {who}")),
        }
        words
    }
}
