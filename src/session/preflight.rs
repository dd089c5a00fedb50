//! The permissions that the caller lacks for a changeset, before anything is written.

use std::collections::BTreeMap;

use futures::future::join_all;

use super::Session;
use crate::changeset::{Action, Changeset, StepChange};
use crate::place::Place;
use crate::run::{Access, Lack, Needs, Permission};

impl Session {
    /// The permissions that the caller certainly lacks to carry out this changeset. Asks only if there is
    /// something to write, and all systems at the same time.
    pub async fn lacking(&self, changeset: &Changeset) -> Vec<Lack> {
        if changeset.summary.writing() == 0 {
            return Vec::new();
        }
        let resolved = &self.world.resolved;
        let steps = resolved.steps.iter().enumerate();
        let places: BTreeMap<&str, usize> = steps.map(|(index, step)| (step.id.as_str(), index)).collect();
        let written = changeset.steps.iter().filter(|step| step.action.writes());
        let written: Vec<(&StepChange, usize)> =
            written.filter_map(|step| Some((step, *places.get(step.id.as_str())?))).collect();
        // A server that is started by this run has its own first token.
        let begins = |provider: &str| {
            let begun = |index: usize| {
                resolved.steps[index].kind.bootstraps() && resolved.steps[index].kind.provider() == provider
            };
            written.iter().any(|(step, index)| step.action == Action::Create && begun(*index))
        };
        let mut needs: Vec<Needs> =
            written.iter().flat_map(|(step, index)| self.needs_of(step, *index)).collect();
        needs.extend(self.run.own_needs.iter().cloned());
        needs.retain(|needs| !begins(needs.provider));
        let mut by_connection: BTreeMap<(&str, Place), Vec<&Needs>> = BTreeMap::new();
        for one in &needs {
            let connection = Place::of_alias(one.place.alias.as_deref());
            by_connection.entry((one.provider, connection)).or_default().push(one);
        }
        let asked = by_connection.iter().filter_map(|((provider, connection), needs)| {
            Some(self.run.connections.named(provider)?.lacking(&self.run, connection, needs))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// The needs of one step for its action.
    fn needs_of(&self, step: &StepChange, index: usize) -> Vec<Needs> {
        let (resolved, instance) = (&self.world.resolved, &self.world.instances[index]);
        let (provider, place) = (resolved.steps[index].kind.provider(), instance.place());
        let realm = self.world.realms.of(provider, place);
        let of = |access: Access| {
            let needed = instance.permissions(access, &realm).into_iter();
            let changed = || step.changes.iter().map(|change| change.path.as_str());
            let needed: Vec<Permission> =
                needed.filter(|one| access != Access::Update || one.concerns(changed())).collect();
            let needs = Needs::of_step(&step.id, provider, place, needed).into_iter();
            needs.map(move |needs| Needs { may_exist: access != Access::Create, ..needs }).collect::<Vec<_>>()
        };
        match step.action {
            Action::Create => of(Access::Create),
            Action::Update | Action::Adopt => of(Access::Update),
            Action::Replace => [of(Access::Delete), of(Access::Create)].concat(),
            Action::Delete => of(Access::Delete),
            Action::None | Action::Blocked | Action::Deferred => Vec::new(),
        }
    }
}
