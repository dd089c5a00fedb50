//! Groups: steps that a plan uses several times, with parameters.
//!
//! A use becomes steps of its own, whose ids begin with the id of the use. In the group's expressions its steps
//! keep the names that they have there, and parameters hide variables of the same name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnostic::Diagnostic;
use super::document::DeclaredStep;
use super::node::{Key, Node, NodeValue};
use super::silence::Silence;
use super::variable::{Rules, Variable};
use crate::suggest::closest;

/// A group of steps.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name, and where it stands.
    pub id: Key,
    /// Its parameters, in the order declared.
    pub parameters: Vec<Variable>,
    /// Its steps, with their ids in the group.
    pub steps: Vec<DeclaredStep>,
}

/// What the steps of one use of a group have in common.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The id of the use, and where it stands.
    pub used_as: Key,
    /// The values of the parameters, in the order declared: expressions of the place that uses the group.
    pub parameters: Vec<(Key, Node)>,
    /// The rules of those that have any, by name.
    pub rules: BTreeMap<String, Rules>,
    /// The ids of the group's steps in the plan, by those in the group.
    pub steps: BTreeMap<String, String>,
    /// Whether the use takes part: a boolean or an expression for one.
    pub when: Option<Node>,
    /// Whether the use is repeated, so that parameters see `each`.
    pub is_repeated: bool,
}

/// The keys of a use.
pub(crate) const USE_KEYS: [&str; 10] =
    ["group", "with", "for_each", "when", "needs", "adopt", "protect", "retain", "provider", "lint"];

/// A use of a group, with the fields that every step takes.
pub(super) struct GroupUse {
    pub id: Key,
    pub group: Key,
    pub with: Vec<(Key, Node)>,
    pub for_each: Option<Node>,
    pub when: Option<Node>,
    pub needs: Vec<Key>,
    pub adopt: Option<bool>,
    pub protect: Option<Node>,
    pub retain: Option<Node>,
    pub provider: Option<Node>,
    pub silences: Vec<Silence>,
}

impl Scope {
    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&Node> {
        self.parameters.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }
}

impl GroupUse {
    /// The id in the plan of a step of the group.
    fn id_of(&self, step: &Key) -> String {
        format!("{}_{}", self.id.name, step.name)
    }

    /// The steps that the use stands for.
    pub(super) fn steps(&self, group: &Group, mistakes: &mut Vec<Diagnostic>) -> Vec<DeclaredStep> {
        let scope = Arc::new(self.scope(group, mistakes));
        group.steps.iter().map(|step| self.step(step, &scope, mistakes)).collect()
    }

    fn scope(&self, group: &Group, mistakes: &mut Vec<Diagnostic>) -> Scope {
        let names = || group.parameters.iter().map(|parameter| parameter.key.name.as_str());
        for (key, _) in &self.with {
            if !names().any(|name| name == key.name) {
                let message = format!("the group `{}` has no parameter `{}`", group.id.name, key.name);
                let mistake = Diagnostic::error(key.span, message);
                mistakes.push(match closest(&key.name, names()) {
                    None => {
                        mistake.help(format!("its parameters are {}", names().collect::<Vec<_>>().join(", ")))
                    }
                    candidate => mistake.did_you_mean(candidate),
                });
            }
        }
        let parameters = group.parameters.iter();
        let rules = |parameter: &Variable| Some((parameter.key.name.clone(), parameter.rules.clone()?));
        Scope {
            used_as: self.id.clone(),
            parameters: parameters.clone().map(|one| (one.key.clone(), self.value(one, mistakes))).collect(),
            rules: parameters.filter_map(rules).collect(),
            steps: group.steps.iter().map(|step| (step.id.name.clone(), self.id_of(&step.id))).collect(),
            when: self.when.clone(),
            is_repeated: self.for_each.is_some(),
        }
    }

    /// The value that the use gives to a parameter, or its default.
    fn value(&self, parameter: &Variable, mistakes: &mut Vec<Diagnostic>) -> Node {
        let name = &parameter.key.name;
        let given = self.with.iter().find(|(key, _)| key.name == *name).map(|(_, node)| node);
        let value = match given.map(|node| (node, parameter.fit(node))) {
            None => parameter.default.clone(),
            Some((node, Ok(fitted))) => Node { span: node.span, ..fitted },
            Some((node, Err(mistake))) => {
                mistakes.push(Diagnostic { span: Some(node.span), ..mistake });
                node.clone()
            }
        };
        if matches!(value.value, NodeValue::Null) {
            let message = format!("the parameter `{name}` of the group has no value");
            let help = format!("give one: `with: {{ {name}: … }}`");
            mistakes.push(Diagnostic::error(self.id.span, message).help(help));
        }
        value
    }

    fn step(&self, step: &DeclaredStep, scope: &Arc<Scope>, mistakes: &mut Vec<Diagnostic>) -> DeclaredStep {
        if let (Some(_), Some(own)) = (&self.for_each, &step.for_each) {
            let message =
                format!("the step is repeated, and so is the group where `{}` uses it", self.id.name);
            mistakes.push(Diagnostic::error(own.span, message).help("repeat only one of them"));
        }
        let local = |need: &Key| {
            scope.steps.get(&need.name).map_or_else(|| need.clone(), |id| Key { name: id.clone(), ..*need })
        };
        DeclaredStep {
            id: Key { name: self.id_of(&step.id), span: step.id.span },
            provider: step.provider.clone().or_else(|| self.provider.clone()),
            for_each: step.for_each.clone().or_else(|| self.for_each.clone()),
            needs: step.needs.iter().map(local).chain(self.needs.iter().cloned()).collect(),
            adopt: step.adopt || self.adopt.unwrap_or(false),
            protect: step.protect.clone().or_else(|| self.protect.clone()),
            retain: step.retain.clone().or_else(|| self.retain.clone()),
            silences: step.silences.iter().chain(&self.silences).cloned().collect(),
            scope: Some(Arc::clone(scope)),
            ..step.clone()
        }
    }
}
