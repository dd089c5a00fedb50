//! The templates of scheduled rotations: rendered by the program, and taken by what reads them.

use std::path::Path;

use serde_json::{Value, json};

use crate::backup_templates::{mistakes, units_are_taken};
use crate::support::{BINARY, copy_templates, program};

/// Renders the templates beside a plan, without a server.
fn rendered(folder: &Path) {
    copy_templates(&folder.join("templates"));
    let file = |path: &str, template: &str, with: Value| json!({ "kind": "file.template", "path": path, "template": template, "with": with });
    let unit = json!({
        "name": "rotate", "user": "root", "folder": folder, "identity_file": "/etc/groundwork/age",
        "vault_addr": "https://vault.example:8200", "program": BINARY, "plan": "plan.yaml",
    });
    let job = json!({
        "name": "rotate", "namespace": "vault", "service_account": "groundwork", "claim": "groundwork",
        "image": "registry.example/groundwork:1", "vault_addr": "https://vault-active.vault.svc:8200",
    });
    let workflow = json!({
        "name": "rotate", "plan": "plans/production.yaml", "region": "us-east-1",
        "vault_addr": "https://vault.example:8200", "repository": "https://git.example/groundwork",
        "revision": "0000000000000000000000000000000000000000",
    });
    let plan = json!({ "version": 1, "name": "scheduled", "steps": {
        "job": file("out/cronjob.yaml", "rotate-cronjob.yaml.j2", job),
        "service": file("out/rotate.service", "rotate.service.j2", unit),
        "timer": file("out/rotate.timer", "rotate.timer.j2", json!({ "name": "rotate" })),
        "workflow": file("out/rotate.yml", "rotate-workflow.yml.j2", workflow),
    } });
    std::fs::write(folder.join("plan.yaml"), plan.to_string()).expect("written");
    let ran =
        program().args(["apply", "--yes", "plan.yaml"]).current_dir(folder).output().expect("it starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// The program takes the arguments that a schedule gives it: clap knows them all.
fn is_taken(arguments: &[&str]) {
    let mut program = program();
    let output = program.args(arguments).arg("--help").output().expect("it starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn schedules_are_taken_by_kubernetes_systemd_and_github() {
    let folder = tempfile::tempdir().expect("a folder");
    rendered(folder.path());
    let out = folder.path().join("out");
    let read = |name: &str| std::fs::read_to_string(out.join(name)).expect("rendered");
    let job: Value = serde_saphyr::from_str(&read("cronjob.yaml")).expect("YAML");
    let mut found = Vec::new();
    mistakes("CRONJOB", &job, "job", &mut found);
    assert!(found.is_empty(), "{}", found.join("\n"));
    let spec = &job["spec"]["jobTemplate"]["spec"];
    let container = &spec["template"]["spec"]["containers"][0];
    let codes = |rule: usize| spec["podFailurePolicy"]["rules"][rule]["onExitCodes"]["values"].clone();
    assert_eq!((codes(0), codes(1)), (json!([2]), json!([4])), "a rotation is no failure of the job");
    let arguments: Vec<&str> =
        container["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    is_taken(&arguments);

    let service = read("rotate.service");
    assert!(service.lines().any(|line| line == "SuccessExitStatus=2"), "{service}");
    let start = service.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    is_taken(&start.split(' ').skip(1).collect::<Vec<_>>());
    units_are_taken(&[out.join("rotate.service"), out.join("rotate.timer")]);

    let workflow: Value = serde_saphyr::from_str(&read("rotate.yml")).expect("YAML");
    assert_eq!(workflow["on"]["schedule"][0]["cron"], "23 3 * * *");
    assert_eq!(workflow["env"]["GROUNDWORK_TRUST"], "${{ vars.GROUNDWORK_TRUST }}");
    let steps = workflow["jobs"]["rotate"]["steps"].as_array().expect("steps");
    let run = steps.iter().find(|step| step["name"] == "Rotate").expect("the rotation")["run"].as_str();
    for (code, ended) in [(0, 0), (2, 0), (1, 1), (4, 4)] {
        let stand_in = folder.path().join("groundwork");
        std::fs::write(&stand_in, format!("#!/bin/sh\nexit {code}\n")).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&stand_in, mode).expect("it can be run");
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
        let mut shell = std::process::Command::new("bash");
        let ran = shell.args(["-euc", run.expect("a script")]).env("PATH", path).env("PLAN", "p").output();
        assert_eq!(ran.expect("bash").status.code(), Some(ended), "{code}");
    }
}
