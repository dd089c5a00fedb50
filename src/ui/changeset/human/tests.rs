//! The text that a person reads, without colours.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::*;
use crate::changeset::Changeset;
use crate::providers::PROVIDERS;
use crate::review::testing::{PLACE, changeset, step, with_secret};
use crate::secret::SecretChange;

fn plain(changeset: &Changeset, width: usize, all: bool) -> String {
    let text = render(&Review::new(changeset, &PROVIDERS, PLACE), width, all);
    anstream::adapter::strip_str(&text).to_string()
}

fn null() -> Value {
    json!(null)
}

/// A changeset with every kind of change.
fn mixed() -> Changeset {
    let bucket = step(
        "state_bucket",
        "aws.s3_bucket",
        "update",
        &[
            ("block_public_access", json!(true), json!(false)),
            ("tags.Environment", null(), json!("production")),
            (
                "encryption.kms_key",
                json!("arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"),
                json!("arn:aws:kms:us-east-1:123456789012:key/66666666-7777-8888-9999-000000000000"),
            ),
        ],
    );
    let statement = |actions: Value| {
        json!({ "Version": "2012-10-17", "Statement": [
            { "Sid": "Read", "Effect": "Allow", "Action": actions, "Resource": "arn:aws:s3:::candlefish-terraform-state/*" },
        ]})
    };
    let role = step(
        "terraform_role",
        "aws.iam_role",
        "update",
        &[(
            "inline_policies.state",
            statement(json!(["s3:PutObject", "s3:GetObject"])),
            statement(json!(["s3:GetObject", "s3:PutObject", "s3:DeleteObject"])),
        )],
    );
    let old_key = step("old_key", "aws.kms_key", "delete", &[]);
    let mut user = step("app_user", "aws.iam_user", "blocked", &[]);
    user.reason = Some("it exists and has no tag `groundwork:plan`, so this plan did not make it; to take it over, add `adopt: true` to the step".to_owned());
    let mut init = step("vault_init", "vault.init", "create", &[("shares", null(), json!(5))]);
    init.name = "vault.candlefish.internal:8200".to_owned();
    let rules = |may: &str| json!(format!("path \"secret/data/app/*\" {{\n  capabilities = [{may}]\n}}\n"));
    let mut policy = step("app_policy", "vault.policy", "create", &[("rules", null(), rules("\"read\""))]);
    policy.reason = Some("after vault_init has initialised the server".to_owned());
    let reader = step(
        "reader",
        "vault.policy",
        "update",
        &[("rules", rules("\"read\""), rules("\"read\", \"list\""))],
    );
    let secret = with_secret(
        with_secret(
            with_secret(
                step("database", "vault.kv_secret", "update", &[]),
                "data.url",
                SecretChange::Changed,
                "env DB_URL",
            ),
            "data.token",
            SecretChange::New,
            "generated, 32 characters",
        ),
        "data.password",
        SecretChange::Unchanged,
        "generated, 32 characters",
    );
    let unchanged = step("audit", "vault.audit", "none", &[]);
    changeset(vec![old_key, bucket, role, user, init, policy, reader, secret, unchanged])
}

#[test]
fn mixed_changeset_is_rendered_in_full() {
    insta::assert_snapshot!(plain(&mixed(), 100, false));
}

#[test]
fn narrow_terminal_output_fits_its_width() {
    for width in [40, 48, 60, 80, 100, 140] {
        for line in plain(&mixed(), width, true).lines() {
            assert!(columns(line) <= width, "{} of {width} columns: {line}", columns(line));
        }
    }
    insta::assert_snapshot!(plain(&mixed(), 56, false));
}

#[test]
fn repeated_steps_are_shown_once() {
    let mut steps: Vec<StepChange> = ["payments", "search", "mail", "billing"]
        .iter()
        .map(|key| {
            let mut step = step(
                &format!("team_policies[{key}]"),
                "vault.policy",
                "create",
                &[("name", null(), json!(format!("{key}-app"))), ("rules.sys/seal", null(), json!(["read"]))],
            );
            step.name = format!("{key}-app");
            step
        })
        .collect();
    steps.push(step("other", "vault.policy", "create", &[("name", null(), json!("other"))]));
    insta::assert_snapshot!(plain(&changeset(steps), 100, false));
}

#[test]
fn two_thousand_similar_steps_fit_one_screen() {
    let steps = (0..2_000).map(|number| {
        let key = format!("team{number:04}");
        let mut step = step(
            &format!("secrets[{key}]"),
            "vault.kv_secret",
            "create",
            &[("mount", null(), json!("secret"))],
        );
        step.name = format!("secret/{key}");
        step
    });
    let text = plain(&changeset(steps.collect()), 100, false);
    assert!(text.lines().count() < 20, "{text}");
    assert!(text.contains("and 1999 more in the same way") && text.contains("2000 to create"), "{text}");
}

/// A plan of 2,000 steps of five kinds, each written out.
fn written_out() -> Vec<StepChange> {
    let of_team = |number: usize| {
        let name = format!("team{number:03}");
        let rule = format!("rules.secret/data/{name}/*");
        let fields = |path: &str| vec![("path", null(), json!(path)), ("ttl", null(), json!(3_600))];
        let mut steps = vec![
            step(&format!("{name}_policy"), "vault.policy", "create", &[(&rule, null(), json!(["read"]))]),
            step(&format!("{name}_role"), "vault.approle_role", "create", &fields(&format!("role/{name}"))),
            step(&format!("{name}_mount"), "vault.mount", "update", &fields(&format!("{name}-kv"))),
            step(&format!("{name}_secret"), "vault.kv_secret", "deferred", &[]),
            step(&format!("{name}_note"), "file.template", "none", &[]),
        ];
        steps[1].reason = Some("after vault_init has initialised the server".to_owned());
        steps[3].reason = Some("Vault cannot be reached; check that it runs".to_owned());
        steps
    };
    (0..400).flat_map(of_team).collect()
}

#[test]
fn similar_written_out_steps_fold_except_outliers() {
    let mut steps = written_out();
    let quiet = plain(&changeset(steps.clone()), 100, true);
    assert!(quiet.lines().count() <= 40, "{} lines: {quiet}", quiet.lines().count());
    assert!(quiet.contains("and 399 more in the same way: team001_policy, team002_policy,"), "{quiet}");
    assert!(quiet.contains("more …, team399_policy"), "{quiet}");

    let odd = |steps: &mut Vec<StepChange>, id: &str, changed: StepChange| {
        let place = steps.iter().position(|step| step.id == id).expect("there");
        steps[place] = changed;
    };
    let ttl = |ttl: u32| [("path", null(), json!("role/team123")), ("ttl", null(), json!(ttl))];
    let mut role = step("team123_role", "vault.approle_role", "create", &ttl(7_200));
    role.reason = Some("after vault_init has initialised the server".to_owned());
    odd(&mut steps, "team123_role", role);
    let sudo = [("rules.secret/data/team200/*", null(), json!(["sudo"]))];
    odd(&mut steps, "team200_policy", step("team200_policy", "vault.policy", "create", &sudo));
    odd(&mut steps, "team300_mount", step("team300_mount", "vault.mount", "delete", &[]));
    let changeset = changeset(steps);
    let text = plain(&changeset, 100, false);
    assert!(text.lines().count() <= 60, "{} lines: {text}", text.lines().count());
    for line in [
        "  + team123_role    vault.approle_role  live-team123_role",
        "      ttl   7200 (2h)",
        "  + team200_policy  vault.policy        live-team200_policy",
        "      rules.secret/data/team200/*  [\"sudo\"]",
        "  - team300_mount   vault.mount         live-team300_mount",
        "  medium  team200_policy  may use root-protected paths (sudo): secret/data/team200/*",
        "Steps that differ only in their name are shown once; `plan --full` shows each of them.",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line:?} is not in {text}");
    }

    let full = Review::in_full(&changeset, &PROVIDERS, PLACE);
    let full = anstream::adapter::strip_str(&render(&full, 100, true)).to_string();
    let shown: HashSet<&str> = full.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let missing = changeset.steps.iter().filter(|step| !shown.contains(step.id.as_str()));
    assert_eq!(missing.count(), 0);
}

#[test]
fn undeclared_resources_are_shown_in_columns() {
    let gone = |id: &str, kind: &'static str, action: &str, reason: Option<&str>| {
        let mut step = step(id, kind, action, &[]);
        step.reason = reason.map(ToOwned::to_owned);
        step
    };
    let mut changeset = changeset(vec![step("audit", "vault.audit", "none", &[])]);
    changeset.undeclared = vec![
        gone("app_role", "vault.approle_role", "delete", None),
        gone("lock_table", "aws.dynamodb_table", "none", Some("stays: it belongs to the plan `quickstart`")),
        gone("kv", "vault.mount", "blocked", Some("the step `app` still needs it")),
    ];
    insta::assert_snapshot!(plain(&changeset, 80, false));
    for width in [40, 56, 80] {
        assert!(plain(&changeset, width, false).lines().all(|line| columns(line) <= width), "{width}");
    }
}

#[test]
fn many_removals_have_a_line_each() {
    let steps = (0..2_000).map(|number| {
        let mut step = step(&format!("team{number:04}"), "vault.policy", "delete", &[]);
        step.reason = Some("no longer declared".to_owned());
        step
    });
    let text = plain(&changeset(steps.collect()), 100, false);
    assert!(text.contains("no longer declared (as are the 1999 below)"), "{text}");
    assert!(text.contains("medium  team0000  is deleted (and 1999 more in the same way)"), "{text}");
    let shown: HashSet<&str> = text.lines().collect();
    for number in 0..2_000 {
        let line = format!("  - team{number:04}  vault.policy  live-team{number:04}");
        assert!(shown.contains(line.as_str()), "{line}");
    }
    assert!(text.lines().count() < 2_020, "{} lines", text.lines().count());
}

#[test]
fn unchanged_steps_are_hidden_unless_requested() {
    let quiet = changeset(vec![step("audit", "vault.audit", "none", &[])]);
    insta::assert_snapshot!(plain(&quiet, 100, false));
    assert!(plain(&quiet, 100, true).contains("= audit"));
}

#[test]
fn terminal_output_has_colours() {
    let text = render(&Review::new(&mixed(), &PROVIDERS, PLACE), 100, false);
    assert!(text.contains(&paint(GOOD, "production")), "{text}");
    assert!(text.contains(&format!("{BAD}")));
}

#[test]
fn server_text_cannot_control_the_terminal() {
    let hostile = "x\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}y";
    let mut row = step(
        "it",
        "vault.policy",
        "update",
        &[(hostile, json!(hostile), json!(format!("{hostile}\n{hostile}")))],
    );
    row.name = hostile.to_owned();
    row.reason = Some(hostile.to_owned());
    let text = render(&Review::new(&changeset(vec![row]), &PROVIDERS, PLACE), 100, false);
    assert!(
        !text.contains("\u{1b}]") && !text.contains("\u{1b}[2J") && !text.contains('\u{202e}'),
        "{text:?}"
    );
}

#[test]
fn destinations_are_shown_in_one_aligned_block() {
    use crate::destination::{Destinations, WhereThisGoes};
    let all = |recipients: &[&str]| -> Destinations {
        let texts = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        [
            ("custody.recipients".to_owned(), texts(recipients)),
            ("vault.address".to_owned(), texts(&["https://vault.example:8200"])),
        ]
        .into()
    };
    let last = Some((jiff::Timestamp::UNIX_EPOCH, all(&["age a"])));
    let mut changeset = changeset(vec![step("new", "aws.iam_user", "create", &[])]);
    changeset.where_this_goes = Some(WhereThisGoes::new(all(&["age a", "age \u{1b}b"]), last));
    let text = plain(&changeset, 100, false);
    let block = "Where this goes  changed since 1970-01-01 00:00 UTC\n  ~ custody.recipients  age a, age �b\n                        was age a\n    vault.address       https://vault.example:8200\n";
    assert!(text.replace("\\u{1b}", "�").contains(block), "{text}");
    changeset.steps.clear();
    changeset.summary = Counts::default();
    let text = plain(&changeset, 100, false);
    assert!(text.contains("~ custody.recipients") && !text.contains("  vault.address"), "{text}");
}
