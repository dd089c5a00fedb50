//! Silences that are wrong themselves. They are found after all others, and cannot be silenced.

use crate::lint::Rule;
use crate::plan::Severity;

pub const RULES: &[&Rule] = &[&NO_REASON, &UNKNOWN, &UNUSED];

/// A rule is silenced without saying why.
pub const NO_REASON: Rule = Rule {
    id: "silence-without-reason",
    severity: Severity::Error,
    title: "A rule is silenced without a reason",
    explanation: "The reason is what the next reader needs: whether the exception still holds. Without one, \
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

/// A rule is silenced that there is not.
pub const UNKNOWN: Rule = Rule {
    id: "silence-of-unknown-rule",
    severity: Severity::Warning,
    title: "A rule is silenced that there is not",
    explanation: "Mostly a misspelling, so that the rule which was meant is not silenced.",
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

/// A rule is silenced that finds nothing.
pub const UNUSED: Rule = Rule {
    id: "silence-unused",
    severity: Severity::Warning,
    title: "A silence silences nothing",
    explanation: "What it was there for is gone. It would hide the next finding of the kind, which nobody has \
                  looked at.",
    help: "take it out",
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
