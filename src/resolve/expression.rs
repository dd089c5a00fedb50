//! Evaluation of `{{ … }}` in the strings of a plan.

use std::collections::BTreeSet;

use minijinja::Value as Dynamic;
use minijinja::value::Serde;
use serde_json::{Map, Value};

use super::template::{describe, environment};
use crate::plan::{Diagnostic, Document, Key, Node, NodeValue, closest};
use crate::resource::registry;

/// The key whose text is left alone: a template file's name or a secret's template, which sees
/// other values than the plan's expressions do.
const VERBATIM: &str = "template";
/// Names that are neither variables nor steps.
const BUILT_IN: [&str; 4] = ["plan", "each", "aws", "loop"];

/// The node's value with every expression evaluated over `context`.
///
/// A string that is exactly one expression keeps the expression's type.
///
/// # Errors
/// Every expression that fails, with its place.
pub fn evaluate(node: &Node, context: &Value) -> Result<Value, Vec<Diagnostic>> {
    let mut mistakes = Vec::new();
    let value = walk(node, context, &mut mistakes);
    if mistakes.is_empty() { Ok(value) } else { Err(mistakes) }
}

fn walk(node: &Node, context: &Value, mistakes: &mut Vec<Diagnostic>) -> Value {
    match &node.value {
        NodeValue::String(text) => evaluate_text(text, context).unwrap_or_else(|message| {
            mistakes.push(Diagnostic::error(node.span, message));
            Value::Null
        }),
        NodeValue::List(items) => items.iter().map(|item| walk(item, context, mistakes)).collect(),
        NodeValue::Map(entries) => Value::Object(
            entries.iter().map(|(key, value)| entry(key, value, context, mistakes)).collect::<Map<_, _>>(),
        ),
        NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) => node.to_value(),
    }
}

fn entry(key: &Key, node: &Node, context: &Value, mistakes: &mut Vec<Diagnostic>) -> (String, Value) {
    if key.name == VERBATIM && node.as_str().is_some() {
        return (key.name.clone(), node.to_value());
    }
    (key.name.clone(), walk(node, context, mistakes))
}

fn evaluate_text(text: &str, context: &Value) -> Result<Value, String> {
    let context = || Dynamic::from(Serde(context));
    match shape(text) {
        Shape::Plain => Ok(Value::String(text.to_owned())),
        Shape::Expression(expression) => {
            let environment = environment();
            let compiled = environment.compile_expression(expression).map_err(|error| describe(&error))?;
            let value = compiled.eval(context()).map_err(|error| describe(&error))?;
            // Strict mode lets a bare undefined expression pass.
            if value.is_undefined() {
                return Err(format!("`{}` is undefined", expression.trim()));
            }
            serde_json::to_value(value).map_err(|error| error.to_string())
        }
        Shape::Template => {
            environment().render_str(text, context()).map(Value::String).map_err(|error| describe(&error))
        }
    }
}

/// How a string is evaluated.
enum Shape<'a> {
    Plain,
    /// Exactly one `{{ … }}`: the text between the braces.
    Expression(&'a str),
    Template,
}

fn shape(text: &str) -> Shape<'_> {
    if !["{{", "{%", "{#"].iter().any(|open| text.contains(open)) {
        return Shape::Plain;
    }
    let inner = text.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    match inner {
        Some(inner) if !inner.contains("{{") && !inner.contains("}}") => Shape::Expression(inner),
        _ => Shape::Template,
    }
}

/// The ids of the steps that the expressions below `node` refer to, before `for_each`. Names that
/// are nothing, and outputs that the kind does not have, are mistakes.
pub fn references(node: &Node, document: &Document, mistakes: &mut Vec<Diagnostic>) -> Vec<String> {
    let mut found = BTreeSet::new();
    collect(node, &mut |text, node| {
        let names = match undeclared(text) {
            Ok(names) => names,
            Err(message) => return mistakes.push(Diagnostic::error(node.span, message)),
        };
        for dotted in names {
            let (name, rest) = dotted.split_once('.').unwrap_or((&dotted, ""));
            if document.step(name).is_some() {
                found.insert(name.to_owned());
                mistakes.extend(unknown_output(document, name, rest).map(|mistake| mistake(node)));
            } else if !is_known(document, name) {
                mistakes.push(unknown_name(document, name, node));
            }
        }
    });
    found.into_iter().collect()
}

fn collect<'a>(node: &'a Node, visit: &mut dyn FnMut(&'a str, &'a Node)) {
    match &node.value {
        NodeValue::String(text) => visit(text, node),
        NodeValue::List(items) => items.iter().for_each(|item| collect(item, visit)),
        NodeValue::Map(entries) => entries
            .iter()
            .filter(|(key, value)| key.name != VERBATIM || value.as_str().is_none())
            .for_each(|(_, value)| collect(value, visit)),
        NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) => {}
    }
}

/// The dotted names that a string's expressions need from outside, sorted.
fn undeclared(text: &str) -> Result<BTreeSet<String>, String> {
    let environment = environment();
    match shape(text) {
        Shape::Plain => Ok(BTreeSet::new()),
        Shape::Expression(expression) => environment
            .compile_expression(expression)
            .map(|compiled| compiled.undeclared_variables(true).into_iter().collect())
            .map_err(|error| describe(&error)),
        Shape::Template => environment
            .template_from_str(text)
            .map(|template| template.undeclared_variables(true).into_iter().collect())
            .map_err(|error| describe(&error)),
    }
}

fn is_known(document: &Document, name: &str) -> bool {
    BUILT_IN.contains(&name) || document.vars.iter().any(|(key, _)| key.name == name)
}

fn unknown_name(document: &Document, name: &str, node: &Node) -> Diagnostic {
    let vars = document.vars.iter().map(|(key, _)| key.name.as_str());
    let steps = document.steps.iter().map(|step| step.id.name.as_str());
    Diagnostic::error(node.span, format!("there is no variable or step `{name}`"))
        .did_you_mean(closest(name, vars.chain(steps)))
}

/// The mistake of referring to an output that the step's kind does not have.
fn unknown_output<'a>(
    document: &'a Document,
    name: &'a str,
    rest: &'a str,
) -> Option<impl FnOnce(&Node) -> Diagnostic + use<'a>> {
    let step = document.step(name)?;
    let kind = registry::find(&step.kind.0)?;
    let output = rest.split('.').next().unwrap_or_default();
    // A repeated step's instances come first, by key.
    if step.for_each.is_some() || output.is_empty() {
        return None;
    }
    let outputs = kind.output_names();
    if outputs.iter().any(|known| known == output) {
        return None;
    }
    Some(move |node: &Node| {
        let message = format!("step `{name}` ({}) has no output `{output}`", kind.name());
        let mistake = Diagnostic::error(node.span, message);
        match closest(output, outputs.iter().map(String::as_str)) {
            Some(candidate) => mistake.help(format!("did you mean `{candidate}`?")),
            None => mistake.help(format!("its outputs are {}", outputs.join(", "))),
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_expression_keeps_its_type_and_text_does_not() {
        let context = json!({ "n": 3, "list": ["a"], "s": "x" });
        assert_eq!(evaluate_text("{{ n }}", &context), Ok(json!(3)));
        assert_eq!(evaluate_text(" {{ list }} ", &context), Ok(json!(["a"])));
        assert_eq!(evaluate_text("{{ s }}-{{ n }}", &context), Ok(json!("x-3")));
        assert_eq!(evaluate_text("no braces", &context), Ok(json!("no braces")));
    }

    #[test]
    fn undefined_is_an_error_everywhere() {
        let context = json!({ "a": {} });
        for text in ["{{ b }}", "x{{ b }}", "{{ a.b }}", "{{ a.b.c }}", "{% if b %}x{% endif %}"] {
            assert!(evaluate_text(text, &context).is_err(), "{text}");
        }
    }

    #[test]
    fn endless_templates_run_out_of_fuel() {
        let text = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        assert!(evaluate_text(text, &json!({})).is_err());
    }
}
