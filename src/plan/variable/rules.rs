//! The type and the conditions of a variable: `{ type: integer, default: 3, one_of: [ 1, 3, 5 ] }`.

use regex_lite::Regex;
use serde_json::Value;

use super::super::diagnostic::Diagnostic;
use super::super::keys::unknown_key;
use super::super::node::{Key, Node, NodeValue};

/// The keys of a declaration with a type.
const KEYS: [&str; 8] = ["type", "default", "description", "one_of", "pattern", "min", "max", "conditions"];

/// The type of a variable's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariableType {
    /// Text, whatever it looks like.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A list.
    List,
    /// A map.
    Map,
}

/// The conditions on the values of a variable.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Their type.
    pub kind: VariableType,
    /// The purpose of the variable.
    pub description: Option<String>,
    /// The only values, if not empty.
    one_of: Vec<Value>,
    /// A pattern that texts match as a whole, as it is written and compiled.
    pattern: Option<(String, Regex)>,
    /// The least number, or the least length of a text, a list or a map.
    min: Option<f64>,
    /// The greatest number or length.
    max: Option<f64>,
    /// Expressions that must be true.
    pub conditions: Vec<Condition>,
}

/// An expression over a variable and those before it that must be true.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The expression.
    pub check: Node,
    /// What to say when it is false.
    pub message: String,
}

impl VariableType {
    const ALL: [(&'static str, Self); 6] = [
        ("string", Self::String),
        ("integer", Self::Integer),
        ("number", Self::Number),
        ("boolean", Self::Boolean),
        ("list", Self::List),
        ("map", Self::Map),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// The type with an article, for messages.
    pub fn describe(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Boolean => "a boolean",
            Self::List => "a list",
            Self::Map => "a map",
        }
    }

    /// Whether a value is of this type.
    fn is_of(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::List => value.is_array(),
            Self::Map => value.is_object(),
        }
    }

    /// A value as this type: the text of a scalar, or JSON in a text. An expression stays as it is, because its
    /// value is not known yet.
    pub(super) fn of(self, node: &Node) -> Option<Node> {
        let text = match &node.value {
            NodeValue::String(text) => Some(text.as_str()),
            _ => None,
        };
        match (self, text) {
            (Self::String, None) if matches!(node.value, NodeValue::Bool(_) | NodeValue::Number(_)) => {
                let text = node.text().map_or_else(|| node.to_value().to_string(), str::to_owned);
                Some(Node { value: NodeValue::String(text), ..node.clone() })
            }
            (Self::Number | Self::List | Self::Map, Some(text)) if !text.contains("{{") => {
                let value = serde_json::from_str::<Value>(text).ok().filter(|value| self.is_of(value))?;
                Some(Node { span: node.span, ..Node::of(value) })
            }
            (_, Some(text)) if text.contains("{{") => Some(node.clone()),
            _ => self.is_of(&node.to_value()).then(|| node.clone()),
        }
    }
}

impl Rules {
    /// The rules and the default of a declaration; `None` for a plain value. A map counts as a declaration when
    /// its `type` is the name of a type, and nothing in it says that it is a value with such a key.
    pub(super) fn read(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<(Self, Node)> {
        let entries = node.entries();
        let kind = node.get("type").and_then(|node| VariableType::named(node.as_str()?));
        let is_key = |name: &str| KEYS.contains(&name);
        let is_meant =
            entries.len() == 1 || entries.iter().any(|(key, _)| key.name != "type" && is_key(&key.name));
        let kind = match kind {
            Some(kind) if is_meant => kind,
            _ => {
                mistakes.extend(without_type(node));
                return None;
            }
        };
        let mut rules = Self {
            kind,
            description: None,
            one_of: Vec::new(),
            pattern: None,
            min: None,
            max: None,
            conditions: Vec::new(),
        };
        for (key, value) in entries {
            rules.take(key, value, mistakes);
        }
        let none = Node { span: node.span, value: NodeValue::Null, source: None };
        let default = node.get("default").map_or(none, |default| rules.default(default, mistakes));
        Some((rules, default))
    }

    /// Takes one key of the declaration.
    fn take(&mut self, key: &Key, value: &Node, mistakes: &mut Vec<Diagnostic>) {
        let wanted = match (key.name.as_str(), &value.value) {
            ("type" | "default", _) => return,
            ("description", NodeValue::String(text)) => return self.description = Some(text.clone()),
            ("description", _) => "a string",
            ("one_of", NodeValue::List(items)) if !items.is_empty() => {
                return self.take_choices(items, mistakes);
            }
            ("one_of", _) => "a list of values",
            ("pattern", NodeValue::String(text)) if self.kind == VariableType::String => {
                return self.take_pattern(text, value, mistakes);
            }
            ("pattern", _) => "a regular expression, for a variable of type string",
            ("min", NodeValue::Number(number)) => return self.min = number.as_f64(),
            ("max", NodeValue::Number(number)) => return self.max = number.as_f64(),
            ("min" | "max", _) => "a number",
            ("conditions", NodeValue::List(items)) => {
                return self.conditions = items.iter().filter_map(|item| condition(item, mistakes)).collect();
            }
            ("conditions", _) => "a list",
            _ => {
                let help = format!("a variable has {}", KEYS.join(", "));
                return mistakes.push(unknown_key(key, KEYS, help));
            }
        };
        let message = format!("`{}` of a variable is {wanted}, found {}", key.name, value.describe());
        mistakes.push(Diagnostic::error(value.span, message));
    }

    fn take_choices(&mut self, items: &[Node], mistakes: &mut Vec<Diagnostic>) {
        self.one_of = items.iter().map(Node::to_value).collect();
        let other = items.iter().find(|item| !self.kind.is_of(&item.to_value()));
        mistakes.extend(other.map(|item| {
            let message =
                format!("the variable is {}, and this is {}", self.kind.describe(), item.describe());
            Diagnostic::error(item.span, message)
        }));
    }

    fn take_pattern(&mut self, text: &str, node: &Node, mistakes: &mut Vec<Diagnostic>) {
        match Regex::new(&format!("^(?:{text})$")) {
            Ok(pattern) => self.pattern = Some((text.to_owned(), pattern)),
            Err(error) => {
                let message = format!("this is not a regular expression: {error}");
                mistakes.push(Diagnostic::error(node.span, message));
            }
        }
    }

    fn default(&self, node: &Node, mistakes: &mut Vec<Diagnostic>) -> Node {
        if matches!(node.value, NodeValue::Null) {
            return node.clone();
        }
        self.kind.of(node).unwrap_or_else(|| {
            let message =
                format!("the variable is {}, and its default is {}", self.kind.describe(), node.describe());
            mistakes.push(Diagnostic::error(node.span, message));
            node.clone()
        })
    }

    /// Checks a value; the conditions are expressions, which [`crate::resolve`] evaluates.
    ///
    /// # Errors
    /// The condition on the value.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        if !self.kind.is_of(value) {
            return Err(format!("must be {}", self.kind.describe()));
        }
        if !self.one_of.is_empty() && !self.one_of.contains(value) {
            let values: Vec<String> = self.one_of.iter().map(plain).collect();
            return Err(format!("must be one of {}", values.join(", ")));
        }
        if let (Some((written, pattern)), Some(text)) = (&self.pattern, value.as_str())
            && !pattern.is_match(text)
        {
            return Err(format!("must match `{written}`"));
        }
        let (size, unit) = size(value);
        let least = self.min.filter(|min| size < *min).map(|min| format!("must be at least {min}{unit}"));
        let most = self.max.filter(|max| size > *max).map(|max| format!("must be at most {max}{unit}"));
        least.or(most).map_or(Ok(()), Err)
    }
}

/// A map that has all the keys of a declaration but `type`.
fn without_type(node: &Node) -> Option<Diagnostic> {
    let (entries, given) = (node.entries(), node.get("type"));
    let all = entries.iter().all(|(key, _)| KEYS.contains(&key.name.as_str()));
    if !all
        || !entries.iter().any(|(key, _)| ["default", "one_of", "description"].contains(&key.name.as_str()))
    {
        return None;
    }
    let names: Vec<&str> = VariableType::ALL.iter().map(|(name, _)| *name).collect();
    let message = match given {
        Some(_) => "this is not the type of a variable",
        None => "the declaration of a variable needs its `type`",
    };
    let span = given.map_or(node.span, |given| given.span);
    Some(Diagnostic::error(span, message).help(format!("the types are {}", names.join(", "))))
}

fn condition(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<Condition> {
    let check = node.get("check").filter(|check| check.as_str().is_some()).cloned();
    let message = node.get("message").and_then(Node::as_str).map(str::to_owned);
    if let (Some(check), Some(message), 2) = (check, message, node.entries().len()) {
        return Some(Condition { check, message });
    }
    let mistake = Diagnostic::error(node.span, "a condition has `check`, an expression, and `message`");
    mistakes
        .push(mistake.help("write `{ check: \"{{ size is odd }}\", message: \"choose an odd number\" }`"));
    None
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A number, or the length of everything else with its unit.
#[expect(clippy::cast_precision_loss, reason = "no plan is long enough to lose a digit")]
fn size(value: &Value) -> (f64, &'static str) {
    match value {
        Value::Number(number) => (number.as_f64().unwrap_or_default(), ""),
        Value::String(text) => (text.chars().count() as f64, " characters long"),
        Value::Array(items) => (items.len() as f64, " entries long"),
        Value::Object(fields) => (fields.len() as f64, " entries long"),
        Value::Null | Value::Bool(_) => (0.0, ""),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> (Option<(Rules, Node)>, Vec<String>) {
        let mut mistakes = Vec::new();
        let read = Rules::read(&Node::parse(text, 0).expect("YAML"), &mut mistakes);
        (read, mistakes.into_iter().map(|mistake| mistake.message).collect())
    }

    #[test]
    fn map_is_a_declaration_only_with_a_type() {
        for value in ["3", "{ a: 1 }", "{ type: gp3, size: 100 }", "{ type: string, owner: me }", "[ 1 ]"] {
            let (rules, mistakes) = read(value);
            assert!(rules.is_none() && mistakes.is_empty(), "{value}: {mistakes:?}");
        }
        let (rules, mistakes) =
            read("{ type: integer, default: 3, one_of: [ 1, 3, 5 ], description: Nodes }");
        let (rules, default) = rules.expect("a declaration");
        assert!(mistakes.is_empty(), "{mistakes:?}");
        assert_eq!((rules.kind, default.to_value()), (VariableType::Integer, json!(3)));
    }

    #[test]
    fn wrong_declarations_are_mistakes() {
        let rows = [
            ("{ default: 3, description: x }", "the declaration of a variable needs its `type`"),
            ("{ type: int, default: 3 }", "this is not the type of a variable"),
            ("{ type: integer, default: x }", "the variable is an integer, and its default is a string"),
            ("{ type: integer, one_of: [ a ] }", "the variable is an integer, and this is a string"),
            ("{ type: integer, one_of: 3 }", "`one_of` of a variable is a list of values, found a number"),
            (
                "{ type: string, pattern: 3 }",
                "`pattern` of a variable is a regular expression, for a variable of type string, found a number",
            ),
            ("{ type: integer, min: x }", "`min` of a variable is a number, found a string"),
            ("{ type: integer, default: 1, dscription: x }", "unknown key `dscription`"),
            (
                "{ type: string, conditions: [ { check: \"{{ x }}\" } ] }",
                "a condition has `check`, an expression, and `message`",
            ),
        ];
        for (text, message) in rows {
            assert_eq!(read(text).1, [message], "{text}");
        }
        assert!(
            read("{ type: string, pattern: \"[\" }").1[0].starts_with("this is not a regular expression")
        );
    }

    #[test]
    fn values_are_held_to_the_rules() {
        let rows = [
            ("{ type: integer, one_of: [ 1, 3 ] }", json!(3), Ok(())),
            ("{ type: integer, one_of: [ 1, 3 ] }", json!(2), Err("must be one of 1, 3")),
            ("{ type: integer, min: 2, max: 4 }", json!(1), Err("must be at least 2")),
            ("{ type: integer, min: 2, max: 4 }", json!(5), Err("must be at most 4")),
            ("{ type: string, min: 3 }", json!("ab"), Err("must be at least 3 characters long")),
            ("{ type: list, max: 1 }", json!([1, 2]), Err("must be at most 1 entries long")),
            ("{ type: string, pattern: \"[a-z]+\" }", json!("abc"), Ok(())),
            ("{ type: string, pattern: \"[a-z]+|x\" }", json!("abc1"), Err("must match `[a-z]+|x`")),
            ("{ type: integer, default: 1 }", json!("1"), Err("must be an integer")),
            ("{ type: integer, default: 1 }", json!(1.5), Err("must be an integer")),
        ];
        for (text, value, expected) in rows {
            let (rules, _) = read(text).0.expect("a declaration");
            assert_eq!(rules.check(&value), expected.map_err(str::to_owned), "{text} {value}");
        }
    }
}
