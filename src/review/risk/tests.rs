//! One row a rule: what changes, and what is told of it.

use serde_json::{Value, json};

use super::assess;
use crate::providers::PROVIDERS;
use crate::review::testing::{changeset, step, with_secret};
use crate::secret::SecretChange;

/// The risks of a step with one change, as `severity category message`.
pub(super) fn told(kind: &'static str, action: &str, path: &str, before: Value, after: Value) -> Vec<String> {
    words(step("it", kind, action, &[(path, before, after)]))
}

fn words(step: crate::changeset::StepChange) -> Vec<String> {
    let risks = assess(&changeset(vec![step]), &PROVIDERS);
    let category = |risk: &super::Risk| json!(risk.category).as_str().unwrap_or_default().to_owned();
    risks.iter().map(|risk| format!("{} {} {}", risk.severity.name(), category(risk), risk.message)).collect()
}

fn allow(principal: Value, action: Value, condition: Value) -> Value {
    let mut statement = json!({ "Effect": "Allow", "Action": action, "Resource": "arn:aws:s3:::b/*" });
    for (name, value) in [("Principal", principal), ("Condition", condition)] {
        if !value.is_null() {
            statement[name] = value;
        }
    }
    json!({ "Version": "2012-10-17", "Statement": [statement] })
}

fn hcl(rules: &[(&str, &str)]) -> Value {
    let blocks: Vec<String> =
        rules.iter().map(|(path, may)| format!("path \"{path}\" {{ capabilities = [{may}] }}")).collect();
    json!(blocks.join("\n"))
}

#[test]
fn field_that_an_update_resets_is_a_risk() {
    let mut update = step("it", "vault.totp_key", "update", &[("skew", json!(null), json!("1"))]);
    assert!(words(update.clone()).is_empty(), "a declared field");
    update.changes[0].resets = true;
    assert_eq!(words(update), ["medium destroy resets skew, which may have been set by hand"]);
}

#[test]
fn risky_value_is_named_but_not_its_opposite() {
    let on_off = [
        ("aws.s3_bucket", "block_public_access", "high public-exposure public access is not blocked"),
        ("aws.s3_bucket", "versioning", "high protection-off versioning is suspended"),
        ("aws.s3_bucket", "tls_only", "medium protection-off requests without TLS"),
        ("aws.s3_bucket", "bucket_owner_enforced", "medium protection-off access lists"),
        ("aws.kms_key", "rotation", "medium protection-off the key is not rotated"),
        ("aws.kms_key", "enabled", "high protection-off the key is disabled"),
        ("aws.dynamodb_table", "point_in_time_recovery", "high protection-off the table cannot"),
        ("aws.dynamodb_table", "deletion_protection", "high protection-off the table can be deleted"),
        ("vault.approle_role", "bind_secret_id", "high protection-off anyone who knows"),
        ("vault.pki_role", "enforce_hostnames", "low protection-off issues"),
    ];
    for (kind, path, expected) in on_off {
        let off = told(kind, "update", path, json!(true), json!(false));
        assert!(off.len() == 1 && off[0].starts_with(expected), "{kind} {path}: {off:?}");
        let on = told(kind, "update", path, json!(false), json!(true));
        assert!(on.is_empty(), "{kind} {path} switched on: {on:?}");
        let made = told(kind, "create", &format!("{path}.off"), json!(null), json!("a test"));
        assert!(made[0].ends_with("(reason given: a test)"), "{made:?}");
        let stuck = told(kind, "blocked", path, json!(true), json!(false));
        assert!(stuck.is_empty(), "nothing is done: {stuck:?}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_remaining_risky_field_has_a_rule() {
    let none = json!(null);
    let rows = [
        (
            "aws.s3_bucket",
            "encryption.kms_key",
            json!("k"),
            none.clone(),
            "medium protection-off is no longer encrypted",
        ),
        (
            "aws.s3_bucket",
            "access_logging",
            json!({ "bucket": "b" }),
            none.clone(),
            "medium protection-off accesses",
        ),
        (
            "aws.s3_bucket",
            "object_lock_retention",
            json!({ "days": 1 }),
            none.clone(),
            "high protection-off objects",
        ),
        ("aws.dynamodb_table", "encryption.kms_key", json!("k"), none.clone(), "medium protection-off"),
        (
            "aws.iam_role",
            "permissions_boundary",
            json!("arn"),
            none.clone(),
            "high protection-off its permissions",
        ),
        ("aws.kms_key", "pending_deletion", json!(true), json!(false), "medium key-deletion the key"),
        ("aws.kms_key", "pending_deletion", json!(false), json!(true), "high key-deletion is scheduled"),
        ("aws.iam_access_key", "keys[AKIA1]", json!("exists"), none.clone(), "low destroy an access key"),
        ("vault.audit", "options.log_raw", none.clone(), json!("true"), "high public-exposure secrets"),
        ("vault.auth_method", "user_lockout.disable", json!(false), json!(true), "medium protection-off"),
        ("vault.pki_role", "allow_any_name", json!(false), json!(true), "high wildcard issues"),
        (
            "vault.kubernetes_role",
            "bound_service_account_namespaces",
            json!(["a"]),
            json!(["*"]),
            "high wildcard",
        ),
        (
            "vault.kubernetes_role",
            "bound_service_account_names",
            json!(["a"]),
            json!(["*"]),
            "medium wildcard",
        ),
        (
            "vault.kubernetes_role",
            "bound_service_account_names",
            json!(["a"]),
            json!(["a", "b"]),
            "low broader-grant more are let in",
        ),
        (
            "vault.approle_role",
            "token_bound_cidrs",
            json!(["10.0.0.0/8"]),
            json!([]),
            "medium protection-off its tokens",
        ),
        (
            "vault.approle_role",
            "secret_id_bound_cidrs",
            json!(["10.0.0.0/8"]),
            json!([]),
            "medium protection-off",
        ),
        ("vault.jwt_role", "bound_audiences", json!(["a"]), json!([]), "medium protection-off takes tokens"),
        ("vault.jwt_role", "bound_claims", json!({ "a": "b" }), json!({}), "high protection-off takes every"),
        (
            "vault.approle_role",
            "token_policies",
            json!(["a"]),
            json!(["a", "b"]),
            "medium broader-grant its tokens get more policies: b",
        ),
        (
            "vault.entity",
            "policies",
            json!([]),
            json!(["root"]),
            "high wildcard its tokens may do everything",
        ),
        (
            "aws.iam_user",
            "managed_policies",
            json!([]),
            json!(["arn:aws:iam::aws:policy/AdministratorAccess"]),
            "high wildcard",
        ),
        (
            "aws.iam_user",
            "managed_policies",
            json!([]),
            json!(["arn:aws:iam::aws:policy/AmazonS3FullAccess"]),
            "medium wildcard",
        ),
        (
            "aws.iam_user",
            "managed_policies",
            json!([]),
            json!(["arn:aws:iam::aws:policy/ReadOnlyAccess"]),
            "medium broader-grant more managed",
        ),
    ];
    for (kind, path, before, after, expected) in rows {
        let found = told(kind, "update", path, before, after);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{kind} {path}: {found:?}");
    }
}

#[test]
fn tightened_settings_are_not_a_risk() {
    let rows = [
        ("aws.s3_bucket", "encryption.kms_key", json!(null), json!("k")),
        ("aws.iam_role", "permissions_boundary", json!(null), json!("arn")),
        ("vault.kubernetes_role", "bound_service_account_names", json!(["*"]), json!(["a"])),
        ("vault.approle_role", "token_policies", json!(["a", "b"]), json!(["a"])),
        ("vault.approle_role", "token_bound_cidrs", json!([]), json!(["10.0.0.0/8"])),
        (
            "aws.iam_user",
            "managed_policies",
            json!(["arn:aws:iam::aws:policy/AdministratorAccess"]),
            json!([]),
        ),
    ];
    for (kind, path, before, after) in rows {
        let found = told(kind, "update", path, before, after);
        assert!(found.is_empty(), "{kind} {path}: {found:?}");
    }
}

#[test]
fn deletion_risk_depends_on_what_is_lost() {
    let rows = [
        ("aws.kms_key", "high key-deletion is scheduled"),
        ("aws.s3_bucket", "high destroy is deleted"),
        ("vault.mount", "high destroy is deleted, with everything"),
        ("vault.auth_method", "high destroy"),
        ("vault.audit", "high protection-off is deleted: requests"),
        ("vault.policy", "medium destroy is deleted"),
    ];
    for (kind, expected) in rows {
        let found = words(step("it", kind, "delete", &[]));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{kind}: {found:?}");
    }
    let removed =
        with_secret(step("it", "vault.kv_secret", "update", &[]), "data.old", SecretChange::Removed, "x");
    assert_eq!(words(removed), ["medium destroy the secret field `data.old` is removed"]);
}

#[test]
fn removal_names_what_others_lose() {
    let found = told("aws.iam_role", "delete", "managed_policies", json!(["a", "b", "c", "d"]), Value::Null);
    let loss = "high destroy takes along managed_policies that this plan did not make: a, b, c and 1 more";
    assert_eq!(found, [loss, "medium destroy is deleted"]);
}

#[test]
fn disabled_deletion_protection_is_a_risk() {
    let mut open = step("it", "aws.s3_bucket", "create", &[]);
    open.unprotected = true;
    assert_eq!(words(open.clone()), ["low protection-off is not protected from deletion (`protect: false`)"]);
    open.action = crate::changeset::Action::None;
    assert!(words(open).is_empty());
}

#[test]
fn new_wildcards_in_iam_policies_are_risks() {
    let none = || json!(null);
    let if_org = json!({ "StringEquals": { "aws:PrincipalOrgID": "o-1" } });
    let rows = [
        (
            allow(json!("*"), json!("s3:GetObject"), none()),
            "high public-exposure policy: everyone (Principal `*`) may s3:GetObject",
        ),
        (allow(json!({ "AWS": "*" }), json!("s3:GetObject"), none()), "high public-exposure"),
        (
            allow(json!("*"), json!("s3:GetObject"), if_org),
            "medium public-exposure policy: everyone (Principal `*`) may s3:GetObject, within a condition",
        ),
        (allow(none(), json!("*"), none()), "high wildcard policy: allows every action"),
        (allow(none(), json!(["s3:*"]), none()), "medium wildcard policy: allows every action of s3"),
        (allow(none(), json!("iam:*"), none()), "high wildcard policy: allows every action of iam"),
        (
            json!({ "Statement": { "Effect": "Allow", "NotAction": "iam:*", "Resource": "*" } }),
            "high wildcard policy: allows everything that is not named",
        ),
    ];
    for (document, expected) in rows {
        let made = told("aws.sns_topic", "create", "policy", none(), document.clone());
        assert!(made.len() == 1 && made[0].starts_with(expected), "{made:?}");
        let stays = told("aws.sns_topic", "update", "policy", document.clone(), document);
        assert!(stays.is_empty(), "{stays:?}");
    }
    let denied =
        json!({ "Statement": { "Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*" } });
    assert!(told("aws.s3_bucket", "create", "policy", none(), denied).is_empty());
    let own = json!({ "Statement": { "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::1:root" }, "Action": "kms:*", "Resource": "*" } });
    assert!(told("aws.kms_key", "create", "policy", none(), own.clone()).is_empty());
    assert_eq!(told("aws.sns_topic", "create", "policy", none(), own).len(), 1);
}

#[test]
fn broader_iam_policy_names_the_added_grants() {
    let none = || json!(null);
    let of = |actions: Value| allow(none(), actions, none());
    let more = |before: Value, after: Value| told("aws.iam_policy", "update", "document", before, after);
    let prefix = "medium broader-grant document grants more than before: ";
    assert_eq!(
        more(of(json!(["s3:GetObject"])), of(json!(["s3:GetObject", "s3:PutObject"]))),
        [format!("{prefix}s3:PutObject on arn:aws:s3:::b/*")]
    );
    assert!(more(of(json!(["s3:Get*"])), of(json!(["S3:getobject"]))).is_empty(), "narrower");
    assert!(more(of(json!(["s3:GetObject", "s3:PutObject"])), of(json!("s3:PutObject"))).is_empty());
    // A condition that is taken away.
    let bound =
        allow(none(), json!("s3:GetObject"), json!({ "Bool": { "aws:MultiFactorAuthPresent": "true" } }));
    assert_eq!(more(bound.clone(), of(json!("s3:GetObject"))).len(), 1);
    assert!(more(of(json!("s3:GetObject")), bound).is_empty());
    // A denial that is taken away.
    let mut denies = of(json!("s3:GetObject"));
    let deny = json!({ "Effect": "Deny", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/private/*" });
    denies["Statement"].as_array_mut().expect("a list").push(deny);
    let told_of = more(denies.clone(), of(json!("s3:GetObject")));
    assert_eq!(told_of, [format!("{prefix}no longer denied: s3:GetObject on arn:aws:s3:::b/private/*")]);
    assert!(more(of(json!("s3:GetObject")), denies).is_empty());
    // Another principal in a trust policy.
    let trust = |who: Value| json!({ "Statement": { "Effect": "Allow", "Principal": { "AWS": who }, "Action": "sts:AssumeRole" } });
    let found = more(trust(json!("1")), trust(json!(["arn:aws:iam::1:root", "2"])));
    assert_eq!(found, [format!("{prefix}sts:AssumeRole for AWS:2")]);
    // A policy that was not there.
    let found = told("aws.iam_user", "update", "inline_policies.x", none(), of(json!("s3:GetObject")));
    assert_eq!(
        found,
        ["medium broader-grant inline_policies.x grants more than before: s3:GetObject on arn:aws:s3:::b/*"]
    );
    let made = told("aws.iam_user", "create", "inline_policies.x", none(), of(json!("s3:GetObject")));
    assert!(made.is_empty(), "{made:?}");
}

#[test]
fn vault_policies_are_compared_path_by_path() {
    let more = |before: &[(&str, &str)], after: &[(&str, &str)]| {
        told("vault.policy", "update", "rules", hcl(before), hcl(after))
    };
    let prefix = "medium broader-grant grants more than before: ";
    let read = r#""read""#;
    let both = r#""read", "update""#;
    assert_eq!(more(&[("a/*", read)], &[("a/*", both)]), [format!("{prefix}update on a/*")]);
    assert!(more(&[("a/*", both)], &[("a/*", read)]).is_empty());
    assert!(more(&[("a/*", both)], &[("a/b", read)]).is_empty(), "a closer path with less");
    assert_eq!(more(&[("a/b", read)], &[("a/*", read)]), [format!("{prefix}read on a/*")]);
    // A denial below a pattern, taken away.
    let denied = [("a/*", read), ("a/x", r#""deny""#)];
    assert_eq!(more(&denied, &[("a/*", read)]), [format!("{prefix}read on a/x")]);
    assert!(more(&[("a/*", read)], &denied).is_empty());
    // Sudo and everything.
    let sudo = more(&[("sys/x", read)], &[("sys/x", r#""read", "sudo""#)]);
    assert_eq!(sudo.len(), 2, "{sudo:?}");
    assert!(sudo[0].starts_with("medium wildcard may use root-protected paths (sudo): sys/x"), "{sudo:?}");
    let all = more(&[("a", read)], &[("*", both)]);
    assert!(all[0].starts_with("high wildcard may change everything in Vault (path `*`)"), "{all:?}");
    // Limits on parameters, taken away.
    let limited =
        json!("path \"a\" {\n capabilities = [\"update\"]\n allowed_parameters = { \"x\" = [] }\n}");
    let found = told("vault.policy", "update", "rules", limited, hcl(&[("a", r#""update""#)]));
    assert_eq!(found, [format!("{prefix}any parameters on a")]);
    // As a creation shows rules that the plan has as data.
    let made = told("vault.policy", "create", "rules.sys/a.b/*", json!(null), json!(["sudo", "read"]));
    assert_eq!(made, ["medium wildcard may use root-protected paths (sudo): sys/a.b/*"]);
}

#[test]
fn worst_risk_comes_first_and_text_is_escaped() {
    let first = step("a", "aws.kms_key", "update", &[("rotation", json!(true), json!(false))]);
    let second = step("b", "aws.kms_key", "delete", &[]);
    let risks = assess(&changeset(vec![first, second]), &PROVIDERS);
    assert_eq!(risks.iter().map(|risk| risk.step.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    let hostile = told("vault.approle_role", "update", "token_policies", json!([]), json!(["a\u{1b}[2J\nb"]));
    assert!(!hostile[0].contains(['\u{1b}', '\n']), "{hostile:?}");
}

/// Everything that a stranger may turn elsewhere by a line in a plan.
#[test]
fn each_changed_destination_is_a_risk() {
    use super::Severity;
    use crate::destination::{Destinations, WhereThisGoes};
    let of = |name: &str, value: &str| -> Destinations { [(name.to_owned(), vec![value.to_owned()])].into() };
    let severity = |name: &str, before: Destinations| {
        let mut changeset = changeset(Vec::new());
        let last = Some((jiff::Timestamp::UNIX_EPOCH, before));
        changeset.where_this_goes = Some(WhereThisGoes::new(of(name, "new"), last));
        assess(&changeset, &PROVIDERS).first().map(|risk| (risk.severity, risk.step.clone()))
    };
    let high = [
        "aws.account_id",
        "aws.profile",
        "aws.assume_role",
        "aws.aliases.audit",
        "custody.recipients",
        "custody.stores",
        "holders",
        "journal",
        "vault.address",
        "vault.ca_cert",
        "vault.nodes",
    ];
    for (names, expected) in
        [(&high[..], Severity::High), (&["aws.region", "vault.namespace", "lock"], Severity::Medium)]
    {
        for name in names {
            let found = Some((expected, (*name).to_owned()));
            assert_eq!(severity(name, of(name, "old")), found, "{name}");
            assert_eq!(severity(name, Destinations::new()), found, "{name} was not there");
            assert_eq!(severity(name, of(name, "new")), None, "{name} is the same");
        }
    }
}
