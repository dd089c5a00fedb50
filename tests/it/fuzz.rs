//! Whatever is read, there is an answer and no panic.
//!
//! Each case is made from a seed, which is told when it fails: `FUZZ_SEED=N` begins with that case.
//! `FUZZ_SECONDS=N` goes on with ever new cases for that long. The last case of each campaign is in
//! the temporary folder as `groundwork-fuzz-NAME`, for what a panic cannot tell, such as a stack
//! that was used up.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use groundwork::providers::vault::granted;
use groundwork::resolve::template;
use groundwork::secret::detect;
use groundwork::trust::Trust;
use groundwork::{lint, session, ui};
use serde_json::json;

/// Random numbers from a seed (the generator of splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).expect("small")).expect("small")
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// One of the corpus, changed in a few places; sometimes with a part of another one in it.
fn mutated(random: &mut Random, corpus: &[Vec<u8>], tokens: &[&str]) -> Vec<u8> {
    let mut bytes = random.pick(corpus).clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let length = random.below(40).min(bytes.len() - at);
        match random.below(7) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, u8::try_from(random.below(256)).expect("a byte")),
            2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let part = bytes[at..at + length].repeat(1 + random.below(20));
                drop(bytes.splice(at..at, part));
            }
            5 => {
                let other = random.pick(corpus);
                let from = random.below(other.len() + 1);
                let part = other[from..(from + random.below(200)).min(other.len())].to_vec();
                drop(bytes.splice(at..at, part));
            }
            _ => drop(bytes.splice(at..at, random.pick(tokens).bytes())),
        }
    }
    bytes
}

/// Runs `check` over `cases` cases, or as long as `FUZZ_SECONDS` says.
fn campaign(name: &str, cases: u64, corpus: &[Vec<u8>], tokens: &[&str], check: impl Fn(&[u8])) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("FUZZ_SEED").unwrap_or(1);
    let time = number("FUZZ_SECONDS").map(Duration::from_secs);
    let (begun, last) = (Instant::now(), std::env::temp_dir().join(format!("groundwork-fuzz-{name}")));
    let mut seed = first;
    while time.map_or(seed < first + cases, |time| begun.elapsed() < time) {
        let case = mutated(&mut Random(seed), corpus, tokens);
        std::fs::write(&last, &case).expect("written");
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&case))) {
            println!("FUZZ_SEED={seed} fails {name}:\n{}", case.escape_ascii());
            resume_unwind(panic);
        }
        seed += 1;
    }
    println!("{name}: {} cases", seed - first);
}

fn repository(files: &[&str]) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    files.iter().map(|file| std::fs::read(root.join(file)).expect("a file of the repository")).collect()
}

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
fn plans() {
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
        match session::check(&path, &[], &Trust::default()) {
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
fn templates() {
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
        if let Ok(rendered) = template::render(&text, &values) {
            assert!(!rendered.contains(['\u{f8f2}', '\u{f8f3}']), "marks are left in {rendered:?}");
        }
    });
}

#[test]
fn expressions() {
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
        let _ = session::check(&path, &[], &Trust::default());
    });
}

#[test]
fn policies() {
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
fn secrets_in_text() {
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
fn saved_changesets() {
    use groundwork::saved::Saved;
    let whole = json!({
        "groundwork_changeset": 1, "created_at": "2026-11-22T06:00:00Z", "digest": "sha256:00", "seal": "sha256:00",
        "content": {
            "tool": "0.1.0",
            "plan": { "path": "plans/x.yaml", "name": "x", "digest": "sha256:00", "files": {}, "vars": [["a", 1]] },
            "identities": { "aws": { "account_id": "000000000000", "region": "us-east-1" }, "vault": null },
            "steps": [],
        },
    });
    let corpus = vec![serde_json::to_vec_pretty(&whole).expect("JSON")];
    let tokens = [
        "{",
        "}",
        "[",
        "]",
        "\"",
        "null",
        "1e999",
        "-1",
        "\\u0000",
        "\\ud800",
        "\"content\":",
        "groundwork_changeset",
    ];
    campaign("changesets", 1_500, &corpus, &tokens, |case| {
        // Nobody has its seal, so that none is ever taken.
        assert!(Saved::parse(case).is_err(), "a forged changeset is taken");
        let deep = [case, b"[".repeat(10_000).as_slice()].concat();
        assert!(Saved::parse(&deep).is_err());
    });
}
