//! A build of the program without all kinds says what it lacks.

use std::sync::Arc;

use groundwork::changeset::RemovalScope;
use groundwork::error::FieldError;
use groundwork::provider::{Entry, Registry, provider};
use groundwork::resource::erased::{Kind, kind};
use groundwork::run::Connection;
use schemars::SchemaGenerator;
use serde_json::Value;

use super::Plan;
use super::provider::{Lamp, Toy};

/// The provider as it is in a build without the feature that has notes.
struct WithoutNotes;

static SMALLER: Registry = Registry::new(&[&WithoutNotes]);

impl Entry for WithoutNotes {
    fn name(&self) -> &'static str {
        provider::<Toy>().name()
    }

    fn title(&self) -> &'static str {
        provider::<Toy>().title()
    }

    fn kinds(&self) -> &'static [&'static dyn Kind] {
        const KINDS: &[&dyn Kind] = &[&kind::<Lamp>()];
        KINDS
    }

    fn optional_kinds(&self) -> &'static [(&'static str, &'static str)] {
        &[("toy.lamp", "toy-lamps"), ("toy.note", "toy-notes")]
    }

    fn has_section(&self) -> bool {
        true
    }

    fn is_in_expressions(&self) -> bool {
        true
    }

    fn section_schema(&self, generator: &mut SchemaGenerator) -> Value {
        provider::<Toy>().section_schema(generator)
    }

    fn open(&self, section: Option<Value>) -> Result<Arc<dyn Connection>, Vec<FieldError>> {
        provider::<Toy>().open(section)
    }
}

/// Steps of such a kind are refused. So is a removal while the journal records a thing of it, which would
/// otherwise stay behind without a word.
pub async fn build_says_what_it_lacks(plan: &Plan, with_notes: &Value, without: &Value) {
    let plan = Plan { path: plan.path.clone(), trust: plan.trust.clone(), registry: &SMALLER };
    plan.write(with_notes);
    let lacks = "this build of groundwork has no kind `toy.note`, which needs the feature `toy-notes`";
    assert_eq!(plan.mistakes(), [lacks]);

    plan.write(without);
    plan.plan(RemovalScope::Nothing).await.expect("what the journal has beside it is left alone");
    for removing in [RemovalScope::Undeclared, RemovalScope::Everything] {
        let refused = plan.plan(removing).await.err().expect("a note is in the journal");
        assert!(refused.contains(lacks), "{refused}");
    }
}

#[test]
fn build_without_a_provider_names_its_feature() {
    static EMPTY: Registry = Registry::new(&[]).lacking(&[("toy", "toys")]);
    let left_out = EMPTY.left_out("toy.note").expect("it is left out");
    assert_eq!(left_out.feature, "toys");
    assert!(left_out.to_string().contains("kind `toy.note`"), "{left_out}");
    assert!(EMPTY.left_out("lamp.note").is_none() && SMALLER.left_out("toys.note").is_none());
}
