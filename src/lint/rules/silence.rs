//! Mistakes in silences. They are found after all other rules have run, and cannot be silenced.

use crate::lint::Rule;
use crate::plan::Severity;

pub const RULES: &[&Rule] = &[&NO_REASON, &UNKNOWN, &UNUSED];

/// A silence without a reason.
pub const NO_REASON: Rule = Rule {
    id: "silence-without-reason",
    severity: Severity::Error,
    title: "A rule is silenced without a reason",
    explanation: "The next reader needs the reason to decide whether the exception still holds. Without one, \
                  the rule is not silenced.",
    help: "write `lint: { allow: { RULE: \"the reason\" } }`",
    bad: r#"steps:
  key:
    kind: aws.kms_key
    alias: alias/example
    rotation: false
    lint:
      allow:
        key-without-rotation: ""         # here
"#,
    good: r#"steps:
  key:
    kind: aws.kms_key
    alias: alias/example
    rotation: false
    lint:
      allow:
        key-without-rotation: "deleted with the old system in March"
"#,
    check: |_, _| {},
};

/// A silence for a rule that does not exist.
pub const UNKNOWN: Rule = Rule {
    id: "silence-of-unknown-rule",
    severity: Severity::Warning,
    title: "A silence names a rule that does not exist",
    explanation: "This is usually a misspelling, so the intended rule is not silenced.",
    help: "`groundwork explain --rules` lists the rules",
    bad: r#"lint:
  allow:
    custody-one-store: "a rehearsal"     # here
"#,
    good: r#"custody: { recipients: [ { kms: alias/a }, { kms: alias/b } ], stores: [ { file: custody } ] }
lint:
  allow:
    custody-single-store: "a rehearsal"
"#,
    check: |_, _| {},
};

/// A silence without a finding.
pub const UNUSED: Rule = Rule {
    id: "silence-unused",
    severity: Severity::Warning,
    title: "A silence is without effect",
    explanation: "The finding that it silenced is gone. It would hide the next finding of this rule, which \
                  has not been reviewed.",
    help: "remove it",
    bad: r#"steps:
  key:
    kind: aws.kms_key
    alias: alias/example
    lint:
      allow:
        key-without-rotation: "an old key"    # here
"#,
    good: r#"steps:
  key:
    kind: aws.kms_key
    alias: alias/example
    rotation: false
    lint:
      allow:
        key-without-rotation: "an old key"
"#,
    check: |_, _| {},
};
