//! Steps that declare one thing twice, or two things for the one place that a parent has for them. They
//! would take turns in changing it.

use std::collections::HashMap;

use super::Resolved;
use crate::place::Realm;
use crate::plan::Diagnostic;
use crate::resource::erased::Instance;
use crate::template::unknown;

/// The mistakes, each at the later step.
pub fn find(resolved: &Resolved, instances: &[Option<Box<dyn Instance>>]) -> Vec<Diagnostic> {
    let mut known: HashMap<(&str, Claim), Vec<usize>> = HashMap::new();
    let mut mistakes = Vec::new();
    for (index, instance) in instances.iter().enumerate() {
        let Some(instance) = instance else { continue };
        let kind = resolved.steps[index].kind.name();
        let named = Claim::Name(instance.same_name());
        for claim in std::iter::once(named).chain(instance.occupies().map(Claim::Slot)) {
            let others = known.entry((kind, claim.clone())).or_default();
            if let Some(first) =
                others.iter().find(|other| is_same_place(resolved, instances, **other, index))
            {
                let what = match claim {
                    Claim::Name(_) => format!("{kind} {}", instance.id()),
                    Claim::Slot(slot) => slot,
                };
                mistakes.push(mistake(resolved, &unknown::describe(&what), *first, index));
            }
            others.push(index);
        }
    }
    mistakes
}

/// What two steps of a kind must not both declare.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Claim {
    /// The name of a thing.
    Name(String),
    /// The one place that a parent has.
    Slot(String),
}

/// Whether two steps of a kind are in the same realm: it is known completely, or they name the same place.
fn is_same_place(resolved: &Resolved, all: &[Option<Box<dyn Instance>>], one: usize, other: usize) -> bool {
    let parts = resolved.steps[one].kind.realm();
    let provider = resolved.steps[one].kind.provider();
    let (Some(here), Some(there)) = (&all[one], &all[other]) else { return false };
    let realm = |instance: &dyn Instance| resolved.realms.of(provider, instance.place()).only(parts);
    let (first, second): (Realm, Realm) = (realm(here.as_ref()), realm(there.as_ref()));
    let is_known = !parts.is_empty() && first.knows(parts) && second.knows(parts);
    if is_known { first == second } else { here.place() == there.place() || parts.is_empty() }
}

fn mistake(resolved: &Resolved, what: &str, first: usize, second: usize) -> Diagnostic {
    let (one, other) = (&resolved.steps[first], &resolved.steps[second]);
    let span = |index: usize| resolved.document.steps[resolved.steps[index].declared].id.span;
    let message = format!("the steps `{}` and `{}` both declare {what}", one.id, other.id);
    let mistake = Diagnostic::error(span(second), message)
        .help("they would change it in turns: remove one of them, or give them different names or places");
    if one.declared == other.declared { mistake } else { mistake.beside(span(first), "the first") }
}
