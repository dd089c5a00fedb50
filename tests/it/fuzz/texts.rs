//! What people and servers write: plans, templates, expressions, policies, and text on its way to a terminal.

use groundwork::plan::Given;
use groundwork::providers::vault::granted;
use groundwork::secret::detect;
use groundwork::template;
use groundwork::trust::Trust;
use groundwork::{lint, session, ui, visible};
use serde_json::{Value, json};

use super::{campaign, repository};

const YAML: [&str; 22] = [
    "{{ custody_key.arn }}",
    "{{ each.key }}",
    "&a ",
    "*a",
    "<<: ",
    "!!binary ",
    "!tag ",
    "? ",
    "|-\n  ",
    ">+\n",
    "---\n",
    "...\n",
    "\t",
    "\u{feff}",
    "\u{f8f0}",
    "\u{85}",
    "\"\\x",
    "'",
    "[",
    "{",
    "lint: { allow: { x: } }",
    "for_each: [a, b]",
];

#[test]
fn fuzzed_plans_never_cause_a_panic() {
    let corpus = repository(&[
        "plans/quickstart.yaml",
        "plans/candlefish-production.yaml",
        "tests/plans/keys.yaml",
        "tests/contract/vault.kubernetes_role.yaml",
    ]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plan.yaml");
    campaign("plans", 250, &corpus, &YAML, |case| {
        std::fs::write(&path, case).expect("written");
        match session::check(&path, &Given::default(), &Trust::default()) {
            Ok(checked) => {
                let report = lint::run(&checked.resolved, &checked.instances, &checked.outputs);
                ui::sarif::log(&path, &lint::told::of_report(&report, &checked.warnings));
            }
            Err(mistakes) => {
                ui::diagnostics::render(&mistakes, &annotate_snippets::Renderer::plain());
                ui::sarif::log(&path, &lint::told::of_mistakes(&mistakes));
            }
        }
    });
}

const JINJA: [&str; 30] = [
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "{{ x }}",
    "{{ list|join(',') }}",
    "{% for i in list %}",
    "{% endfor %}",
    "{% if x %}",
    "{% set x = x ~ x %}",
    "|tojson",
    "|safe",
    "|replace('a', x)",
    "|items",
    "range(9)",
    "loop.index",
    "~",
    " is defined",
    "\"",
    "\\",
    "'",
    "[",
    "(",
    "-",
    "**",
    "//",
    "{% macro m(a) %}{{ a }}{% endmacro %}",
    "\u{f8f2}",
];

#[test]
fn fuzzed_templates_leave_no_marks() {
    let mut corpus = repository(&["templates/backend.hcl.j2", "templates/terraform.tfvars.j2"]);
    corpus.extend(
        [
            "{% for name, value in values|items %}{{ name }} = {{ value|tojson }}\n{% endfor %}",
            "path \"secret/{{ x }}/*\" {\n  capabilities = [\"{{ list[0] }}\"]\n}\n",
            "{{ x if y is defined else list|length + n * 2 }} {% set z = x ~ n %}{{ z[1:3] }}",
        ]
        .map(|text| text.as_bytes().to_vec()),
    );
    let values = json!({
        "x": "a\"b\nc", "y": "plain", "n": 7, "list": ["read", "li\"st"], "values": { "a": 1, "b": ["c"] },
        "bucket": "b", "key": "k", "region": "r", "lock_table": "t\\",
    });
    campaign("templates", 1_500, &corpus, &JINJA, |case| {
        let text = String::from_utf8_lossy(case);
        if let Ok(rendered) = template::render(&text, &values.clone().into()) {
            assert!(!rendered.contains(['\u{f8f2}', '\u{f8f3}']), "marks are left in {rendered:?}");
        }
    });
}

#[test]
fn fuzzed_expressions_always_return() {
    let corpus: Vec<Vec<u8>> = [
        "org ~ '-' ~ environment",
        "zones[0] if environment == 'production' else zones|last",
        "(n + 1) * 2 // 3 % 4 - -n ** 2",
        "{'a': [1, 2], 'b': org}.a|map('string')|join(',')",
        "org|upper|replace('A', 'b')|default('x')",
        "range(3)|list|length is odd and not (n in [1, 2])",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plan.yaml");
    campaign("expressions", 400, &corpus, &JINJA, |case| {
        let text = json!(format!("{{{{ {} }}}}", String::from_utf8_lossy(case)));
        let plan = format!(
            "version: 1\nname: x\nvars:\n  org: acme\n  environment: production\n  n: 3\n  zones: [a, b]\n  result: {text}\n"
        );
        std::fs::write(&path, plan).expect("written");
        // Either way it must return.
        let _ = session::check(&path, &Given::default(), &Trust::default());
    });
}

#[test]
fn fuzzed_policies_never_cause_a_panic() {
    let corpus: Vec<Vec<u8>> = [
        "path \"secret/data/app/*\" {\n  capabilities = [\"read\", \"list\"]\n}\n",
        "path \"a\" { policy = \"write\" }\npath \"b\" {\n allowed_parameters = { \"x\" = [\"1\"] }\n min_wrapping_ttl = \"1h\" }",
        "{\"path\": {\"a/*\": {\"capabilities\": [\"sudo\"]}}}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    let tokens = [
        "path \"x\" {",
        "}",
        "\"",
        "${",
        "<<EOF\n",
        "EOF\n",
        "[",
        "# ",
        "/*",
        "= ",
        "1e999",
        "\\u0000",
        "for x in",
        "?",
        "null",
    ];
    campaign("policies", 1_500, &corpus, &tokens, |case| drop(granted(&String::from_utf8_lossy(case))));
}

#[test]
fn secret_sightings_in_fuzzed_text_never_overlap() {
    let corpus = repository(&["plans/candlefish-production.yaml", "docs/lint.md"]);
    let tokens = [
        "-----BEGIN PRIVATE KEY-----",
        "-----END",
        "://a:b@",
        "AKIA",
        "hvs.",
        "eyJ",
        "é",
        "\n",
        "sha256:",
        "ghp_",
    ];
    campaign("secrets", 60, &corpus, &tokens, |case| {
        let text = String::from_utf8_lossy(case);
        let mut end = 0;
        for sighting in detect::sightings(&text) {
            assert!(text.get(sighting.start..sighting.end).is_some(), "{sighting:?} is no part of the text");
            assert!(sighting.start >= end, "{sighting:?} is within another");
            end = sighting.end;
        }
    });
}

#[test]
fn fuzzed_text_cannot_control_the_terminal() {
    let corpus = [
        "\u{1b}[31merror\u{1b}[0m: \u{202e}txet \u{200b}\u{e0041} p\u{430}y ✓ 漢\n::add-mask::x",
        "##vso[task]x ##[add-mask] section_start:1:x\r\u{1b}[0K {\"a\": \"b\"}",
    ]
    .map(|text| text.as_bytes().to_vec());
    let tokens =
        ["::", "##[", "##vso[", "\u{1b}[", "m", "\n", "\r", " ", "\u{9b}", "\u{202e}", "\u{1b}[0m", "#", ":"];
    campaign("terminal", 3_000, &corpus, &tokens, |case| {
        let text = String::from_utf8_lossy(case);
        let shown = visible::on_terminal(&text);
        let plain = anstream::adapter::strip_str(&shown).to_string();
        assert!(!plain.contains(|c: char| c.is_control() && !"\n\t".contains(c)), "{plain:?}");
        assert!(!plain.contains(['\u{202e}', '\u{200b}', '\u{e0041}']), "{plain:?}");
        for line in plain.lines().map(str::trim_start) {
            let command = line.strip_prefix("::").is_some_and(|rest| rest.contains("::"));
            assert!(!command && !line.starts_with("section_start:"), "{line:?}");
            assert!(!line.contains("##[") && !line.contains("##vso["), "{line:?}");
        }
        assert_eq!(visible::on_terminal(&shown), shown, "shown twice");
        let value = Value::String(text.into_owned());
        let json = value.to_string();
        let safe = visible::in_json(&json);
        assert!(!safe.contains("##["), "{safe}");
        assert_eq!(serde_json::from_str::<Value>(&safe).expect("JSON"), value);
    });
}
