//! The steps that a run deals with: all of them, or those that its caller names with what they need.

use std::collections::{BTreeMap, BTreeSet};

use super::Graph;
use crate::changeset::Selection;
use crate::plan::Diagnostic;
use crate::resolve::{Resolved, Step};
use crate::resource::Turn;
use crate::suggest::closest;

/// The steps that a run deals with, by index.
#[derive(Clone, Debug, Default)]
pub struct Selected {
    /// The selection that the caller has asked for.
    pub asked: Selection,
    /// The steps that are carried out; `None` for all of them.
    chosen: Option<BTreeSet<usize>>,
    /// The steps that are read although they are not carried out, because sections of the plan refer to them.
    read: BTreeSet<usize>,
    /// The steps whose things are replaced.
    replaced: BTreeSet<usize>,
    /// The steps that depend on these, directly or not.
    after: BTreeSet<usize>,
    /// The steps whose things are rotated, and in which direction.
    rotated: BTreeMap<usize, Turn>,
    /// The steps that take something of a rotated one.
    followers: BTreeSet<usize>,
}

impl Selected {
    /// The steps of a plan that the caller has asked for.
    ///
    /// # Errors
    /// Ids that the plan does not have, and steps to be replaced that are not among the chosen ones.
    pub fn of(resolved: &Resolved, graph: &Graph, asked: Selection) -> Result<Self, Vec<Diagnostic>> {
        let mut mistakes = Vec::new();
        let mut named = |ids: &[String], flag: &str| {
            Self::named(resolved, ids, flag).unwrap_or_else(|found| {
                mistakes.extend(found);
                BTreeSet::new()
            })
        };
        let (targets, replaced) = (named(&asked.targets, "--target"), named(&asked.replaces, "--replace"));
        let with_needs = |steps: BTreeSet<usize>| {
            let needs = steps.iter().flat_map(|step| graph.ancestors(*step)).collect::<Vec<_>>();
            steps.into_iter().chain(needs).collect::<BTreeSet<usize>>()
        };
        let chosen = (!asked.targets.is_empty()).then(|| with_needs(targets));
        let outside =
            replaced.iter().filter(|step| chosen.as_ref().is_some_and(|steps| !steps.contains(step)));
        mistakes.extend(outside.map(|step| {
            let message =
                format!("--replace `{}` is outside of what `--target` names", resolved.steps[*step].id);
            Diagnostic::error(None, message).help("name it with `--target` too, or leave `--target` out")
        }));
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let referred = |step: &usize| {
            let name = &resolved.document.steps[resolved.steps[*step].declared].id.name;
            resolved.custody_references.contains(name) || resolved.place_references.contains(name)
        };
        let read = with_needs((0..resolved.steps.len()).filter(referred).collect());
        let mut selected = Self { asked, chosen, read, replaced, ..Self::default() };
        selected.after = selected.dependents(graph);
        Ok(selected)
    }

    /// The steps of a rotation: those that are rotated, those that an earlier run has rotated (`resumed`), and
    /// `followers`, which take something of them. Their needs are read, and stay as they are.
    pub fn rotation(
        resolved: &Resolved,
        graph: &Graph,
        rotated: BTreeMap<usize, Turn>,
        resumed: &BTreeSet<usize>,
        followers: BTreeSet<usize>,
    ) -> Self {
        let begun: BTreeSet<usize> = rotated.keys().chain(resumed).copied().collect();
        let rotates = begun.iter().map(|step| resolved.steps[*step].id.clone()).collect();
        let chosen: BTreeSet<usize> = begun.union(&followers).copied().collect();
        Self {
            asked: Selection { rotates, ..Selection::default() },
            read: chosen.iter().flat_map(|step| graph.ancestors(*step)).collect(),
            chosen: Some(chosen),
            followers: followers.difference(&begun).copied().collect(),
            rotated,
            ..Self::default()
        }
    }

    /// The steps that the caller names, by id or by the name of all instances.
    ///
    /// # Errors
    /// Names that the plan does not have.
    pub fn named(
        resolved: &Resolved,
        ids: &[String],
        what: &str,
    ) -> Result<BTreeSet<usize>, Vec<Diagnostic>> {
        let (mut found, mut mistakes) = (BTreeSet::new(), Vec::new());
        for id in ids {
            match steps_of(resolved, id) {
                steps if steps.is_empty() => mistakes.push(unknown(resolved, id, what)),
                steps => found.extend(steps),
            }
        }
        if mistakes.is_empty() { Ok(found) } else { Err(mistakes) }
    }

    /// The chosen steps that come after a replaced thing.
    fn dependents(&self, graph: &Graph) -> BTreeSet<usize> {
        let mut after = BTreeSet::new();
        for step in graph.order.iter().filter(|step| self.has(**step) && !self.replaced.contains(step)) {
            let is_after = |need: &usize| self.replaced.contains(need) || after.contains(need);
            if graph.needs[*step].iter().any(is_after) {
                after.insert(*step);
            }
        }
        after
    }

    /// Whether the run leaves some of the plan's steps as they are.
    pub fn is_partial(&self) -> bool {
        self.chosen.is_some()
    }

    /// Whether the step is carried out.
    pub fn has(&self, step: usize) -> bool {
        self.chosen.as_ref().is_none_or(|chosen| chosen.contains(&step))
    }

    /// Whether the step's thing is read.
    pub fn reads(&self, step: usize) -> bool {
        self.has(step) || self.read.contains(&step)
    }

    /// Whether the step's thing is replaced.
    pub fn replaces(&self, step: usize) -> bool {
        self.replaced.contains(&step)
    }

    /// The steps whose things are replaced.
    pub fn replaced(&self) -> impl Iterator<Item = usize> {
        self.replaced.iter().copied()
    }

    /// The steps whose things are rotated, and in which direction.
    pub fn rotated(&self) -> &BTreeMap<usize, Turn> {
        &self.rotated
    }

    /// The steps whose things are rotated, by this run or an earlier one.
    pub fn begun(&self) -> impl Iterator<Item = usize> {
        let chosen = self.chosen.iter().flatten().copied();
        chosen.filter(|step| !self.asked.rotates.is_empty() && !self.followers.contains(step))
    }

    /// The steps that take something of a rotated one.
    pub fn followers(&self) -> impl Iterator<Item = usize> {
        self.followers.iter().copied()
    }

    /// Whether the step comes after a replaced thing.
    pub fn is_after_replacement(&self, step: usize) -> bool {
        self.after.contains(&step)
    }
}

/// The instance with this id, or all instances of the step with this name.
fn steps_of(resolved: &Resolved, id: &str) -> Vec<usize> {
    let steps = resolved.steps.iter().enumerate();
    let named = |step: &Step| step.id == id || resolved.document.steps[step.declared].id.name == id;
    steps.filter(|(_, step)| named(step)).map(|(index, _)| index).collect()
}

fn unknown(resolved: &Resolved, id: &str, flag: &str) -> Diagnostic {
    let declared = resolved.document.steps.iter().map(|step| step.id.name.as_str());
    if let Some(step) = resolved.document.steps.iter().find(|step| step.id.name == id) {
        let message = format!("{flag} `{id}`: its `when` or `for_each` makes nothing of this step");
        return Diagnostic::error(step.id.span, message).help("leave it out");
    }
    let base = id.split('[').next().unwrap_or(id);
    let instances = resolved.steps.iter().map(|step| step.id.as_str());
    let near = closest(id, instances.chain(declared.clone()));
    let is_instance = base != id && declared.clone().any(|name| name == base);
    let what = if is_instance { "instance" } else { "step" };
    let diagnostic = Diagnostic::error(None, format!("{flag} `{id}`: the plan has no such {what}"));
    match near {
        Some(near) => diagnostic.did_you_mean(Some(near)),
        None => diagnostic.help("name a step's id, or one instance of a repeated step as `ID[KEY]`"),
    }
}
