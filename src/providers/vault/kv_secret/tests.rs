//! Comparing KV secrets, and what is written of them.

use super::*;
use crate::secret::Loader;

fn spec(data: Value, more: Value) -> KvSecretSpec {
    let mut all = json!({ "mount": "secret", "path": "a/b", "data": data });
    for (name, value) in more.as_object().cloned().unwrap_or_default() {
        all[name] = value;
    }
    let mut spec: KvSecretSpec = serde_json::from_value(all).expect("valid");
    let loader = Loader {
        folder: ".".into(),
        vars: crate::template::Context::from(json!({ "host": "db" })),
        ..Loader::default()
    };
    for source in KvSecret::sources(&mut spec) {
        source.load(&loader).expect("loads");
    }
    spec
}

fn secret(data: Value) -> LiveKvSecret {
    let told = json!({ "data": data, "metadata": { "version": 3, "custom_metadata": { "owner": "a" } } });
    live(&KvSecret::id(&spec(json!({ "a": "b" }), Value::Null)), &told).expect("there")
}

fn notes(diff: &Diff) -> Vec<String> {
    let note = |change: &crate::resource::Change| {
        let source = change.source.as_deref().unwrap_or("no source");
        let what = change.secret.map_or("-".to_owned(), |what| format!("{}: {source}", what.name()));
        format!("{} {what}", change.path)
    };
    diff.changes.iter().map(note).collect()
}

#[test]
fn generated_values_are_kept_and_templates_follow() {
    let declared = json!({
        "user": "app", "password": { "generate": {} },
        "uri": { "template": "//{{ data.user }}:{{ data.password }}@{{ host }}" },
    });
    let same = secret(json!({ "user": "app", "password": "s3", "uri": "//app:s3@db", "other": 1 }));
    let kept = KvSecret::diff(&spec(declared.clone(), Value::Null), &same);
    assert!(kept.is_empty() && kept.unchanged.len() == 3, "{kept:?}");
    let fresh = secret(json!({ "user": "old", "uri": "//old:x@db" }));
    let diff = KvSecret::diff(&spec(declared, Value::Null), &fresh);
    assert_eq!(
        notes(&diff),
        [
            "data.password new: generated, 32 characters",
            "data.uri changed: template",
            "data.user changed: declared in the plan"
        ]
    );
    assert!(
        diff.changes
            .iter()
            .all(|change| change.sensitive && change.before.is_null() && change.after.is_null())
    );
}

#[test]
fn undeclared_field_is_removed_only_when_exact() {
    let live = secret(json!({ "a": "1", "b": "2" }));
    assert!(KvSecret::diff(&spec(json!({ "a": "1" }), Value::Null), &live).is_empty());
    let diff = KvSecret::diff(&spec(json!({ "a": "1" }), json!({ "exact": true })), &live);
    assert_eq!(notes(&diff), ["data.b removed: no source", "metadata.owner -"]);
}

#[test]
fn values_and_metadata_are_compared_as_text() {
    let live = secret(json!({ "port": 5432 }));
    let declared =
        spec(json!({ "port": 5432 }), json!({ "metadata": { "owner": "a", "days": 90, "on": true } }));
    assert_eq!(notes(&KvSecret::diff(&declared, &live)), ["metadata.days -", "metadata.on -"]);
    assert_eq!(
        declared.metadata_body(&live.metadata),
        json!({ "custom_metadata": { "days": "90", "on": "true", "owner": "a" } })
    );
}

fn without_data(destroyed: bool) -> LiveKvSecret {
    let told = json!({ "data": null, "metadata": {
        "version": 2, "custom_metadata": null, "destroyed": destroyed, "deletion_time": "2026-11-27T10:00:00Z",
    } });
    live(&KvSecret::id(&spec(json!({ "a": "b" }), Value::Null)), &told).expect("there")
}

#[test]
fn deleted_version_is_restored_before_generating_values() {
    let declared = spec(json!({ "a": "b", "password": { "generate": {} } }), Value::Null);
    let diff = KvSecret::diff(&declared, &without_data(false));
    assert_eq!(notes(&diff), ["deleted -"]);
    assert!(diff.changes[0].note.as_ref().is_some_and(|note| note.contains("version 2 was deleted at 2026")));
    let id = KvSecret::id(&declared);
    assert!(live(&id, &json!({ "errors": [] })).is_none());
}

#[test]
fn destroyed_version_notes_that_its_value_is_lost() {
    let declared = spec(json!({ "a": "b", "password": { "generate": {} } }), Value::Null);
    let diff = KvSecret::diff(&declared, &without_data(true));
    assert_eq!(
        notes(&diff),
        ["data.a new: declared in the plan", "data.password new: generated, 32 characters"]
    );
    assert!(diff.changes[1].note.as_ref().is_some_and(|note| note.contains("version 2 was destroyed")));
    assert_eq!(diff.changes[0].note, None);
}

#[test]
fn empty_value_does_not_count_as_generated() {
    for nothing in [json!(""), Value::Null, json!(0), json!(0.0), json!(false)] {
        let live = secret(json!({ "password": nothing }));
        let declared = spec(json!({ "password": { "generate": {} } }), Value::Null);
        let diff = KvSecret::diff(&declared, &live);
        assert!(diff.changes[0].note.as_ref().is_some_and(|note| note.contains("empty")), "{nothing}");
        let made = declared.made(&compare::kept(&declared, &live)).expect("makes");
        assert_eq!(made["password"].expose_bytes().len(), 32, "{nothing}");
    }
    // Other values are somebody's, whatever their type.
    let declared = spec(json!({ "password": { "generate": {} } }), Value::Null);
    assert!(KvSecret::diff(&declared, &secret(json!({ "password": 12345 }))).is_empty());
    // A template never writes the word.
    let template =
        json!({ "password": { "generate": {} }, "uri": { "template": "x://:{{ data.password }}" } });
    let declared = spec(template, Value::Null);
    let live = secret(json!({ "password": null, "uri": "x://:null" }));
    let made = declared.made(&compare::kept(&declared, &live)).expect("makes");
    assert!(made["uri"].expose_str().is_some_and(|uri| uri.len() == 5 + 32));
}

#[test]
fn field_without_value_is_removed_when_exact() {
    let live = secret(json!({ "a": "1", "b": null }));
    assert!(KvSecret::diff(&spec(json!({ "a": "1" }), Value::Null), &live).is_empty());
    let diff = KvSecret::diff(&spec(json!({ "a": "1" }), json!({ "exact": true })), &live);
    assert!(diff.touches("data.b"));
}

#[test]
fn unreadable_limit_counts_as_a_difference() {
    let declared = spec(json!({ "a": "1" }), json!({ "delete_version_after": 0, "max_versions": 0 }));
    let told = |after: Value| json!({ "delete_version_after": after, "max_versions": 0 });
    let with = |after: Value| secret(json!({ "a": "1" })).with_limits(&told(after));
    assert!(!KvSecret::diff(&declared, &with(json!("0s"))).touches("delete_version_after"));
    assert!(KvSecret::diff(&declared, &with(json!("P30D"))).touches("delete_version_after"));
}

#[test]
fn full_write_keeps_undeclared_fields_like_patch() {
    let told = json!({ "data": { "a": 1, "b": "2", "c": "3", "d": null, "e": 1.5 }, "metadata": {} });
    let changes = json!({ "b": "x", "c": null }).as_object().cloned().expect("a map");
    let written = write::merge("secret/data/a", told, changes.clone()).expect("written");
    assert_eq!(written, json!({ "a": 1, "b": "x", "d": null, "e": 1.5 }));
    let large = json!({ "data": { "a": [{ "n": 1.234_567_890_123_456_8e29 }] } });
    let refused = write::merge("secret/data/a", large, changes).expect_err("refused");
    assert!(refused.message.contains("`a`") && refused.advice.is_some_and(|advice| advice.contains("patch")));
}

#[test]
fn secret_requires_its_mount_and_kv_config() {
    let requires = KvSecret::requires(&spec(json!({ "a": "1" }), Value::Null));
    assert!(requires.contains(&Requirement::thing("vault.mount", "secret")));
    assert!(requires.contains(&Requirement::thing("vault.kv_config", "secret/config")));
}

#[test]
fn bytes_are_refused_with_advice() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("key"), [0xff]).expect("written");
    let mut declared = spec(json!({ "a": "b" }), Value::Null);
    let mut file: SecretSource = serde_json::from_value(json!({ "file": "key" })).expect("valid");
    file.load(&Loader { folder: folder.path().to_owned(), ..Loader::default() }).expect("loads");
    declared.data.insert("key".to_owned(), file);
    let made = declared.made(&BTreeMap::new()).expect("makes");
    assert!(
        declared.json(&made).expect_err("refused").advice.is_some_and(|advice| advice.contains("base64"))
    );
}

#[test]
fn mistakes_are_found_by_check() {
    let errors = |data: Value, more: Value| KvSecret::check(&spec(data, more)).len();
    assert_eq!(errors(json!({ "a": { "template": "{{ data.x }}" } }), Value::Null), 1);
    assert_eq!(errors(json!({}), json!({ "path": "/a" })), 2);
    assert_eq!(errors(json!({ "a": "1" }), json!({ "metadata": { "a": "x".repeat(513) } })), 1);
    assert_eq!(errors(json!({ "a": { "generate": {} } }), Value::Null), 0);
}
