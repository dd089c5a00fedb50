//! Secrets where none should be.

use crate::lint::Rule;
use crate::plan::Severity;

pub const RULES: &[&Rule] = &[&LITERAL, &PLAIN_FIELD, &METADATA_ADDRESS, &WORLD_WRITABLE];

const LITERAL: Rule = Rule {
    id: "secret-literal",
    severity: Severity::Error,
    title: "A secret stands in a plan or a template",
    explanation: "Plans and templates are kept in version control and shown in reviews, where a secret is read \
                  by everybody and for ever. Known formats are found, such as AWS access keys, Vault and \
                  GitHub tokens, private keys and passwords in URLs and connection strings; and text that is too random to be \
                  anything else. Comments are searched too. Messages never quote it.",
    help: "end the secret's validity, then give its source: `{ env: NAME }`, `{ file: PATH }` or `{ generate: {} }`",
    bad: r#"steps:
  database:
    kind: vault.kv_secret
    mount: secret
    path: app/database
    data:
      uri: "postgres://app:hunter2@db.example.net/app"            # here
      access_key: AKIAIOSFODNN7EXAMPLE                            # here
"#,
    good: r#"steps:
  database:
    kind: vault.kv_secret
    mount: secret
    path: app/database
    data:
      password: { generate: { length: 32 } }
      uri: { template: "postgres://app:{{ data.password }}@db.example.net/app" }
"#,
    check: |facts, findings| {
        for (span, sighting, step) in &facts.sightings {
            findings.at(*span, step.as_deref(), format!("this looks like {}", sighting.what));
        }
    },
};

const PLAIN_FIELD: Rule = Rule {
    id: "plain-secret-field",
    severity: Severity::Warning,
    title: "A value that is named like a secret stands in the clear",
    explanation: "A field of a KV secret, or a variable, is called password, token or the like, and its value \
                  stands in the plan as text.",
    help: "give a source: `{ generate: {} }`, `{ env: NAME }`, `{ file: PATH }`; variables cannot hold secrets",
    bad: r"steps:
  database:
    kind: vault.kv_secret
    mount: secret
    path: app/database
    data:
      username: app
      password: changeme                           # here
",
    good: r"steps:
  database:
    kind: vault.kv_secret
    mount: secret
    path: app/database
    data:
      username: app
      password: { env: DB_PASSWORD }
",
    check: |facts, findings| {
        for (name, span, step) in &facts.plain {
            let told = facts.sightings.iter().any(|(other, ..)| {
                other.file == span.file && other.start < span.end && span.start < other.end
            });
            if !told {
                findings.at(*span, step.as_deref(), format!("the value of `{name}` stands in the plan"));
            }
        }
    },
};

const METADATA_ADDRESS: Rule = Rule {
    id: "metadata-address",
    severity: Severity::Error,
    title: "A URL leads to a cloud's metadata service",
    explanation: "Link-local addresses such as 169.254.169.254 are those of the metadata services of cloud \
                  machines, which hand out credentials to whoever asks. A server that is told to fetch a URL \
                  there can be made to give them away.",
    help: "write the name of the server that is meant",
    bad: r"steps:
  ci:
    kind: vault.jwt_auth
    mount: ci
    jwks_url: http://169.254.169.254/latest/meta-data/    # here
",
    good: r"steps:
  ci:
    kind: vault.jwt_auth
    mount: ci
    jwks_url: https://gitlab.example.net/oauth/discovery/keys
",
    check: |facts, findings| {
        use crate::providers::endpoint::is_metadata;
        for fact in &facts.steps {
            fact.declared.fields.strings(&mut |text, span| {
                let is_url = text.starts_with("http://") || text.starts_with("https://");
                if is_url && is_metadata(text) {
                    findings.at(span, Some(fact.id()), "this is the address of a metadata service");
                }
            });
        }
    },
};

const WORLD_WRITABLE: Rule = Rule {
    id: "world-writable-file",
    severity: Severity::Warning,
    title: "Everybody on the machine may change a file",
    explanation: "What Terraform or a shell reads from a rendered file is what they do; whoever may change \
                  the file decides it.",
    help: "take the last digit's 2 away: `mode: \"0644\"` or `\"0640\"`",
    bad: r#"steps:
  backend:
    kind: file.template
    path: backend.hcl
    content: "region = 1"
    mode: "0666"                         # here
"#,
    good: r#"steps:
  backend:
    kind: file.template
    path: backend.hcl
    content: "region = 1"
    mode: "0640"
"#,
    check: |facts, findings| {
        for fact in facts.of_kind("file.template") {
            let bits = u32::from_str_radix(fact.text("mode"), 8).unwrap_or_default();
            if bits & 0o002 != 0 {
                findings.step(fact, "mode", "everybody on the machine may change the file");
            }
        }
    },
};
