//! Mistakes of a first day: each message names the place, and says what to write instead.

use groundwork::plan::{Diagnostics, Given};
use groundwork::session;
use groundwork::trust::Trust;

/// A mistake: the plan below its name, the line that is wrong, and parts of what is said about it.
struct Row {
    plan: &'static str,
    line: usize,
    says: &'static [&'static str],
}

const fn row(plan: &'static str, line: usize, says: &'static [&'static str]) -> Row {
    Row { plan, line, says }
}

/// Lines 1 and 2 are `version:` and `name:`.
const ROWS: &[Row] = &[
    // YAML.
    row(
        "vars: { org: a }\nsteps:\n  b:\n    kind: aws.s3_bucket\n    name: {{ org }}\n",
        7,
        &["in quotes", "write `\"{{ org }}\"`"],
    ),
    row("steps:\n\tb:\n    kind: aws.s3_bucket\n", 4, &["tabs", "indent with spaces"]),
    row("steps:\n  b\n    kind: aws.s3_bucket\n", 4, &["no `:` after its key", "write `b:`"]),
    row(
        "steps:\n  b:\n    kind: file.template\n    path: a: b\n",
        6,
        &["has to be in quotes", "single quotes"],
    ),
    row("steps:\n  b:\n    kind: file.template\n    path: \"a\n", 6, &["not closed", "close it"]),
    row("steps:\n  b:\n    kind: file.template\n    path: *a\n", 6, &["no anchor", "in quotes"]),
    row(
        "steps:\n  - kind: aws.s3_bucket\n",
        4,
        &["a map from id to step", "write `ID:` in place of each `-`"],
    ),
    // Names.
    row("steps:\n  a: { kind: s3_bucket }\n", 4, &["no kind", "did you mean `aws.s3_bucket`?"]),
    row("steps:\n  a:\n    path: a\n", 4, &["no `kind`", "`groundwork explain` lists the kinds"]),
    row(
        "steps:\n  a:\n    kind: file.template\n    path: a\n    content: x\n    nedes: [ b ]\n",
        8,
        &["unknown key `nedes`", "did you mean `needs`?"],
    ),
    row(
        "steps:\n  a:\n    kind: file.template\n    path: a\n    content: x\n    forech: [ b ]\n",
        8,
        &["unknown key", "did you mean `for_each`?"],
    ),
    row(
        "steps:\n  a:\n    kind: file.template\n    path: a\n    content: x\n    wehn: true\n",
        8,
        &["unknown key", "did you mean `when`?"],
    ),
    row(
        "steps:\n  a:\n    kind: file.template\n    path: a\n    content: x\n    protcet: true\n",
        8,
        &["unknown key", "did you mean `protect`?"],
    ),
    row(
        "steps:\n  data: { kind: file.template, path: a, content: x }\n",
        4,
        &["cannot be a step's id", "reserved"],
    ),
    row(
        "steps:\n  lock: { kind: file.template, path: a, content: x }\n",
        4,
        &["cannot be a step's id", "reserved"],
    ),
    row(
        "steps:\n  my-step: { kind: file.template, path: a, content: x }\n",
        4,
        &["cannot be a step's id", "underscores"],
    ),
    row(
        "vault: { adress: https://a.example.net }\nsteps: {}\n",
        3,
        &["unknown key", "did you mean `address`?"],
    ),
    // Expressions.
    row(
        "vars: { stage: dev, on: false }\nsteps:\n  a:\n    when: \"{{ stage == 'dev' && on }}\"\n    kind: file.template\n    path: a\n    content: x\n",
        6,
        &["`&&`", "write `and`"],
    ),
    row(
        "steps:\n  a:\n    kind: file.template\n    path: a\n    content: '{{ \"abc\" $ garbage }}'\n",
        7,
        &["cannot have `$`"],
    ),
    row(
        "vars: { x: a }\nsteps:\n  a:\n    kind: file.template\n    path: a\n    content: '{{ upper(x) }}'\n",
        8,
        &["no function `upper`", "write `VALUE | upper`"],
    ),
    row(
        "vars: { org: a }\nsteps:\n  a:\n    kind: file.template\n    path: a\n    content: '{{ vars.org }}'\n",
        8,
        &["no variable or step `vars`", "write `org`"],
    ),
    row(
        "steps:\n  k: { kind: aws.kms_key, alias: alias/a }\n  a:\n    kind: file.template\n    path: a\n    content: '{{ steps.k.arn }}'\n",
        8,
        &["by their own names", "write `k.arn`"],
    ),
    row(
        "steps:\n  k: { kind: aws.kms_key, alias: alias/a }\n  a:\n    kind: file.template\n    path: a\n    content: '{{ k.arm }}'\n",
        8,
        &["no output `arm`", "did you mean `arn`?"],
    ),
    row(
        "steps:\n  a:\n    kind: file.template\n    path: '{{ each.key }}'\n    content: x\n",
        6,
        &["only in a step with `for_each`"],
    ),
    row(
        "vars: { org: null }\nsteps:\n  a: { kind: file.template, path: a, content: '{{ org }}' }\n",
        3,
        &["has no value", "--var org="],
    ),
    // Secrets of other steps.
    row(
        "steps:\n  b:\n    kind: vault.kv_secret\n    mount: secret\n    path: a\n    data: { password: { generate: {} } }\n  c:\n    kind: vault.kv_secret\n    mount: secret\n    path: b\n    data:\n      uri: { template: 'x{{ b.data.password }}' }\n",
        14,
        &["`b` is undefined", "write `{{ secrets.b.FIELD }}`"],
    ),
    row(
        "steps:\n  p:\n    kind: vault.policy\n    name: p\n    rules: { template: policies/nope.hcl.j2 }\n",
        7,
        &["no template `policies/nope.hcl.j2`", "in `templates/` beside the plan"],
    ),
    // Types and forms.
    row(
        "aws: { region: us-east-1 }\nsteps:\n  a:\n    kind: aws.s3_bucket\n    name: example\n    versioning: 'yes'\n",
        8,
        &["takes `true`, or `{ off:"],
    ),
    row(
        "aws: { region: us-east-1 }\nsteps:\n  a:\n    kind: aws.iam_role\n    name: example\n    trust: { service: ec2.amazonaws.com }\n",
        8,
        &["expected a list, found a map", "`-` in front of each entry"],
    ),
    row(
        "steps:\n  a:\n    kind: vault.approle_role\n    name: r\n    token_ttl: 5 minutes\n",
        7,
        &["expected a duration such as `90m`"],
    ),
    row(
        "steps:\n  a:\n    kind: vault.approle_role\n    name: r\n    token_policies: app\n",
        7,
        &["expected a list, found text", "`[ … ]`"],
    ),
    row(
        "steps:\n  a:\n    kind: file.template\n    for_each: abc\n    path: a\n    content: x\n",
        6,
        &["`for_each` takes a map, or a list"],
    ),
    // Constants that cannot be.
    row(
        "aws: { region: us-east-1, account_id: \"12345\" }\nsteps: {}\n",
        3,
        &["is not an account id", "twelve digits"],
    ),
    row(
        "aws: { region: us-esat-1 }\nsteps: {}\n",
        3,
        &["is not a region of AWS", "did you mean `us-east-1`?"],
    ),
    row(
        "custody: { recipients: [], stores: [ { file: c } ] }\nsteps: {}\n",
        3,
        &["is empty", "add one, such as `- age: age1…`"],
    ),
    row(
        "custody: { recipients: [ { kms: alias/a } ], stores: [] }\nsteps: {}\n",
        3,
        &["is empty", "`- file: .groundwork/custody`"],
    ),
    row(
        "include: [ 'https://example.net/c.yaml' ]\nsteps: {}\n",
        3,
        &["nothing is fetched", "copy the file"],
    ),
    row(
        "aws: { region: us-east-1 }\nsteps:\n  b: { kind: aws.s3_bucket, name: My_Bucket }\n",
        5,
        &["not a valid name for a bucket", "lower-case letters"],
    ),
    row(
        "aws: { region: us-east-1 }\nsteps:\n  b: { kind: aws.s3_bucket, name: example }\n  c: { kind: aws.s3_bucket, name: example }\n",
        6,
        &["both declare aws.s3_bucket example", "remove one of them"],
    ),
    row(
        "steps:\n  a: { kind: file.template, path: /etc/x, content: x }\n",
        4,
        &["cannot write this file", "inside the plan's folder"],
    ),
    row(
        "steps:\n  p:\n    kind: vault.policy\n    name: p\n    rules: 'path \"a\" { capabilities = [\"raed\"] }'\n",
        7,
        &["`raed` is not known", "did you mean `read`?"],
    ),
    row(
        "steps:\n  p:\n    kind: vault.policy\n    name: p\n    rules: 'path \"a\" { capabilities = [\"read\"]'\n",
        7,
        &["a `}` is missing"],
    ),
];

/// What `validate` says of a plan: the line of each mistake, and its text.
fn told(plan: &str) -> Vec<(usize, String)> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plan.yaml");
    let text = format!("version: 1\nname: orchard\n{plan}");
    std::fs::write(&path, &text).expect("written");
    let Err(Diagnostics { list, .. }) = session::check(&path, &Given::default(), &Trust::default()) else {
        return Vec::new();
    };
    let line = |start: usize| text[..start].matches('\n').count() + 1;
    list.iter()
        .map(|one| {
            let help = one.help.as_deref().unwrap_or_default();
            (one.span.map_or(0, |span| line(span.start)), format!("{}: {help}", one.message))
        })
        .collect()
}

#[test]
fn each_mistake_is_told_at_its_place_with_what_to_write() {
    let mut silent = Vec::new();
    for Row { plan, line, says } in ROWS {
        let told = told(plan);
        let is_told = told.iter().any(|(at, text)| at == line && says.iter().all(|part| text.contains(part)));
        if !is_told {
            silent.push(format!("{plan}should say {says:?} in line {line}, and says {told:#?}"));
        }
    }
    assert!(silent.is_empty(), "{}", silent.join("\n\n"));
}
