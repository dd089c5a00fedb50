//! The permissions with which a command can run on a plan, derived from the plan.

use std::collections::BTreeMap;

use super::checked::Checked;
use super::whole::declared;
use crate::place::Place;
use crate::plan::Diagnostics;
use crate::run::{Command, Kept, LeastPolicy, Needs};

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
    let steps = resolved.steps.iter().zip(&checked.instances);
    let mut needs: Vec<Needs> = steps
        .flat_map(|(step, instance)| {
            let (provider, place) = (step.kind.provider(), instance.place());
            let realm = resolved.realms.of(provider, place);
            let permissions =
                command.accesses().iter().flat_map(|access| instance.permissions(*access, &realm));
            let rotates = command == Command::Rotate;
            let rotation = rotates.then(|| instance.rotation_permissions(&realm)).into_iter().flatten();
            Needs::of_step(&step.id, provider, place, permissions.chain(rotation).collect())
        })
        .collect();
    needs.extend(of_run(checked, command)?);
    Ok(needs)
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
