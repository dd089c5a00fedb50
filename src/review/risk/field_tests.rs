//! Changes of single fields: the dangerous direction is a risk, and the other one is not.

use serde_json::{Value, json};

use super::tests::told;

/// Kind, field, the safer value, the more dangerous one, and what is told of a change to it.
type Row = (&'static str, &'static str, Value, Value, &'static str);

fn assert_one_way(rows: Vec<Row>) {
    for (kind, path, safer, worse, expected) in rows {
        let found = told(kind, "update", path, safer.clone(), worse.clone());
        assert!(found.first().is_some_and(|first| first.starts_with(expected)), "{kind} {path}: {found:?}");
        let back = told(kind, "update", path, worse, safer);
        assert!(!back.iter().any(|risk| risk.starts_with(expected)), "{kind} {path} back: {back:?}");
    }
}

#[test]
fn safeguard_that_is_lowered_is_a_risk() {
    assert_one_way(vec![
        (
            "aws.cloudwatch_log_group",
            "retention_days",
            json!(365),
            json!(1),
            "medium destroy entries are deleted sooner (365 before, 1 now)",
        ),
        (
            "aws.cloudwatch_log_group",
            "retention_days",
            json!(null),
            json!(365),
            "medium destroy entries are deleted sooner (not set before, 365 now)",
        ),
        (
            "aws.s3_bucket",
            "noncurrent_version_expiration_days",
            json!(90),
            json!(1),
            "medium destroy old versions",
        ),
        (
            "aws.s3_bucket",
            "object_lock_retention",
            json!({ "mode": "compliance", "days": 10 }),
            json!({ "mode": "governance", "days": 10 }),
            "high protection-off users with the permission",
        ),
        (
            "aws.s3_bucket",
            "object_lock_retention",
            json!({ "mode": "compliance", "days": 10 }),
            json!({ "mode": "compliance", "days": 9 }),
            "high protection-off objects are held against deletion for a shorter time (10 before, 9 now)",
        ),
        (
            "aws.iam_account_password_policy",
            "minimum_length",
            json!(14),
            json!(8),
            "medium protection-off shorter passwords",
        ),
        (
            "aws.iam_account_password_policy",
            "reuse_prevention",
            json!(24),
            json!(1),
            "low protection-off old passwords",
        ),
        (
            "aws.kms_key",
            "rotation_period_days",
            json!(90),
            json!(2560),
            "low protection-off the key is rotated",
        ),
        ("vault.kv_config", "max_versions", json!(0), json!(3), "medium destroy older versions"),
        (
            "vault.kv_config",
            "delete_version_after",
            json!(0),
            json!(60),
            "medium destroy versions are deleted",
        ),
        ("vault.kv_secret", "cas_required", json!(true), json!(false), "medium protection-off a write"),
        ("vault.transit_key", "min_decryption_version", json!(1), json!(3), "medium destroy what older"),
        ("vault.transit_key", "auto_rotate_period", json!(86400), json!(0), "low protection-off the key is"),
        ("vault.totp_key", "digits", json!(8), json!(6), "low protection-off codes are easier"),
        ("vault.quota", "rate", json!(10.5), json!(1000), "medium protection-off more requests"),
        ("vault.pki_role", "key_bits", json!(4096), json!(2048), "medium protection-off its keys"),
    ]);
}

#[test]
fn safeguard_that_is_switched_off_is_a_risk() {
    let (on, off) = (json!(true), json!(false));
    assert_one_way(vec![
        (
            "aws.cloudwatch_alarm",
            "actions_enabled",
            on.clone(),
            off.clone(),
            "medium protection-off its actions do not run",
        ),
        (
            "aws.iam_account_password_policy",
            "require_symbols",
            on.clone(),
            off.clone(),
            "low protection-off simpler passwords are allowed (`require_symbols`)",
        ),
        ("vault.ldap_auth", "starttls", on.clone(), off.clone(), "high protection-off passwords may be sent"),
        ("vault.ldap_auth", "insecure_tls", off.clone(), on.clone(), "high protection-off any server"),
        ("vault.ldap_auth", "deny_null_bind", on.clone(), off.clone(), "high protection-off a login without"),
        ("vault.pki_role", "no_store", off.clone(), on.clone(), "medium protection-off its certificates"),
        ("vault.pki_crl", "disable", off.clone(), on.clone(), "medium protection-off no revocation list"),
        ("vault.token_role", "orphan", off.clone(), on.clone(), "medium protection-off its tokens outlive"),
        ("vault.transit_key", "exportable", off.clone(), on.clone(), "high broader-grant the key can be"),
        ("vault.transit_key", "deletion_allowed", off.clone(), on.clone(), "medium protection-off the key"),
        ("vault.aws_auth_role", "resolve_aws_unique_ids", on.clone(), off.clone(), "medium protection-off"),
        ("vault.entity", "disabled", on, off, "medium broader-grant its tokens are let in again"),
        (
            "vault.auth_method",
            "user_lockout",
            json!({ "threshold": 5, "disable": false }),
            json!({ "threshold": 5, "disable": true }),
            "medium protection-off passwords can be guessed without end",
        ),
        (
            "vault.server_config",
            "listener",
            json!({ "tcp": { "address": "0.0.0.0:8200", "tls_disable": false } }),
            json!({ "tcp": { "address": "0.0.0.0:8200", "tls_disable": true } }),
            "high public-exposure tokens and secrets travel in the clear",
        ),
    ]);
}

#[test]
fn limit_that_is_taken_away_is_a_risk() {
    assert_one_way(vec![
        (
            "vault.token_role",
            "disallowed_policies",
            json!(["admin", "root"]),
            json!(["root"]),
            "medium broader-grant policies are no longer kept from its tokens (`disallowed_policies`): admin",
        ),
        (
            "vault.token_role",
            "allowed_policies",
            json!(["a"]),
            json!([]),
            "medium broader-grant its tokens may",
        ),
        ("vault.jwt_role", "bound_subject", json!("repo:a"), json!(""), "high protection-off takes tokens"),
        (
            "vault.jwt_role",
            "bound_claims",
            json!({ "ref": "main", "org": "a" }),
            json!({ "org": "a" }),
            "medium broader-grant claims are no longer asked for, or with other values: ref",
        ),
        (
            "vault.kubernetes_role",
            "audience",
            json!("vault"),
            json!(""),
            "medium protection-off takes tokens",
        ),
        (
            "vault.approle_role",
            "secret_id_ttl",
            json!(7_776_000),
            json!(0),
            "medium protection-off secret-ids can be used for longer",
        ),
        (
            "vault.approle_role",
            "token_ttl",
            json!(1200),
            json!(0),
            "low broader-grant its tokens last longer",
        ),
        (
            "vault.approle_role",
            "token_period",
            json!(0),
            json!(3600),
            "medium broader-grant its tokens can be",
        ),
        (
            "vault.jwt_auth",
            "bound_issuer",
            json!("https://a"),
            json!(""),
            "medium protection-off takes tokens",
        ),
        ("vault.cert_role", "allowed_uri_sans", json!(["spiffe://a"]), json!([]), "medium protection-off"),
        (
            "vault.aws_auth",
            "iam_server_id_header_value",
            json!("vault.example"),
            json!(""),
            "medium protection-off a login to another server",
        ),
        ("vault.gcp_auth_role", "bound_projects", json!(["a"]), json!([]), "medium protection-off"),
        (
            "vault.ssh_role",
            "default_critical_options",
            json!({ "force-command": "x" }),
            json!({}),
            "medium protection-off certificates are no longer limited",
        ),
        (
            "aws.cloudwatch_alarm",
            "alarm_actions",
            json!(["arn:aws:sns:us-east-1:1:on-call"]),
            json!([]),
            "medium protection-off these are no longer notified when it fires: arn:aws:sns",
        ),
    ]);
}

#[test]
fn boundary_that_bounds_less_is_a_risk() {
    assert_one_way(vec![
        (
            "aws.iam_user",
            "permissions_boundary",
            json!("arn:aws:iam::1:policy/apps"),
            json!("arn:aws:iam::aws:policy/AdministratorAccess"),
            "high protection-off its boundary hardly bounds its permissions (AdministratorAccess)",
        ),
        (
            "vault.aws_role",
            "permissions_boundary_arn",
            json!("arn:aws:iam::1:policy/apps"),
            json!(""),
            "high protection-off its permissions are no longer bounded",
        ),
        (
            "aws.cloudwatch_alarm",
            "treat_missing_data",
            json!("breaching"),
            json!("not_breaching"),
            "medium protection-off does not fire when the metric stops",
        ),
    ]);
}

#[test]
fn grant_that_is_added_is_a_risk() {
    let grant = |operations: Value| json!({ "grantee": "arn:aws:iam::1:role/a", "operations": operations });
    assert_one_way(vec![
        (
            "aws.kms_key",
            "grants.backup",
            grant(json!(["Decrypt"])),
            grant(json!(["CreateGrant", "Decrypt"])),
            "high broader-grant the grant `backup` lets arn:aws:iam::1:role/a pass the use of the key on",
        ),
        (
            "aws.kms_key",
            "grants.backup",
            json!(null),
            grant(json!(["Decrypt"])),
            "medium broader-grant the grant `backup` lets arn:aws:iam::1:role/a do more: Decrypt",
        ),
        (
            "aws.iam_oidc_provider",
            "client_ids",
            json!(["a"]),
            json!(["a", "b"]),
            "medium broader-grant takes tokens that were issued for these: b",
        ),
        ("aws.iam_user", "groups", json!([]), json!(["admins"]), "medium broader-grant joins groups"),
        ("vault.group", "member_entity_ids", json!([]), json!(["e"]), "low broader-grant more are let in"),
        ("vault.ldap_user", "groups", json!([]), json!(["ops"]), "medium broader-grant joins groups"),
        (
            "vault.database_connection",
            "allowed_roles",
            json!(["a"]),
            json!(["*"]),
            "medium wildcard every role",
        ),
        ("vault.ssh_role", "allowed_users", json!(["a"]), json!(["*"]), "high wildcard may log in as every"),
        ("vault.token_role", "allowed_policies_glob", json!([]), json!(["app-*"]), "medium broader-grant"),
        ("vault.pki_role", "allow_subdomains", json!(false), json!(true), "low broader-grant issues"),
        ("vault.mount", "audit_non_hmac_response_keys", json!([]), json!(["key"]), "medium public-exposure"),
    ]);
}

#[test]
fn tags_of_the_program_are_no_grant() {
    let found = told("aws.iam_role", "update", "tags.groundwork:plan", json!(null), json!("example"));
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn another_place_is_a_risk_in_both_directions() {
    let rows = [
        ("vault.ldap_auth", "url", json!(["ldaps://a"]), json!(["ldaps://b"]), "high destination passwords"),
        (
            "vault.kubernetes_auth",
            "kubernetes_host",
            json!("https://a"),
            json!("https://b"),
            "high destination",
        ),
        ("vault.jwt_auth", "jwks_url", json!("https://a"), json!("https://b"), "high destination another"),
        (
            "vault.database_connection",
            "connection_url",
            json!("a"),
            json!("b"),
            "high destination the engine",
        ),
        ("vault.github_auth", "organization", json!("a"), json!("b"), "high destination members"),
        ("vault.entity_alias", "canonical_id", json!("a"), json!("b"), "medium broader-grant this login"),
        ("aws.log_metric_filter", "pattern", json!("a"), json!("b"), "medium protection-off counts"),
        ("aws.log_metric_filter", "metric.name", json!("a"), json!("b"), "medium protection-off counts"),
        ("aws.cloudwatch_alarm", "metric", json!("a"), json!("b"), "medium protection-off watches something"),
        ("aws.sns_topic", "kms_key", json!("a"), json!("b"), "medium destination is encrypted with another"),
        (
            "aws.iam_role",
            "tags.team",
            json!("a"),
            json!("b"),
            "low broader-grant policies that ask for these",
        ),
        ("aws.iam_instance_profile", "role", json!("a"), json!("b"), "medium broader-grant machines"),
        (
            "aws.secret",
            "rotation",
            json!({ "function": "a" }),
            json!({ "function": "b" }),
            "medium destination another function",
        ),
    ];
    for (kind, path, one, other, expected) in rows {
        for (before, after) in [(&one, &other), (&other, &one)] {
            let found = told(kind, "update", path, before.clone(), after.clone());
            assert!(found.len() == 1 && found[0].starts_with(expected), "{kind} {path}: {found:?}");
        }
    }
}

#[test]
fn lifecycle_rule_that_deletes_more_is_a_risk() {
    let rule = |prefix: &str, days: Value| json!([{ "id": "logs", "prefix": prefix, "expiration_days": days, "transitions": [] }]);
    let told =
        |before: Value, after: Value| told("aws.s3_bucket", "update", "lifecycle_rules", before, after);
    assert_eq!(
        told(rule("logs/", json!(30)), rule("", json!(30))),
        ["high destroy the lifecycle rule `logs` deletes all objects of the bucket after 30 days"]
    );
    assert_eq!(
        told(json!([]), rule("logs/", json!(30))),
        ["medium destroy the lifecycle rule `logs` deletes more objects after 30 days: those below `logs/`"]
    );
    assert_eq!(
        told(rule("logs/", json!(30)), rule("logs/", json!(7))),
        ["medium destroy the lifecycle rule `logs` deletes objects sooner (30 days before, 7 now)"]
    );
    for after in
        [rule("logs/old/", json!(30)), rule("logs/", json!(60)), rule("logs/", json!(null)), json!([])]
    {
        let found = told(rule("logs/", json!(30)), after.clone());
        assert!(found.is_empty(), "{after}: {found:?}");
    }
}

#[test]
fn file_that_others_may_use_is_a_risk() {
    let told = |before: Value, after: &str| told("file.template", "update", "mode", before, json!(after));
    assert_eq!(
        told(json!("0600"), "0644"),
        ["low public-exposure can be read by other users of the machine"]
    );
    assert_eq!(
        told(json!("0644"), "0666"),
        ["medium broader-grant can be changed by other users of the machine"]
    );
    assert!(told(json!("0644"), "0600").is_empty());
}

#[test]
fn new_thing_has_no_risk_of_what_was_before() {
    let rows = [
        ("aws.cloudwatch_log_group", "retention_days", json!(1)),
        ("vault.approle_role", "token_policies", json!(["a"])),
        ("vault.kubernetes_auth", "kubernetes_host", json!("https://a")),
        ("aws.kms_key", "grants.backup.operations", json!(["CreateGrant"])),
    ];
    for (kind, path, value) in rows {
        let found = told(kind, "create", path, json!(null), value);
        assert!(found.is_empty(), "{kind} {path}: {found:?}");
    }
    let plain = told("vault.server_config", "create", "listeners[0].tls_disable", json!(null), json!(true));
    assert_eq!(plain, ["high public-exposure tokens and secrets travel in the clear (`tls_disable`)"]);
}

#[test]
fn first_node_and_new_holder_are_named() {
    let address = "nodes[https://[::1]:8200].first_shares";
    let found = told("vault.init", "update", address, json!(null), json!("vault.internal"));
    let expected = "high destination https://[::1]:8200 (vault.internal) gets key shares for the first time";
    assert_eq!(found, [expected]);
    let found = told("vault.init", "update", "holders[alice]", json!(null), json!("a share"));
    assert_eq!(found, ["high destination gets a key share: alice"]);
}
