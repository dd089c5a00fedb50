//! The top-level sections of a plan in words.

use std::collections::BTreeSet;

use serde_json::Value;

use super::describe::{Field, list};
use super::{resolve_reference, schema, type_name};
use crate::provider::Registry;

/// A top-level section.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its key in the plan.
    pub name: String,
    /// Its type, in words.
    pub kind: String,
    /// Whether each plan has it.
    pub required: bool,
    /// Its description.
    pub about: String,
    /// Its fields, each followed by those within it.
    pub fields: Vec<Field>,
    /// A part of a plan that has it.
    pub example: &'static str,
}

/// Examples by the section's name.
const EXAMPLES: &[(&str, &str)] = &[
    ("version", "version: 1"),
    ("name", "name: candlefish-production"),
    (
        "vars",
        "vars:
  org: candlefish                # --var org=other overrides it
  account: null                  # has no default: the stage, --var or --var-file must give it
  zones: [ us-east-1a, us-east-1b ]
  size: { type: integer, default: 3, one_of: [ 1, 3, 5 ], description: Nodes of Vault }",
    ),
    (
        "stages",
        "stages:                          # with `--stage dev` or GROUNDWORK_STAGE
  dev: { vars: { account: \"111111111111\" }, protect: false }
  production: { vars: { account: \"333333333333\", size: 5 }, protect: true }",
    ),
    ("include", "include: [ shared/baseline.yaml ]    # its steps and variables are added to this plan's"),
    (
        "aws",
        "aws:
  region: us-east-1
  account_id: \"123456789012\"     # no other account is ever touched
  tags: { Owner: platform }      # on every AWS step
  aliases:                       # for steps with `provider: aws.audit`
    audit:
      account_id: \"210987654321\"
      assume_role: { role_arn: \"arn:aws:iam::210987654321:role/groundwork\", external_id: example }",
    ),
    (
        "vault",
        "vault:                           # without an address, VAULT_ADDR has it
  address: https://vault.example.internal:8200
  nodes:
    - https://vault-1.example.internal:8200
    - https://vault-2.example.internal:8200
    - https://vault-3.example.internal:8200
  auth: { approle: { role: groundwork } }",
    ),
    (
        "custody",
        "custody:
  recipients:
    - { kms: alias/custody }
    - { age: age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p }
  stores:
    - { file: .groundwork/custody }
    - { s3: \"s3://example-custody/production\" }",
    ),
    ("journal", "journal: { s3: \"s3://example-state/groundwork\" }"),
    ("lock", "lock: { dynamodb: terraform-lock, key: example-state/env/terraform.tfstate }"),
    (
        "kubernetes",
        "kubernetes:
  kubeconfig: kubeconfig.yaml
  context: production
  cluster: 5d3c0c2e-1111-2222-3333-444455556666   # the uid of its namespace kube-system",
    ),
    (
        "postgres",
        "postgres:
  host: db.example
  database: clinical
  user: groundwork
  password: { env: PGPASSWORD }
  sslmode: verify-full
  ca_cert: db-ca.pem",
    ),
    (
        "backup",
        "backup:
  stores:
    - { file: backups }
    - { s3: \"s3://example-backups/vault\" }
  keep: { last: 24, daily: 30 }",
    ),
    (
        "recovery",
        "recovery:                        # the targets of `groundwork drill`
  rto: 15m
  rpo: 1h
  canaries:
    - { path: secret/recovery/canary }
    - { path: secret/app/db, field: password }
  quorum: true                   # `restore` and `rebuild` take the shares that holders give",
    ),
    (
        "notify",
        "notify:                          # who hears of `groundwork break-glass`
  sns: \"arn:aws:sns:us-east-1:123456789012:emergencies\"",
    ),
    (
        "lint",
        "lint:
  allow:
    custody-single-store: a rehearsal",
    ),
    (
        "groups",
        "groups:                          # used by `payments: { group: application, with: { name: payments } }`
  application:
    parameters: { name: { type: string, pattern: \"[a-z]+\" } }
    steps:
      policy:
        kind: vault.policy
        name: \"{{ name }}-app\"
        rules: { \"secret/data/{{ name }}/*\": [ read ] }",
    ),
    (
        "steps",
        "steps:
  alerts:
    kind: aws.sns_topic
    for_each: { payments: high, search: low }    # alerts[payments], alerts[search]
    name: \"alerts-{{ each.key }}\"
    tags: { Priority: \"{{ each.value }}\" }
    protect: true",
    ),
    ("moved", "moved: { alerts: alarms }        # the step `alerts` is called `alarms` now"),
    (
        "removed",
        "removed:
  old_table: { protect: false }  # `--prune` may remove it
  archive: { retain: true }      # it stays, and is forgotten",
    ),
];

/// All sections, in the order of the schema.
pub fn all(registry: &Registry) -> Vec<Section> {
    let schema = schema(registry, false);
    let definitions = schema.get("definitions").cloned().unwrap_or_default();
    let required = |name: &str| {
        let names = schema.get("required").and_then(Value::as_array);
        names.is_some_and(|names| names.iter().any(|needed| needed == name))
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    let section = |(name, property): (&String, &Value)| {
        let resolved = resolve_reference(property, &definitions);
        let about = [property, &resolved].into_iter().find_map(|of| of.get("description")?.as_str());
        Section {
            name: name.clone(),
            kind: match list(property, &definitions).is_empty() {
                true => type_name(property, &definitions),
                false => "map".to_owned(),
            },
            required: required(name),
            about: about.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" "),
            fields: fields(property, &definitions),
            example: example(name),
        }
    };
    properties.into_iter().flatten().map(section).collect()
}

/// The fields, each once: a step and the use of a group have most of theirs in common.
fn fields(property: &Value, definitions: &Value) -> Vec<Field> {
    let mut fields = list(property, definitions);
    let mut seen = BTreeSet::new();
    fields.retain(|field| seen.insert(field.path.clone()));
    fields
}

fn example(name: &str) -> &'static str {
    EXAMPLES.iter().find(|(of, _)| *of == name).map_or("", |(_, example)| *example)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::PROVIDERS;

    #[test]
    fn sections_have_descriptions_and_examples() {
        let sections = all(&PROVIDERS);
        for section in &sections {
            assert!(section.about.len() > 10, "{section:?}");
            assert!(section.example.starts_with(&format!("{}:", section.name)), "{section:?}");
        }
        let unused = EXAMPLES.iter().find(|(name, _)| !sections.iter().any(|section| section.name == *name));
        assert_eq!(unused, None);
    }

    #[test]
    fn sections_list_their_fields() {
        let sections = all(&PROVIDERS);
        let has = |name: &str, path: &str| {
            let section = sections.iter().find(|section| section.name == name).unwrap();
            section.fields.iter().any(|field| field.path == path)
        };
        for (name, path) in [
            ("aws", "aliases.NAME.assume_role.role_arn"),
            ("vault", "auth.approle.role"),
            ("custody", "recipients[].age"),
            ("steps", "NAME.for_each"),
            ("removed", "NAME.retain"),
        ] {
            assert!(has(name, path), "{name} has no {path}");
        }
    }
}
