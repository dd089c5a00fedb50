//! What reaches a terminal or a job log of others' text: nothing that acts, hides, or deceives.

use std::path::Path;

use serde_json::{Value, json};

use crate::fuzz::formats::chained;
use crate::support::{Ran, TestEnvironment, block_on, step};

/// Everything that a terminal, a job log or an eye could be deceived with.
const HOSTILE: &str = "a\u{1b}[2J\u{1b}]0;owned\u{7}\u{1b}[8m\n::add-mask::x\n ##vso[task.setvariable]y\r\
                       ##[error]z \u{202e}txet \u{200b}\u{e0041} p\u{430}ypal";

/// Fails when something of it is in what was printed.
fn assert_harmless(ran: &Ran) {
    for text in [&ran.stdout, &ran.stderr] {
        let acts = |c: char| c.is_control() && !"\n\t".contains(c) || "\u{202e}\u{200b}\u{e0041}".contains(c);
        assert!(!text.contains(acts), "{text:?}");
        for line in text.lines() {
            let trimmed = line.trim_start();
            let command = trimmed.strip_prefix("::").is_some_and(|rest| rest.contains("::"));
            assert!(!command && !line.contains("##vso[") && !line.contains("##["), "{line:?}");
        }
    }
}

fn run(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = crate::support::program();
    command.args(arguments).current_dir(folder).env("NO_COLOR", "1").env_remove("CI");
    command.env("GROUNDWORK_CONFIG_DIR", folder.join("config"));
    Ran::of(command.output().expect("the program starts"))
}

#[test]
fn foreign_journal_cannot_control_the_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let plan = "version: 1\nname: p\nsteps: { r: { kind: file.template, path: x, content: y } }\n";
    std::fs::write(folder.path().join("plan.yaml"), plan).expect("written");
    let line = json!({ "seq": 1, "time": "2026-11-22T06:00:00Z", "run": HOSTILE, "who": HOSTILE, "pid": 1,
        "plan": HOSTILE, "entry": "intent", "step": HOSTILE, "operation": HOSTILE, "target": HOSTILE,
        "detail": [HOSTILE] });
    let journal = folder.path().join(".groundwork/journal");
    std::fs::create_dir_all(&journal).expect("made");
    let private = |path: &Path, mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(path, mode).expect("private");
    };
    private(&folder.path().join(".groundwork"), 0o700);
    std::fs::write(journal.join("p.jsonl"), chained(line.to_string().as_bytes())).expect("written");
    for format in ["human", "json"] {
        let ran = run(folder.path(), &["journal", "plan.yaml", "--format", format]);
        assert_harmless(&ran);
        if ran.code == 0 && format == "json" {
            let shown: Value = serde_json::from_str(&ran.stdout).expect("JSON");
            assert_eq!(shown["entries"][0]["target"], HOSTILE, "the value is the same");
        }
    }
}

#[test]
fn server_values_are_escaped_in_every_format() {
    let environment = TestEnvironment::new();
    let plan = |description: &str| {
        json!({ "version": 1, "name": "p", "aws": { "region": "us-east-1" }, "steps": {
            "it": { "kind": "aws.secret", "name": "gw-shown", "description": description,
                    "data": { "a": "x" } } } })
        .to_string()
    };
    environment.write("plan.yaml", &plan("old"));
    let ran = environment.run(&["apply", "--yes", "plan.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let secrets = crate::aws::secretsmanager(&environment);
    let update = secrets.update_secret().secret_id("gw-shown").description(HOSTILE);
    block_on(update.send()).expect("changed by somebody");
    environment.write("plan.yaml", &plan("new"));
    for format in ["human", "markdown", "html", "json"] {
        let ran = environment.run(&["plan", "plan.yaml", "--format", format]);
        assert!(ran.stdout.contains("gw-shown"), "{ran:?}");
        assert_harmless(&ran);
    }
    let shown = environment.plan("plan.yaml");
    let changes = step(&shown, "it")["changes"].as_array().expect("changes").clone();
    assert!(changes.iter().any(|change| change["before"] == HOSTILE), "{shown:#}");
    let human = environment.run(&["plan", "plan.yaml"]).stdout;
    for escaped in ["\\u{1b}[2J", "\\u{202e}txet", "\\u{200b}\\u{e0041}", "p\\u{430}ypal"] {
        assert!(human.contains(escaped), "{escaped} in {human}");
    }
}

#[test]
fn deceptive_names_are_refused_with_their_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |step: &str, words: &[&str]| {
        let plan = format!("version: 1\nname: p\nsteps:\n  it: {step}\n");
        std::fs::write(folder.path().join("plan.yaml"), plan).expect("written");
        let ran = run(folder.path(), &["validate", "plan.yaml"]);
        assert_eq!(ran.code, 1, "{step}: {ran:?}");
        assert!(ran.stderr.contains("plan.yaml:4"), "{ran:?}");
        for word in words {
            assert!(ran.stderr.contains(word), "{word} in {ran:?}");
        }
        assert_harmless(&ran);
    };
    refused(
        "{ kind: vault.mount, path: \"\u{430}dmin\", type: kv }",
        &["`\\u{430}dmin` can be mistaken for another name", "letters of several scripts", "U+0430"],
    );
    refused("{ kind: vault.mount, path: \"kv\\u200c\", type: kv }", &["invisible character U+200C"]);
    refused("{ kind: vault.kv_secret, mount: kv, path: \"app/p\\u0430y\", data: { a: x } }", &["U+0430"]);
    refused("{ kind: vault.mount, path: \"kv\\u200b\", type: kv }", &["must not stand in a plan"]);
    refused("{ kind: vault.mount, path: \"kv\\U000e0041\", type: kv }", &["must not stand in a plan"]);
    refused(
        "{ kind: vault.mount, path: \"{{ each.key }}\", type: kv, for_each: [ \"p\\u0430y\" ] }",
        &["can be mistaken for another name"],
    );
}
