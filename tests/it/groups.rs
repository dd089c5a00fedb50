//! Groups of steps with parameters.

use groundwork::plan::{Diagnostic, Given};
use groundwork::session::{self, Checked};
use groundwork::trust::Trust;
use serde_json::{Value, json};

use crate::support::{Cluster, step};

const GROUP: &str = "groups:
  application:
    parameters:
      name: { type: string, pattern: \"[a-z]+\" }
      access: read
      key: none
    steps:
      policy:
        kind: vault.policy
        name: \"{{ name }}-app\"
        rules: { \"secret/data/{{ name }}/*\": [ \"{{ access }}\" ] }
      role:
        kind: vault.approle_role
        name: \"{{ name }}\"
        token_policies: [ \"{{ policy.name }}\" ]
        needs: [ policy ]
";

fn check(text: &str) -> Result<Checked, Vec<Diagnostic>> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plan.yaml");
    std::fs::write(&path, format!("version: 1\nname: groups\n{text}")).expect("written");
    session::check(&path, &Given::default(), &Trust::default()).map_err(|mistakes| mistakes.list)
}

fn checked(text: &str) -> Checked {
    check(text).unwrap_or_else(|found| panic!("{text}: {found:?}"))
}

fn ids(checked: &Checked) -> Vec<&str> {
    checked.resolved.steps.iter().map(|step| step.id.as_str()).collect()
}

fn fields(checked: &Checked, id: &str) -> Value {
    let index = checked.resolved.steps.iter().position(|step| step.id == id).expect("the step");
    checked.instances[index].fields()
}

#[test]
fn group_becomes_steps_with_parameters_and_references() {
    let text = format!(
        "{GROUP}steps:\n  payments: {{ group: application, with: {{ name: payments }} }}\n  \
         search: {{ group: application, with: {{ name: search, access: list }}, needs: [ payments ] }}\n  \
         other: {{ kind: vault.policy, name: other, rules: {{ x: [ read ] }}, needs: [ search ] }}\n"
    );
    let checked = checked(&text);
    assert_eq!(ids(&checked), ["other", "payments_policy", "payments_role", "search_policy", "search_role"]);
    assert_eq!(fields(&checked, "search_policy")["name"], "search-app");
    assert_eq!(fields(&checked, "search_role")["token_policies"], json!(["search-app"]));
    let needs = |id: &str| -> Vec<&str> {
        let index = ids(&checked).iter().position(|known| *known == id).expect("the step");
        checked.graph.needs[index].iter().map(|need| ids(&checked)[*need]).collect()
    };
    assert_eq!(needs("payments_role"), ["payments_policy"]);
    assert_eq!(needs("search_policy"), ["payments_policy", "payments_role"]);
    assert_eq!(needs("other"), ["search_policy", "search_role"]);
}

#[test]
fn repeated_group_has_an_instance_of_each_step_per_entry() {
    let text = format!(
        "{GROUP}vars: {{ teams: {{ pay: read, find: list }} }}\nsteps:\n  apps:\n    group: application\n    \
         for_each: \"{{{{ teams }}}}\"\n    with: {{ name: \"{{{{ each.key }}}}\", access: \"{{{{ each.value }}}}\" }}\n    \
         when: \"{{{{ each.key != 'none' }}}}\"\n"
    );
    // In a group the outputs of a repeated step are a map, as elsewhere.
    let text = text.replace("{{ policy.name }}", "{{ policy[name].name }}");
    let checked = checked(&text);
    assert_eq!(ids(&checked), ["apps_policy[pay]", "apps_policy[find]", "apps_role[pay]", "apps_role[find]"]);
    assert_eq!(fields(&checked, "apps_role[find]")["token_policies"], json!(["find-app"]));
    assert!(fields(&checked, "apps_policy[find]").to_string().contains("list"));
}

#[test]
fn parameter_may_be_an_output_of_another_step() {
    let text = "groups:\n  bucket:\n    parameters: { name: null, key: null }\n    steps:\n      it:\n        \
                kind: aws.s3_bucket\n        name: \"{{ name }}\"\n        encryption: { kms_key: \"{{ key }}\" }\n\
                steps:\n  key: { kind: aws.kms_key, alias: alias/gw }\n  \
                state: { group: bucket, with: { name: gw-state, key: \"{{ key.arn }}\" }, protect: false }\n";
    let checked = checked(text);
    assert_eq!(ids(&checked), ["key", "state_it"]);
    let state = &checked.resolved.steps[1];
    assert_eq!((state.references.as_slice(), state.protect), (&["key".to_owned()][..], Some(false)));
}

#[test]
fn mistakes_in_uses_and_groups_are_named() {
    let used = |with: &str| format!("{GROUP}steps: {{ a: {{ group: application, with: {{ {with} }} }} }}\n");
    let rows = [
        (used(""), "the parameter `name` of the group has no value"),
        (used("nam: x"), "the group `application` has no parameter `nam`"),
        (used("name: [ x ]"), "variable `name` is a string in the plan, and the value given is a list"),
        (used("name: A1"), "parameter `name` of `a` must match `[a-z]+`"),
        (used("name: \"{{ nothing }}\""), "there is no variable or step `nothing`"),
        (format!("{GROUP}steps: {{ a: {{ group: aplication }} }}\n"), "there is no group `aplication`"),
        (format!("{GROUP}steps: {{ a: {{ group: application, name: x }} }}\n"), "unknown key `name`"),
        (
            format!(
                "{}  b: {{ kind: vault.policy, name: x, rules: {{ \"{{{{ a.name }}}}\": [ read ] }} }}\n",
                used("name: x").replace(
                    "steps: { a: { group: application, with: { name: x } } }",
                    "steps:\n  a: { group: application, with: { name: x } }"
                )
            ),
            "`a` uses a group, and has no outputs of its own",
        ),
        ("groups: { g: { parameters: { p: 1 }, steps: {} } }\n".to_owned(), "the group `g` has no steps"),
        ("groups: { g: { steps: { a: { group: g } } } }\n".to_owned(), "a group cannot use a group"),
        (
            "groups: { g: { parameters: { p: 1 }, steps: { p: { kind: vault.policy } } } }\n".to_owned(),
            "`p` is both a parameter and a step of the group",
        ),
        (
            format!(
                "{GROUP}steps:\n  a_policy: {{ kind: vault.policy, name: x, rules: {{ x: [ read ] }} }}\n  a: {{ group: application, with: {{ name: x }} }}\n"
            ),
            "step `a_policy` is declared already",
        ),
    ];
    for (text, message) in rows {
        let found = check(&text).err().unwrap_or_else(|| panic!("no mistake: {text}"));
        assert!(found[0].message.starts_with(message), "{text}: {found:?}");
        assert!(found[0].span.is_some());
    }
}

#[test]
fn groups_and_repeated_secrets_reach_the_server() {
    let cluster = Cluster::new("groups");
    cluster.declare(&json!({
        "kv": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
        "db": {
            "kind": "vault.kv_secret", "mount": "secret", "path": "{{ each.key }}/db", "needs": ["kv"],
            "for_each": ["pay", "find"],
            "data": { "user": "app", "uri": { "template": "db://{{ data.user }}@{{ each.key }}" } },
        },
    }));
    let path = cluster.environment.folder.join("plan.yaml");
    let mut plan: Value =
        serde_json::from_str(&std::fs::read_to_string(&path).expect("the plan")).expect("JSON");
    plan["groups"] = json!({ "team": {
        "parameters": { "name": null },
        "steps": {
            "policy": { "kind": "vault.policy", "name": "{{ name }}-app", "rules": { "secret/data/{{ name }}/*": ["read"] } },
            "note": {
                "kind": "vault.kv_secret", "mount": "secret", "path": "{{ name }}/note", "needs": ["policy", "kv"],
                "data": { "text": { "template": "of {{ name }}" } },
            },
        },
    } });
    plan["steps"]["find"] = json!({ "group": "team", "with": { "name": "find" }, "needs": ["cluster"] });
    std::fs::write(&path, plan.to_string()).expect("written");
    cluster.apply(&[]);
    for (place, field, value) in [
        ("pay/db", "uri", "db://app@pay"),
        ("find/db", "uri", "db://app@find"),
        ("find/note", "text", "of find"),
    ] {
        let (_, answer) = cluster.ask("GET", "", &format!("secret/data/{place}"), &Value::Null);
        assert_eq!(answer["data"]["data"][field], value, "{answer:#}");
    }
    let again = cluster.plan();
    for id in ["db[pay]", "find_policy", "find_note"] {
        assert_eq!(step(&again, id)["action"], "none", "{again:#}");
    }
}
