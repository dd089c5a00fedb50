//! Values of variables that are given from outside, by `--var` and `--var-file`.

use super::diagnostic::Diagnostic;
use super::node::{Node, NodeValue};

/// The value as the variable's default wants it: a text stays text, whatever it looks like, and a number
/// or a truth value must be one.
///
/// # Errors
/// When the value cannot be of the default's type.
pub fn fit(name: &str, default: &Node, given: &Node) -> Result<Node, Diagnostic> {
    let fits = match (&default.value, &given.value) {
        (NodeValue::String(text), NodeValue::Bool(_) | NodeValue::Number(_)) if !text.contains("{{") => {
            let text = given.text().map_or_else(|| given.to_value().to_string(), str::to_owned);
            return Ok(Node { span: default.span, value: NodeValue::String(text), source: None });
        }
        (NodeValue::Bool(_), NodeValue::Bool(_))
        | (NodeValue::Number(_), NodeValue::Number(_))
        | (NodeValue::List(_), NodeValue::List(_))
        | (NodeValue::Map(_), NodeValue::Map(_))
        | (NodeValue::Null | NodeValue::String(_), _) => true,
        (NodeValue::Bool(_) | NodeValue::Number(_) | NodeValue::List(_) | NodeValue::Map(_), _) => false,
    };
    if fits {
        return Ok(Node { span: default.span, ..given.clone() });
    }
    let message = format!(
        "variable `{name}` is {} in the plan, and the value given is {}",
        default.describe(),
        given.describe()
    );
    let mistake = Diagnostic::error(None, message);
    Err(match default.value {
        NodeValue::List(_) | NodeValue::Map(_) => mistake.help("give it in a `--var-file`"),
        _ => mistake,
    })
}

/// The value of a `--var`: whole numbers and truth values as JSON writes them, everything else is text.
/// Nothing is evaluated.
pub fn of_argument(text: &str) -> Node {
    let number = serde_json::from_str::<serde_json::Number>(text).ok();
    let value = match (text, number) {
        ("true", _) => NodeValue::Bool(true),
        ("false", _) => NodeValue::Bool(false),
        (_, Some(number)) if !number.is_f64() && number.to_string() == text => NodeValue::Number(number),
        _ => NodeValue::String(text.to_owned()),
    };
    Node { span: super::Span::default(), value, source: None }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn given(default: &str, argument: &str) -> Result<Value, String> {
        let default = Node::parse(default, 0).expect("YAML");
        let fitted = fit("x", &default, &of_argument(argument));
        fitted.map(|node| node.to_value()).map_err(|mistake| mistake.message)
    }

    #[test]
    fn default_determines_the_type_of_an_argument() {
        for text in
            ["1.10", "012345678901", "123456789012", "true", "{{ y }}", "a=b", "", "null", "1e3", " 1"]
        {
            assert_eq!(given("dev", text), Ok(json!(text)), "{text}");
            assert_eq!(given("\"3\"", text), Ok(json!(text)), "{text}");
        }
        assert_eq!(given("3", "42"), Ok(json!(42)));
        assert_eq!(given("true", "false"), Ok(json!(false)));
        for (default, argument) in [("3", "03"), ("3", "1.5"), ("3", "x"), ("true", "yes"), ("[a]", "b")] {
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
}
