//! How the contract exercises a kind, from `tests/contract/<kind>.yaml`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// How a kind is exercised.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// Steps that are applied before, id to step.
    #[serde(default)]
    pub given: Map<String, Value>,
    /// The step under test.
    pub step: Value,
    /// Other notations of the same, which must not be a change.
    #[serde(default)]
    pub same: Vec<Set>,
    /// Changes that must be refused with an explanation.
    #[serde(default)]
    pub blocked: Vec<Shown>,
    /// Changes, each merged (RFC 7396) into the step so far, planned, applied, in sync.
    #[serde(default)]
    pub changes: Vec<Shown>,
    /// Other subjects, for what the first cannot have; each is made, changed and deleted.
    #[serde(default)]
    pub others: Vec<Other>,
    /// As `same`, of the step with all changes.
    #[serde(default)]
    pub same_at_end: Vec<Set>,
    /// As `blocked`, of the step with all changes.
    #[serde(default)]
    pub blocked_at_end: Vec<Shown>,
    /// Changes that the sandbox's emulator cannot make and AWS can; made when [`OTHER_AWS`] is set.
    #[serde(default)]
    pub not_in_sandbox: Vec<Shown>,
    /// Why the kind cannot be deleted, for those whose deletion is refused.
    #[serde(default)]
    pub never_deleted: Option<String>,
    /// What a plan says of a kind that the test's server does not have.
    #[serde(default)]
    pub elsewhere: Option<String>,
    /// The servers that have it all the same, by [`Server::name`].
    #[serde(default)]
    pub servers: Vec<String>,
    /// Why deletion leaves something that the plan restores.
    #[serde(default)]
    pub remains: Option<String>,
    /// Fields that no change of the fixture shows, and why.
    #[serde(default)]
    pub not_shown: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    pub set: Value,
    /// The paths that the plan must name, exactly, in any order.
    pub shows: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Other {
    pub step: Value,
    pub changes: Vec<Shown>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    pub set: Value,
}

/// How a kind is exercised.
pub fn fixture(kind: &str) -> Result<Fixture, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/contract/{kind}.yaml"));
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let port = std::env::var("CONTRACT_POSTGRES_PORT").unwrap_or_default();
    let vault = std::env::var("VAULT_ADDR").unwrap_or_default();
    let text = text.replace("POSTGRES_PORT", &port).replace("VAULT_ADDRESS", &vault);
    serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Templates and files that fixtures refer to.
pub fn copy_companions(folder: &Path) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract");
    for entry in std::fs::read_dir(fixtures).expect("the fixtures").flatten() {
        if entry.path().extension().is_none_or(|extension| extension != "yaml") {
            std::fs::copy(entry.path(), folder.join(entry.file_name())).expect("copied");
        }
    }
}

/// JSON merge patch, RFC 7396.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        match target.as_object_mut() {
            Some(fields) if value.is_null() => {
                fields.remove(key);
            }
            Some(fields) => merge(fields.entry(key.clone()).or_insert(Value::Null), value),
            None => {}
        }
    }
}
