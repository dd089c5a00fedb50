//! Custody: who can open the once-only secrets, and where they are stored.

use crate::lint::Rule;
use crate::plan::{Section, Severity};

pub const RULES: &[&Rule] = &[&ONE_RECIPIENT, &ONE_STORE, &BUCKET_WITHOUT_VERSIONS];

const ONE_RECIPIENT: Rule = Rule {
    id: "custody-single-recipient",
    severity: Severity::Warning,
    title: "Only one key opens custody",
    explanation: "Vault returns its key shares and root token only once, and custody keeps them. If the only \
                  key that opens custody is lost, deleted or locked away with its account, they are lost \
                  too.",
    help: "add a second recipient of another kind, such as an `age` or `pgp` key that is kept offline",
    bad: r"custody:
  recipients: [ { kms: alias/custody } ]           # here
  stores: [ { file: custody }, { secretsmanager: example/custody } ]
",
    good: r"custody:
  recipients:
    - kms: alias/custody
    - age: age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
  stores: [ { file: custody }, { secretsmanager: example/custody } ]
",
    check: |facts, findings| {
        if facts.custody.as_ref().is_some_and(|custody| custody.recipients.len() == 1) {
            findings.section(Section::Custody, "recipients", "only one key opens custody");
        }
    },
};

const ONE_STORE: Rule = Rule {
    id: "custody-single-store",
    severity: Severity::Warning,
    title: "Custody is kept in one place",
    explanation: "If that disk or bucket is lost, Vault's key shares and root token are lost too, and a \
                  sealed Vault stays sealed.",
    help: "add a second store in another place: `s3`, `secretsmanager` or another `file`",
    bad: r"custody:
  recipients: [ { kms: alias/a }, { kms: alias/b } ]
  stores: [ { file: .groundwork/custody } ]        # here
",
    good: r"custody:
  recipients: [ { kms: alias/a }, { kms: alias/b } ]
  stores: [ { file: .groundwork/custody }, { secretsmanager: example/custody } ]
",
    check: |facts, findings| {
        if facts.custody.as_ref().is_some_and(|custody| custody.stores.len() == 1) {
            findings.section(Section::Custody, "stores", "custody is kept in one place");
        }
    },
};

const BUCKET_WITHOUT_VERSIONS: Rule = Rule {
    id: "custody-bucket-without-versions",
    severity: Severity::Error,
    title: "A bucket for custody or the journal keeps no old versions",
    explanation: "Custody and the journal's copy rely on old versions: without them, Groundwork cannot \
                  distinguish a lost object from one that never existed.",
    help: "remove `versioning: { off: … }` from the bucket's step",
    bad: r#"custody:
  recipients: [ { kms: alias/a }, { kms: alias/b } ]
  stores: [ { file: custody }, { s3: "s3://example-custody/prod" } ]
steps:
  bucket:
    kind: aws.s3_bucket
    name: example-custody
    encryption: { kms_key: alias/a }
    versioning: { off: "cost" }                    # here
"#,
    good: r#"custody:
  recipients: [ { kms: alias/a }, { kms: alias/b } ]
  stores: [ { file: custody }, { s3: "s3://example-custody/prod" } ]
steps:
  bucket:
    kind: aws.s3_bucket
    name: example-custody
    encryption: { kms_key: alias/a }
"#,
    check: |facts, findings| {
        use crate::plan::S3Location;
        use crate::plan::settings::StoreSettings;
        let stores = facts.custody.iter().flat_map(|custody| &custody.stores);
        let of_custody = stores.filter_map(|store| match store {
            StoreSettings::S3(place) => Some(place.parse::<S3Location>().ok()?.bucket),
            _ => None,
        });
        let places = facts.resolved.places(facts.outputs, false).unwrap_or_default();
        let needed: Vec<String> = of_custody.chain(places.journal.map(|place| place.bucket)).collect();
        for fact in facts.of_kind("aws.s3_bucket") {
            if fact.off("versioning").is_some() && needed.iter().any(|name| name == fact.text("name")) {
                findings.step(fact, "versioning", "custody or the journal needs the versions of this bucket");
            }
        }
    },
};
