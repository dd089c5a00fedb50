//! The stage, the values of variables, and the names of variables and steps.

use std::collections::HashMap;

use sha2::Digest;

use super::super::diagnostic::{Diagnostic, MOST_MISTAKES, Span};
use super::super::document::Section;
use super::super::given::Given;
use super::super::node::{Key, Node};
use super::super::stage;
use super::super::text::{forbidden, is_identifier};
use super::{Loader, RESERVED};
use crate::suggest::closest;

/// The name of the chosen stage in expressions.
const STAGE: &str = "stage";

/// Sections that came after the first plans, which may have steps and variables of these names.
const LATER: [&str; 1] = ["kubernetes"];

impl Loader {
    /// The stage that the caller chooses, as an index.
    pub(super) fn choose_stage(&mut self, given: &Given) -> Option<usize> {
        match stage::choose(&self.stages, self.stages_at, given.stage.as_ref()) {
            Ok(chosen) => {
                if let Some(index) = chosen {
                    self.digest.update(self.stages[index].id.name.as_bytes());
                }
                chosen
            }
            Err(mistake) => {
                self.mistake(mistake);
                None
            }
        }
    }

    /// The values of the variables, with those of the stage and of the caller.
    pub(super) fn give(&mut self, given: &Given, stage: Option<usize>) -> Vec<(Key, Node)> {
        for (name, value) in &given.vars {
            self.digest.update(name.as_bytes());
            self.digest.update(value.to_value().to_string().as_bytes());
            let mut wrong = None;
            value.texts(&mut |text, _| wrong = wrong.or(forbidden(text)));
            if let Some(what) = wrong {
                self.mistake(Diagnostic::error(None, format!("variable `{name}`: {what}")));
            }
        }
        self.variables.given.clone_from(&given.vars);
        // Without a choice each stage may give what seems to be missing.
        let is_open = stage.is_none() && !self.stages.is_empty();
        let mut mistakes = Vec::new();
        let values = self.variables.values(stage.map(|index| &self.stages[index]), &mut mistakes);
        if !is_open {
            self.mistakes.extend(mistakes);
        }
        values
    }

    /// Whether a name is that of a section. One that came later is so only where the plan has the section.
    fn is_section(&self, name: &str) -> bool {
        let is_declared = |section: &Section| self.sections.iter().any(|(known, _)| known == section);
        let is_reserved = |section: &Section| !LATER.contains(&section.key()) || is_declared(section);
        self.known_sections.iter().any(|section| section.key() == name && is_reserved(section))
    }

    pub(super) fn check_names(&mut self) {
        let mut mistakes = Vec::new();
        let steps: HashMap<&str, Span> =
            self.steps.iter().map(|step| (step.id.name.as_str(), step.id.span)).collect();
        let is_stage = |name: &str| name == STAGE && !self.stages.is_empty();
        for key in self.variables.declared.iter().map(|variable| &variable.key) {
            if is_stage(&key.name) {
                mistakes.push(stage_is_taken(key, "variable"));
            } else if !is_identifier(&key.name)
                || RESERVED.contains(&key.name.as_str())
                || self.is_section(&key.name)
            {
                mistakes.push(no_name(key));
            } else if steps.contains_key(key.name.as_str()) {
                mistakes.push(
                    Diagnostic::error(key.span, format!("`{}` is both a variable and a step", key.name))
                        .help("expressions could not distinguish them: rename one"),
                );
            }
        }
        for step in &self.steps {
            if is_stage(&step.id.name) {
                mistakes.push(stage_is_taken(&step.id, "step"));
            }
            if self.is_section(&step.id.name) {
                let message = format!("`{}` cannot be a step's id", step.id.name);
                let help = "the name is reserved for a section of the plan: choose another";
                mistakes.push(Diagnostic::error(step.id.span, message).help(help));
            }
            if mistakes.len() >= MOST_MISTAKES {
                break;
            }
            for need in &step.needs {
                if !steps.contains_key(need.name.as_str()) {
                    mistakes.push(
                        Diagnostic::error(need.span, format!("there is no step `{}`", need.name))
                            .did_you_mean(closest(&need.name, steps.keys().copied())),
                    );
                }
            }
        }
        self.mistakes.extend(mistakes);
    }
}

fn no_name(key: &Key) -> Diagnostic {
    let mistake = Diagnostic::error(key.span, format!("`{}` cannot be a variable's name", key.name));
    match is_identifier(&key.name) {
        true => mistake.help("the name is reserved, because expressions use it for something else"),
        false => {
            mistake.help("names are lower-case letters, digits and underscores, and begin with a letter")
        }
    }
}

fn stage_is_taken(key: &Key, what: &str) -> Diagnostic {
    Diagnostic::error(key.span, format!("a {what} cannot be called `stage` in a plan with `stages`"))
        .help("there `stage` is the name of the chosen stage; remove or rename this one")
}
