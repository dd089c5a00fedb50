//! What stands in a plan is what arrives: keys, scalars, expressions, variables, placeholders of servers.

use std::path::PathBuf;

use groundwork::plan::Given;
use groundwork::resource::erased::Instance;
use groundwork::session;
use groundwork::trust::Trust;
use serde_json::{Value, json};

use crate::support::{Cluster, Ran, step};

/// A plan file with these steps, and the folder that it is in.
fn plan(steps: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plan.yaml");
    let vars = "  team: pay\n  stage: dev\n  on: false\n  zones: [a, b]\n";
    let text = format!("# Values.\nversion: 1\nname: example\nvars:\n{vars}steps:\n{steps}");
    std::fs::write(&path, text).expect("written");
    (folder, path)
}

/// The mistakes in a plan with these steps, as `LINE:COLUMN: MESSAGE`.
fn mistakes(steps: &str) -> Vec<String> {
    let (folder, path) = plan(steps);
    let Err(found) = session::check(&path, &Given::default(), &Trust::default()) else { return Vec::new() };
    let file = format!("{}:", path.display());
    drop(folder);
    found.to_string().lines().map(|line| line.replace(&file, "")).collect()
}

/// The evaluated fields of the first step.
fn fields(steps: &str) -> Value {
    let (_folder, path) = plan(steps);
    let checked =
        session::check(&path, &Given::default(), &Trust::default()).unwrap_or_else(|found| panic!("{found}"));
    Instance::fields(&*checked.instances[0])
}

fn validate(path: &PathBuf, arguments: &[&str]) -> Ran {
    let mut command = crate::support::program();
    command.arg("validate").arg(path).args(arguments).env("NO_COLOR", "1");
    Ran::of(command.output().expect("the program starts"))
}

#[test]
fn names_in_keys_are_checked_with_their_place() {
    let policy =
        |key: &str| format!("  p:\n    kind: vault.policy\n    name: p\n    rules:\n      {key}: [read]\n");
    let rows = [
        (policy("\"secret/{{ tem }}/*\""), "14:7: there is no variable or step `tem`"),
        (policy("\"secret/{{ team && on }}/*\""), "14:7: an expression cannot have `&&`; write `and`"),
        (policy("\"secret/{{ p2.name }}\""), "14:7: there is no variable or step `p2`"),
        (policy("\"{{ zones }}\""), "14:7: a key is text, found array"),
        (policy("\"{{identity.entity.idd}}\""), "14:7: there is no variable or step `identity`"),
        (
            policy("\"secret/pay/*\": [list]\n      \"secret/{{ team }}/*\""),
            "15:7: the key `secret/pay/*` is there twice (the first: 14:7)",
        ),
        (
            "  u:\n    kind: aws.iam_user\n    name: u\n    tags:\n      \"o-{{ tem }}\": x\n".to_owned(),
            "14:7: there is no variable or step `tem`",
        ),
        (
            "  u:\n    kind: aws.iam_user\n    \"{{ team }}\": u\n".to_owned(),
            "12:5: the name of a field cannot be an expression",
        ),
    ];
    for (steps, message) in rows {
        let found = mistakes(&steps);
        assert!(found.iter().any(|line| line == message), "{steps}\n{found:#?}");
    }
}

#[test]
fn references_in_keys_are_graph_edges() {
    let steps = "  a:\n    kind: vault.policy\n    name: a\n    rules: { \"x/{{ b.name }}\": [read], \"y/{{ k.key_id }}\": [read] }\n  \
                 b:\n    kind: vault.policy\n    name: b\n    rules: { x: [read] }\n  k:\n    kind: aws.kms_key\n    alias: alias/k\n";
    let (_folder, path) = plan(steps);
    let checked =
        session::check(&path, &Given::default(), &Trust::default()).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(checked.resolved.steps[0].references, ["b", "k"]);
    let rules = checked.instances[0].fields()["rules"].to_string();
    assert!(rules.contains("x/b") && rules.contains("k.key_id"), "{rules}");
}

#[test]
fn condition_mistakes_are_reported_with_their_place() {
    let user = |line: &str| format!("  u:\n    kind: aws.iam_user\n    name: u\n    {line}\n");
    let rows = [
        ("when: \"{{ stage == 'dev' && on }}\"", "13:11: an expression cannot have `&&`; write `and`"),
        ("when: \"{{ 'abc' $ garbage }}\"", "13:11: an expression cannot have `$` outside of quotes"),
        ("when: \"{{ on and misspelt }}\"", "13:11: there is no variable or step `misspelt`"),
        ("when: \"{{ not on or misspelt }}\"", "13:11: there is no variable or step `misspelt`"),
        ("when: \"{{ u.arn == '' }}\"", "13:11: the step `u` cannot be used here"),
        ("when: \"{{ on and each.key }}\"", "13:11: `each` is there only in a step with `for_each`"),
        ("for_each: [x, y, x]", "13:22: `for_each` has the entry `x` twice (the first: 13:16)"),
        ("for_each: \"{{ zones + ['a'] }}\"", "13:15: `for_each` has the entry `a` twice"),
        ("for_each: { \"{{ team }}\": 1, pay: 2 }", "13:34: the key `pay` is there twice (the first: 13:17)"),
        ("path: \"{{ '/' ! }}\"", "13:11: an expression cannot have `!`; write `not`"),
    ];
    for (line, message) in rows {
        let found = mistakes(&user(line));
        assert_eq!(found, [message], "{line}");
    }
    assert_eq!(mistakes(&user("when: \"{{ stage == 'd&&v' and on }}\"")), Vec::<String>::new());
}

#[test]
fn scalars_keep_the_text_of_the_file() {
    let user = fields(
        "  u:\n    kind: aws.iam_user\n    name: 0042\n    path: /1/\n    tags: { a: 1.10, 1e3: 81111e1, on: yes }\n",
    );
    assert_eq!(user["name"], "0042");
    for (key, value) in [("a", "1.10"), ("1e3", "81111e1"), ("on", "yes")] {
        assert_eq!(user["tags"][key], value, "{user:#}");
    }
    let secret = |value: &str| {
        mistakes(&format!(
            "  s:\n    kind: vault.kv_secret\n    mount: secret\n    path: s\n    data: {{ x: {value}, port: 5432, tls: true }}\n"
        ))
    };
    for value in
        ["1.10", "0042", "1e3", "012345678901", "+5", "99999999999999999999", "True", "0x1F", "1_000"]
    {
        let found = secret(value);
        assert_eq!(found.len(), 1, "{value}: {found:?}");
        assert!(found[0].starts_with(&format!("14:16: `{value}` ")), "{found:?}");
        assert_eq!(secret(&format!("\"{value}\"")), Vec::<String>::new());
    }
    assert_eq!(secret("2026-01-01"), Vec::<String>::new());
    assert_eq!(secret("yes"), Vec::<String>::new());
}

#[test]
fn placeholders_that_are_misspelt_or_ambiguous_are_refused() {
    let role = |statement: &str| {
        format!(
            "  r:\n    kind: vault.database_role\n    name: r\n    db_name: d\n    creation_statements: [ \"{statement}\" ]\n"
        )
    };
    assert_eq!(
        mistakes(&role("CREATE ROLE {{name}} PASSWORD '{{password}}' {{ team }}")),
        Vec::<String>::new()
    );
    let (_folder, path) = plan(&role("CREATE ROLE {{nmae}} {{ name }}"));
    let ran = validate(&path, &[]);
    assert!(ran.stderr.contains("there is no variable or step `nmae`"), "{ran:?}");
    assert!(ran.stderr.contains("did you mean `{{name}}`? the server fills in `{{name}}`"), "{ran:?}");
    let step = "  name:\n    kind: vault.policy\n    name: x\n    rules: { x: [read] }\n";
    let found = mistakes(&format!("{}{step}", role("CREATE ROLE {{name}}")));
    assert!(
        found[0].contains("`name` is a placeholder of the server here, and a name in the plan"),
        "{found:?}"
    );
}

#[test]
fn variables_from_outside_are_never_evaluated() {
    let steps = "  u:\n    kind: aws.iam_user\n    name: u\n    tags: { s: \"{{ stage }}\" }\n";
    let (folder, path) = plan(steps);
    let given = |text: &str| {
        let vars = vec![("stage".to_owned(), groundwork::plan::given::of_argument(text))];
        let checked = session::check(&path, &Given::of_vars(vars), &Trust::default())
            .unwrap_or_else(|found| panic!("{found}"));
        checked.instances[0].fields()["tags"]["s"].clone()
    };
    for text in ["1.10", "012345678901", "123456789012", "true", "{{ team }}", "{% if", "a=b"] {
        assert_eq!(given(text), text);
    }
    std::fs::write(folder.path().join("vars.yaml"), "stage: \"{{ team }}\"\nzones: [1.10]\n")
        .expect("written");
    let file = folder.path().join("vars.yaml").display().to_string();
    let ran = validate(&path, &["--var-file", &file]);
    assert!(ran.code == 1 && ran.stderr.contains("vars.yaml:2:9"), "{ran:?}");
    assert!(ran.stderr.contains("put text in quotes: `\"1.10\"`"), "{ran:?}");
    let ran = validate(&path, &["--var", "zones=a"]);
    assert!(ran.stderr.contains("is a list in the plan") && ran.stderr.contains("--var-file"), "{ran:?}");
}

#[test]
fn empty_sources_are_reported() {
    let secret = |data: &str| {
        let (folder, path) = plan(&format!(
            "  s:\n    kind: vault.kv_secret\n    mount: secret\n    path: s\n    data: {data}\n"
        ));
        for (name, text) in
            [("line", "hunter2\n"), ("none", ""), ("pem", "-----BEGIN X-----\nAA==\n-----END X-----\n")]
        {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        let mut command = crate::support::program();
        command.arg("validate").arg(&path).args(["--env", "EMPTY", "--env", "LINE"]).env("NO_COLOR", "1");
        command.env("EMPTY", "").env("LINE", "hunter2\n");
        let ran = Ran::of(command.output().expect("the program starts"));
        assert!(!format!("{ran:?}").contains("hunter2"), "{ran:?}");
        ran
    };
    // Whether a value ends a line is something about the value, which nobody has asked to use yet.
    let url = "{ p: { SOURCE }, url: { template: \"db://u:{{ data.p }}@host\" } }";
    for source in ["file: line", "env: LINE", "file: pem"] {
        let ran = secret(&url.replace("SOURCE", source));
        assert!(ran.code == 0 && !ran.stderr.contains("line break"), "{ran:?}");
    }
    let ran = secret("{ key: { file: none } }");
    assert!(ran.code == 1 && ran.stderr.contains("none is empty"), "{ran:?}");
    let ran = secret("{ key: { env: EMPTY } }");
    assert!(ran.stderr.contains("environment variable EMPTY is empty"), "{ran:?}");
    let ran = secret("{ key: { generate: { length: 0 } } }");
    assert!(ran.code == 1 && ran.stderr.contains("`length` is from 8 to 4096"), "{ran:?}");
}

#[test]
fn line_breaks_within_lines_stop_an_apply() {
    let cluster = Cluster::new("lines");
    let declare = |template: &str| {
        cluster.declare(&json!({
            "secret": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
            "app": { "kind": "vault.kv_secret", "mount": "secret", "path": "app",
                "data": { "p": { "file": "line" }, "url": { "template": template } } },
        }));
    };
    cluster.environment.write("line", "hunter2\n");
    declare("db://u:{{ data.p }}@host");
    let ran = cluster.run(&["apply", "plan.yaml", "--yes"]);
    assert!(ran.code != 0 && ran.stderr.contains("the template of `url` gets a line break"), "{ran:?}");
    assert!(ran.stderr.contains("nothing was written"), "{ran:?}");
    assert!(!cluster.environment.folder.join("custody").exists(), "nothing was written");
    declare("db://u:{{ data.p | trim }}@host");
    let ran = cluster.run(&["apply", "plan.yaml", "--yes"]);
    assert!(ran.code == 0 && ran.stderr.contains("`app`: file line ends with a line break"), "{ran:?}");
    assert!(!format!("{ran:?}").contains("hunter2"), "{ran:?}");
    let told = cluster.ask("GET", "", "secret/data/app", &Value::Null).1["data"]["data"].clone();
    assert_eq!(told["url"], "db://u:hunter2@host");
}

#[test]
fn keys_and_placeholders_arrive_at_the_server() {
    let cluster = Cluster::new("values");
    cluster.declare(&json!({
        "secret": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
        "key": { "kind": "aws.kms_key", "alias": "alias/values" },
        "teams": {
            "kind": "vault.policy", "for_each": { "payments": "read", "search": "list" }, "name": "{{ each.key }}-app",
            "rules": { "secret/data/{{ each.key }}/*": ["{{ each.value }}"] },
        },
        "later": { "kind": "vault.policy", "name": "later", "rules": { "kms/{{ key.key_id }}/*": ["read"] } },
        "own": {
            "kind": "vault.policy", "name": "own",
            "rules": { "secret/data/{{identity.entity.id}}/{{ plan.name }}": ["read"] },
        },
        "app_secret": {
            "kind": "vault.kv_secret", "mount": "secret", "path": "x",
            "data": { "{{ plan.name }}_key": "v", "template": "{{ plan.name }}" },
            "metadata": { "owner-{{ plan.name }}": "me" },
        },
    }));
    let changeset = cluster.plan();
    let later = step(&changeset, "later").to_string();
    assert!(later.contains("kms/(known after apply: key.key_id)/*"), "{later}");
    cluster.apply(&[]);
    let ask = |path: &str| cluster.ask("GET", "", path, &Value::Null).1["data"].clone();
    let policy = |name: &str| {
        ask(&format!("sys/policies/acl/{name}"))["policy"].as_str().expect("a policy").to_owned()
    };
    assert!(policy("payments-app").contains("path \"secret/data/payments/*\""), "{}", policy("payments-app"));
    assert!(policy("search-app").contains("path \"secret/data/search/*\""));
    assert!(
        policy("own").contains("path \"secret/data/{{identity.entity.id}}/values\""),
        "{}",
        policy("own")
    );
    let later = policy("later");
    assert!(later.contains("path \"kms/") && !later.contains("{{") && !later.contains("known"), "{later}");
    assert_eq!(ask("secret/data/x")["data"], json!({ "values_key": "v", "template": "values" }));
    assert_eq!(ask("secret/metadata/x")["custom_metadata"]["owner-values"], "me");
    let again = cluster.apply(&[]);
    assert_eq!(crate::support::summary(&again)["api_calls"]["write"], 0, "{again:#?}");
}
