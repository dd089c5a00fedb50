//! Evaluation of everything below a node: values and the plan's own keys, as the shape of each place says.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::expression;
use super::shape::{Entry, Shape, type_of};
use crate::plan::{Diagnostic, Key, Node, NodeValue, Span};
use crate::template::Context;
use crate::template::placeholder::{Family, shield};

/// The field whose text is not evaluated: a template file's name or a secret's template, which sees
/// other values than the plan's expressions do.
const VERBATIM: &str = "template";

/// The node's value with every expression evaluated over `context`.
///
/// # Errors
/// Every expression that fails, every scalar that YAML would change, and keys that become the same,
/// with their places.
pub fn evaluate(node: &Node, shape: &Shape<'_>, context: &Context) -> Result<Value, Vec<Diagnostic>> {
    let mut walk = Walk { context, mistakes: Vec::new() };
    let value = walk.value(node, shape);
    if walk.mistakes.is_empty() { Ok(value) } else { Err(walk.mistakes) }
}

/// A text that is evaluated.
pub struct Text<'a> {
    /// The text in the plan.
    pub written: &'a str,
    /// Where.
    pub span: Span,
    /// The placeholders that belong to the server there.
    pub placeholders: Option<Family>,
}

/// Calls `visit` with every text below that is evaluated, keys included.
pub fn texts<'a>(node: &'a Node, shape: &Shape<'_>, visit: &mut dyn FnMut(Text<'a>)) {
    let placeholders = shape.placeholders();
    match &node.value {
        NodeValue::String(text) => visit(Text { written: text, span: node.span, placeholders }),
        NodeValue::List(items) => {
            let shape = shape.item();
            for item in items {
                texts(item, &shape, visit);
            }
        }
        NodeValue::Map(entries) => {
            for (key, node) in entries {
                match shape.entry(&key.name) {
                    Entry::Field(_) if is_verbatim(key, node) => {}
                    Entry::Field(shape) => texts(node, &shape, visit),
                    Entry::Own(shape) => {
                        visit(Text { written: &key.name, span: key.span, placeholders });
                        texts(node, &shape, visit);
                    }
                    // An unknown field is reported as a separate mistake.
                    Entry::Unknown => texts(node, &Shape::any(), visit),
                }
            }
        }
        NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) => {}
    }
}

/// A value that stands as it is, without expressions.
///
/// # Errors
/// As [`evaluate`], for scalars.
pub fn scalar(node: &Node, shape: &Shape<'_>) -> Result<Value, Diagnostic> {
    let value = node.to_value();
    let Some(source) = &node.source else { return Ok(value) };
    let native = type_of(&value);
    if shape.wants_text(native) {
        return match value {
            Value::Null => {
                let mistake = Diagnostic::error(node.span, "expected text, found nothing");
                Err(mistake.help(format!("put text in quotes: `\"{source}\"`")))
            }
            _ => Ok(Value::from(source.as_ref())),
        };
    }
    let may_be_text = shape.is_untyped() || (shape.takes("string") && !value.is_null());
    let Some(mistake) = node.changed_by_yaml().pop().filter(|_| may_be_text) else { return Ok(value) };
    let help = mistake.help.clone().unwrap_or_default();
    Err(match value.is_f64() {
        true => mistake.help(format!("{help}; write a number as `\"{{{{ {value} }}}}\"`")),
        false => mistake,
    })
}

fn is_verbatim(key: &Key, node: &Node) -> bool {
    key.name == VERBATIM && node.as_str().is_some()
}

struct Walk<'a> {
    context: &'a Context,
    mistakes: Vec<Diagnostic>,
}

impl Walk<'_> {
    fn value(&mut self, node: &Node, shape: &Shape<'_>) -> Value {
        match &node.value {
            NodeValue::String(text) => {
                let value = self.text(text, node.span, shape.placeholders());
                fit(value, shape)
            }
            NodeValue::List(items) => {
                let shape = shape.item();
                items.iter().map(|item| self.value(item, &shape)).collect()
            }
            NodeValue::Map(entries) => self.map(entries, shape),
            NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) => {
                scalar(node, shape).unwrap_or_else(|mistake| self.refuse(mistake))
            }
        }
    }

    fn map(&mut self, entries: &[(Key, Node)], shape: &Shape<'_>) -> Value {
        let mut fields = Map::new();
        let mut places: HashMap<String, Span> = HashMap::new();
        for (key, node) in entries {
            let (name, value) = match shape.entry(&key.name) {
                Entry::Field(_) if is_verbatim(key, node) => (key.name.clone(), node.to_value()),
                Entry::Field(shape) => (key.name.clone(), self.value(node, &shape)),
                Entry::Own(below) => {
                    let Some(name) = self.key(key, shape.placeholders()) else { continue };
                    (name, self.value(node, &below))
                }
                Entry::Unknown => {
                    self.unknown(key);
                    (key.name.clone(), self.value(node, &Shape::any()))
                }
            };
            if let Some(first) = places.insert(name.clone(), key.span) {
                self.mistakes.push(same_key(&name, first, key.span));
            }
            fields.insert(name, value);
        }
        Value::Object(fields)
    }

    /// The text of a key of the plan's own.
    fn key(&mut self, key: &Key, placeholders: Option<Family>) -> Option<String> {
        match self.text(&key.name, key.span, placeholders) {
            Value::String(text) if !text.is_empty() => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            // The expression is wrong and has been reported, or its value is not a key.
            other => {
                if self.mistakes.last().is_none_or(|mistake| mistake.span != Some(key.span)) {
                    let found = if other == "" { "empty text" } else { type_of(&other) };
                    self.mistakes.push(Diagnostic::error(key.span, format!("a key is text, found {found}")));
                }
                None
            }
        }
    }

    /// The names of fields are not evaluated; unknown ones without an expression are reported with the
    /// fields that there are.
    fn unknown(&mut self, key: &Key) {
        if !expression::is_plain(&key.name) {
            let mistake = Diagnostic::error(key.span, "the name of a field cannot be an expression");
            self.mistakes.push(mistake);
        }
    }

    fn text(&mut self, text: &str, span: Span, placeholders: Option<Family>) -> Value {
        expression::evaluate(&shield(text, placeholders), self.context)
            .unwrap_or_else(|message| self.refuse(Diagnostic::error(span, message)))
    }

    fn refuse(&mut self, mistake: Diagnostic) -> Value {
        self.mistakes.push(mistake);
        Value::Null
    }
}

fn same_key(name: &str, first: Span, second: Span) -> Diagnostic {
    Diagnostic::error(second, format!("the key `{name}` is there twice")).beside(first, "the first")
}

/// The result of an expression, as text where text is wanted.
fn fit(value: Value, shape: &Shape<'_>) -> Value {
    if shape.is_untyped() {
        return value;
    }
    match value {
        Value::Number(_) | Value::Bool(_) if shape.wants_text(type_of(&value)) => {
            Value::String(value.to_string())
        }
        Value::Array(items) => {
            let shape = shape.item();
            items.into_iter().map(|item| fit(item, &shape)).collect()
        }
        Value::Object(fields) => {
            let below = |name: &str| match shape.entry(name) {
                Entry::Field(shape) | Entry::Own(shape) => shape,
                Entry::Unknown => Shape::any(),
            };
            let fields = fields.into_iter().map(|(name, value)| {
                let shape = below(&name);
                (name, fit(value, &shape))
            });
            Value::Object(fields.collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::providers::PROVIDERS;
    use crate::resolve::shape::Schema;

    fn fields(kind: &str, yaml: &str) -> Result<Value, Vec<String>> {
        let node = Node::parse(yaml, 0).expect("YAML");
        let schema = Schema::of_kind(PROVIDERS.find(kind).expect("a kind"));
        let context = Context::from(json!({ "team": "pay", "n": 42, "on": true, "tags": { "cost": 7 } }));
        evaluate(&node, &schema.shape(), &context)
            .map_err(|found| found.into_iter().map(|mistake| mistake.message).collect())
    }

    #[test]
    fn keys_are_evaluated_like_values() {
        let policy = "rules: { \"secret/{{ team }}/*\": [read], \"{{ n }}\": { capabilities: [list] } }";
        let found = fields("vault.policy", policy);
        assert_eq!(
            found,
            Ok(json!({ "rules": { "secret/pay/*": ["read"], "42": { "capabilities": ["list"] } } }))
        );
        let secret = "{ data: { \"{{ team }}_key\": x, template: \"{{ team }}\" }, metadata: { \"o-{{ team }}\": a } }";
        let found = fields("vault.kv_secret", secret).expect("valid");
        assert_eq!(found["data"], json!({ "pay_key": "x", "template": "pay" }));
        assert_eq!(found["metadata"], json!({ "o-pay": "a" }));
        let trust = "document: { Statement: [{ Condition: { StringEquals: { \"aws:PrincipalTag/{{ team }}\": x } } }] }";
        let found = fields("aws.iam_policy", trust).expect("valid");
        assert!(found.to_string().contains("aws:PrincipalTag/pay"), "{found}");
        let tags = fields("aws.s3_bucket", "tags: { \"{{ team }}\": \"{{ n }}\" }").expect("valid");
        assert_eq!(tags, json!({ "tags": { "pay": "42" } }));
    }

    #[test]
    fn duplicate_or_invalid_evaluated_keys_are_refused() {
        let found = fields("vault.policy", "rules: { \"a/{{ team }}\": [read], a/pay: [list] }");
        assert_eq!(found, Err(vec!["the key `a/pay` is there twice".to_owned()]));
        let found = fields("vault.policy", "rules: { \"{{ tags }}\": [read], \"{{ '' }}\": [list] }");
        assert_eq!(
            found.expect_err("no keys"),
            ["a key is text, found object", "a key is text, found empty text"]
        );
        let found = fields("vault.policy", "{ \"{{ team }}\": a }");
        assert_eq!(found, Err(vec!["the name of a field cannot be an expression".to_owned()]));
    }

    /// Everything that YAML may read as something else than text, unless it says so itself.
    const SCALARS: [&str; 23] = [
        "0042",
        "1.10",
        "012345678901",
        "81111e1",
        "on",
        "2026-01-01",
        "0x1F",
        "1_000",
        "+5",
        ".5",
        "1e3",
        "yes",
        "True",
        "false",
        "0o17",
        "1.",
        "-0",
        "123456789012345678901234567890",
        "12:30:45",
        "0b11",
        "-.5e-3",
        "99999999999999999999",
        "0.1e1",
    ];

    #[test]
    fn scalars_in_text_fields_arrive_as_written() {
        for scalar in SCALARS {
            let yaml = format!("{{ name: {scalar}, tags: {{ x: {scalar}, {scalar}: y }} }}");
            let found = fields("aws.s3_bucket", &yaml);
            assert_eq!(found, Ok(json!({ "name": scalar, "tags": { "x": scalar, (scalar): "y" } })));
            let block = format!("name:   {scalar}   # a remark\ntags:\n  x: {scalar}\n");
            assert_eq!(
                fields("aws.s3_bucket", &block),
                Ok(json!({ "name": scalar, "tags": { "x": scalar } }))
            );
            let list = format!("creation_statements:\n  - {scalar}\n  - &a {scalar}\n  - *a\n");
            let found = fields("vault.database_role", &list);
            assert_eq!(found, Ok(json!({ "creation_statements": [scalar, scalar, scalar] })));
        }
    }

    #[test]
    fn scalars_in_untyped_places_are_json_or_quoted() {
        for scalar in SCALARS {
            let text = Node::parse(scalar, 0).expect("YAML").as_str() == Some(scalar);
            for yaml in [format!("x: {scalar}"), format!("x: [ {{ y: {scalar} }} ]")] {
                let found =
                    evaluate(&Node::parse(&yaml, 0).expect("YAML"), &Shape::any(), &Context::default());
                assert_eq!(found.is_ok(), text || scalar == "false", "{yaml}: {found:?}");
            }
            let quoted = evaluate(
                &Node::parse(&format!("'{scalar}'"), 0).expect("YAML"),
                &Shape::any(),
                &Context::default(),
            );
            assert_eq!(quoted.ok(), Some(json!(scalar)));
            let data = fields("vault.kv_secret", &format!("data: {{ x: {scalar} }}"));
            assert_eq!(data.is_ok(), text || scalar == "false", "{scalar}: {data:?}");
        }
        let json = "{ a: 42, b: -7, c: true, d: null, e: , f: 18446744073709551615, g: \"{{ 0.5 }}\" }";
        let found = evaluate(&Node::parse(json, 0).expect("YAML"), &Shape::any(), &Context::default());
        let wanted = json!({ "a": 42, "b": -7, "c": true, "d": null, "e": null, "f": 18_446_744_073_709_551_615_u64, "g": 0.5 });
        assert_eq!(found.ok(), Some(wanted));
    }

    #[test]
    fn null_is_not_accepted_as_text() {
        let found = fields("aws.s3_bucket", "tags: { x: ~ }");
        assert_eq!(found, Err(vec!["expected text, found nothing".to_owned()]));
        let found = fields("aws.kms_key", "{ alias: alias/x, tags: { a: \"{{ on }}\", b: \"{{ n }}\" } }");
        assert_eq!(found.map(|fields| fields["tags"].clone()), Ok(json!({ "a": "true", "b": "42" })));
        let found = fields("aws.s3_bucket", "tags: \"{{ tags }}\"");
        assert_eq!(found, Ok(json!({ "tags": { "cost": "7" } })));
    }
}
