//! The section `stages:`: the instances of one plan, such as dev, staging and production.
//!
//! Each instance has a name of its own, and with it everything that goes by the plan's name: journal, lock,
//! ownership tags, permissions, saved changesets.

use super::diagnostic::{Diagnostic, Span};
use super::keys::unknown_key;
use super::node::{Key, Node, NodeValue};
use crate::suggest::closest;

/// The variable that chooses a stage where the command line does not.
pub const STAGE_VARIABLE: &str = "GROUNDWORK_STAGE";
/// The keys of one stage.
const KEYS: [&str; 4] = ["name", "vars", "protect", "retain"];

/// One instance of a plan.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its name under `stages:`, and where it stands.
    pub id: Key,
    /// The name of the instance, an expression or text; the default is the plan's name, a hyphen and the
    /// stage's.
    pub name: Option<Node>,
    /// The values that it gives to variables.
    pub vars: Vec<(Key, Node)>,
    /// Whether deletion is refused for steps that do not say so themselves.
    pub protect: Option<bool>,
    /// Whether things stay when their steps are gone, for steps that do not say so themselves.
    pub retain: Option<bool>,
}

/// The caller's choice of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StageChoice {
    /// By `--stage`.
    Option(String),
    /// By the variable [`STAGE_VARIABLE`], which may be set for other plans too.
    Environment(String),
}

/// Reads `stages:`, a map from a stage's name to what is different in it, or a list of names.
pub(super) fn read(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Vec<Stage> {
    let plain = |id: Key| Stage { id, name: None, vars: Vec::new(), protect: None, retain: None };
    let stages: Vec<Stage> = match &node.value {
        NodeValue::Map(entries) => {
            entries.iter().map(|(id, fields)| of(plain(id.clone()), fields, mistakes)).collect()
        }
        NodeValue::List(items) => items
            .iter()
            .filter_map(|item| Some(plain(Key { span: item.span, name: item.text()?.to_owned() })))
            .collect(),
        _ => Vec::new(),
    };
    if stages.is_empty() {
        let mistake = Diagnostic::error(node.span, "`stages` is a map from a stage's name to its variables");
        mistakes.push(
            mistake.help("write `stages: { dev: { vars: … }, production: { vars: …, protect: true } }`"),
        );
    }
    for (index, stage) in stages.iter().enumerate() {
        if !is_stage_name(&stage.id.name) {
            let mistake =
                Diagnostic::error(stage.id.span, format!("`{}` cannot be a stage's name", stage.id.name));
            mistakes.push(
                mistake.help("names are lower-case letters, digits and hyphens, and begin with a letter"),
            );
        }
        if stages[..index].iter().any(|other| other.id.name == stage.id.name) {
            let message = format!("stage `{}` is declared already", stage.id.name);
            mistakes.push(Diagnostic::error(stage.id.span, message));
        }
    }
    stages
}

fn of(mut stage: Stage, fields: &Node, mistakes: &mut Vec<Diagnostic>) -> Stage {
    if !matches!(fields.value, NodeValue::Map(_) | NodeValue::Null) {
        let message = format!("a stage is a map, found {}", fields.describe());
        mistakes.push(Diagnostic::error(fields.span, message).help("write `dev: { vars: { … } }`"));
    }
    for (key, node) in fields.entries() {
        match (key.name.as_str(), &node.value) {
            ("name", NodeValue::String(text)) if !text.is_empty() => stage.name = Some(node.clone()),
            ("vars", NodeValue::Map(values)) => stage.vars.clone_from(values),
            ("vars", NodeValue::Null) => {}
            ("protect", NodeValue::Bool(flag)) => stage.protect = Some(*flag),
            ("retain", NodeValue::Bool(flag)) => stage.retain = Some(*flag),
            (name, _) if KEYS.contains(&name) => {
                let wanted = match name {
                    "name" => "a string",
                    "vars" => "a map from a variable's name to its value",
                    _ => "true or false",
                };
                let message = format!("`{name}` of a stage is {wanted}, found {}", node.describe());
                mistakes.push(Diagnostic::error(node.span, message));
            }
            _ => mistakes.push(unknown(key)),
        }
    }
    stage
}

fn unknown(key: &Key) -> Diagnostic {
    let help = format!(
        "a stage has {}; express other differences with variables, or with expressions over `stage`",
        KEYS.join(", ")
    );
    unknown_key(key, KEYS, help)
}

fn is_stage_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_lowercase())
        && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !name.ends_with('-')
}

/// The index of the chosen stage; `None` for a plan without stages.
///
/// # Errors
/// When the plan has stages and none is chosen, or not one of them; when it has none and `--stage` names one.
pub(super) fn choose(
    stages: &[Stage],
    section: Option<Span>,
    choice: Option<&StageChoice>,
) -> Result<Option<usize>, Diagnostic> {
    let (name, origin) = match choice {
        Some(StageChoice::Option(name)) => (Some(name), "--stage"),
        Some(StageChoice::Environment(name)) => (Some(name), STAGE_VARIABLE),
        None => (None, ""),
    };
    let names: Vec<&str> = stages.iter().map(|stage| stage.id.name.as_str()).collect();
    match (name, stages) {
        (None, []) => Ok(None),
        (Some(_), []) if origin == STAGE_VARIABLE => Ok(None),
        (Some(name), []) => {
            Err(Diagnostic::error(None, format!("the plan has no stages, and --stage says `{name}`"))
                .help("leave `--stage` out, or declare the stages with `stages:`"))
        }
        (None, _) => Err(Diagnostic::error(section, "choose a stage: the plan has several")
            .help(format!("give one of them with `--stage`: {}; or set {STAGE_VARIABLE}", names.join(", ")))),
        (Some(name), _) => names.iter().position(|known| known == name).map(Some).ok_or_else(|| {
            let mistake =
                Diagnostic::error(section, format!("the plan has no stage `{name}`, which {origin} names"));
            match closest(name, names.iter().copied()) {
                Some(candidate) => mistake.did_you_mean(Some(candidate)),
                None => mistake.help(format!("its stages are {}", names.join(", "))),
            }
        }),
    }
}
