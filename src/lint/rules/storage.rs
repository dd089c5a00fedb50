//! Buckets and tables.

use crate::lint::Rule;
use crate::lint::facts::Fact;
use crate::lint::policy::statements;
use crate::plan::Severity;

pub const RULES: &[&Rule] = &[&PUBLIC_BUCKET, &WITHOUT_TLS, &WITHOUT_OWN_KEY, &UNPROTECTED];

const PUBLIC_BUCKET: Rule = Rule {
    id: "public-bucket",
    severity: Severity::Error,
    title: "A bucket is open to the public",
    explanation: "Anyone who knows or guesses the bucket's name can read or write its objects. Buckets of a \
                  plan hold Terraform states, journals and custody, which give access to everything else.",
    help: "leave `block_public_access` on, and name principals, or add a condition such as \
           aws:PrincipalOrgID",
    bad: r#"steps:
  site:
    kind: aws.s3_bucket
    name: example-site
    encryption: { kms_key: alias/site }
    block_public_access: { off: "a public site" }   # here
    policy:
      Version: "2012-10-17"
      Statement:
        - Effect: Allow
          Principal: "*"                            # here
          Action: s3:GetObject
          Resource: arn:aws:s3:::example-site/*
"#,
    good: r#"steps:
  site:
    kind: aws.s3_bucket
    name: example-site
    encryption: { kms_key: alias/site }
    policy:
      Version: "2012-10-17"
      Statement:
        - Effect: Allow
          Principal: "*"
          Action: s3:GetObject
          Resource: arn:aws:s3:::example-site/*
          Condition: { StringEquals: { "aws:PrincipalOrgID": o-example } }
"#,
    check: |facts, findings| {
        for fact in facts.of_kind("aws.s3_bucket") {
            if let Some(reason) = fact.off("block_public_access") {
                let message = format!("public access to the bucket is not blocked: {reason}");
                findings.step(fact, "block_public_access", message);
            }
            for statement in statements(fact) {
                if statement.allows() && statement.is_for_everybody() && !statement.is_narrowed() {
                    findings.step(
                        fact,
                        &statement.element("Principal"),
                        "the bucket's policy gives everyone access",
                    );
                }
            }
        }
    },
};

const WITHOUT_TLS: Rule = Rule {
    id: "bucket-without-tls",
    severity: Severity::Warning,
    title: "A bucket can be reached without TLS",
    explanation: "Without the statement that denies `aws:SecureTransport: false`, S3 serves requests over \
                  plain HTTP, which can be read and changed in transit.",
    help: "leave `tls_only` on; clients that cannot speak TLS should not reach this bucket",
    bad: r#"steps:
  logs:
    kind: aws.s3_bucket
    name: example-logs
    encryption: { kms_key: alias/logs }
    tls_only: { off: "an old client" }   # here
"#,
    good: r"steps:
  logs:
    kind: aws.s3_bucket
    name: example-logs
    encryption: { kms_key: alias/logs }
",
    check: |facts, findings| {
        for fact in facts.of_kind("aws.s3_bucket") {
            if let Some(reason) = fact.off("tls_only") {
                findings.step(fact, "tls_only", format!("the bucket accepts requests without TLS: {reason}"));
            }
        }
    },
};

const WITHOUT_OWN_KEY: Rule = Rule {
    id: "data-without-own-key",
    severity: Severity::Warning,
    title: "Data is not encrypted with a customer-managed key",
    explanation: "AWS encrypts everything at rest with its own keys. Only with your own KMS key can you \
                  control who may decrypt, see who did, and cut off all access by disabling one key. The \
                  rule skips tables of Terraform locks, whose data does not need it, and buckets that receive \
                  access logs, which S3 does not write with such a key.",
    help: "add `encryption: { kms_key: … }`, for example with a reference to an `aws.kms_key` step",
    bad: r"steps:
  sessions:                              # here
    kind: aws.dynamodb_table
    name: example-sessions
    hash_key: { name: user, type: S }
  files:                                 # here
    kind: aws.s3_bucket
    name: example-data
",
    good: r"steps:
  sessions:
    kind: aws.dynamodb_table
    name: example-sessions
    hash_key: { name: user, type: S }
    encryption: { kms_key: alias/example-data }
  files:
    kind: aws.s3_bucket
    name: example-data
    encryption: { kms_key: alias/example-data }
    access_logging: { bucket: example-logs, prefix: data/ }
  logs:
    kind: aws.s3_bucket
    name: example-logs
  locks:
    kind: aws.dynamodb_table
    name: example-locks
    preset: terraform_lock
",
    check: |facts, findings| {
        let buckets = || facts.of_kind("aws.s3_bucket");
        let receives_logs = |fact: &Fact<'_>| {
            buckets().any(|other| other.fields["access_logging"]["bucket"] == fact.fields["name"])
        };
        let tables =
            facts.of_kind("aws.dynamodb_table").filter(|fact| fact.text("preset") != "terraform_lock");
        for fact in buckets().filter(|fact| !receives_logs(fact)).chain(tables) {
            if fact.fields["encryption"].is_null() {
                findings.step(fact, "", "the data is encrypted with a key of AWS, not with yours");
            }
        }
    },
};

const UNPROTECTED: Rule = Rule {
    id: "unprotected-data",
    severity: Severity::Warning,
    title: "A resource that cannot be recreated is not protected",
    explanation: "Keys, buckets, tables and Vault itself are protected from deletion by default, because \
                  deleting them loses their data. `protect: false` removes the protection for every later \
                  run, not only for one.",
    help: "remove `protect: false` after the deletion, or silence this rule and give the reason",
    bad: r"steps:
  key:                                   # here
    kind: aws.kms_key
    alias: alias/example
    protect: false
",
    good: r"steps:
  key:
    kind: aws.kms_key
    alias: alias/example
",
    check: |facts, findings| {
        for fact in facts.steps.iter().filter(|fact| fact.protected && fact.says_unprotected) {
            findings.step(fact, "", format!("`{}` may be deleted, with everything in it", fact.id()));
        }
    },
};
