//! Evaluation of the `{{ … }}` in one text of a plan.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::template;
use crate::template::placeholder::{blocks, outside_strings};
use crate::template::{Context, bounds, describe, environment, unknown};

/// Operators of other languages, with what to write instead.
const FOREIGN: [(&str, &str); 6] = [
    ("&&", "`and`"),
    ("||", "`or`"),
    ("===", "`==`"),
    ("!==", "`!=`"),
    ("?", "`A if CONDITION else B`"),
    ("!", "`not`"),
];
/// The characters that operators and literals of an expression are made of.
const OPERATORS: &str = "+-*/%~|.,:()[]{}<>=!\"'_";

/// The text's value over `context`. Text that is exactly one expression keeps the expression's type.
///
/// # Errors
/// What is wrong with an expression, or which name in it is undefined.
pub fn evaluate(text: &str, context: &Context) -> Result<Value, String> {
    match shape(text) {
        Shape::Plain => Ok(Value::String(text.to_owned())),
        Shape::Expression(expression) => {
            bounds::within(expression, bounds::is_small(expression), context, evaluate_expression)
        }
        Shape::Template => {
            template::render(text, context).map(Value::String).map_err(|error| with_advice(text, error))
        }
    }
}

/// Whether there is anything to evaluate.
pub fn is_plain(text: &str) -> bool {
    matches!(shape(text), Shape::Plain)
}

/// The dotted names that a text's expressions need from outside, sorted.
///
/// # Errors
/// What is wrong with an expression.
pub fn undeclared(text: &str) -> Result<BTreeSet<String>, String> {
    match shape(text) {
        Shape::Plain => Ok(BTreeSet::new()),
        Shape::Expression(expression) => {
            bounds::within(expression, bounds::is_small(expression), &Context::default(), |text, _| {
                undeclared_in(&whole(text))
            })
        }
        Shape::Template => {
            bounds::within(text, bounds::is_small_template(text), &Context::default(), |text, _| {
                undeclared_in(text)
            })
        }
    }
}

fn undeclared_in(text: &str) -> Result<BTreeSet<String>, String> {
    let environment = environment();
    let template = environment.template_from_str(text);
    let template = template.map_err(|error| with_advice(text, describe(&error)))?;
    Ok(template.undeclared_variables(true).into_iter().collect())
}

fn evaluate_expression(expression: &str, context: &Context) -> Result<Value, String> {
    let environment = environment();
    // The engine stops reading an expression at a character that it does not know; a template it
    // reads to the end.
    let text = whole(expression);
    environment.template_from_str(&text).map_err(|error| with_advice(&text, describe(&error)))?;
    let compiled = environment.compile_expression(expression).map_err(|error| describe(&error))?;
    let value = compiled.eval(context.value()).map_err(|error| describe(&error))?;
    // Strict mode lets a bare undefined expression pass.
    if value.is_undefined() {
        return Err(format!("`{}` is undefined", expression.trim()));
    }
    serde_json::to_value(value).map_err(|error| error.to_string()).and_then(bounds::sized)
}

fn whole(expression: &str) -> String {
    format!("{{{{ {expression} }}}}")
}

/// The engine's message, or a better one if the text uses the syntax of another language.
fn with_advice(text: &str, message: String) -> String {
    for block in blocks(text) {
        let inner = block.trim_matches(['{', '}', '%']);
        let foreign = FOREIGN.iter().find(|(operator, _)| stands_in(inner, operator));
        if let Some((operator, instead)) = foreign {
            return format!("an expression cannot have `{operator}`; write {instead}");
        }
        let stray = |c: char| !c.is_alphanumeric() && !c.is_whitespace() && !OPERATORS.contains(c);
        let mut strays = inner.chars().filter(|c| stray(*c) && !unknown::is_unknown(&c.to_string()));
        if let Some(c) = strays.find(|c| stands_in(inner, &c.to_string())) {
            return format!("an expression cannot have `{c}` outside of quotes");
        }
    }
    message
}

fn stands_in(expression: &str, operator: &str) -> bool {
    let Some(at) = outside_strings(expression, operator) else { return false };
    // `!=` is an operator of ours.
    operator != "!" || !expression[at + 1..].starts_with('=')
}

/// How a text is evaluated.
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
        Some(inner) if !inner.contains("{{") && !inner.contains("}}") => {
            // The marks that strip white space belong to the braces: `{{- n }}` is not `-n`.
            let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
            Shape::Expression(inner.strip_suffix(['-', '+']).unwrap_or(inner))
        }
        _ => Shape::Template,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn single_expression_keeps_type_but_text_does_not() {
        let context = Context::from(json!({ "n": 3, "list": ["a"], "s": "x" }));
        assert_eq!(evaluate("{{ n }}", &context), Ok(json!(3)));
        assert_eq!(evaluate("{{- n -}}", &context), Ok(json!(3)));
        assert_eq!(evaluate(" {{ list }} ", &context), Ok(json!(["a"])));
        assert_eq!(evaluate("{{ s }}-{{ n }}", &context), Ok(json!("x-3")));
        assert_eq!(evaluate("no braces", &context), Ok(json!("no braces")));
    }

    #[test]
    fn undefined_name_is_an_error_everywhere() {
        let context = Context::from(json!({ "a": {} }));
        for text in ["{{ b }}", "x{{ b }}", "{{ a.b }}", "{{ a.b.c }}", "{% if b %}x{% endif %}"] {
            assert!(evaluate(text, &context).is_err(), "{text}");
        }
    }

    #[test]
    fn expressions_with_unsupported_characters_are_refused() {
        let context = Context::from(json!({ "stage": "dev", "on": false, "n": 1 }));
        let rows = [
            ("{{ stage == 'dev' && on }}", "an expression cannot have `&&`; write `and`"),
            ("{{ 'dev' || on }}", "an expression cannot have `||`; write `or`"),
            ("{{ !on }}", "an expression cannot have `!`; write `not`"),
            ("{{ 'x' === stage }}", "an expression cannot have `===`; write `==`"),
            ("{{ 'x' ? 1 : 2 }}", "an expression cannot have `?`; write `A if CONDITION else B`"),
            ("{{ \"abc\" $ garbage }}", "an expression cannot have `$` outside of quotes"),
            ("{{ 1 @ }}", "an expression cannot have `@` outside of quotes"),
            ("a {{ 'b' ; }} c", "an expression cannot have `;` outside of quotes"),
            ("{% if 'a' && on %}x{% endif %}", "an expression cannot have `&&`; write `and`"),
        ];
        for (text, message) in rows {
            assert_eq!(evaluate(text, &context), Err(message.to_owned()), "{text}");
            assert_eq!(undeclared(text), Err(message.to_owned()), "{text}");
        }
        for (text, value) in [("{{ stage != 'd&&v' }}", json!(true)), ("{{ '$?!' ~ n }}", json!("$?!1"))] {
            assert_eq!(evaluate(text, &context), Ok(value));
        }
    }

    #[test]
    fn text_after_a_literal_is_refused() {
        let literals =
            ["'a'", "\"a\"", "1", "1.5", "true", "none", "[1]", "{'a': 1}", "(1)", "n", "n.x", "f()"];
        for literal in literals {
            for rest in ["$", "&", "`", "\\", "@x", "? 1", "; x", "'", "\"", "#", "^ 2", "x", "1", "}"] {
                let text = format!("{{{{ {literal} {rest} }}}}");
                assert!(undeclared(&text).is_err(), "{text}");
                assert!(evaluate(&text, &Context::from(json!({ "n": { "x": 1 } }))).is_err(), "{text}");
            }
        }
    }

    #[test]
    fn endless_templates_run_out_of_fuel() {
        let text = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        assert!(evaluate(text, &Context::default()).is_err());
    }
}
