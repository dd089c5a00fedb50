//! `for_each` and `when`.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::expression;
use crate::plan::{DeclaredStep, Diagnostic, Document, Node, closest};
use crate::resource::erased::Kind;
use crate::resource::registry;

/// One step after `for_each`.
pub struct Step {
    /// The id; `team[payments]` for one of a repeated step.
    pub id: String,
    /// The declaration, as an index into [`Document::steps`].
    pub declared: usize,
    /// The kind.
    pub kind: &'static dyn Kind,
    /// The entry of `for_each`: key and value.
    pub each: Option<(String, Value)>,
    /// Ids of the steps, before `for_each`, whose outputs its fields use.
    pub references: Vec<String>,
}

/// The steps that take part.
pub fn expand(
    document: &Document,
    context: &Map<String, Value>,
    mistakes: &mut Vec<Diagnostic>,
) -> Vec<Step> {
    let context = &Value::Object(context.clone());
    let mut steps = Vec::new();
    for (index, declared) in document.steps.iter().enumerate() {
        let Some(kind) = find_kind(declared, mistakes) else { continue };
        let references = expression::references(&declared.fields, document, mistakes);
        for each in entries(declared, context, mistakes) {
            if takes_part(declared, each.as_ref(), context, mistakes) {
                let id = match &each {
                    Some((key, _)) => format!("{}[{key}]", declared.id.name),
                    None => declared.id.name.clone(),
                };
                steps.push(Step { id, declared: index, kind, each, references: references.clone() });
            }
        }
    }
    check_switched_off(document, &steps, mistakes);
    steps
}

fn find_kind(declared: &DeclaredStep, mistakes: &mut Vec<Diagnostic>) -> Option<&'static dyn Kind> {
    let (name, span) = &declared.kind;
    let kind = registry::find(name);
    if kind.is_none() {
        let mistake = Diagnostic::error(*span, format!("there is no kind `{name}`"));
        let candidate = closest(name, registry::names());
        mistakes.push(match candidate {
            Some(_) => mistake.did_you_mean(candidate),
            None => mistake.help("`groundwork explain` lists the kinds"),
        });
    }
    kind
}

/// The entries that a step is repeated for; a single `None` for a step that is not.
fn entries(
    declared: &DeclaredStep,
    context: &Value,
    mistakes: &mut Vec<Diagnostic>,
) -> Vec<Option<(String, Value)>> {
    let Some(node) = &declared.for_each else { return vec![None] };
    match constant(node, context, mistakes) {
        Some(Value::Object(fields)) => fields.into_iter().map(Some).collect(),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            items.into_iter().filter_map(|item| Some(Some((item.as_str()?.to_owned(), item)))).collect()
        }
        Some(_) => {
            mistakes.push(Diagnostic::error(node.span, "`for_each` takes a map, or a list of strings"));
            Vec::new()
        }
        None => Vec::new(),
    }
}

fn takes_part(
    declared: &DeclaredStep,
    each: Option<&(String, Value)>,
    context: &Value,
    mistakes: &mut Vec<Diagnostic>,
) -> bool {
    let Some(node) = &declared.when else { return true };
    let mut context = context.clone();
    if let (Some((key, value)), Value::Object(fields)) = (each, &mut context) {
        fields.insert("each".to_owned(), json!({ "key": key, "value": value }));
    }
    match constant(node, &context, mistakes) {
        Some(Value::Bool(flag)) => flag,
        Some(_) => {
            let mistake = Diagnostic::error(node.span, "`when` is true or false");
            mistakes.push(mistake.help("compare, as in `when: \"{{ environment == 'production' }}\"`"));
            false
        }
        None => false,
    }
}

/// The value of something that decides which steps there are: it may use variables alone.
fn constant(node: &Node, context: &Value, mistakes: &mut Vec<Diagnostic>) -> Option<Value> {
    match expression::evaluate(node, context) {
        Ok(value) => Some(value),
        Err(found) => {
            let help = "`for_each` and `when` decide which steps there are and see variables alone";
            mistakes.extend(found.into_iter().map(|mistake| mistake.help(help)));
            None
        }
    }
}

/// A step that takes part must not use the outputs of one that does not.
fn check_switched_off(document: &Document, steps: &[Step], mistakes: &mut Vec<Diagnostic>) {
    let on: HashSet<usize> = steps.iter().map(|step| step.declared).collect();
    let declared = document.steps.iter().enumerate();
    let names: HashMap<&str, usize> =
        declared.map(|(index, declared)| (declared.id.name.as_str(), index)).collect();
    for step in steps {
        for name in &step.references {
            let Some(&target) = names.get(name.as_str()) else { continue };
            if document.steps[target].when.is_some() && !on.contains(&target) {
                let span = document.steps[step.declared].id.span;
                mistakes.push(
                    Diagnostic::error(
                        span,
                        format!("step `{}` uses `{name}`, which its `when` switches off", step.id),
                    )
                    .help("give both steps the same `when`"),
                );
            }
        }
    }
}
