//! Rules of `validate` that a plan silences: `lint: { allow: { RULE: "the reason" } }`.

use super::diagnostic::{Diagnostic, Span};
use super::node::{Key, Node, NodeValue};

/// One rule that a plan, or one of its steps, silences.
#[derive(Clone, Debug)]
pub struct Silence {
    /// The rule's id.
    pub rule: Key,
    /// Why; may be empty, which is a finding of its own.
    pub reason: String,
    /// Where the reason stands.
    pub reason_span: Span,
}

/// The rules that a `lint:` section silences. A section of another shape is a mistake.
pub fn read(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Vec<Silence> {
    const FORM: &str = "write `lint: { allow: { RULE: \"the reason\" } }`";
    let mut mistake = |span: Span, what: &str| mistakes.push(Diagnostic::error(span, what).help(FORM));
    if !matches!(node.value, NodeValue::Map(_)) {
        mistake(node.span, "`lint` is a map");
    }
    for (key, _) in node.entries().iter().filter(|(key, _)| key.name != "allow") {
        mistake(key.span, &format!("unknown key `{}`", key.name));
    }
    let Some(allow) = node.get("allow") else { return Vec::new() };
    if !matches!(allow.value, NodeValue::Map(_)) {
        mistake(allow.span, "`allow` is a map from rule to reason");
    }
    let mut silences = Vec::new();
    for (rule, reason) in allow.entries() {
        let text = match (reason.text(), &reason.value) {
            (Some(text), _) => text.trim().to_owned(),
            (None, NodeValue::Null) => String::new(),
            _ => {
                mistake(reason.span, "a reason is a text");
                continue;
            }
        };
        silences.push(Silence { rule: rule.clone(), reason: text, reason_span: reason.span });
    }
    silences
}
