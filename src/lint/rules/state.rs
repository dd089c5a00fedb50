//! Requirements of plans that several people run.

use crate::lint::Rule;
use crate::lint::facts::{Fact, Facts};
use crate::plan::{LockPlace, Section, Severity};

pub const RULES: &[&Rule] = &[&JOURNAL, &LOCK, &CONTAINER];

const JOURNAL: Rule = Rule {
    id: "journal-only-here",
    severity: Severity::Warning,
    title: "A production plan keeps its journal on one machine",
    explanation: "The journal records requests of a run that was interrupted, so that the next run can \
                  finish them. A journal on one machine's disk does not help a colleague or a CI job that \
                  runs the plan next.",
    help: "add `journal: { s3: \"s3://BUCKET/PREFIX\" }`; the plan may create the bucket",
    bad: r"name: example-production                 # here
aws: { region: us-east-1 }
steps:
  key: { kind: aws.kms_key, alias: alias/example }
lock: { dynamodb: example-locks }
",
    good: r#"vars: { environment: production }
aws: { region: us-east-1 }
steps:
  key: { kind: aws.kms_key, alias: alias/example }
  state: { kind: aws.s3_bucket, name: example-state, encryption: { kms_key: "{{ key.arn }}" } }
journal: { s3: "s3://example-state/groundwork" }
lock: { s3: true }
"#,
    check: |facts, findings| {
        if is_production(facts) && facts.document().section(Section::Journal).is_none() {
            findings.plan("the journal of a production plan is kept on only one machine");
        }
    },
};

const LOCK: Rule = Rule {
    id: "no-shared-lock",
    severity: Severity::Warning,
    title: "A production plan has only a local lock",
    explanation: "Without a shared lock, two people, or a person and a CI job, may apply the same plan at \
                  the same time.",
    help: "add `lock: { dynamodb: TABLE }`, or `lock: { s3: true }` beside a journal in S3",
    bad: r#"name: example-production                # here
aws: { region: us-east-1 }
steps:
  key: { kind: aws.kms_key, alias: alias/example }
journal: { s3: "s3://example-state/groundwork" }
"#,
    good: r#"vars: { environment: production }
aws: { region: us-east-1 }
steps:
  key: { kind: aws.kms_key, alias: alias/example }
  state: { kind: aws.s3_bucket, name: example-state, encryption: { kms_key: "{{ key.arn }}" } }
journal: { s3: "s3://example-state/groundwork" }
lock: { s3: true }
"#,
    check: |facts, findings| {
        if is_production(facts) && facts.document().section(Section::Lock).is_none() {
            findings.plan("a production plan has only a local lock, which other machines do not see");
        }
    },
};

const CONTAINER: Rule = Rule {
    id: "container-not-in-plan",
    severity: Severity::Warning,
    title: "No step makes the bucket or table of the journal or the lock",
    explanation: "The journal's copy and the lock need a bucket or table. If no step makes it, it must exist before \
                  the first apply; a misspelt name is found only then.",
    help: "correct the name, declare the bucket or table as a step, or silence this rule and say who makes it",
    bad: r"aws: { region: us-east-1 }
steps:
  key: { kind: aws.kms_key, alias: alias/example }
lock: { dynamodb: example-lokcs }            # here
",
    good: r"aws: { region: us-east-1 }
steps:
  locks: { kind: aws.dynamodb_table, name: example-locks, preset: terraform_lock }
lock: { dynamodb: example-locks }
",
    check: |facts, findings| {
        let places = facts.resolved.places(facts.outputs, false).unwrap_or_default();
        let journal = places.journal.map(LockPlace::Object);
        for (section, place) in [(Section::Journal, journal), (Section::Lock, places.lock)] {
            let Some(place) = place else { continue };
            let (kind, name) = place.container();
            let is_made = |fact: &Fact<'_>| fact.kind == kind && fact.fields["name"] == name;
            if !facts.steps.iter().any(is_made) {
                let message = format!("no step makes `{name}`, which `{}` needs", section.key());
                findings.section(section, "", message);
            }
        }
    },
};

/// Whether the plan's name or its variable `environment` says production, and the plan has AWS steps, so
/// that it can keep a journal and a lock there.
fn is_production(facts: &Facts<'_>) -> bool {
    let names = [
        Some(facts.document().name.as_str()),
        facts.resolved.vars.get("environment").and_then(|v| v.as_str()),
    ];
    let says =
        |name: &str| name.split(['-', '_', '.']).any(|word| ["prod", "production", "live"].contains(&word));
    facts.steps.iter().any(|fact| fact.kind.starts_with("aws.")) && names.into_iter().flatten().any(says)
}
