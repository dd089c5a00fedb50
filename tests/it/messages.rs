//! What people read: errors in plans, and the changeset.

use annotate_snippets::Renderer;
use groundwork::plan::Given;
use groundwork::session;
use groundwork::trust::Trust;
use groundwork::ui::diagnostics::render;

/// The messages for a plan file, as they are drawn without colours.
fn messages(plan: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plan.yaml");
    std::fs::write(&path, plan).expect("written");
    let Err(mistakes) = session::check(&path, &Given::default(), &Trust::default()) else {
        panic!("the plan has no mistake")
    };
    let text = render(&mistakes, &Renderer::plain());
    text.replace(&format!("{}/", folder.path().display()), "")
}

/// A plan with these steps.
fn steps(steps: &str) -> String {
    format!("version: 1\nname: example\nvars:\n  region: us-east-1\nsteps:\n{steps}")
}

#[test]
fn misspelt_key_is_shown_with_a_suggestion() {
    insta::assert_snapshot!(messages(&steps(
        "  bucket:\n    kind: aws.s3_bucket\n    name: example-state\n    versionning: true\n"
    )));
}

#[test]
fn several_mistakes_are_shown_in_one_run() {
    insta::assert_snapshot!(messages(&steps(
        "  bucket:\n    kind: aws.s3_buket\n    name: example-state\n  \
         role:\n    kind: vault.approle_role\n    name: app\n    token_polices: [ app ]\n    token_ttl: soon\n  \
         key:\n    kind: aws.kms_key\n    alias: \"alias/{{ regin }}\"\n"
    )));
}

#[test]
fn references_are_checked_before_any_request() {
    insta::assert_snapshot!(messages(&steps(
        "  key:\n    kind: aws.kms_key\n    alias: alias/x\n  \
         file:\n    kind: file.template\n    path: x.txt\n    content: \"{{ key.arm }} {{ kye.arn }}\"\n"
    )));
}

#[test]
fn reference_cycle_is_named() {
    insta::assert_snapshot!(messages(&steps(
        "  a:\n    kind: file.template\n    path: a.txt\n    content: \"{{ b.sha256 }}\"\n  \
         b:\n    kind: file.template\n    path: b.txt\n    content: \"{{ a.sha256 }}\"\n"
    )));
}

#[test]
fn paths_stay_in_the_folder_of_the_plan() {
    insta::assert_snapshot!(messages(&steps(
        "  up:\n    kind: file.template\n    path: ../up.txt\n    content: x\n  \
         secret:\n    kind: vault.kv_secret\n    mount: secret\n    path: x\n    data: { key: { file: ../../etc/passwd } }\n"
    )));
}

#[test]
fn yaml_error_is_shown_at_its_line() {
    insta::assert_snapshot!(messages("version: 1\nname: [ a\nsteps: {}\n"));
    insta::assert_snapshot!(messages("version: 1\nname: a\nname: b\n"));
    insta::assert_snapshot!(messages("- not\n- a plan\n"));
}

/// A result that is not whole must not end with 0.
#[test]
fn full_output_device_is_an_error() {
    for (arguments, code) in [(vec!["explain"], 1), (vec!["schema"], 1), (vec!["--help"], 1)] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
        let ran = crate::support::program().args(&arguments).stdout(full).output().expect("it starts");
        let told = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains("cannot write to standard output"), "{arguments:?}: {told}");
    }
}

#[test]
fn generated_plan_leads_editors_to_a_schema_that_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let ran = crate::support::program().arg("init").arg(folder.path()).output().expect("it starts");
    assert!(ran.status.success(), "{ran:?}");
    let plan = std::fs::read_to_string(folder.path().join("plan.yaml")).expect("written");
    let (_, schema) = plan.lines().next().expect("a line").split_once("$schema=").expect("a schema");
    let text = std::fs::read(folder.path().join(schema)).expect("it is there");
    assert!(
        serde_json::from_slice::<serde_json::Value>(&text).is_ok_and(|schema| schema["$schema"].is_string())
    );
}
