//! Mistakes that only all steps of a plan show.

use serde_json::Value;

use crate::place::{Place, Realm};
use crate::plan::Diagnostic;
use crate::resolve::{Resolved, Step, diagnose};
use crate::resource::erased::Instance;
use crate::run::{Access, Declared, Permission};

/// A step with its types.
pub(super) struct Whole<'a> {
    step: &'a Step,
    instance: &'a dyn Instance,
}

impl Declared for Whole<'_> {
    fn id(&self) -> &str {
        &self.step.id
    }

    fn kind(&self) -> &'static str {
        self.step.kind.name()
    }

    fn place(&self) -> &Place {
        self.instance.place()
    }

    fn fields(&self) -> Value {
        self.instance.fields()
    }

    fn permissions(&self) -> Vec<Permission> {
        Access::APPLY.iter().flat_map(|access| self.instance.permissions(*access, &Realm::UNKNOWN)).collect()
    }
}

/// The steps as their providers see them.
pub(super) fn declared<'a>(resolved: &'a Resolved, instances: &'a [Box<dyn Instance>]) -> Vec<Whole<'a>> {
    let steps = resolved.steps.iter().zip(instances);
    steps.map(|(step, instance)| Whole { step, instance: instance.as_ref() }).collect()
}

/// The mistakes that the providers find, at their places.
pub(super) fn mistakes(resolved: &Resolved, instances: &[Box<dyn Instance>]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for connection in resolved.providers.iter() {
        let own = |step: &Step| step.kind.provider() == connection.provider();
        let steps = resolved.steps.iter().zip(instances).filter(|(step, _)| own(step));
        let steps: Vec<Whole<'_>> =
            steps.map(|(step, instance)| Whole { step, instance: instance.as_ref() }).collect();
        let declared: Vec<&dyn Declared> = steps.iter().map(|step| step as &dyn Declared).collect();
        for (index, mistake) in connection.check_plan(&declared) {
            let node = &resolved.document.steps[steps[index].step.declared].fields;
            found.extend(diagnose(node, vec![mistake]));
        }
    }
    found
}
