//! The rules of `validate`: each finds what its own example says, and nothing in the good one.

use std::path::Path;

use groundwork::lint::{self, Report, Rule};
use groundwork::plan::Given;
use groundwork::plan::Severity;
use groundwork::trust::Trust;
use groundwork::{session, ui};
use serde_json::Value;

use crate::support::Ran;

/// A whole plan of an example, which leaves out what they have in common.
fn plan(example: &str) -> String {
    let name = if example.contains("name: example-production") { "" } else { "name: example\n" };
    format!("version: 1\n{name}{example}")
}

fn report(plan: &str) -> Report {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plan.yaml");
    std::fs::write(&path, plan).expect("written");
    let checked = session::check(&path, &Given::default(), &Trust::default())
        .unwrap_or_else(|mistakes| panic!("{mistakes}\n{plan}"));
    lint::run(&checked.resolved, &checked.instances, &checked.outputs)
}

/// The lines where a rule finds something.
fn lines(rule: &Rule, report: &Report) -> Vec<usize> {
    let found = report.findings.iter().filter(|finding| finding.rule.id == rule.id);
    let mut lines: Vec<usize> = found
        .map(|finding| report.sources.locate(finding.span.expect("a place")).expect("in a file").1)
        .collect();
    lines.sort_unstable();
    lines
}

#[test]
fn every_rule_flags_the_marked_lines_only() {
    let mut wrong = Vec::new();
    for rule in lint::all() {
        let bad = plan(rule.bad);
        let marked: Vec<usize> = bad
            .lines()
            .zip(1..)
            .filter(|(line, _)| line.ends_with("# here"))
            .map(|(_, number)| number)
            .collect();
        assert!(!marked.is_empty(), "{} has no example", rule.id);
        let found = lines(rule, &report(&bad));
        if found != marked {
            wrong.push(format!("{}: found at {found:?} instead of {marked:?}\n{bad}", rule.id));
        }
        let found = lines(rule, &report(&plan(rule.good)));
        if !found.is_empty() {
            wrong.push(format!("{}: found at {found:?} of the good example\n{}", rule.id, plan(rule.good)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn good_examples_pass_every_other_rule() {
    // What is left out of an example so that it stays short.
    let of_whole_plans =
        ["audit-missing", "root-token-kept", "custody-single-store", "role-for-everybody", "manages-access"];
    for rule in lint::all() {
        let report = report(&plan(rule.good));
        let strays: Vec<&str> = report.findings.iter().map(|finding| finding.rule.id).collect();
        let strays: Vec<&&str> = strays.iter().filter(|id| !of_whole_plans.contains(id)).collect();
        assert!(strays.is_empty(), "{}: {strays:?}", rule.id);
    }
}

#[test]
fn reason_silences_rule_in_step_and_plan() {
    let step = "steps:\n  key:\n    kind: aws.kms_key\n    alias: alias/x\n    rotation: false\n";
    let allow = "lint: { allow: { key-without-rotation: \"the reason\" } }\n";
    for text in [format!("{step}    {allow}"), format!("{allow}{step}")] {
        let report = report(&plan(&text));
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        assert_eq!(report.silenced.len(), 1);
        assert_eq!(report.silenced[0].1, "the reason");
    }
}

#[test]
fn repeated_step_is_reported_once() {
    let text = "steps:\n  key:\n    kind: aws.kms_key\n    for_each: [ a, b, c ]\n    alias: \"alias/{{ each.key }}\"\n    rotation: false\n";
    assert_eq!(report(&plan(text)).findings.len(), 1);
}

#[test]
fn rules_are_fully_described_and_consistently_named() {
    for rule in lint::all() {
        let is_id = rule.id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        assert!(is_id, "{}", rule.id);
        assert!(rule.explanation.ends_with('.'), "{}", rule.id);
        assert!(!rule.title.ends_with('.') && !rule.help.ends_with('.'), "{}", rule.id);
        assert_eq!(lint::all().filter(|other| other.id == rule.id).count(), 1, "{}", rule.id);
    }
}

#[test]
fn lint_page_in_docs_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/lint.md");
    let kept = std::fs::read_to_string(path).expect("docs/lint.md");
    assert!(kept == ui::rules::markdown(), "docs/lint.md is not what the program prints: run `make docs`");
}

fn run(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = crate::support::program();
    command.args(arguments).current_dir(folder).env("NO_COLOR", "1");
    Ran::of(command.output().expect("the program starts"))
}

/// Plans of the repository have nothing to be found: what is true is repaired or silenced.
#[test]
fn project_plans_have_no_findings() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in project.join("plans").read_dir().expect("the plans").flatten() {
        let name = format!("plans/{}", entry.file_name().to_string_lossy());
        if entry.path().extension().is_some_and(|extension| extension == "yaml") {
            let ran = run(project, &["validate", &name, "--strict"]);
            assert_eq!(ran.code, 0, "{name}: {}{}", ran.stderr, ran.stdout);
        }
    }
}

#[test]
fn warning_fails_only_when_strict_and_error_always() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |text: &str| std::fs::write(folder.path().join("plan.yaml"), plan(text)).expect("written");
    let rule = |id: &str| lint::find(id).expect("a rule");
    assert_eq!(rule("key-without-rotation").severity, Severity::Warning);
    write(rule("key-without-rotation").bad);
    assert_eq!(run(folder.path(), &["validate", "plan.yaml"]).code, 0);
    assert_eq!(run(folder.path(), &["validate", "plan.yaml", "--strict"]).code, 1);
    write(rule("audit-missing").bad);
    assert_eq!(run(folder.path(), &["validate", "plan.yaml"]).code, 1);
}

#[test]
fn found_secret_is_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("templates")).expect("made");
    let token = format!("hvs.{}", "CAESIJ5aBcDeFgHiJkLmNoPq");
    std::fs::write(folder.path().join("templates/x.j2"), format!("# {{{{ name }}}}\ntoken={token}\n"))
        .expect("written");
    let text = format!(
        "vars: {{ name: x, db_password: correct-horse }}\nsteps:\n  a:\n    kind: file.template\n    path: x\n    \
         template: x.j2 # {token}\n  b:\n    kind: vault.kv_secret\n    mount: secret\n    path: x\n    \
         data: {{ password: swordfish, uri: \"https://u:hunter2@example.net\" }}\n"
    );
    std::fs::write(folder.path().join("plan.yaml"), plan(&text)).expect("written");
    for format in ["human", "json", "sarif"] {
        let ran = run(folder.path(), &["validate", "plan.yaml", "--format", format]);
        assert_eq!(ran.code, 1, "{ran:?}");
        let all = format!("{}{}", ran.stdout, ran.stderr);
        for secret in [token.as_str(), "swordfish", "hunter2", "correct-horse"] {
            assert!(!all.contains(secret), "{format} shows {secret}:\n{all}");
        }
        assert!(all.contains("templates/x.j2"), "the template is searched too:\n{all}");
    }
    // Nor in the excerpts of mistakes.
    std::fs::write(folder.path().join("plan.yaml"), plan(&format!("stps: [ \"{token}\" ]\n")))
        .expect("written");
    let ran = run(folder.path(), &["validate", "plan.yaml"]);
    assert!(ran.stderr.contains("unknown key `stps`") && !ran.stderr.contains(&token), "{}", ran.stderr);
}

/// What the schema of SARIF 2.1.0 requires, and what code scanning needs beyond it.
fn check_sarif(log: &Value) -> &Vec<Value> {
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().is_some_and(|url| url.ends_with("sarif-schema-2.1.0.json")));
    only(log, &["$schema", "version", "runs"]);
    let run = &log["runs"][0];
    only(run, &["tool", "automationDetails", "columnKind", "results"]);
    let driver = &run["tool"]["driver"];
    only(driver, &["name", "semanticVersion", "rules"]);
    assert_eq!(driver["name"], "groundwork");
    let rules = driver["rules"].as_array().expect("rules");
    for rule in rules {
        only(
            rule,
            &[
                "id",
                "name",
                "shortDescription",
                "fullDescription",
                "help",
                "defaultConfiguration",
                "properties",
            ],
        );
        assert!(
            ["error", "warning", "note"]
                .contains(&rule["defaultConfiguration"]["level"].as_str().expect("a level"))
        );
        for text in ["shortDescription", "fullDescription", "help"] {
            assert!(rule[text]["text"].as_str().is_some_and(|text| !text.is_empty()), "{rule}");
        }
    }
    let results = run["results"].as_array().expect("results");
    for result in results {
        only(result, &["ruleId", "ruleIndex", "level", "message", "locations", "partialFingerprints"]);
        let index = usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("small");
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert_eq!(rules[index]["defaultConfiguration"]["level"], result["level"]);
        assert!(result["message"]["text"].as_str().is_some_and(|text| !text.is_empty()));
        let place = &result["locations"][0]["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().expect("a URI");
        assert!(!uri.starts_with('/') && !uri.contains("..") && !uri.contains('\\'), "{uri} is not relative");
        let region =
            |key: &str| place["region"][key].as_u64().filter(|number| *number > 0).expect("a number");
        assert!(
            (region("startLine"), region("startColumn")) < (region("endLine"), region("endColumn")),
            "{place}"
        );
    }
    let mut prints: Vec<&str> = results
        .iter()
        .map(|result| result["partialFingerprints"]["groundwork/v1"].as_str().expect("a fingerprint"))
        .collect();
    prints.sort_unstable();
    let count = prints.len();
    prints.dedup();
    assert_eq!(prints.len(), count, "two findings have one fingerprint");
    results
}

/// The schema allows no other properties.
fn only(object: &Value, known: &[&str]) {
    let object = object.as_object().expect("an object");
    assert!(object.keys().all(|key| known.contains(&key.as_str())), "{:?}", object.keys());
}

fn sarif(folder: &Path, text: &str) -> Value {
    std::fs::write(folder.join("plan.yaml"), text).expect("written");
    let ran = run(folder, &["validate", "plan.yaml", "--format", "sarif"]);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[test]
fn sarif_has_every_finding_and_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = plan(lint::find("wildcard-admin").expect("a rule").bad);
    let log = sarif(folder.path(), &text);
    let results = check_sarif(&log);
    let lines: Vec<u64> = results
        .iter()
        .filter(|result| result["ruleId"] == "wildcard-admin")
        .map(|result| {
            result["locations"][0]["physicalLocation"]["region"]["startLine"].as_u64().expect("a line")
        })
        .collect();
    let marked: Vec<u64> = text
        .lines()
        .zip(1..)
        .filter(|(line, _)| line.ends_with("# here"))
        .map(|(_, number)| number)
        .collect();
    assert_eq!(lines, marked);
}

#[test]
fn sarif_lists_mistakes_and_has_stable_fingerprints() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = sarif(folder.path(), "version: 1\nname: x\nstps: {}\n");
    let results = check_sarif(&log);
    assert_eq!((results.len(), &results[0]["ruleId"]), (1, &Value::from("invalid-plan")));
    let print = |log: &Value| log["runs"][0]["results"][0]["partialFingerprints"]["groundwork/v1"].clone();
    let bad = plan(lint::find("key-without-rotation").expect("a rule").bad);
    let moved = bad.replace("steps:", "# moved\n# down\nsteps:");
    assert_eq!(print(&sarif(folder.path(), &bad)), print(&sarif(folder.path(), &moved)));
}

#[test]
fn json_lists_silenced_findings_with_reasons() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "steps:\n  key:\n    kind: aws.kms_key\n    alias: alias/x\n    rotation: false\n    \
                lint: { allow: { key-without-rotation: \"goes away\" } }\n";
    std::fs::write(folder.path().join("plan.yaml"), plan(text)).expect("written");
    let ran = run(folder.path(), &["validate", "plan.yaml", "--format", "json"]);
    let told: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(told["summary"], serde_json::json!({ "errors": 0, "warnings": 0, "silenced": 1 }));
    assert_eq!(told["silenced"][0]["reason"], "goes away");
    assert_eq!(
        (&told["silenced"][0]["file"], &told["silenced"][0]["line"]),
        (&"plan.yaml".into(), &7.into())
    );
}
