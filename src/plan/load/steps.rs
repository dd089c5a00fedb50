//! The steps of a plan.

use super::super::diagnostic::{Diagnostic, MOST_MISTAKES};
use super::super::document::DeclaredStep;
use super::super::node::{Key, Node, NodeValue};
use super::super::silence;
use super::super::text::is_identifier;
use super::{Loader, MAX_STEPS, RESERVED, STEP_KEYS};

impl Loader {
    pub(super) fn take_steps(&mut self, steps: &Node) {
        if !matches!(steps.value, NodeValue::Map(_) | NodeValue::Null) {
            return self.mistake(
                Diagnostic::error(steps.span, "`steps` is a map from id to step")
                    .help("write `ID:` in place of each `-`, and the fields below it"),
            );
        }
        for (id, node) in steps.entries() {
            if self.mistakes.len() >= MOST_MISTAKES {
                self.incomplete = true;
                return;
            }
            if self.steps.len() == MAX_STEPS {
                return self.too_many(id.span, MAX_STEPS, "steps");
            }
            if !is_identifier(&id.name) || RESERVED.contains(&id.name.as_str()) {
                self.mistake(Self::no_id(id));
            } else if node.get("group").is_some() {
                self.take_use(id, node);
            } else if let Some(step) = self.take_step(id, node) {
                self.add_step(id, step);
            }
        }
    }

    pub(super) fn no_id(id: &Key) -> Diagnostic {
        let mistake = Diagnostic::error(id.span, format!("`{}` cannot be a step's id", id.name));
        if RESERVED.contains(&id.name.as_str()) {
            return mistake.help("the name is reserved, because expressions use it for something else");
        }
        mistake.help("ids are lower-case letters, digits and underscores, and begin with a letter")
    }

    /// Adds a step, which is declared at `at`, unless there is one of its id.
    pub(super) fn add_step(&mut self, at: &Key, step: DeclaredStep) {
        if let Some(other) = self.known_steps.get(&at.name) {
            let place = self.sources.locate(self.steps[*other].id.span);
            let place =
                place.map(|(path, line, _)| format!(" in {}:{line}", path.display())).unwrap_or_default();
            let message = format!("step `{}` is declared already{place}", at.name);
            return self.mistake(Diagnostic::error(at.span, message));
        }
        self.known_steps.insert(at.name.clone(), self.steps.len());
        self.steps.push(step);
    }

    pub(super) fn take_step(&mut self, id: &Key, node: &Node) -> Option<DeclaredStep> {
        let NodeValue::Map(entries) = &node.value else {
            let mistake = Diagnostic::error(node.span, format!("a step is a map, found {}", node.describe()));
            self.mistake(mistake);
            return None;
        };
        let kind = match node.get("kind") {
            Some(kind) => (self.text(kind, "kind")?, kind.span),
            None => {
                self.mistake(
                    Diagnostic::error(id.span, format!("step `{}` has no `kind`", id.name))
                        .help("`groundwork explain` lists the kinds"),
                );
                return None;
            }
        };
        let own =
            entries.iter().filter(|(key, _)| !STEP_KEYS.contains(&key.name.as_str())).cloned().collect();
        Some(DeclaredStep {
            id: id.clone(),
            kind,
            // A missing field has no place of its own, so it is reported at the step's id.
            fields: Node { span: id.span, value: NodeValue::Map(own), source: None },
            provider: node.get("provider").cloned(),
            for_each: node.get("for_each").cloned(),
            when: node.get("when").cloned(),
            needs: node.get("needs").map(|needs| self.needs(needs)).unwrap_or_default(),
            adopt: self.flag(node, "adopt").unwrap_or(false),
            protect: node.get("protect").cloned(),
            retain: node.get("retain").cloned(),
            silences: node
                .get("lint")
                .map(|node| silence::read(node, &mut self.mistakes))
                .unwrap_or_default(),
            scope: None,
        })
    }

    pub(super) fn needs(&mut self, needs: &Node) -> Vec<Key> {
        let NodeValue::List(items) = &needs.value else {
            self.mistake(Diagnostic::error(needs.span, "`needs` is a list of step ids"));
            return Vec::new();
        };
        items
            .iter()
            .filter_map(|item| self.text(item, "needs").map(|name| Key { span: item.span, name }))
            .collect()
    }

    pub(super) fn flag(&mut self, step: &Node, key: &str) -> Option<bool> {
        let node = step.get(key)?;
        if let NodeValue::Bool(flag) = node.value {
            return Some(flag);
        }
        self.mistake(Diagnostic::error(
            node.span,
            format!("`{key}` is true or false, found {}", node.describe()),
        ));
        None
    }
}
