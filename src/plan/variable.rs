//! Variables: what the plan declares of them, and the values that stages and the caller give them.

mod rules;

pub use rules::{Rules, VariableType};

use super::diagnostic::Diagnostic;
use super::node::{Key, Node, NodeValue};
use super::stage::Stage;
use crate::suggest::closest;

/// A declared variable.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its name, and where it stands.
    pub key: Key,
    /// The default; nothing where the variable has to be given.
    pub default: Node,
    /// Its type and conditions, where it is declared with `type`.
    pub rules: Option<Rules>,
}

/// The variables of a plan.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    /// In the order declared.
    pub declared: Vec<Variable>,
    /// The values that the caller gives.
    pub given: Vec<(String, Node)>,
}

impl Variables {
    /// Adds a declaration: a value, or a map with `type`.
    pub(super) fn declare(&mut self, key: &Key, node: &Node, mistakes: &mut Vec<Diagnostic>) {
        let (rules, default) = match Rules::read(node, mistakes) {
            Some((rules, default)) => (Some(rules), default),
            None => (None, node.clone()),
        };
        self.declared.push(Variable { key: key.clone(), default, rules });
    }

    /// The rules of a variable.
    pub fn rules(&self, name: &str) -> Option<&Rules> {
        self.find(name).and_then(|variable| variable.rules.as_ref())
    }

    fn find(&self, name: &str) -> Option<&Variable> {
        self.declared.iter().find(|variable| variable.key.name == name)
    }

    /// Whether the caller gives the variable.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.iter().any(|(known, _)| known == name)
    }

    /// The value of each variable in this stage, in the order declared: the caller's, else the stage's, else
    /// the default.
    pub fn values(&self, stage: Option<&Stage>, mistakes: &mut Vec<Diagnostic>) -> Vec<(Key, Node)> {
        for (key, _) in stage.map(|stage| stage.vars.as_slice()).unwrap_or_default() {
            mistakes.extend(self.undeclared(key.span.into(), &key.name));
        }
        for (name, _) in &self.given {
            mistakes.extend(self.undeclared(None, name));
        }
        self.declared
            .iter()
            .map(|variable| (variable.key.clone(), self.value(variable, stage, mistakes)))
            .collect()
    }

    fn value(&self, variable: &Variable, stage: Option<&Stage>, mistakes: &mut Vec<Diagnostic>) -> Node {
        let name = &variable.key.name;
        let of_stage = stage.and_then(|stage| stage.vars.iter().find(|(key, _)| key.name == *name));
        let of_caller = self.given.iter().rev().find(|(known, _)| known == name);
        let mut value = variable.default.clone();
        if let Some((_, node)) = of_stage {
            match variable.fit(node) {
                Ok(fitted) => value = Node { span: node.span, ..fitted },
                Err(mistake) => mistakes.push(Diagnostic { span: Some(node.span), ..mistake }),
            }
        }
        if let Some((_, node)) = of_caller {
            match variable.fit(node) {
                Ok(fitted) => value = Node { span: variable.default.span, ..fitted },
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if matches!(value.value, NodeValue::Null) {
            mistakes.push(variable.without_value(stage));
        }
        value
    }

    /// The mistake of giving a value to a variable that does not exist.
    fn undeclared(&self, span: Option<super::Span>, name: &str) -> Option<Diagnostic> {
        if self.find(name).is_some() {
            return None;
        }
        let candidate = closest(name, self.declared.iter().map(|variable| variable.key.name.as_str()));
        let mistake = Diagnostic::error(span, format!("the plan declares no variable `{name}`"));
        Some(match candidate {
            None => mistake.help(format!("declare it: `vars: {{ {name}: null }}`")),
            candidate => mistake.did_you_mean(candidate),
        })
    }
}

impl Variable {
    fn without_value(&self, stage: Option<&Stage>) -> Diagnostic {
        let name = &self.key.name;
        let meaning = self.rules.as_ref().and_then(|rules| rules.description.as_deref());
        let meaning = meaning.map(|text| format!("{text}; ")).unwrap_or_default();
        let of_stage = stage.map(|stage| format!(", or in the `vars` of stage `{}`", stage.id.name));
        Diagnostic::error(self.key.span, format!("variable `{name}` has no value")).help(format!(
            "{meaning}give one with `--var {name}=…` or in a `--var-file`{}",
            of_stage.unwrap_or_default()
        ))
    }

    /// A value as the declaration wants it: a text stays text, whatever it looks like, and a number or a truth
    /// value must be one. Lists and maps may be written as JSON.
    ///
    /// # Errors
    /// When the value cannot be of the variable's type.
    pub(super) fn fit(&self, value: &Node) -> Result<Node, Diagnostic> {
        let name = &self.key.name;
        let wanted = match (&self.rules, &self.default.value) {
            (Some(rules), _) => rules.kind,
            (None, NodeValue::String(text)) if !text.contains("{{") && !is_nested(value) => {
                VariableType::String
            }
            // An undeclared type is the one that is given.
            (None, NodeValue::Null | NodeValue::String(_)) => return Ok(value.clone()),
            (None, NodeValue::Bool(_)) => VariableType::Boolean,
            (None, NodeValue::Number(_)) => VariableType::Number,
            (None, NodeValue::List(_)) => VariableType::List,
            (None, NodeValue::Map(_)) => VariableType::Map,
        };
        wanted.of(value).ok_or_else(|| {
            let message = format!(
                "variable `{name}` is {} in the plan, and the value given is {}",
                wanted.describe(),
                value.describe()
            );
            let mistake = Diagnostic::error(None, message);
            match wanted {
                VariableType::List => mistake
                    .help(format!("write JSON, `--var '{name}=[\"a\"]'`, or give it in a `--var-file`")),
                VariableType::Map => mistake
                    .help(format!("write JSON, `--var '{name}={{\"a\": 1}}'`, or give it in a `--var-file`")),
                _ => mistake,
            }
        })
    }
}

fn is_nested(node: &Node) -> bool {
    matches!(node.value, NodeValue::List(_) | NodeValue::Map(_))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::given::of_argument;
    use super::*;

    fn variables(text: &str) -> (Variables, Vec<Diagnostic>) {
        let (mut variables, mut mistakes) = (Variables::default(), Vec::new());
        for (key, node) in Node::parse(text, 0).expect("YAML").entries() {
            variables.declare(key, node, &mut mistakes);
        }
        (variables, mistakes)
    }

    fn given(default: &str, argument: &str) -> Result<Value, String> {
        let (mut variables, _) = variables(&format!("x: {default}"));
        variables.given = vec![("x".to_owned(), of_argument(argument))];
        let mut mistakes = Vec::new();
        let values = variables.values(None, &mut mistakes);
        match mistakes.first() {
            None => Ok(values[0].1.to_value()),
            Some(mistake) => Err(mistake.message.clone()),
        }
    }

    #[test]
    fn default_determines_the_type_of_an_argument() {
        for text in
            ["1.10", "012345678901", "123456789012", "true", "{{ y }}", "a=b", "", "null", "1e3", " 1"]
        {
            assert_eq!(given("dev", text), Ok(json!(text)), "{text}");
            assert_eq!(given("\"3\"", text), Ok(json!(text)), "{text}");
            assert_eq!(given("{ type: string }", text), Ok(json!(text)), "{text}");
        }
        assert_eq!(given("3", "42"), Ok(json!(42)));
        assert_eq!(given("true", "false"), Ok(json!(false)));
        assert_eq!(given("[a]", "[\"b\", 1]"), Ok(json!(["b", 1])));
        assert_eq!(given("{ a: 1 }", "{\"b\": [true]}"), Ok(json!({ "b": [true] })));
        for (default, argument) in
            [("3", "03"), ("3", "x"), ("true", "yes"), ("[a]", "b"), ("[a]", "{}"), ("{ a: 1 }", "[1")]
        {
            assert!(given(default, argument).is_err(), "{default} {argument}");
        }
    }

    #[test]
    fn argument_without_default_parses_canonical_json_only() {
        for text in ["1.10", "012345678901", "99999999999999999999", "1e3", "-0", "yes", "True"] {
            assert_eq!(given("null", text), Ok(json!(text)));
        }
        assert_eq!(given("null", "-42"), Ok(json!(-42)));
        assert_eq!(given("\"{{ a }}\"", "true"), Ok(json!(true)));
    }

    #[test]
    fn typed_variable_takes_values_of_its_type_only() {
        let right = [
            ("integer", "3", json!(3)),
            ("number", "1.5", json!(1.5)),
            ("boolean", "true", json!(true)),
            ("list", "[1, \"a\"]", json!([1, "a"])),
            ("map", "{\"a\": {\"b\": null}}", json!({ "a": { "b": null } })),
            ("string", "3", json!("3")),
        ];
        for (kind, argument, value) in right {
            assert_eq!(given(&format!("{{ type: {kind} }}"), argument), Ok(value), "{kind}");
        }
        let wrong = [
            ("integer", "1.5"),
            ("integer", "x"),
            ("number", "1x"),
            ("boolean", "1"),
            ("list", "a"),
            ("map", "[]"),
        ];
        for (kind, argument) in wrong {
            assert!(given(&format!("{{ type: {kind} }}"), argument).is_err(), "{kind} {argument}");
        }
    }

    #[test]
    fn stage_value_comes_before_default_and_after_caller() {
        let (mut variables, _) = variables("a: 1\nb: 2\nc: 3\n");
        let mut mistakes = Vec::new();
        let section = Node::parse("dev: { vars: { b: 20, c: 30 } }", 0).expect("YAML");
        let stages = super::super::stage::read(&section, &mut mistakes);
        variables.given = vec![("c".to_owned(), of_argument("300"))];
        let values = variables.values(stages.first(), &mut mistakes);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let values: Vec<Value> = values.iter().map(|(_, node)| node.to_value()).collect();
        assert_eq!(values, [json!(1), json!(20), json!(300)]);
    }

    #[test]
    fn stage_variable_that_is_undeclared_or_mistyped_is_refused() {
        let (variables, _) = variables("size: 1\n");
        for (stage, message) in [
            ("dev: { vars: { siz: 2 } }", "the plan declares no variable `siz`"),
            (
                "dev: { vars: { size: big } }",
                "variable `size` is a number in the plan, and the value given is a string",
            ),
        ] {
            let mut mistakes = Vec::new();
            let stages = super::super::stage::read(&Node::parse(stage, 0).expect("YAML"), &mut mistakes);
            variables.values(stages.first(), &mut mistakes);
            assert_eq!(mistakes.len(), 1, "{mistakes:?}");
            assert_eq!(mistakes[0].message, message);
            assert!(mistakes[0].span.is_some_and(|span| span.start > 0));
        }
    }

    #[test]
    fn variable_without_value_says_what_it_is_for() {
        let (variables, _) = variables("size: { type: integer, description: Nodes of Vault }\n");
        let mut mistakes = Vec::new();
        variables.values(None, &mut mistakes);
        assert_eq!(mistakes[0].message, "variable `size` has no value");
        assert!(
            mistakes[0].help.as_deref().is_some_and(|help| help.starts_with("Nodes of Vault; ")),
            "{mistakes:?}"
        );
    }
}
