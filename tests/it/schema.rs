//! What the program says about the plan language: the schema, the examples, the plans.

use std::path::{Path, PathBuf};

use groundwork::plan::{Given, StageChoice, stage_names};
use groundwork::providers::PROVIDERS;
use groundwork::schema::plan_schema;
use groundwork::session;
use groundwork::trust::Trust;
use serde_json::Value;

use crate::support::write_example;

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn plan_schema_in_docs_is_current() {
    let text = std::fs::read_to_string(project().join("docs/plan.schema.json")).expect("the schema");
    let kept: Value = serde_json::from_str(&text).expect("JSON");
    assert!(
        kept == plan_schema(&PROVIDERS),
        "docs/plan.schema.json is not what the program prints: run `make docs`"
    );
}

#[test]
fn kinds_page_in_docs_is_current() {
    let kept = std::fs::read_to_string(project().join("docs/kinds.md")).expect("the kinds");
    let printed = groundwork::ui::explain::markdown(&PROVIDERS);
    assert!(
        kept.trim_end() == printed.trim_end(),
        "docs/kinds.md is not what the program prints: run `make docs`"
    );
}

#[test]
fn changeset_schema_in_docs_is_current() {
    let text = std::fs::read_to_string(project().join("docs/changeset.schema.json")).expect("the schema");
    let kept: Value = serde_json::from_str(&text).expect("JSON");
    let now = serde_json::to_value(groundwork::review::schema()).expect("JSON");
    assert!(kept == now, "docs/changeset.schema.json is not what the program prints: run `make docs`");
}

#[test]
fn access_schema_in_docs_is_current() {
    let text = std::fs::read_to_string(project().join("docs/access.schema.json")).expect("the schema");
    let kept: Value = serde_json::from_str(&text).expect("JSON");
    let now = serde_json::to_value(groundwork::ui::access::schema()).expect("JSON");
    assert!(kept == now, "docs/access.schema.json is not what the program prints: run `make docs`");
}

#[test]
fn every_kinds_example_is_a_valid_step() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut wrong = Vec::new();
    for kind in PROVIDERS.kinds() {
        let path = write_example(kind, folder.path());
        if let Err(mistakes) = session::check(&path, &Given::default(), &Trust::default()) {
            wrong.push(format!("{}: {mistakes}", kind.name()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_example_shows_its_own_kind() {
    for kind in PROVIDERS.kinds() {
        let line = format!("kind: {}", kind.name());
        assert!(kind.example().contains(&line), "the example of {} is of something else", kind.name());
        assert!(kind.about().ends_with('.'), "`{}` of {} is no sentence", kind.about(), kind.name());
    }
}

#[test]
fn every_kind_has_a_contract_fixture() {
    for name in PROVIDERS.names() {
        let path = project().join(format!("tests/contract/{name}.yaml"));
        assert!(path.exists(), "{} is missing", path.display());
    }
}

#[test]
fn every_plan_of_the_project_is_valid() {
    for path in plans() {
        for stage in stages(&path) {
            let given = Given { stage, ..Given::default() };
            if let Err(mistakes) = session::check(&path, &given, &Trust::default()) {
                panic!("{}: {mistakes}", path.display());
            }
        }
    }
}

/// A choice of each stage of a plan; without stages, none.
fn stages(path: &Path) -> Vec<Option<StageChoice>> {
    let names = stage_names(path, &PROVIDERS.sections());
    let choices: Vec<Option<StageChoice>> =
        names.into_iter().map(|name| Some(StageChoice::Option(name))).collect();
    if choices.is_empty() { vec![None] } else { choices }
}

fn plans() -> Vec<PathBuf> {
    let folder = project().join("plans").read_dir().expect("the plans");
    let paths = folder.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}
