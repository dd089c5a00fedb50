//! The permissions with which a command can run on a plan, derived from the plan.

use std::collections::{BTreeMap, BTreeSet};

use super::checked::Checked;
use super::rotate::taken;
use super::whole::declared;
use crate::place::Place;
use crate::plan::Diagnostics;
use crate::resource::Rotation;
use crate::run::{Access, Command, Kept, LeastPolicy, Needs};

/// The least policies for a command, by connection.
///
/// # Errors
/// Mistakes in the sections that say what the run keeps where.
pub fn least_policies(checked: &Checked, command: Command) -> Result<Vec<LeastPolicy>, Diagnostics> {
    let needs = of_command(checked, command)?;
    let mut by_connection: BTreeMap<(&str, Place), Vec<&Needs>> = BTreeMap::new();
    for one in &needs {
        let connection = Place::of_alias(one.place.alias.as_deref());
        by_connection.entry((one.provider, connection)).or_default().push(one);
    }
    let providers = &checked.resolved.providers;
    let of = |((provider, connection), needs): (&(&str, Place), &Vec<&Needs>)| {
        providers.named(provider).map(|found| found.least_policies(connection, needs)).unwrap_or_default()
    };
    Ok(by_connection.iter().flat_map(of).collect())
}

/// The needs of a command for each step, and for the run itself.
fn of_command(checked: &Checked, command: Command) -> Result<Vec<Needs>, Diagnostics> {
    let resolved = &checked.resolved;
    let rotated = (command == Command::Rotate).then(|| Rotated::of(checked));
    let steps = resolved.steps.iter().zip(&checked.instances).enumerate();
    let mut needs: Vec<Needs> = steps
        .flat_map(|(index, (step, instance))| {
            let (provider, place) = (step.kind.provider(), instance.place());
            let realm = resolved.realms.of(provider, place);
            let accesses = match &rotated {
                Some(rotated) => rotated.accesses(index),
                None => command.accesses(),
            };
            let permissions = accesses.iter().flat_map(|access| instance.permissions(*access, &realm));
            let rotates = accesses.contains(&Access::Update) && command == Command::Rotate;
            let rotation = rotates.then(|| instance.rotation_permissions(&realm)).into_iter().flatten();
            Needs::of_step(&step.id, provider, place, permissions.chain(rotation).collect())
        })
        .collect();
    if command == Command::Verify {
        needs.extend(of_logins(checked));
    }
    needs.extend(of_run(checked, command)?);
    Ok(needs)
}

/// The needs for the tokens of workloads, with which a proof logs in.
fn of_logins(checked: &Checked) -> Vec<Needs> {
    let resolved = &checked.resolved;
    let kinds: Vec<&str> = resolved.steps.iter().map(|step| step.kind.name()).collect();
    let mut needs = Vec::new();
    for (step, instance) in resolved.steps.iter().zip(&checked.instances) {
        let Some(workload) = instance.workload() else { continue };
        for connection in resolved.providers.iter() {
            let permission = connection.workload_permission(&workload, &kinds).into_iter().collect();
            needs.extend(Needs::of_step(&step.id, connection.provider(), &Place::OWN, permission));
        }
    }
    needs
}

/// The needs of the run itself.
pub(super) fn of_run(checked: &Checked, command: Command) -> Result<Vec<Needs>, Diagnostics> {
    let resolved = &checked.resolved;
    let mistakes = |found| Diagnostics::new(resolved.document.sources.clone(), found);
    let custody = resolved.custody(&checked.outputs).map_err(mistakes)?;
    let places = resolved.places(&checked.outputs, false).map_err(mistakes)?;
    let steps = declared(resolved, &checked.instances);
    let steps: Vec<_> = steps.iter().map(|step| step as &dyn crate::run::Declared).collect();
    let backups = resolved.backups(&checked.outputs, false).map_err(mistakes)?;
    let (custody, backups) = (custody.as_ref(), backups.as_ref());
    let (journal, lock) = (places.journal.as_ref(), places.lock.as_ref());
    let kept = Kept { custody, journal, lock, backups, steps: &steps };
    let of = |connection: &dyn crate::run::Connection| {
        let provider = connection.provider();
        let realm = resolved.realms.of(provider, &Place::OWN);
        let needed = connection.own_permissions(command, &kept, &realm).into_iter();
        let needed = needed.flat_map(move |(what, permission)| {
            Needs::of_step(what, provider, &Place::OWN, vec![permission])
        });
        needed.collect::<Vec<_>>()
    };
    Ok(resolved.providers.iter().flat_map(of).collect())
}

/// The steps that a rotation deals with.
struct Rotated {
    /// Those that can be rotated, and those that take something of them.
    written: BTreeSet<usize>,
    /// Those of which these take something.
    read: BTreeSet<usize>,
}

impl Rotated {
    fn of(checked: &Checked) -> Self {
        let steps = &checked.resolved.steps;
        let from = |index: usize| taken(&checked.resolved, &*checked.instances[index], index);
        let is_rotated = |index: &usize| steps[*index].kind.rotation().refusal().is_none();
        let mut written: BTreeSet<usize> = (0..steps.len()).filter(is_rotated).collect();
        let in_place = |index: &usize| matches!(steps[*index].kind.rotation(), Rotation::InPlace(_));
        let mut sources: BTreeSet<usize> = written.iter().copied().filter(|index| !in_place(index)).collect();
        // In this order each step comes after those that it takes something of.
        for index in &checked.graph.order {
            if from(*index).iter().any(|other| sources.contains(other)) {
                sources.insert(*index);
                written.insert(*index);
            }
        }
        let mut read = BTreeSet::new();
        for index in checked.graph.order.iter().rev() {
            if written.contains(index) || read.contains(index) {
                read.extend(from(*index));
            }
        }
        Self { written, read }
    }

    fn accesses(&self, index: usize) -> &'static [Access] {
        match (self.written.contains(&index), self.read.contains(&index)) {
            (true, _) => Command::Rotate.accesses(),
            (false, true) => Command::Plan.accesses(),
            (false, false) => &[],
        }
    }
}
