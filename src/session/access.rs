//! Who can reach what: by the plan, by the live systems, and before and after a changeset.

use std::collections::BTreeMap;

use super::{Checked, Session};
use crate::access::{Access, AccessChange, Grant, Stated, changes};
use crate::changeset::{Action, Changeset};
use crate::observe::{Observation, ObservedPlan};
use crate::place::{Place, Realm, Realms};
use crate::resource::erased::Instance;
use crate::run::Connections;

/// The pairs of a principal and a target for which a plan asks before and after a changeset. They take about a tenth of a
/// second in all.
const MOST_QUESTIONS: usize = 50_000;

/// Who can reach what once everything is as the plan declares it, without a look at the live systems.
pub fn declared(checked: &Checked) -> Access {
    let resolved = &checked.resolved;
    let mut stated = Vec::new();
    for (step, instance) in resolved.steps.iter().zip(&checked.instances) {
        let state = State { providers: &resolved.providers, realms: &resolved.realms };
        stated.push(state.of(&step.id, step.kind.name(), &**instance, true));
    }
    reach(&resolved.providers, stated)
}

/// The systems in which things are, and where.
struct State<'a> {
    providers: &'a Connections,
    realms: &'a Realms,
}

impl State<'_> {
    /// The statements of the thing of a step: as declared, or as it is.
    fn of(&self, id: &str, kind: &'static str, instance: &dyn Instance, as_declared: bool) -> Stated {
        let place = instance.place().clone();
        let realm = self.realm(kind, &place);
        let outputs = instance.outputs().unwrap_or_else(|| instance.predicted_outputs(&realm));
        let grants = if as_declared { instance.grants(&realm) } else { instance.granted() };
        Stated { step: id.to_owned(), kind, place, realm, outputs, grants }
    }

    fn realm(&self, kind: &str, place: &Place) -> Realm {
        let provider = kind.split('.').next().unwrap_or_default();
        let realm = self.realms.of(provider, place);
        self.providers.named(provider).map_or_else(|| realm.clone(), |connection| connection.stand_in(&realm))
    }
}

/// Asks each provider about its own.
fn reach(providers: &Connections, stated: Vec<Stated>) -> Access {
    let mut by_provider: BTreeMap<&str, Vec<Stated>> = BTreeMap::new();
    for one in stated {
        let provider = one.kind.split('.').next().unwrap_or_default();
        by_provider.entry(provider).or_default().push(one);
    }
    let mut access = Access::default();
    for connection in providers.iter() {
        if let Some(stated) = by_provider.get(connection.provider()) {
            access.extend(connection.reach(stated));
        }
    }
    access
}

/// The statements of one thing before and after a changeset.
struct Pair {
    before: Stated,
    after: Stated,
}

/// The things of a plan, with those that it no longer declares.
fn pairs(world: &ObservedPlan, changeset: &Changeset) -> Vec<Pair> {
    let state = State { providers: &world.resolved.providers, realms: &world.realms };
    let actions: BTreeMap<&str, Action> =
        changeset.steps.iter().map(|step| (step.id.as_str(), step.action)).collect();
    let action = |id: &str| actions.get(id).copied();
    let mut pairs = Vec::new();
    for (index, step) in world.resolved.steps.iter().enumerate() {
        let instance = &world.instances[index];
        let now = state.of(&step.id, step.kind.name(), instance, false);
        let grants = match action(&step.id) {
            Some(Action::Create | Action::Update | Action::Adopt | Action::Replace) => {
                instance.grants(&now.realm)
            }
            Some(Action::Delete) => Vec::new(),
            Some(Action::None | Action::Blocked | Action::Deferred) | None => now.grants.clone(),
        };
        let is_hidden = matches!(world.observations[index], Observation::Failed(_));
        let before = if is_hidden { Stated { grants: grants.clone(), ..now.clone() } } else { now.clone() };
        pairs.push(Pair { before, after: Stated { grants, ..now } });
    }
    for orphan in &world.orphans {
        let place = orphan.recorded.place().clone();
        let before = Stated {
            step: orphan.id.clone(),
            kind: orphan.kind.name(),
            realm: state.realm(orphan.kind.name(), &place),
            place,
            outputs: orphan.recorded.outputs().unwrap_or_default(),
            grants: orphan.recorded.granted(),
        };
        let goes = action(&orphan.id) == Some(Action::Delete);
        let after = if goes { Vec::new() } else { before.grants.clone() };
        pairs.push(Pair { after: Stated { grants: after, ..before.clone() }, before });
    }
    pairs
}

/// Who gains or loses what by a changeset; `None` for a plan in which that would take too long.
fn changed(world: &ObservedPlan, changeset: &Changeset) -> Option<Vec<AccessChange>> {
    if changeset.summary.writing() == 0 {
        return Some(Vec::new());
    }
    let pairs = pairs(world, changeset);
    if pairs.iter().all(|pair| pair.before.grants == pair.after.grants) {
        return Some(Vec::new());
    }
    let (before, after): (Vec<Stated>, Vec<Stated>) =
        pairs.into_iter().map(|pair| (pair.before, pair.after)).unzip();
    if questions(&before).max(questions(&after)) > MOST_QUESTIONS {
        return None;
    }
    let providers = &world.resolved.providers;
    Some(changes(&reach(providers, before), &reach(providers, after)))
}

/// How many pairs of a principal and a target there are.
fn questions(stated: &[Stated]) -> usize {
    let mut by_provider: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for one in stated {
        let (principals, targets) =
            by_provider.entry(one.kind.split('.').next().unwrap_or_default()).or_default();
        *principals += one.grants.iter().filter(|grant| matches!(grant, Grant::Principal(_))).count();
        *targets += one.grants.iter().filter(|grant| matches!(grant, Grant::Target(_))).count();
    }
    by_provider.values().map(|(principals, targets)| principals * targets).sum()
}

impl Session {
    /// Notes in a changeset who gains or loses what by it.
    pub fn compare_access(&self, changeset: &mut Changeset) {
        match changed(&self.world, changeset) {
            Some(changes) => changeset.access_changes = changes,
            None => changeset.access_not_compared = true,
        }
    }

    /// Who can reach what now, by the declared things as they are in the live systems, and by the policies that
    /// these name.
    pub async fn live_access(&self) -> Access {
        let world = &self.world;
        let state = State { providers: &world.resolved.providers, realms: &world.realms };
        let steps = world.resolved.steps.iter().enumerate();
        let stated =
            steps.map(|(index, step)| state.of(&step.id, step.kind.name(), &world.instances[index], false));
        let mut stated: Vec<Stated> = stated.collect();
        stated.retain(|one| !one.grants.is_empty());
        for connection in self.run.connections.iter() {
            let own =
                stated.iter().filter(|one| one.kind.starts_with(&format!("{}.", connection.provider())));
            let own: Vec<Stated> = own.cloned().collect();
            stated.extend(connection.further_policies(&self.run, &own).await);
        }
        reach(&world.resolved.providers, stated)
    }
}
