//! The section `groups:`, and the steps that use a group.

use std::collections::HashMap;

use super::super::diagnostic::{Diagnostic, MOST_MISTAKES};
use super::super::group::{Group, GroupUse, USE_KEYS};
use super::super::keys::unknown_keys;
use super::super::node::{Key, Node, NodeValue};
use super::super::silence;
use super::super::text::is_identifier;
use super::super::variable::Variables;
use super::{Loader, MAX_STEPS, RESERVED};
use crate::suggest::closest;

/// The keys of a group.
const KEYS: [&str; 2] = ["parameters", "steps"];

impl Loader {
    /// Reads groups. Of a name that several files declare, the first counts.
    pub(super) fn take_groups(&mut self, groups: &Node) {
        if !matches!(groups.value, NodeValue::Map(_) | NodeValue::Null) {
            let mistake =
                Diagnostic::error(groups.span, "`groups` is a map from a name to parameters and steps");
            return self.mistake(mistake);
        }
        for (id, node) in groups.entries() {
            if !self.groups.contains_key(&id.name) {
                let group = self.group(id, node);
                self.groups.insert(id.name.clone(), group);
            }
        }
    }

    fn group(&mut self, id: &Key, node: &Node) -> Group {
        self.mistakes.extend(unknown_keys(node, &KEYS, "a group has `parameters` and `steps`"));
        let mut parameters = Variables::default();
        for (key, value) in node.get("parameters").map(Node::entries).unwrap_or_default() {
            parameters.declare(key, value, &mut self.mistakes);
        }
        let entries = node.get("steps").map(Node::entries).unwrap_or_default();
        if entries.is_empty() {
            let mistake = Diagnostic::error(id.span, format!("the group `{}` has no steps", id.name));
            self.mistake(mistake.help("write `steps:` below it"));
        }
        let mut steps = Vec::new();
        for (step, node) in entries {
            if node.get("group").is_some() {
                let mistake = Diagnostic::error(step.span, "a group cannot use a group");
                self.mistake(mistake.help("use both in the plan"));
            } else if !is_identifier(&step.name) || RESERVED.contains(&step.name.as_str()) {
                self.mistake(Self::no_id(step));
            } else {
                steps.extend(self.take_step(step, node));
            }
        }
        for parameter in &parameters.declared {
            let key = &parameter.key;
            if !is_identifier(&key.name) || RESERVED.contains(&key.name.as_str()) {
                self.mistake(Diagnostic::error(
                    key.span,
                    format!("`{}` cannot be a parameter's name", key.name),
                ));
            } else if steps.iter().any(|step| step.id.name == key.name) {
                let message = format!("`{}` is both a parameter and a step of the group", key.name);
                self.mistake(Diagnostic::error(key.span, message).help("rename one"));
            }
        }
        Group { id: id.clone(), parameters: parameters.declared, steps }
    }

    /// Notes a step that uses a group; groups may stand in a file that is read later.
    pub(super) fn take_use(&mut self, id: &Key, node: &Node) {
        let help =
            format!("a step that uses a group has {}; parameters stand below `with`", USE_KEYS.join(", "));
        self.mistakes.extend(unknown_keys(node, &USE_KEYS, &help));
        let Some(group) = node.get("group") else { return };
        let Some(name) = self.text(group, "group") else { return };
        let with = node.get("with").filter(|with| !matches!(with.value, NodeValue::Map(_) | NodeValue::Null));
        if let Some(with) = with {
            self.mistake(Diagnostic::error(
                with.span,
                "`with` is a map from a parameter's name to its value",
            ));
        }
        let used = GroupUse {
            id: id.clone(),
            group: Key { span: group.span, name },
            with: node.get("with").map(Node::entries).unwrap_or_default().to_vec(),
            for_each: node.get("for_each").cloned(),
            when: node.get("when").cloned(),
            needs: node.get("needs").map(|needs| self.needs(needs)).unwrap_or_default(),
            adopt: self.flag(node, "adopt"),
            protect: node.get("protect").cloned(),
            retain: node.get("retain").cloned(),
            provider: node.get("provider").cloned(),
            silences: node
                .get("lint")
                .map(|node| silence::read(node, &mut self.mistakes))
                .unwrap_or_default(),
        };
        self.uses.push(used);
    }

    /// Puts the steps of each use into the plan. `needs` of a use means all its steps.
    pub(super) fn expand_groups(&mut self) {
        let mut made: HashMap<String, Vec<String>> = HashMap::new();
        for used in std::mem::take(&mut self.uses) {
            let Some(group) = self.groups.get(&used.group.name) else {
                let mistake = self.no_group(&used.group);
                self.mistake(mistake);
                continue;
            };
            let steps = used.steps(group, &mut self.mistakes);
            if self.steps.len() + steps.len() > MAX_STEPS {
                return self.too_many(used.id.span, MAX_STEPS, "steps");
            }
            for step in steps {
                made.entry(used.id.name.clone()).or_default().push(step.id.name.clone());
                let at_use = Key { span: used.id.span, name: step.id.name.clone() };
                self.add_step(&at_use, step);
            }
            if self.mistakes.len() >= MOST_MISTAKES {
                return;
            }
        }
        for step in &mut self.steps {
            let needs = std::mem::take(&mut step.needs);
            let of = |need: Key| match made.get(&need.name) {
                Some(ids) => ids.iter().map(|id| Key { name: id.clone(), span: need.span }).collect(),
                None => vec![need],
            };
            step.needs = needs.into_iter().flat_map(of).collect();
        }
        self.used = made;
    }

    fn no_group(&self, name: &Key) -> Diagnostic {
        let mistake = Diagnostic::error(name.span, format!("there is no group `{}`", name.name));
        match closest(&name.name, self.groups.keys().map(String::as_str)) {
            None => mistake.help("declare it: `groups: { NAME: { parameters: { … }, steps: { … } } }`"),
            candidate => mistake.did_you_mean(candidate),
        }
    }
}
