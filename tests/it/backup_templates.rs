//! The templates of scheduled backups: rendered by the program, and taken by what reads them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{BINARY, copy_templates, program};

/// The fields of Kubernetes' types (`batch/v1` and `core/v1` of its published OpenAPI) that the template may use,
/// with their types. A name in capitals is another type of this table, `[]` a list, `{}` a map from text to text.
const TYPES: &[(&str, &[(&str, &str)])] = &[
    (
        "CRONJOB",
        &[("apiVersion", "string"), ("kind", "string"), ("metadata", "META"), ("spec", "CRONJOBSPEC")],
    ),
    ("META", &[("name", "string"), ("namespace", "string"), ("labels", "{}"), ("annotations", "{}")]),
    (
        "CRONJOBSPEC",
        &[
            ("schedule", "string"),
            ("timeZone", "string"),
            ("concurrencyPolicy", "Allow|Forbid|Replace"),
            ("startingDeadlineSeconds", "integer"),
            ("successfulJobsHistoryLimit", "integer"),
            ("failedJobsHistoryLimit", "integer"),
            ("suspend", "boolean"),
            ("jobTemplate", "JOBTEMPLATE"),
        ],
    ),
    ("JOBTEMPLATE", &[("metadata", "META"), ("spec", "JOBSPEC")]),
    (
        "JOBSPEC",
        &[
            ("backoffLimit", "integer"),
            ("activeDeadlineSeconds", "integer"),
            ("ttlSecondsAfterFinished", "integer"),
            ("podFailurePolicy", "FAILUREPOLICY"),
            ("template", "PODTEMPLATE"),
        ],
    ),
    ("FAILUREPOLICY", &[("rules", "[]FAILURERULE")]),
    ("FAILURERULE", &[("action", "FailJob|Ignore|Count|FailIndex"), ("onExitCodes", "EXITCODES")]),
    ("EXITCODES", &[("containerName", "string"), ("operator", "In|NotIn"), ("values", "[]integer")]),
    ("PODTEMPLATE", &[("metadata", "META"), ("spec", "PODSPEC")]),
    (
        "PODSPEC",
        &[
            ("restartPolicy", "Never|OnFailure"),
            ("serviceAccountName", "string"),
            ("automountServiceAccountToken", "boolean"),
            ("securityContext", "PODSECURITY"),
            ("containers", "[]CONTAINER"),
            ("volumes", "[]VOLUME"),
        ],
    ),
    (
        "PODSECURITY",
        &[
            ("runAsNonRoot", "boolean"),
            ("runAsUser", "integer"),
            ("runAsGroup", "integer"),
            ("fsGroup", "integer"),
            ("seccompProfile", "SECCOMP"),
        ],
    ),
    ("SECCOMP", &[("type", "RuntimeDefault|Unconfined|Localhost"), ("localhostProfile", "string")]),
    (
        "CONTAINER",
        &[
            ("name", "string"),
            ("image", "string"),
            ("command", "[]string"),
            ("args", "[]string"),
            ("env", "[]ENV"),
            ("securityContext", "SECURITY"),
            ("volumeMounts", "[]MOUNT"),
            ("resources", "{}"),
        ],
    ),
    ("ENV", &[("name", "string"), ("value", "string")]),
    (
        "SECURITY",
        &[
            ("allowPrivilegeEscalation", "boolean"),
            ("readOnlyRootFilesystem", "boolean"),
            ("capabilities", "CAPABILITIES"),
        ],
    ),
    ("CAPABILITIES", &[("add", "[]string"), ("drop", "[]string")]),
    ("MOUNT", &[("name", "string"), ("mountPath", "string"), ("subPath", "string"), ("readOnly", "boolean")]),
    (
        "VOLUME",
        &[
            ("name", "string"),
            ("configMap", "CONFIGMAP"),
            ("secret", "SECRET"),
            ("emptyDir", "EMPTYDIR"),
            ("persistentVolumeClaim", "CLAIM"),
        ],
    ),
    ("CLAIM", &[("claimName", "string"), ("readOnly", "boolean")]),
    ("CONFIGMAP", &[("name", "string"), ("optional", "boolean"), ("defaultMode", "integer")]),
    ("SECRET", &[("secretName", "string"), ("optional", "boolean"), ("defaultMode", "integer")]),
    ("EMPTYDIR", &[("medium", "string"), ("sizeLimit", "string")]),
];

/// What does not fit a type, with its place.
pub fn mistakes(kind: &str, value: &Value, place: &str, found: &mut Vec<String>) {
    let fits = match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "boolean" => value.is_boolean(),
        "{}" => value.is_object(),
        _ if kind.contains('|') => kind.split('|').any(|one| value == one),
        _ => match kind.strip_prefix("[]") {
            Some(inner) => {
                let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
                let each = items.iter().enumerate();
                each.for_each(|(index, item)| mistakes(inner, item, &format!("{place}[{index}]"), found));
                !items.is_empty()
            }
            None => {
                let (_, fields) = TYPES.iter().find(|(name, _)| *name == kind).expect("a type");
                for (name, value) in value.as_object().into_iter().flatten() {
                    match fields.iter().find(|(field, _)| field == name) {
                        Some((_, kind)) => mistakes(kind, value, &format!("{place}.{name}"), found),
                        None => found.push(format!("{place}: {kind} has no field {name}")),
                    }
                }
                value.is_object()
            }
        },
    };
    if !fits {
        found.push(format!("{place}: {value} is not {kind}"));
    }
}

/// Renders the templates beside a plan, without a server.
fn rendered(folder: &Path) {
    copy_templates(&folder.join("templates"));
    let file = |path: &str, template: &str, with: Value| json!({ "kind": "file.template", "path": path, "template": template, "with": with });
    let unit = json!({
        "name": "vault-backup", "user": "root", "folder": folder, "identity_file": "/etc/groundwork/age",
        "vault_addr": "https://vault.example:8200", "program": BINARY, "plan": "plan.yaml",
    });
    let job = json!({
        "name": "vault-backup", "namespace": "vault", "service_account": "vault-backup",
        "image": "registry.example/groundwork:1", "vault_addr": "https://vault-active.vault.svc:8200",
    });
    let plan = json!({ "version": 1, "name": "scheduled", "steps": {
        "job": file("out/cronjob.yaml", "backup-cronjob.yaml.j2", job),
        "service": file("out/vault-backup.service", "backup.service.j2", unit),
        "timer": file("out/vault-backup.timer", "backup.timer.j2", json!({ "name": "vault-backup" })),
    } });
    std::fs::write(folder.join("plan.yaml"), plan.to_string()).expect("written");
    let ran =
        program().args(["apply", "--yes", "plan.yaml"]).current_dir(folder).output().expect("it starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn schedules_are_taken_by_kubernetes_and_systemd() {
    let folder = tempfile::tempdir().expect("a folder");
    rendered(folder.path());
    let out = folder.path().join("out");
    let text = std::fs::read_to_string(out.join("cronjob.yaml")).expect("rendered");
    let job: Value = serde_saphyr::from_str(&text).expect("YAML");
    let mut found = Vec::new();
    mistakes("CRONJOB", &job, "job", &mut found);
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert_eq!((&job["apiVersion"], &job["kind"]), (&json!("batch/v1"), &json!("CronJob")));
    let spec = &job["spec"];
    assert_eq!(spec["concurrencyPolicy"], "Forbid");
    let pod = &spec["jobTemplate"]["spec"]["template"]["spec"];
    let names = |list: &Value| -> Vec<String> {
        list.as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["name"].as_str())
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(
        names(&pod["volumes"]),
        names(&pod["containers"][0]["volumeMounts"]),
        "each volume is mounted"
    );

    units_are_taken(&[out.join("vault-backup.service"), out.join("vault-backup.timer")]);
}

/// Has systemd look at its units, where it is.
pub fn units_are_taken(units: &[PathBuf]) {
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(units).output();
    match verified {
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && told.is_empty(), "{told}");
        }
        Err(error) => println!("systemd is not here, and its units are not verified: {error}"),
    }
}
