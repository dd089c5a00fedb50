//! The values of variables, and the name of the plan's instance, which depends on them.

use serde_json::{Map, Value, json};

use super::names::Names;
use super::shape::Shape;
use super::{expression, walk};
use crate::confined_path::in_words;
use crate::plan::{Diagnostic, Document, Key, Node, Stage, name_mistake};
use crate::provider::Registry;
use crate::template::{Context, budget};

/// Evaluates the variables in the order declared; each may use those before it. Values that break the rules of
/// their declarations are mistakes.
pub fn variables(
    document: &Document,
    registry: &'static Registry,
    mistakes: &mut Vec<Diagnostic>,
) -> Map<String, Value> {
    let (mut vars, mut size) = (Map::new(), 0);
    for (index, (key, node)) in document.vars.iter().enumerate() {
        let before = mistakes.len();
        if !document.variables.is_given(&key.name) {
            Names::of_variable(document, registry, index).check(node, &Shape::any(), mistakes);
        }
        match evaluate(document, document.stage(), &key.name, node, &vars) {
            Ok(value) => {
                size += budget::size(&value);
                if size > budget::VARIABLES_IN_ALL {
                    mistakes.push(too_large(key));
                    break;
                }
                vars.insert(key.name.clone(), value);
                check_rules(document, registry, index, &vars, mistakes);
            }
            // An undefined name has been reported.
            Err(found) if mistakes.len() == before => mistakes.extend(found),
            Err(_) => {}
        }
    }
    vars
}

fn evaluate(
    document: &Document,
    stage: Option<&Stage>,
    name: &str,
    node: &Node,
    before: &Map<String, Value>,
) -> Result<Value, Vec<Diagnostic>> {
    match document.variables.is_given(name) {
        true => Ok(node.to_value()),
        false => walk::evaluate(node, &Shape::any(), &with_stage(before, stage)),
    }
}

/// The variables, and the name of the stage in a plan that has stages.
pub fn with_stage(vars: &Map<String, Value>, stage: Option<&Stage>) -> Context {
    let stage = stage.map(|stage| ("stage".to_owned(), json!(stage.id.name)));
    Context::of(vars).with(&stage.into_iter().collect())
}

/// Holds the variable to the rules of its declaration.
fn check_rules(
    document: &Document,
    registry: &'static Registry,
    index: usize,
    vars: &Map<String, Value>,
    mistakes: &mut Vec<Diagnostic>,
) {
    let (key, node) = &document.vars[index];
    let Some(rules) = document.variables.rules(&key.name) else { return };
    let of_variable = |why: &str| {
        let mistake = Diagnostic::error(node.span, format!("variable `{}` {why}", key.name));
        rules.description.iter().fold(mistake, |mistake, description| mistake.help(description.clone()))
    };
    if let Err(why) = rules.check(&vars[&key.name]) {
        return mistakes.push(of_variable(&why));
    }
    let context = with_stage(vars, document.stage());
    for condition in &rules.conditions {
        let before = mistakes.len();
        Names::of_variable(document, registry, index + 1).check(&condition.check, &Shape::any(), mistakes);
        match walk::evaluate(&condition.check, &Shape::any(), &context) {
            Ok(Value::Bool(true)) => {}
            Ok(Value::Bool(false)) => {
                let mistake =
                    Diagnostic::error(node.span, format!("variable `{}`: {}", key.name, condition.message));
                mistakes.push(mistake.beside(condition.check.span, "the condition"));
            }
            Ok(_) => mistakes.push(Diagnostic::error(condition.check.span, "a condition is true or false")),
            Err(found) if mistakes.len() == before => mistakes.extend(found),
            Err(_) => {}
        }
    }
}

fn too_large(key: &Key) -> Diagnostic {
    let limit = in_words(budget::VARIABLES_IN_ALL as u64);
    let message = format!("with the value of `{}`, the plan's variables are larger than {limit}", key.name);
    Diagnostic::error(key.span, message).help("put large texts into template files")
}

/// The name of the plan, or of the chosen stage's instance. Each stage has a name of its own, because everything
/// that belongs to an instance goes by its name.
///
/// # Errors
/// An expression that fails, a name that cannot be, and a name that two stages have.
pub fn name_of_instance(
    document: &Document,
    registry: &'static Registry,
    vars: &Map<String, Value>,
) -> Result<String, Vec<Diagnostic>> {
    let node = declared_name(document, document.stage());
    let mut mistakes = Vec::new();
    Names::of_section(document, registry).without_outputs().check(node, &Shape::any(), &mut mistakes);
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let name = name_in(document, document.stage(), vars)?;
    if let Some(help) = name_mistake(&name) {
        let message = format!("`{name}` cannot be a plan's name");
        return Err(vec![Diagnostic::error(node.span, message).help(help)]);
    }
    let others = document.stages.iter().enumerate().filter(|(index, _)| Some(*index) != document.stage);
    for (_, other) in others {
        // What is wrong in another stage is reported when that one is chosen.
        let values = document.variables.values(Some(other), &mut Vec::new());
        let same = values_in(document, other, &values)
            .and_then(|vars| name_in(document, Some(other), &vars).ok())
            .is_some_and(|of_other| of_other == name);
        if same {
            let message = format!("stage `{}` has the name `{name}` too", other.id.name);
            return Err(vec![Diagnostic::error(node.span, message).help(
                "each stage needs a name of its own, for its journal, lock and ownership tags: write `{{ stage }}` into it",
            )]);
        }
    }
    Ok(name)
}

fn declared_name<'a>(document: &'a Document, stage: Option<&'a Stage>) -> &'a Node {
    stage.and_then(|stage| stage.name.as_ref()).unwrap_or(&document.declared_name)
}

fn name_in(
    document: &Document,
    stage: Option<&Stage>,
    vars: &Map<String, Value>,
) -> Result<String, Vec<Diagnostic>> {
    let node = declared_name(document, stage);
    let text = node.text().unwrap_or_default();
    let is_own = stage.is_some_and(|stage| stage.name.is_some());
    match (expression::is_plain(text), stage) {
        (true, Some(stage)) if !is_own => Ok(format!("{text}-{}", stage.id.name)),
        (true, _) => Ok(text.to_owned()),
        (false, _) => {
            let value = walk::evaluate(node, &Shape::any(), &with_stage(vars, stage))?;
            Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        }
    }
}

/// The variables in another stage, as far as they can be evaluated.
fn values_in(document: &Document, stage: &Stage, values: &[(Key, Node)]) -> Option<Map<String, Value>> {
    let mut vars = Map::new();
    for (key, node) in values {
        let value = evaluate(document, Some(stage), &key.name, node, &vars).ok()?;
        vars.insert(key.name.clone(), value);
    }
    Some(vars)
}
