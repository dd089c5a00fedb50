//! Policies in every shape in which people write them, with a real server as the judge: what it takes is taken, and
//! means the same; what it refuses is refused before anything is sent.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Cluster, files, program, step};

/// A meaning as a plan declares it, and texts of the same meaning.
const SAME: &[(&str, &[&str])] = &[
    (
        r#"{ "secret/data/app/*": ["read", "list"] }"#,
        &[
            "path \"secret/data/app/*\" {\n  capabilities = [\"read\", \"list\"]\n}\n",
            "path \"secret/data/app/*\"\n{\n  capabilities = [\"list\", \"read\",]\n}",
            "path \"secret/data/app/*\" { capabilities = [\"read\", \"list\"] comment = \"on one line\" }",
            "path \"secret/data/app/*\" { comment = <<EOT\nof two\nlines\nEOT\n capabilities = [\"read\" , \"list\"], }",
            "\"path\" \"/secret/data/app/*\" { \"capabilities\"=[\"read\",\"list\"] }",
            "path \"secret/data/app/*\" { policy = \"read\" }",
            "# all\n// kinds of\n/* comments\n*/ path \"secret/data/app/*\" { /* in */ capabilities = [ # the\n\"read\", // list\n\"list\" ] }",
            "path \"secret/data/app/*\" { capabilities = [\"read\"] }\npath \"secret/data/app/*\" { capabilities = [\"list\"] }",
            "path \"secret/data/app/*\" { capabilities = [\"read\"] capabilities = [\"list\"] }",
            "name = \"app\"\r\npath \"secret/data/app/*\" {\r\n\tcapabilities = [\"read\", \"list\"]\r\n}\r\n",
            "path \"secret\\u002fdata/\\x61pp/*\" { capabilities = [,\"read\",,\"list\"] comment = <<-X\n  indented\n  X\n }",
            r#"{ "path": { "secret/data/app/*": { "capabilities": ["read", "list"] } } }"#,
            r#"{"name": "app", "path": [{"secret/data/app/*": {"capabilities": ["list","read",],},}]}"#,
        ],
    ),
    (
        r#"{ "a": ["create", "read", "update", "delete", "list"], "b": ["deny"] }"#,
        &[
            "path \"a\" { policy = \"write\" } path \"b\" { policy = \"deny\" }",
            "path \"b\" { capabilities = [\"read\", \"deny\"] min_wrapping_ttl = \"1h\" },\npath \"a\" { policy = \"write\" capabilities = [\"read\"] }",
        ],
    ),
    (
        r#"{ "a": ["create", "read", "update", "delete", "list", "sudo"] }"#,
        &["path \"a\" {\n  policy = \"sudo\"\n}"],
    ),
    (
        r#"{ "a/+/b*": { "capabilities": ["update"], "allowed_parameters": { "ttl": ["1h", 2, true], "*": [] },
             "denied_parameters": { "x": [] }, "required_parameters": ["ttl"], "min_wrapping_ttl": "90s",
             "max_wrapping_ttl": "1h30m" } }"#,
        &[
            "path \"a/+/b*\" {\n  capabilities = [\"update\"]\n  allowed_parameters = { \"*\" = [] \"TTL\" = [true, 2, \"1h\"] }\n  \
             denied_parameters { x = [] }\n  required_parameters = [\"ttl\"]\n  min_wrapping_ttl = 90\n  max_wrapping_ttl = \"1.5h\"\n}",
            "path \"a/+/b*\" { capabilities = [\"update\"], allowed_parameters = { \"ttl\" = [\"1h\"] }, allowed_parameters = \
             { \"ttl\" = [2, true], \"*\" = [], }, denied_parameters = { \"x\" = [] }, required_parameters = [\"ttl\"], \
             min_wrapping_ttl = \"1m30s\", max_wrapping_ttl = \"5400\" }",
        ],
    ),
    (
        "\"path \\\"auth/{{identity.entity.id}}/x\\\" {\\n capabilities = [\\\"list\\\"]\\n pagination_limit = 5\\n \
         mfa_methods = [\\\"b\\\", \\\"a\\\"]\\n expiration = \\\"2099-01-01T00:00:00Z\\\"\\n \
         list_scan_response_keys_filter_path = \\\"{{ .path }}{{ .key }}\\\"\\n}\"",
        &[
            "path \"auth/{{identity.entity.id}}/x\" { list_scan_response_keys_filter_path = \"{{ .path }}{{ .key }}\" \
           pagination_limit = \"5\" mfa_methods = [\"a\", \"b\", \"a\"] capabilities = [\"list\"] min_wrapping_ttl = 0 \
           expiration = \"2099-01-01T00:00:00Z\" allowed_parameters = {} required_parameters = [] }",
        ],
    ),
    (
        "\"path \\\"a\\\" { capabilities = [\\\"read\\\"]\\n control_group = { ttl = 14400\\n factor \\\"ops\\\" { identity { \
         group_names = [\\\"managers\\\"]\\n approvals = 1 }\\n controlled_capabilities = [\\\"read\\\"] } } }\"",
        &[
            "path \"a\" {\n  capabilities = [\"read\"]\n  control_group {\n    factor \"ops\" {\n      controlled_capabilities = [\"read\"]\n      \
           identity = { approvals = 1, group_names = [\"managers\"] }\n    }\n    ttl = \"4h\"\n  }\n}",
        ],
    ),
];

/// What both refuse.
const REFUSED: &[&str] = &[
    "path \"a\" { capabilities = \"read\" }",
    "path \"a\" { capabilities = [\"reads\"] }",
    "path \"a\" { capabilites = [\"read\"] }",
    "path \"a\" { Capabilities = [\"read\"] }",
    "path \"a\" { capabilities [\"read\"] }",
    "path \"a\" { capabilities = [\"read\" \"list\"] }",
    "path \"a\" { capabilities: [\"read\"] }",
    "path \"a\" { capabilities = [read] }",
    "path \"a\" { capabilities = [\"read\"]",
    "path \"a\" { capabilities = [\"read\"] }}",
    "path \"a\" { capabilities = [true] }",
    "path \"a\" { capabilities = ['read'] }",
    "path \"a\" = { capabilities = [\"read\"] }",
    "path \"a\" [\"read\"]",
    "path = [\"a\"]",
    "path = { \"a\" = { capabilities = [\"read\"] } }",
    "path \"a\" { capabilities = [<<EOT\nread\nEOT\n] }",
    "paths \"a\" { capabilities = [\"read\"] }",
    "path \"a\" { policy = \"reads\" }",
    "path \"a\" { policy = [\"read\"] }",
    "path \"a/+*\" { capabilities = [\"read\"] }",
    "path \"{{identity.entity.id\" { capabilities = [\"read\"] }",
    "path \"a\" { allowed_parameters = { \"x\" = \"1\" } }",
    "path \"a\" { allowed_parameters = [\"x\"] }",
    "path \"a\" { required_parameters = \"x\" }",
    "path \"a\" { min_wrapping_ttl = \"long\" }",
    "path \"a\" { min_wrapping_ttl = 1h }",
    "path \"a\" { min_wrapping_ttl = \"2h\" max_wrapping_ttl = \"1h\" }",
    "path \"a\" { pagination_limit = \"many\" }",
    "path \"a\" { expiration = \"never\" }",
    "path \"a\" { list_scan_response_keys_filter_path = \"{{ .path }}{{ .key }}\" }",
    "path \"a\" { capabilities = [\"list\"] list_scan_response_keys_filter_path = \"{{ .path }}\" }",
    "path \"a\" { control_group = { approvals = 1 } }",
    "name { a = 1 }\npath \"a\" { capabilities = [\"read\"] }",
    "path \"a\" { comment = <<EOT\nEOT }",
    "path \"a\" { comment = \"two\nlines\" }",
    "path \"a\" { comment = \"\\q\" }",
    "/* path \"a\" { capabilities = [\"read\"] }",
    r#"{ "path": { "a": { "capabilities": "read" } } }"#,
    r#"{ "path": { "a": { "capabilities": ["reads"] } } }"#,
    r#"{ "paths": { "a": { "capabilities": ["read"] } } }"#,
];

/// What the server takes, and of which it leaves something out: no author means that.
const LEFT_OUT: &[&str] = &[
    "path { capabilities = [\"read\"] }",
    "path \"a\" \"b\" { capabilities = [\"read\"] }",
    "path \"{{}}/a\" { capabilities = [\"read\"] }",
    "path \"a\" { capabilities = [\"read\"] allowed_parameters = { \"x\" = [], \"X\" = [\"1\"] } }",
    "# nothing",
    r#"{ "path": { "a": { "capabilities": ["read"] } } } path "b" { capabilities = ["deny"] }"#,
    r#"{ "path": { "a": { "capabilities": ["read"] } "b": { "capabilities": ["deny"] } } }"#,
    r#"{ "path": { "a": { "capabilities": ["read"], "denied_parameters": { "x": [true] } } } }"#,
];

/// What documentation of HashiCorp Vault has and OpenBao does not know.
const HASHICORPS: &[&str] = &[
    "path \"a\" { capabilities = [\"read\", \"subscribe\"] subscribe_event_types = [\"*\"] }",
    "path \"a\" { capabilities = [\"recover\"] }",
    "path \"a\" { capabilities = [\"read\"] control_group = { factor \"ops\" { identity { group_names = [\"x\"] approvals = 1 } } } }",
];

/// A plan with one step in each line, and the numbers of the steps in which `validate` finds mistakes.
fn mistaken(folder: &Path, texts: &[&str]) -> BTreeSet<usize> {
    let line = |(index, text): (usize, &&str)| {
        let step = json!({ "kind": "vault.policy", "name": format!("s{index}"), "rules": text });
        format!("  s{index}: {step}\n")
    };
    let steps: String = texts.iter().enumerate().map(line).collect();
    std::fs::write(folder.join("shapes.yaml"), format!("version: 1\nname: shapes\nsteps:\n{steps}"))
        .expect("written");
    let output = program()
        .args(["validate", "shapes.yaml", "--format", "json"])
        .current_dir(folder)
        .output()
        .expect("the program starts");
    let told: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let findings =
        told["findings"].as_array().expect("findings").iter().filter(|told| told["severity"] == "error");
    findings.filter_map(|told| usize::try_from(told["line"].as_u64()?).ok()?.checked_sub(4)).collect()
}

#[test]
fn server_and_validate_agree_on_every_shape() {
    let cluster = Cluster::new("shapes");
    cluster.declare(&json!({}));
    cluster.apply(&[]);
    let put = |name: &str, text: &str| {
        cluster.ask("POST", "", &format!("sys/policies/acl/{name}"), &json!({ "policy": text }))
    };

    let (mut canonical, mut verbatim) = (json!({}), json!({}));
    for (index, (meaning, shapes)) in SAME.iter().enumerate() {
        let meaning: Value =
            serde_json::from_str(meaning).unwrap_or_else(|error| panic!("{meaning}: {error}"));
        for (number, shape) in shapes.iter().enumerate() {
            let name = format!("s{index}-{number}");
            let (status, answer) = put(&name, shape);
            assert!(status < 300, "the server refuses {shape}: {answer}");
            let id = name.replace('-', "_");
            canonical[&id] = json!({ "kind": "vault.policy", "name": name, "rules": meaning });
            // A plan does not contain carriage returns.
            let text = shape.replace('\r', "");
            verbatim[&id] = json!({ "kind": "vault.policy", "name": name, "rules": text });
        }
    }
    for declared in [canonical, verbatim] {
        cluster.declare(&declared);
        let plan = cluster.plan();
        for (id, declared) in declared.as_object().expect("steps") {
            let found = step(&plan, id);
            assert_eq!(found["action"], "none", "{declared:#}\n{found:#}");
        }
    }

    let folder = &cluster.environment.folder;
    let all = |texts: &[&str]| (0..texts.len()).collect::<BTreeSet<_>>();
    for text in REFUSED {
        let (status, _) = put("refused", text);
        assert_eq!(status, 400, "the server takes {text}");
    }
    assert_eq!(mistaken(folder, REFUSED), all(REFUSED));
    for text in LEFT_OUT {
        let (status, answer) = put("left-out", text);
        assert!(status < 300, "the server refuses {text}: {answer}");
    }
    assert_eq!(mistaken(folder, LEFT_OUT), all(LEFT_OUT));
    for text in HASHICORPS {
        assert_eq!(put("others", text).0, 400, "OpenBao takes {text}");
    }
    assert!(mistaken(folder, HASHICORPS).is_empty());
}

/// The policies in the documentation below the folder `POLICY_DOCUMENTATION`, such as a clone of
/// <https://github.com/openbao/openbao> or the module `github.com/hashicorp/vault`. Neither is part of this repository.
#[test]
#[ignore = "needs a folder of documentation, in POLICY_DOCUMENTATION"]
fn policies_of_the_documentation_are_taken() {
    let folder = std::env::var_os("POLICY_DOCUMENTATION").expect("POLICY_DOCUMENTATION names a folder");
    let pages = files(Path::new(&folder))
        .into_iter()
        .filter(|file| file.extension().is_some_and(|kind| kind == "mdx"));
    let texts: BTreeSet<String> =
        pages.flat_map(|page| policies_of(&std::fs::read_to_string(page).unwrap_or_default())).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let scratch = tempfile::tempdir().expect("a folder");
    let wrong = mistaken(scratch.path(), &texts);
    assert!(texts.len() > 50, "there are few policies in {}", folder.display());
    // Some pages have curly quotes in them, or parts of other files.
    let cluster = Cluster::new("documentation");
    cluster.declare(&json!({}));
    cluster.apply(&[]);
    for text in wrong.iter().map(|index| texts[*index]) {
        let (status, _) = cluster.ask("POST", "", "sys/policies/acl/page", &json!({ "policy": text }));
        assert_eq!(status, 400, "the server takes {text}");
    }
    println!("{} policies are taken, {} refused by the server, too", texts.len() - wrong.len(), wrong.len());
}

/// The policies in the code blocks of a page, and in what its commands read from their input.
fn policies_of(page: &str) -> Vec<String> {
    let (mut found, mut block, mut input) = (Vec::new(), None::<Vec<&str>>, None::<(String, Vec<&str>)>);
    for line in page.lines() {
        let fence = line.trim_start().starts_with("```");
        match (&mut block, &mut input) {
            (None, _) if fence => block = Some(Vec::new()),
            (Some(lines), _) if fence => {
                if !lines.iter().any(|line| line.contains("policy write") || line.contains("<<")) {
                    found.push(lines.join("\n"));
                }
                (block, input) = (None, None);
            }
            (Some(_), Some((word, lines))) if line.trim() == word => {
                found.push(lines.join("\n"));
                input = None;
            }
            (Some(_), Some((_, lines))) => lines.push(line),
            (Some(lines), None) => {
                lines.push(line);
                if let Some((_, word)) = line.split_once("<<") {
                    let word = word
                        .trim_matches(|c: char| !c.is_alphanumeric())
                        .split(' ')
                        .next()
                        .unwrap_or_default();
                    input = Some((word.to_owned(), Vec::new()));
                }
            }
            (None, _) => {}
        }
    }
    let is_policy = |text: &String| {
        let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        first.is_some_and(|line| line.starts_with("path \"") || line.starts_with("{\"path\""))
            && text.contains('=')
    };
    found.retain(is_policy);
    found
}
