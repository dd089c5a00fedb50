//! The sections `moved:` and `removed:`: steps that have another id now, and steps that are gone.

use std::collections::HashSet;

use super::diagnostic::Diagnostic;
use super::document::Document;
use super::node::{Key, Node, NodeValue};
use crate::suggest::closest;

/// The rules for the thing of a step that is gone.
#[derive(Clone, Debug)]
pub struct RemovedStep {
    /// The step's id, and where it stands.
    pub id: Key,
    /// Whether its removal is refused; absent means what the step last said.
    pub protect: Option<bool>,
    /// Whether the thing stays; absent means what the step last said.
    pub retain: Option<bool>,
}

/// Reads `moved:`, a map from the old id to the new.
pub(super) fn moved(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Vec<(Key, Key)> {
    if !matches!(node.value, NodeValue::Map(_)) {
        mistakes.push(Diagnostic::error(node.span, "`moved` is a map from a step's old id to its new one"));
    }
    let mut pairs = Vec::new();
    for (old, new) in node.entries() {
        match new.as_str() {
            Some(name) => pairs.push((old.clone(), Key { name: name.to_owned(), span: new.span })),
            None => mistakes.push(Diagnostic::error(
                new.span,
                format!("the new id of `{}` is a string, found {}", old.name, new.describe()),
            )),
        }
    }
    pairs
}

/// Reads `removed:`, a map from an id to what holds for its thing.
pub(super) fn removed(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Vec<RemovedStep> {
    if !matches!(node.value, NodeValue::Map(_)) {
        mistakes.push(Diagnostic::error(node.span, "`removed` is a map from the id of a step that is gone"));
    }
    node.entries().iter().map(|(id, fields)| removed_step(id, fields, mistakes)).collect()
}

fn removed_step(id: &Key, fields: &Node, mistakes: &mut Vec<Diagnostic>) -> RemovedStep {
    let mut step = RemovedStep { id: id.clone(), protect: None, retain: None };
    for (key, value) in fields.entries() {
        let slot = match key.name.as_str() {
            "protect" => &mut step.protect,
            "retain" => &mut step.retain,
            other => {
                let mistake = Diagnostic::error(key.span, format!("unknown key `{other}`"));
                mistakes.push(mistake.help("a step that is gone has `protect` and `retain`"));
                continue;
            }
        };
        match value.value {
            NodeValue::Bool(flag) => *slot = Some(flag),
            _ => mistakes.push(Diagnostic::error(
                value.span,
                format!("`{}` is true or false, found {}", key.name, value.describe()),
            )),
        }
    }
    if fields.entries().is_empty() {
        let mistake = Diagnostic::error(fields.span, format!("nothing is said of `{}`", id.name));
        mistakes.push(mistake.help("write `{ protect: false }` to let its thing be removed"));
    }
    step
}

impl Document {
    /// The id that a step has now, if `moved:` says that it had the id `old`. What is said of a
    /// repeated step holds for each of its instances.
    pub fn moved_to(&self, old: &str) -> Option<String> {
        let find = |id: &str| self.moved.iter().find(|(from, _)| from.name == id).map(|(_, to)| &to.name);
        find(old).cloned().or_else(|| Some(format!("{}{}", find(base(old))?, &old[base(old).len()..])))
    }

    /// The plan's rules for a step that is gone.
    pub fn removed(&self, id: &str) -> Option<&RemovedStep> {
        self.removed.iter().find(|step| step.id.name == id)
    }

    /// Mistakes in `moved:` and `removed:`, given the ids of all steps after `for_each`.
    pub fn check_former(&self, ids: &HashSet<&str>) -> Vec<Diagnostic> {
        let mut mistakes: Vec<Diagnostic> = Vec::new();
        for (position, (old, new)) in self.moved.iter().enumerate() {
            let earlier = self.moved[..position].iter().find(|(_, other)| other.name == new.name);
            mistakes.extend(match earlier {
                Some((other, _)) => Some(
                    Diagnostic::error(new.span, format!("`{}` has moved to `{}` too", other.name, new.name))
                        .help("one step has one thing: take one of the two lines out"),
                ),
                None => self.check_move(old, new, ids),
            });
        }
        for step in &self.removed {
            if self.is_declared(&step.id.name, ids) {
                mistakes.push(
                    Diagnostic::error(step.id.span, format!("step `{}` is still declared", step.id.name))
                        .help("say `protect` or `retain` in the step itself"),
                );
            }
        }
        mistakes
    }

    fn check_move(&self, old: &Key, new: &Key, ids: &HashSet<&str>) -> Option<Diagnostic> {
        let becomes_repeated = base(&new.name) == old.name && old.name != new.name;
        if let Some((_, further)) = self.moved.iter().find(|(from, _)| from.name == new.name) {
            return Some(self.check_chain(old, new, further));
        }
        if self.is_declared(&old.name, ids) && !becomes_repeated {
            return Some(Diagnostic::error(old.span, format!("step `{}` is still declared", old.name)).help(
                "`moved` is for ids that are no longer in use: rename the step, or take the line out",
            ));
        }
        if self.is_declared(&new.name, ids) {
            return None;
        }
        let names = self.steps.iter().map(|step| step.id.name.as_str());
        Some(
            Diagnostic::error(new.span, format!("there is no step `{}`", new.name))
                .did_you_mean(closest(&new.name, names.chain(ids.iter().copied()))),
        )
    }

    /// A step that moves to an id that has moved itself.
    fn check_chain(&self, old: &Key, new: &Key, further: &Key) -> Diagnostic {
        let mut last = further;
        let mut seen = HashSet::from([old.name.as_str(), new.name.as_str()]);
        while seen.insert(&last.name) {
            match self.moved.iter().find(|(from, _)| from.name == last.name) {
                Some((_, next)) => last = next,
                None => {
                    return Diagnostic::error(
                        new.span,
                        format!("`{}` has itself moved to `{}`", new.name, further.name),
                    )
                    .help(format!("write where it is now: `{}: {}`", old.name, last.name));
                }
            }
        }
        Diagnostic::error(new.span, format!("`{}` moves in a circle", old.name))
            .help("say the id that the step has now, and no more")
    }

    fn is_declared(&self, id: &str, ids: &HashSet<&str>) -> bool {
        ids.contains(id) || self.step(id).is_some()
    }
}

/// An id without the key of an instance.
fn base(id: &str) -> &str {
    id.split_once('[').map_or(id, |(base, _)| base)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan;

    fn mistakes(former: &str) -> Vec<(usize, String, String)> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("plan.yaml");
        let text = format!(
            "version: 1\nname: x\nsteps:\n  a: {{ kind: k }}\n  team: {{ kind: k, for_each: [x] }}\n{former}\n"
        );
        std::fs::write(&path, text).expect("written");
        let ids = HashSet::from(["a", "team[x]"]);
        let (found, sources) = match plan::load(&path, &plan::Given::default(), &[]) {
            Ok(document) => (document.check_former(&ids), document.sources),
            Err(found) => (found.list, found.sources),
        };
        let line = |found: &Diagnostic| sources.locate(found.span.expect("a place")).expect("there").1;
        found
            .iter()
            .map(|one| (line(one), one.message.clone(), one.help.clone().unwrap_or_default()))
            .collect()
    }

    #[test]
    fn valid_moves_and_removals_are_accepted() {
        for former in [
            "moved: { b: a }",
            "moved: { old: team }",
            "moved: { old: \"team[x]\" }",
            "moved: { \"team[y]\": \"team[x]\" }",
            "moved: { team: \"team[x]\" }",
            "removed: { c: { protect: false }, d: { retain: true } }",
        ] {
            assert_eq!(mistakes(former), [], "{former}");
        }
    }

    #[test]
    fn mistakes_name_their_place_and_a_remedy() {
        for (former, message, help) in [
            ("moved: { b: tam }", "there is no step `tam`", "did you mean `team`?"),
            ("moved: { a: team }", "step `a` is still declared", "take the line out"),
            ("moved: { b: a, c: a }", "`b` has moved to `a` too", "one of the two lines"),
            ("moved: { c: b, b: a }", "`b` has itself moved to `a`", "`c: a`"),
            ("moved: { b: c, c: b }", "`b` moves in a circle", "the id that the step has now"),
            ("moved: { b: b }", "`b` moves in a circle", "the id that the step has now"),
            ("moved: { b: [a] }", "the new id of `b` is a string", ""),
            ("moved: [ b ]", "`moved` is a map", ""),
            ("removed: { a: { protect: false } }", "step `a` is still declared", "in the step itself"),
            ("removed: { c: { keep: true } }", "unknown key `keep`", "`protect` and `retain`"),
            ("removed: { c: { retain: yes please } }", "`retain` is true or false", ""),
            ("removed: { c: {} }", "nothing is said of `c`", "protect: false"),
        ] {
            let found = mistakes(former);
            let (line, told, advice) = found.first().unwrap_or_else(|| panic!("{former} passes"));
            assert_eq!(*line, 6, "{former}");
            assert!(told.contains(message) && advice.contains(help), "{former}: {told}; {advice}");
        }
    }

    #[test]
    fn instances_move_with_their_step() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("plan.yaml");
        let text = "version: 1\nname: x\nmoved: { old: new, \"team[a]\": \"team[b]\" }\n";
        std::fs::write(&path, text).expect("written");
        let document = plan::load(&path, &plan::Given::default(), &[]).expect("a plan");
        assert_eq!(document.moved_to("old").as_deref(), Some("new"));
        assert_eq!(document.moved_to("old[k]").as_deref(), Some("new[k]"));
        assert_eq!(document.moved_to("team[a]").as_deref(), Some("team[b]"));
        assert_eq!(document.moved_to("team[c]"), None);
    }
}
