//! The names in expressions: which steps they refer to, and which of them are nothing.

use std::collections::BTreeSet;

use super::expression;
use super::shape::Shape;
use super::walk::{Text, texts};
use crate::plan::{DeclaredStep, Diagnostic, Document, MOST_MISTAKES, Node, Span};
use crate::provider::{Entry, Registry};
use crate::suggest::closest;
use crate::template;
use crate::template::placeholder::{Family, roots, shield};

/// Names that are neither variables nor steps.
const BUILT_IN: [&str; 2] = ["plan", "loop"];
/// The name of the chosen stage, in a plan that has stages.
const STAGE: &str = "stage";
/// The name of the entry that a step is repeated for.
const EACH: &str = "each";

/// The names that expressions of a place may use.
pub struct Names<'a> {
    document: &'a Document,
    registry: &'static Registry,
    /// How many of the variables are defined before.
    variables: usize,
    /// The step that they stand in.
    step: Option<&'a DeclaredStep>,
    /// Whether outputs of steps are there.
    outputs: bool,
    /// Whether the place is not the step itself, but the use of a group that it was made for.
    in_use: bool,
}

impl<'a> Names<'a> {
    /// In a section that may refer to steps.
    pub fn of_section(document: &'a Document, registry: &'static Registry) -> Self {
        Self { document, registry, variables: document.vars.len(), step: None, outputs: true, in_use: false }
    }

    /// In the fields of a step.
    pub fn of_step(document: &'a Document, registry: &'static Registry, step: &'a DeclaredStep) -> Self {
        Self { step: Some(step), ..Self::of_section(document, registry) }
    }

    /// In a section, or in what decides which steps there are.
    pub fn without_outputs(self) -> Self {
        Self { outputs: false, ..self }
    }

    /// In the value of a variable, which sees those before it.
    pub fn of_variable(document: &'a Document, registry: &'static Registry, index: usize) -> Self {
        Self { variables: index, outputs: false, ..Self::of_section(document, registry) }
    }

    /// The ids of the steps that the expressions below `node` refer to, before `for_each`. Names that
    /// are nothing, and outputs that the kind does not have, are mistakes.
    pub fn check(&self, node: &Node, shape: &Shape<'_>, mistakes: &mut Vec<Diagnostic>) -> Vec<String> {
        let mut found = BTreeSet::new();
        texts(node, shape, &mut |text| self.check_text(&text, &mut found, mistakes));
        found.into_iter().collect()
    }

    fn check_text(&self, text: &Text<'_>, found: &mut BTreeSet<String>, mistakes: &mut Vec<Diagnostic>) {
        for root in roots(text.written, text.placeholders).iter().filter(|root| self.is_of_plan(root)) {
            mistakes.push(ambiguous(root, text.span));
        }
        if mistakes.len() >= MOST_MISTAKES {
            return;
        }
        let names = match expression::undeclared(&shield(text.written, text.placeholders)) {
            Ok(names) => names,
            Err(message) => {
                let mistake = Diagnostic::error(text.span, message);
                return mistakes.push(with_placeholders(mistake, text.placeholders, ""));
            }
        };
        for dotted in names {
            let (name, rest) = dotted.split_once('.').unwrap_or((&dotted, ""));
            let scope = self.step.filter(|_| !self.in_use).and_then(|step| step.scope.as_deref());
            if let Some(value) = scope.and_then(|scope| scope.parameter(name)) {
                self.check_parameter(value, found, mistakes);
                continue;
            }
            let name = scope.and_then(|scope| scope.steps.get(name)).map_or(name, String::as_str);
            let is_step = self.document.step(name).is_some();
            if is_step && self.outputs {
                found.insert(name.to_owned());
                mistakes.extend(self.unknown_output(name, rest, text.span));
            } else if !self.is_known(name) {
                mistakes.push(self.unknown_name(name, is_step, text));
            }
        }
    }

    /// The value of a parameter stands where the group is used, and sees the names of that place. All steps of
    /// the use come here, so its mistakes are reported once.
    fn check_parameter(&self, value: &Node, found: &mut BTreeSet<String>, mistakes: &mut Vec<Diagnostic>) {
        let outer = Names { in_use: true, ..*self };
        let mut own = Vec::new();
        found.extend(outer.check(value, &Shape::any(), &mut own));
        let is_new = |mistake: &Diagnostic| {
            !mistakes.iter().any(|known| known.span == mistake.span && known.message == mistake.message)
        };
        let own: Vec<_> = own.into_iter().filter(is_new).collect();
        mistakes.extend(own);
    }

    fn is_known(&self, name: &str) -> bool {
        let variables = &self.document.vars[..self.variables];
        let is_repeated = |step: &DeclaredStep| match &step.scope {
            Some(scope) if self.in_use => scope.is_repeated,
            _ => step.for_each.is_some(),
        };
        let is_each = name == EACH && self.step.is_some_and(is_repeated);
        let is_variable = variables.iter().any(|(key, _)| key.name == name);
        let is_provider = self.registry.provider(name).is_some_and(Entry::is_in_expressions);
        let is_stage = name == STAGE && !self.document.stages.is_empty();
        BUILT_IN.contains(&name)
            || is_stage
            || is_provider
            || is_each
            || is_variable
            || template::is_global(name)
    }

    fn is_of_plan(&self, name: &str) -> bool {
        self.document.step(name).is_some() || self.document.vars.iter().any(|(key, _)| key.name == name)
    }

    fn unknown_name(&self, name: &str, is_step: bool, text: &Text<'_>) -> Diagnostic {
        if is_step {
            let message = format!("the step `{name}` cannot be used here");
            return Diagnostic::error(text.span, message).help("only variables can");
        }
        if name == EACH {
            let message = "`each` is there only in a step with `for_each`";
            return Diagnostic::error(text.span, message);
        }
        if self.is_of_plan(name) {
            let message = format!("the variable `{name}` is not defined yet");
            return Diagnostic::error(text.span, message).help("a variable sees those declared before it");
        }
        if let Some(ids) = self.document.used.get(name) {
            let message = format!("`{name}` uses a group, and has no outputs of its own");
            return Diagnostic::error(text.span, message).help(format!("its steps are {}", ids.join(", ")));
        }
        if template::is_filter(name) && text.written.contains(&format!("{name}(")) {
            let message = format!("there is no function `{name}`");
            return Diagnostic::error(text.span, message)
                .help(format!("it is a filter: write `VALUE | {name}`"));
        }
        if let Some(own) = own_name(name, text.written) {
            let message = format!("there is no variable or step `{name}`");
            return Diagnostic::error(text.span, message)
                .help(format!("variables and steps go by their own names: write `{own}`"));
        }
        let vars = self.document.vars.iter().map(|(key, _)| key.name.as_str());
        let steps = self.document.steps.iter().map(|step| step.id.name.as_str());
        let mistake = Diagnostic::error(text.span, format!("there is no variable or step `{name}`"));
        let own = text.placeholders.map(Family::candidates).unwrap_or_default();
        match closest(name, own.iter().copied()) {
            Some(placeholder) => with_placeholders(mistake, text.placeholders, placeholder),
            None => match closest(name, vars.chain(steps)) {
                None => with_placeholders(mistake, text.placeholders, ""),
                candidate => mistake.did_you_mean(candidate),
            },
        }
    }

    /// The mistake of referring to an output that the step's kind does not have.
    fn unknown_output(&self, name: &str, rest: &str, span: Span) -> Option<Diagnostic> {
        let step = self.document.step(name)?;
        let kind = self.registry.find(&step.kind.0)?;
        let output = rest.split('.').next().unwrap_or_default();
        // A repeated step's instances come first, by key.
        if step.for_each.is_some() || output.is_empty() {
            return None;
        }
        let outputs = kind.output_names();
        if outputs.iter().any(|known| known == output) {
            return None;
        }
        let message = format!("step `{name}` ({}) has no output `{output}`", kind.name());
        let mistake = Diagnostic::error(span, message);
        Some(match closest(output, outputs.iter().map(String::as_str)) {
            Some(candidate) => mistake.help(format!("did you mean `{candidate}`?")),
            None => mistake.help(format!("its outputs are {}", outputs.join(", "))),
        })
    }
}

/// The name below the one of a section, which other languages write in front: `org` in `vars.org`.
fn own_name<'a>(root: &str, written: &'a str) -> Option<&'a str> {
    let section = ["vars", "var", "variables", "values", "local", "locals", "steps", "step"];
    let (_, rest) = section.contains(&root).then(|| written.split_once(&format!("{root}."))).flatten()?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
    Some(&rest[..end]).filter(|own| !own.is_empty())
}

fn ambiguous(name: &str, span: Span) -> Diagnostic {
    let message = format!(
        "`{name}` is a placeholder of the server here, and a name in the plan: it is not clear which is meant"
    );
    Diagnostic::error(span, message).help(format!(
        "rename the plan's `{name}`, or write the placeholder as `{{% raw %}}{{{{…}}}}{{% endraw %}}`"
    ))
}

/// Adds which placeholders the server fills in at this place.
fn with_placeholders(mistake: Diagnostic, family: Option<Family>, meant: &str) -> Diagnostic {
    let Some(family) = family else { return mistake };
    let meant = match (family, meant) {
        (_, "") | (Family::Go(_) | Family::Identity, _) => String::new(),
        (Family::Exact(_), name) => format!("did you mean `{{{{{name}}}}}`? "),
    };
    mistake.help(format!("{meant}the server fills in {} here", family.describe()))
}
