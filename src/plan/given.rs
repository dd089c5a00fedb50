//! Given by the caller beside the plan file: the stage, and values of variables, by `--var` and `--var-file`.

use std::path::Path;

use super::node::{Node, NodeValue};
use super::stage::StageChoice;

/// The stage and the values that the caller gives beside the plan file.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The stage.
    pub stage: Option<StageChoice>,
    /// Names of variables with their values; of a name that is given twice the later value counts.
    pub vars: Vec<(String, Node)>,
    /// The options of the command line that say all this, for commands that messages advise.
    pub options: Vec<String>,
}

impl Given {
    /// Only these variables.
    pub fn of_vars(vars: Vec<(String, Node)>) -> Self {
        Self { vars, ..Self::default() }
    }
}

/// A plan file and options as a shell takes them.
pub(super) fn command_line(path: &Path, options: &[String]) -> String {
    let path = path.display().to_string();
    let words: Vec<String> = std::iter::once(&path).chain(options).map(|word| quoted(word)).collect();
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@,+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The value of a `--var`: whole numbers and truth values as JSON writes them, everything else is text.
/// Nothing is evaluated. The variable's declaration decides what becomes of it.
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
    use super::*;

    #[test]
    fn command_line_quotes_what_a_shell_would_change() {
        let options = ["--stage", "dev", "--var", "motto=it's $HOME"].map(str::to_owned);
        let line = command_line(Path::new("my plans/a.yaml"), &options);
        assert_eq!(line, r"'my plans/a.yaml' --stage dev --var 'motto=it'\''s $HOME'");
    }
}
