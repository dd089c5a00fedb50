//! Secrets in places that must not contain any.

use crate::lint::Rule;
use crate::plan::Severity;

pub const RULES: &[&Rule] = &[&LITERAL, &PLAIN_FIELD, &METADATA_ADDRESS, &WORLD_WRITABLE];

const LITERAL: Rule = Rule {
    id: "secret-literal",
    severity: Severity::Error,
    title: "A plan or a template contains a secret",
    explanation: "Plans and templates are kept in version control and shown in reviews, where everyone can \
                  read a secret for ever. The rule finds known formats, such as AWS access keys, Vault and \
                  GitHub tokens, private keys, and passwords in URLs and connection strings; and text that \
                  is too random to be anything else. It searches comments too. Messages never quote the \
                  secret.",
    help: "revoke the secret, then declare its source: `{ env: NAME }`, `{ file: PATH }` or `{ generate: {} \
           }`",
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
    title: "The value of a field named like a secret is in plain text",
    explanation: "A field of a KV secret, or a variable, has a name such as password or token, and the plan \
                  contains its value as text.",
    help: "declare a source: `{ generate: {} }`, `{ env: NAME }`, `{ file: PATH }`; variables cannot hold \
           secrets",
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
            let reported = facts.sightings.iter().any(|(other, ..)| {
                other.file == span.file && other.start < span.end && span.start < other.end
            });
            if !reported {
                findings.at(*span, step.as_deref(), format!("the plan contains the value of `{name}`"));
            }
        }
    },
};

const METADATA_ADDRESS: Rule = Rule {
    id: "metadata-address",
    severity: Severity::Error,
    title: "A URL points to a cloud metadata service",
    explanation: "Link-local addresses such as 169.254.169.254 belong to the metadata services of cloud \
                  machines, which return credentials without authentication. A server that fetches a URL \
                  there can be made to leak them.",
    help: "use the name of the intended server",
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
        use crate::net::endpoint::is_metadata;
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
    title: "Every user of the machine may change a file",
    explanation: "Terraform or a shell executes what it reads from a rendered file, so anyone who may change \
                  the file controls them.",
    help: "remove write permission for others: `mode: \"0644\"` or `\"0640\"`",
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
                findings.step(fact, "mode", "every user of the machine may change the file");
            }
        }
    },
};
