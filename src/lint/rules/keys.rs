//! KMS keys.

use crate::lint::Rule;
use crate::lint::policy::statements;
use crate::plan::Severity;
use crate::providers::aws::Document;
use crate::providers::aws::kms_key::{Managers, managers};
use crate::template::unknown;

pub const RULES: &[&Rule] = &[&WITHOUT_ROTATION, &MANAGED_ON_CONDITION, &FOR_EVERYBODY];

const WITHOUT_ROTATION: Rule = Rule {
    id: "key-without-rotation",
    severity: Severity::Warning,
    title: "A key is never rotated",
    explanation: "KMS can create new key material every year and keep the old material to decrypt existing \
                  data; nothing else has to change. Without rotation, the same material protects everything \
                  that was ever encrypted. The rule skips asymmetric keys, which cannot be rotated.",
    help: "set `rotation: true`",
    bad: r"steps:
  key:
    kind: aws.kms_key
    alias: alias/example
    rotation: false                      # here
",
    good: r"steps:
  key:
    kind: aws.kms_key
    alias: alias/example
  signing:
    kind: aws.kms_key
    alias: alias/example-signing
    key_spec: RSA_4096
    key_usage: SIGN_VERIFY
    rotation: false
",
    check: |facts, findings| {
        for fact in facts.of_kind("aws.kms_key") {
            if fact.text("key_spec") == "SYMMETRIC_DEFAULT" && fact.fields["rotation"] == false {
                findings.step(fact, "rotation", "the key is never rotated");
            }
        }
    },
};

const MANAGED_ON_CONDITION: Rule = Rule {
    id: "key-managed-on-condition",
    severity: Severity::Warning,
    title: "A key can be managed only while a condition holds",
    explanation: "Every statement that allows changing the key's policy has a condition. If the condition \
                  can no longer be met, for example because an address, a tag or a second factor is gone, \
                  the policy can never be changed again, not even by the account's root user.",
    help: "allow the account `kms:*` without a condition, and restrict access with IAM policies",
    bad: r#"steps:
  key:
    kind: aws.kms_key
    alias: alias/example
    policy:                              # here
      Version: "2012-10-17"
      Statement:
        - Effect: Allow
          Principal: { AWS: "arn:aws:iam::111122223333:root" }
          Action: "kms:*"
          Resource: "*"
          Condition: { IpAddress: { "aws:SourceIp": "192.0.2.0/24" } }
"#,
    good: r#"steps:
  key:
    kind: aws.kms_key
    alias: alias/example
    policy:
      Version: "2012-10-17"
      Statement:
        - Effect: Allow
          Principal: { AWS: "arn:aws:iam::111122223333:root" }
          Action: "kms:*"
          Resource: "*"
"#,
    check: |facts, findings| {
        for fact in facts.of_kind("aws.kms_key") {
            let declared = &fact.fields["policy"];
            let policy = serde_json::from_value::<Document>(declared.clone());
            let is_bound = policy.is_ok_and(|policy| managers(&policy) == Managers::OnCondition);
            if is_bound && !unknown::has_unknown(declared) {
                findings.step(fact, "policy", "the key can be managed only while a condition holds");
            }
        }
    },
};

const FOR_EVERYBODY: Rule = Rule {
    id: "wildcard-principal",
    severity: Severity::Error,
    title: "A policy applies to every principal",
    explanation: "A statement that allows `Principal: \"*\"` without a condition that restricts it lets \
                  every AWS account in the world use the key, assume the role or access the resource.",
    help: "name accounts, roles or services, or add a condition such as aws:PrincipalOrgID or \
           kms:CallerAccount",
    bad: r#"steps:
  key:
    kind: aws.kms_key
    alias: alias/example
    policy:
      Version: "2012-10-17"
      Statement:
        - Effect: Allow
          Principal: { AWS: "*" }        # here
          Action: "kms:*"
          Resource: "*"
"#,
    good: r#"steps:
  key:
    kind: aws.kms_key
    alias: alias/example
    policy:
      Version: "2012-10-17"
      Statement:
        - Effect: Allow
          Principal: { AWS: "arn:aws:iam::111122223333:root" }
          Action: "kms:*"
          Resource: "*"
"#,
    check: |facts, findings| {
        // A separate rule checks the policies of buckets.
        for fact in facts.steps.iter().filter(|fact| fact.kind != "aws.s3_bucket") {
            for statement in statements(fact) {
                if statement.allows() && statement.is_for_everybody() && !statement.is_narrowed() {
                    findings.step(
                        fact,
                        &statement.element("Principal"),
                        "the policy applies to every AWS principal",
                    );
                }
            }
        }
    },
};
