//! Who can reach what: by the plan, by the live systems, and before and after a changeset.

use std::collections::BTreeMap;

use super::{Checked, Session};
use crate::access::{Access, AccessChange, Grant, Stated, changes};
use crate::changeset::{Action, Changeset};
use crate::observe::{Observation, ObservedPlan};
use crate::place::{Place, Realm, Realms};
use crate::resource::erased::Instance;
use crate::run::Connections;

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

/// Who gains or loses what by a changeset, and whether that is not known of a system in which it would take too
/// long.
fn changed(world: &ObservedPlan, changeset: &Changeset) -> (Vec<AccessChange>, bool) {
    if changeset.summary.writing() == 0 {
        return (Vec::new(), false);
    }
    let pairs = pairs(world, changeset);
    if pairs.iter().all(|pair| pair.before.grants == pair.after.grants) {
        return (Vec::new(), false);
    }
    let (mut before, mut after): (Vec<Stated>, Vec<Stated>) =
        pairs.into_iter().map(|pair| (pair.before, pair.after)).unzip();
    let providers = &world.resolved.providers;
    let mut is_partial = false;
    for connection in providers.iter() {
        let provider = connection.provider();
        let most = questions(&before, provider).max(questions(&after, provider));
        if most > connection.most_pairs() {
            is_partial = true;
            before.retain(|one| provider_of(one) != provider);
            after.retain(|one| provider_of(one) != provider);
        }
    }
    (changes(&reach(providers, before), &reach(providers, after)), is_partial)
}

fn provider_of(stated: &Stated) -> &str {
    stated.kind.split('.').next().unwrap_or_default()
}

/// How many pairs of a principal and a target there are in the system of a provider.
fn questions(stated: &[Stated], provider: &str) -> usize {
    let own = stated.iter().filter(|one| provider_of(one) == provider);
    let grants: Vec<&Grant> = own.flat_map(|one| &one.grants).collect();
    let count = |is_it: fn(&Grant) -> bool| grants.iter().filter(|grant| is_it(grant)).count();
    count(|grant| matches!(grant, Grant::Principal(_))) * count(|grant| matches!(grant, Grant::Target(_)))
}

impl Session {
    /// Notes in a changeset who gains or loses what by it.
    pub fn compare_access(&self, changeset: &mut Changeset) {
        (changeset.access_changes, changeset.access_not_compared) = changed(&self.world, changeset);
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
