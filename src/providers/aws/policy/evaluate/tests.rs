//! Decisions of AWS as its documentation has them.

use serde_json::{Value, json};

use super::*;

fn user() -> Caller {
    Caller {
        kind: CallerKind::User,
        name: "arn:aws:iam::111122223333:user/ci".to_owned(),
        account: "111122223333".to_owned(),
    }
}

fn named(document: Value) -> Named {
    Named { name: "p".to_owned(), document: Some(document) }
}

fn policy(statements: Value) -> Named {
    named(json!({ "Version": "2012-10-17", "Statement": statements }))
}

fn decision(
    action: &str,
    resource: &str,
    identity: &[Named],
    boundary: Option<Named>,
    of_resource: Option<Named>,
    needs: bool,
) -> Decision {
    let (caller, context) =
        (user(), Context::default().with("aws:username", &["ci"]).with("aws:SecureTransport", &["true"]));
    let call = Call { action, resource, caller: &caller, context: &context };
    let boundary = boundary.map(|boundary| judge(&[boundary], &call));
    let resource = of_resource.map(|policy| judge_resource(&policy, &call)).unwrap_or_default();
    decide(judge(identity, &call), boundary, resource, needs, false)
}

fn is_allowed(decision: &Decision) -> bool {
    matches!(decision, Decision::Allowed { only, unless, .. } if only.is_empty() && unless.is_empty())
}

#[test]
fn explicit_deny_wins_and_silence_denies() {
    let allow = policy(json!({ "Effect": "Allow", "Action": "s3:*", "Resource": "*" }));
    let deny = policy(
        json!({ "Sid": "No", "Effect": "Deny", "NotAction": "s3:Get*", "NotResource": "arn:aws:s3:::free/*" }),
    );
    let ask =
        |action, resource| decision(action, resource, &[allow.clone(), deny.clone()], None, None, false);
    assert!(is_allowed(&ask("s3:GetObject", "arn:aws:s3:::b/x")));
    assert_eq!(
        ask("s3:PutObject", "arn:aws:s3:::b/x"),
        Decision::Denied { by: "p (statement No)".to_owned() }
    );
    assert!(is_allowed(&ask("s3:PutObject", "arn:aws:s3:::free/x")));
    assert_eq!(decision("kms:Decrypt", "k", &[allow], None, None, false), Decision::NotAllowed);
}

#[test]
fn boundary_limits_what_identity_policies_allow() {
    let allow = policy(json!({ "Effect": "Allow", "Action": "*", "Resource": "*" }));
    let boundary = policy(json!({ "Effect": "Allow", "Action": "s3:*", "Resource": "*" }));
    let ask =
        |action| decision(action, "r", std::slice::from_ref(&allow), Some(boundary.clone()), None, false);
    assert!(is_allowed(&ask("s3:GetObject")));
    assert_eq!(ask("kms:Decrypt"), Decision::NotAllowed);
    // "Resource-based policies that grant permissions to an IAM user ARN are not limited by an implicit deny in
    // the permissions boundary": access_policies_boundaries.
    let of_resource = policy(
        json!({ "Effect": "Allow", "Principal": { "AWS": user().name }, "Action": "kms:Decrypt", "Resource": "*" }),
    );
    assert!(is_allowed(&decision("kms:Decrypt", "r", &[], Some(boundary), Some(of_resource), true)));
}

#[test]
fn keys_fall_back_to_iam_only_if_their_policy_says_so() {
    let allow = [policy(json!({ "Effect": "Allow", "Action": "kms:Decrypt", "Resource": "key" }))];
    let of = |principal: Value| {
        Some(policy(json!({ "Effect": "Allow", "Principal": principal, "Action": "kms:*", "Resource": "*" })))
    };
    let ask = |identity: &[Named], key| decision("kms:Decrypt", "key", identity, None, key, true);
    assert_eq!(ask(&allow, of(json!({ "Service": "logs.amazonaws.com" }))), Decision::NotAllowed);
    let root = || of(json!({ "AWS": "arn:aws:iam::111122223333:root" }));
    assert!(is_allowed(&ask(&allow, root())));
    assert_eq!(ask(&[], root()), Decision::NotAllowed);
    assert!(is_allowed(&ask(&[], of(json!({ "AWS": [user().name] })))));
    assert_eq!(ask(&[], of(json!({ "AWS": "444455556666" }))), Decision::NotAllowed);
}

#[test]
fn other_resources_need_one_policy_of_the_two() {
    let bucket = policy(json!([
        { "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/public/*" },
        { "Effect": "Deny", "NotPrincipal": { "AWS": user().name }, "Action": "s3:*", "Resource": "*" },
        { "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*", "Condition": { "Bool": { "aws:SecureTransport": "false" } } }
    ]));
    let ask = |resource| decision("s3:GetObject", resource, &[], None, Some(bucket.clone()), false);
    assert!(is_allowed(&ask("arn:aws:s3:::b/public/x")));
    assert_eq!(ask("arn:aws:s3:::b/x"), Decision::NotAllowed);
    let part = Decision::Allowed {
        by: "p (statement 1)".to_owned(),
        only: vec!["on arn:aws:s3:::b/public/*".to_owned()],
        unless: Vec::new(),
    };
    assert_eq!(ask("arn:aws:s3:::b/*"), part);
}

#[test]
fn variables_and_unknown_conditions_are_said() {
    let own = [policy(
        json!({ "Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b/${aws:username}/*" }),
    )];
    assert!(is_allowed(&decision("s3:GetObject", "arn:aws:s3:::b/ci/x", &own, None, None, false)));
    assert_eq!(
        decision("s3:GetObject", "arn:aws:s3:::b/other/x", &own, None, None, false),
        Decision::NotAllowed
    );
    let old = [named(
        json!({ "Statement": { "Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b/${aws:username}/*" } }),
    )];
    assert_eq!(
        decision("s3:GetObject", "arn:aws:s3:::b/ci/x", &old, None, None, false),
        Decision::NotAllowed
    );
    let team = [policy(json!([
        { "Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b/${aws:PrincipalTag/team}/*" },
        { "Effect": "Deny", "Action": "s3:*", "Resource": "*", "Condition": { "StringEquals": { "aws:SourceVpc": "v" } } }
    ]))];
    let found = decision("s3:GetObject", "arn:aws:s3:::b/x/y", &team, None, None, false);
    let expected = Decision::Allowed {
        by: "p (statement 1)".to_owned(),
        only: vec!["on arn:aws:s3:::b/${aws:PrincipalTag/team}/*".to_owned()],
        unless: vec!["StringEquals aws:SourceVpc v (p (statement 2))".to_owned()],
    };
    assert_eq!(found, expected);
}
