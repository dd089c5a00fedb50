//! What a person reads, without colours.

use serde_json::{Value, json};

use super::*;
use crate::changeset::Changeset;
use crate::resource::SecretChange;
use crate::review::testing::{changeset, scope, step, with_secret};

fn plain(changeset: &Changeset, width: usize, all: bool) -> String {
    let text = render(&Review::new(changeset, &scope()), width, all);
    anstream::adapter::strip_str(&text).to_string()
}

fn null() -> Value {
    json!(null)
}

/// A changeset with something of everything.
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
fn a_bit_of_everything() {
    insta::assert_snapshot!(plain(&mixed(), 100, false));
}

#[test]
fn on_a_narrow_terminal_nothing_is_wider_than_it() {
    for width in [40, 48, 60, 80, 100, 140] {
        for line in plain(&mixed(), width, true).lines() {
            assert!(columns(line) <= width, "{} of {width} columns: {line}", columns(line));
        }
    }
    insta::assert_snapshot!(plain(&mixed(), 56, false));
}

#[test]
fn repeated_steps_are_told_once() {
    let mut steps: Vec<StepChange> = ["payments", "search", "mail", "billing"]
        .iter()
        .map(|key| {
            let mut step = step(
                &format!("team_policies[{key}]"),
                "vault.policy",
                "create",
                &[("name", null(), json!(format!("{key}-app"))), ("rules.sys/seal", null(), json!(["sudo"]))],
            );
            step.name = format!("{key}-app");
            step
        })
        .collect();
    steps.push(step("other", "vault.policy", "create", &[("name", null(), json!("other"))]));
    insta::assert_snapshot!(plain(&changeset(steps), 100, false));
}

#[test]
fn two_thousand_steps_that_are_alike_fit_on_a_screen() {
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

#[test]
fn when_nothing_is_to_be_done_that_is_all() {
    let quiet = changeset(vec![step("audit", "vault.audit", "none", &[])]);
    insta::assert_snapshot!(plain(&quiet, 100, false));
    assert!(plain(&quiet, 100, true).contains("= audit"));
}

#[test]
fn colours_are_there_for_a_terminal() {
    let text = render(&Review::new(&mixed(), &scope()), 100, false);
    assert!(text.contains(&paint(GOOD, "production")), "{text}");
    assert!(text.contains(&format!("{BAD}")));
}

#[test]
fn a_server_cannot_write_on_the_terminal() {
    let hostile = "x\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}y";
    let mut row = step(
        "it",
        "vault.policy",
        "update",
        &[(hostile, json!(hostile), json!(format!("{hostile}\n{hostile}")))],
    );
    row.name = hostile.to_owned();
    row.reason = Some(hostile.to_owned());
    let text = render(&Review::new(&changeset(vec![row]), &scope()), 100, false);
    assert!(
        !text.contains("\u{1b}]") && !text.contains("\u{1b}[2J") && !text.contains('\u{202e}'),
        "{text:?}"
    );
}
