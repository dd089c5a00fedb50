//! Removals that the server would refuse, that take along what others made, or that make room for
//! something else.

use aws_sdk_iam::Client;
use serde_json::{Value, json};

use crate::aws::OWN;
use crate::iam::iam;
use crate::lifecycle::{changing, without};
use crate::support::{Ran, TestEnvironment, block_on, step, text_of};

const READ_ONLY: &str = "arn:aws:iam::aws:policy/ReadOnlyAccess";

/// A sandbox with a plan of steps in AWS.
struct Account {
    environment: TestEnvironment,
    iam: Client,
}

impl Account {
    /// Applied once.
    fn with(steps: &Value) -> Self {
        let environment = TestEnvironment::new();
        let account = Self { iam: iam(&environment, OWN), environment };
        account.declare(steps);
        account.environment.apply("plan.yaml");
        account
    }

    fn declare(&self, steps: &Value) {
        let mut steps = steps.clone();
        // A plan without any step is refused.
        steps["stays"] = json!({ "kind": "aws.iam_group", "name": "gw-stays" });
        let plan =
            json!({ "version": 1, "name": "account", "aws": { "region": "us-east-1" }, "steps": steps });
        self.environment.write("plan.yaml", &plan.to_string());
    }

    fn plan(&self, flag: &str) -> Value {
        let ran = self.environment.run(&["plan", "plan.yaml", "--format", "json", flag]);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("no changeset: {error}\n{ran:?}"))
    }

    fn prune(&self) -> Ran {
        self.environment.run(&["apply", "plan.yaml", "--prune", "--yes"])
    }

    fn destroy(&self) -> Ran {
        self.environment.run(&["destroy", "plan.yaml", "--yes"])
    }

    fn policies_of_role(&self, role: &str) -> (Vec<String>, Vec<String>) {
        block_on(async {
            let attached =
                self.iam.list_attached_role_policies().role_name(role).send().await.expect("listed");
            let inline = self.iam.list_role_policies().role_name(role).send().await.expect("listed");
            let attached = attached.attached_policies.unwrap_or_default().into_iter();
            (attached.filter_map(|policy| policy.policy_arn).collect(), inline.policy_names)
        })
    }

    fn has_role(&self, role: &str) -> bool {
        block_on(self.iam.get_role().role_name(role).send()).is_ok()
    }

    fn attach(&self, role: &str, arn: &str) {
        block_on(self.iam.attach_role_policy().role_name(role).policy_arn(arn).send()).expect("attached");
    }
}

/// Why a step is not done, or what it means.
pub fn reason<'a>(changeset: &'a Value, id: &str) -> &'a str {
    text_of(&step(changeset, id)["reason"])
}

/// The fields that a removal shows, with what they lose.
pub fn lost(changeset: &Value, id: &str) -> Vec<(String, Value)> {
    let changes = step(changeset, id)["changes"].as_array().expect("changes");
    changes.iter().map(|change| (text_of(&change["path"]).to_owned(), change["before"].clone())).collect()
}

fn role(name: &str) -> Value {
    json!({ "kind": "aws.iam_role", "name": name, "trust": [{ "service": "ec2.amazonaws.com" }] })
}

fn document() -> Value {
    json!([{ "allow": "s3:GetObject", "on": "*" }])
}

#[test]
fn role_in_foreign_profile_keeps_every_policy() {
    let mut app = role("gw-app");
    app["managed_policies"] = json!(["arn:aws:iam::aws:policy/IAMReadOnlyAccess"]);
    app["inline_policies"] = json!({ "own": document() });
    let account = Account::with(&json!({ "app": app }));
    let profile = "gw-by-hand";
    block_on(account.iam.create_instance_profile().instance_profile_name(profile).send()).expect("made");
    let add = account.iam.add_role_to_instance_profile().instance_profile_name(profile).role_name("gw-app");
    block_on(add.send()).expect("added");
    account.attach("gw-app", READ_ONLY);
    let before = account.policies_of_role("gw-app");
    assert_eq!((before.0.len(), before.1.len()), (2, 1));

    account.declare(&json!({}));
    let shown = account.plan("--prune");
    assert_eq!(changing(&shown), [("app", "blocked")]);
    assert!(
        reason(&shown, "app").contains("the instance profile `gw-by-hand` contains the role"),
        "{shown:#}"
    );
    assert_eq!(
        lost(&shown, "app"),
        [
            ("instance_profiles".to_owned(), json!([profile])),
            ("managed_policies".to_owned(), json!([READ_ONLY])),
        ],
        "what the plan attached itself is not among them"
    );
    let ran = account.prune();
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(account.policies_of_role("gw-app"), before, "nothing was detached");
    account.declare(&json!({ "app": app }));
    assert_eq!(changing(&account.plan("--destroy")).first(), Some(&("app", "blocked")));
    account.declare(&json!({}));

    let remove = account.iam.remove_role_from_instance_profile();
    block_on(remove.instance_profile_name(profile).role_name("gw-app").send()).expect("removed");
    let shown = account.plan("--prune");
    assert_eq!(changing(&shown), [("app", "delete")]);
    let text = account.environment.run(&["plan", "plan.yaml", "--prune"]).stdout;
    assert!(text.contains("takes along managed_policies that this plan did not make"), "{text}");
    let ran = account.prune();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!account.has_role("gw-app"));
}

#[test]
fn role_and_its_profile_are_removed_together() {
    let steps = json!({
        "app": role("gw-app"),
        "profile": { "kind": "aws.iam_instance_profile", "name": "gw-app", "role": "gw-app" },
    });
    let account = Account::with(&steps);
    let shown = account.plan("--destroy");
    assert_eq!(changing(&shown), [("app", "delete"), ("profile", "delete"), ("stays", "delete")]);
    assert_eq!((lost(&shown, "app"), lost(&shown, "profile")), (vec![], vec![]));
    let ran = account.destroy();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!account.has_role("gw-app"));
}

#[test]
fn user_with_foreign_credentials_is_not_stripped() {
    let steps = json!({
        "team": { "kind": "aws.iam_group", "name": "gw-team" },
        "user": { "kind": "aws.iam_user", "name": "gw-user", "console_login": true, "groups": ["gw-team"],
                  "managed_policies": [READ_ONLY], "inline_policies": { "own": document() } },
    });
    let account = Account::with(&steps);
    let key = block_on(account.iam.create_access_key().user_name("gw-user").send()).expect("made");
    let key = key.access_key.expect("a key").access_key_id;
    let password = account.iam.create_login_profile().user_name("gw-user").password("Made-by-hand-1");
    block_on(password.send()).expect("made");

    let shown = account.plan("--destroy");
    assert_eq!(changing(&shown), [("stays", "delete"), ("team", "blocked"), ("user", "blocked")]);
    for told in [key.as_str(), "password"] {
        assert!(reason(&shown, "user").contains(told), "{told}: {shown:#}");
    }
    let ran = account.destroy();
    assert_eq!(ran.code, 3, "{ran:?}");
    let (attached, groups) = block_on(async {
        let attached = account.iam.list_attached_user_policies().user_name("gw-user").send().await;
        let groups = account.iam.list_groups_for_user().user_name("gw-user").send().await;
        (attached.expect("listed").attached_policies.unwrap_or_default(), groups.expect("listed").groups)
    });
    assert_eq!((attached.len(), groups.len()), (1, 1), "it has all that it had");

    let delete = account.iam.delete_access_key().user_name("gw-user").access_key_id(key);
    block_on(delete.send()).expect("deleted");
    block_on(account.iam.delete_login_profile().user_name("gw-user").send()).expect("deleted");
    let ran = account.destroy();
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn group_with_foreign_members_is_kept() {
    let account = Account::with(&json!({ "team": { "kind": "aws.iam_group", "name": "gw-team",
        "managed_policies": [READ_ONLY] } }));
    block_on(account.iam.create_user().user_name("gw-foreign").send()).expect("made");
    let add = account.iam.add_user_to_group().group_name("gw-team").user_name("gw-foreign");
    block_on(add.send()).expect("added");
    account.declare(&json!({}));
    assert!(reason(&account.plan("--prune"), "team").contains("the user `gw-foreign` is in the group"));
    assert_eq!(account.prune().code, 3);
    let attached = account.iam.list_attached_group_policies().group_name("gw-team");
    let attached = block_on(attached.send()).expect("listed").attached_policies.unwrap_or_default();
    assert_eq!(attached.len(), 1, "nothing was detached");
}

#[test]
fn attached_policy_is_deleted_once_holder_releases_it() {
    let mut app = role("gw-app");
    app["managed_policies"] = json!(["{{ limits.arn }}"]);
    let limits = json!({ "kind": "aws.iam_policy", "name": "gw-limits", "document": document() });
    let account = Account::with(&json!({ "app": app, "limits": limits }));
    let arn = "arn:aws:iam::000000000000:policy/gw-limits";
    account.declare(&json!({ "app": role("gw-app") }));
    let shown = account.plan("--prune");
    assert!(reason(&shown, "limits").contains("the role `gw-app` uses the policy"), "{shown:#}");
    assert_eq!(account.prune().code, 3, "the role no longer says what it has");
    assert_eq!(account.policies_of_role("gw-app").0, [arn]);

    app["managed_policies"] = json!([]);
    account.declare(&json!({ "app": app }));
    assert_eq!(changing(&account.plan("--prune")), [("app", "update"), ("limits", "delete")]);
    let ran = account.prune();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(block_on(account.iam.get_policy().policy_arn(arn).send()).is_err());
}

#[test]
fn policy_at_another_path_blocks_and_stays() {
    let policy = |path: &str| json!({ "limits": { "kind": "aws.iam_policy", "name": "gw-limits", "path": path, "document": document() } });
    let account = Account::with(&policy("/old/"));
    account.declare(&policy("/new/"));
    let shown = account.plan("--prune");
    assert_eq!(changing(&shown), [("limits", "blocked"), ("limits@old/gw-limits", "blocked")]);
    assert!(reason(&shown, "limits").contains("declare another name"), "{shown:#}");
    assert!(reason(&shown, "limits@old/gw-limits").contains("`limits` replaces it"), "{shown:#}");
    let ran = account.prune();
    assert_eq!(ran.code, 3, "{ran:?}");
    let old = account.iam.get_policy().policy_arn("arn:aws:iam::000000000000:policy/old/gw-limits");
    assert!(block_on(old.send()).is_ok(), "the old one stands");
}

#[test]
fn failed_replacement_keeps_the_old_thing() {
    let account = Account::with(&json!({ "app": role("gw-old") }));
    let mut new = role("gw-new");
    // IAM takes no such dash in a description.
    new["description"] = json!("a \u{2014} b");
    account.declare(&json!({ "app": new }));
    let shown = account.plan("--prune");
    assert_eq!(changing(&shown), [("app", "create"), ("app@gw-old", "delete")]);
    assert_eq!(step(&shown, "app@gw-old")["needs"], json!(["app"]));
    let ran = account.prune();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("replaces it") || ran.stderr.contains("replaces it"), "{ran:?}");
    assert!(account.has_role("gw-old") && !account.has_role("gw-new"));

    new["description"] = json!("a - b");
    account.declare(&json!({ "app": new }));
    let ran = account.prune();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(account.has_role("gw-new") && !account.has_role("gw-old"));
}

#[test]
fn unconfirmed_subscription_is_removed_with_its_topic() {
    let steps = json!({
        "topic": { "kind": "aws.sns_topic", "name": "gw-alerts" },
        "mail": { "kind": "aws.sns_subscription", "topic": "{{ topic.arn }}", "protocol": "https",
                  "endpoint": "https://127.0.0.1:9/hook" },
    });
    let account = Account::with(&steps);
    account.declare(&without(&steps, &["mail"]));
    let shown = account.plan("--prune");
    assert_eq!(changing(&shown), [("mail", "blocked")]);
    assert!(reason(&shown, "mail").contains("it is deleted with its topic"), "{shown:#}");

    account.declare(&steps);
    let shown = account.plan("--destroy");
    assert_eq!(changing(&shown), [("mail", "delete"), ("stays", "delete"), ("topic", "delete")]);
    assert_eq!(
        (reason(&shown, "mail"), &step(&shown, "mail")["needs"]),
        ("removed with `topic`", &json!(["topic"]))
    );
    let ran = account.destroy();
    assert_eq!(ran.code, 0, "{ran:?}");
    let again = account.destroy();
    assert!(again.code == 0 && again.stdout.contains("Nothing to do"), "{again:?}");
}

#[test]
fn secret_in_its_recovery_window_counts_as_removed() {
    let steps = json!({ "secret": { "kind": "aws.secret", "name": "gw/token", "protect": false,
                                    "value": { "generate": { "length": 20 } } } });
    let account = Account::with(&steps);
    let ran = account.destroy();
    assert_eq!(ran.code, 0, "{ran:?}");
    let again = account.destroy();
    assert!(again.code == 0 && again.stdout.contains("Nothing to do"), "{again:?}");
    let shown = account.plan("--full");
    assert_eq!(changing(&shown), [("secret", "update"), ("stays", "create")], "it can be restored");
}

#[test]
fn bucket_with_objects_is_blocked_at_planning() {
    let steps = json!({ "bucket": { "kind": "aws.s3_bucket", "name": "gw-data", "protect": false } });
    let account = Account::with(&steps);
    crate::aws::put_object(&account.environment, "gw-data", "precious", "text");
    let shown = account.plan("--destroy");
    assert_eq!(changing(&shown), [("bucket", "blocked"), ("stays", "delete")]);
    assert!(reason(&shown, "bucket").contains("precious"), "{shown:#}");
}

/// The program with the rights of a new user, who may do everything but these.
fn limited(account: &Account, denied: &[&str]) -> impl Fn(&[&str]) -> Ran {
    let (user, iam) = ("gw-limited", &account.iam);
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "*", "Resource": "*" },
        { "Effect": "Deny", "Action": denied, "Resource": "*" },
    ] });
    let key = block_on(async {
        iam.create_user().user_name(user).send().await.expect("made");
        let put = iam.put_user_policy().user_name(user).policy_name("own");
        put.policy_document(policy.to_string()).send().await.expect("put");
        iam.create_access_key().user_name(user).send().await.expect("made").access_key.expect("a key")
    });
    move |arguments| {
        let mut command = account.environment.command(arguments);
        command.env("AWS_ACCESS_KEY_ID", &key.access_key_id);
        command.env("AWS_SECRET_ACCESS_KEY", &key.secret_access_key);
        Ran::of(command.output().expect("the program starts"))
    }
}

#[test]
fn refused_deletion_restores_what_was_detached() {
    let mut app = role("gw-app");
    app["managed_policies"] = json!([READ_ONLY]);
    app["inline_policies"] = json!({ "own": document() });
    let account = Account::with(&json!({
        "app": app,
        "machine": role("gw-machine"),
        "profile": { "kind": "aws.iam_instance_profile", "name": "gw-machine", "role": "gw-machine" },
        "team": { "kind": "aws.iam_group", "name": "gw-team", "inline_policies": { "own": document() } },
        "user": { "kind": "aws.iam_user", "name": "gw-user", "groups": ["gw-team"],
                  "managed_policies": [READ_ONLY] },
        "limits": { "kind": "aws.iam_policy", "name": "gw-limits", "document": document() },
        "table": { "kind": "aws.dynamodb_table", "name": "gw-table", "preset": "terraform_lock",
                   "deletion_protection": true, "protect": false },
        "key": { "kind": "aws.kms_key", "alias": "alias/gw-key", "protect": false },
    }));
    let arn = "arn:aws:iam::000000000000:policy/gw-limits";
    let older = account.iam.create_policy_version().policy_arn(arn).policy_document(
        json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Deny", "Action": "*", "Resource": "*" }] })
            .to_string(),
    );
    block_on(older.send()).expect("made");
    let kms = crate::kms::kms(&account.environment, "us-east-1");
    let state = || {
        block_on(async {
            let iam = &account.iam;
            let profile = iam.get_instance_profile().instance_profile_name("gw-machine").send().await;
            let roles = profile.expect("there").instance_profile.expect("there").roles.len();
            let groups =
                iam.list_groups_for_user().user_name("gw-user").send().await.expect("there").groups.len();
            let attached =
                iam.list_attached_user_policies().user_name("gw-user").send().await.expect("there");
            let inline =
                iam.list_group_policies().group_name("gw-team").send().await.expect("there").policy_names;
            let versions = iam.list_policy_versions().policy_arn(arn).send().await.expect("there");
            let table = crate::aws::dynamodb(&account.environment).describe_table().table_name("gw-table");
            let table =
                table.send().await.expect("there").table.and_then(|table| table.deletion_protection_enabled);
            let attached = attached.attached_policies.unwrap_or_default().len();
            let key = kms.describe_key().key_id("alias/gw-key").send().await.expect("there").key_metadata;
            assert!(key.expect("there").enabled, "the key is not about to be deleted");
            (roles, groups, attached, inline.len(), versions.versions.unwrap_or_default().len(), table)
        })
    };
    let before = (state(), account.policies_of_role("gw-app"));
    let run = limited(
        &account,
        &[
            "iam:DeleteRole",
            "iam:DeleteUser",
            "iam:DeleteGroup",
            "iam:DeletePolicy",
            "iam:DeleteInstanceProfile",
            "kms:DeleteAlias",
            "dynamodb:DeleteTable",
        ],
    );
    let ran = run(&["destroy", "plan.yaml", "--yes"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!((state(), account.policies_of_role("gw-app")), before, "{ran:?}");
    let ran = account.destroy();
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn refused_policy_version_keeps_old_versions() {
    let policy = |action: &str| {
        json!({ "limits": { "kind": "aws.iam_policy", "name": "gw-limits",
            "document": [{ "allow": action, "on": "*" }] } })
    };
    let account = Account::with(&policy("s3:GetObject"));
    let arn = "arn:aws:iam::000000000000:policy/gw-limits";
    for number in 2..=5 {
        let document = json!({ "Version": "2012-10-17",
            "Statement": [{ "Sid": format!("v{number}"), "Effect": "Deny", "Action": "*", "Resource": "*" }] });
        let version = account.iam.create_policy_version().policy_arn(arn);
        block_on(version.policy_document(document.to_string()).send()).expect("made");
    }
    let versions = || {
        let listed = block_on(account.iam.list_policy_versions().policy_arn(arn).send()).expect("listed");
        let versions = listed.versions.unwrap_or_default().into_iter();
        let mut ids: Vec<String> = versions.filter_map(|version| version.version_id).collect();
        ids.sort();
        ids
    };
    let before = versions();
    account.declare(&policy("s3:PutObject"));
    let run = limited(&account, &["iam:CreatePolicyVersion"]);
    let ran = run(&["apply", "plan.yaml", "--yes"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!((before.len(), versions()), (5, before));
    account.environment.apply("plan.yaml");
    assert_eq!(versions(), ["v1", "v3", "v4", "v5", "v6"], "the oldest that is not the default made room");
}

#[test]
fn shared_things_show_what_their_removal_breaks() {
    let provider = "oidc.example.com/id/shared";
    let account = Account::with(&json!({
        "key": { "kind": "aws.kms_key", "alias": "alias/gw-key", "protect": false },
        "topic": { "kind": "aws.sns_topic", "name": "gw-alerts" },
        "logs": { "kind": "aws.cloudwatch_log_group", "name": "gw-logs", "protect": false },
        "filter": { "kind": "aws.log_metric_filter", "log_group": "gw-logs", "name": "own", "pattern": "ERROR",
                    "metric": { "name": "Errors", "namespace": "App" }, "needs": ["logs"] },
        "provider": { "kind": "aws.iam_oidc_provider", "url": format!("https://{provider}") },
    }));
    let kms = crate::kms::kms(&account.environment, "us-east-1");
    let key = crate::kms::behind(&kms, "alias/gw-key").expect("there");
    let trust = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow",
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": { "Federated": format!("arn:aws:iam::000000000000:oidc-provider/{provider}") } }] });
    block_on(async {
        kms.create_alias().alias_name("alias/gw-other").target_key_id(&key).send().await.expect("made");
        let grantee = "arn:aws:iam::000000000000:root";
        let grant = kms.create_grant().key_id(&key).grantee_principal(grantee).name("by-hand");
        let operation = aws_sdk_kms::types::GrantOperation::Decrypt;
        grant.operations(operation).send().await.expect("made");
        let role = account.iam.create_role().role_name("gw-foreign");
        role.assume_role_policy_document(trust.to_string()).send().await.expect("made");
    });
    let shown = account.plan("--destroy");
    let named = |field: &str, name: &str| (field.to_owned(), json!([name]));
    assert_eq!(lost(&shown, "key"), [named("aliases", "alias/gw-other"), named("grants", "by-hand")]);
    assert_eq!(lost(&shown, "provider"), [named("trusting_roles", "gw-foreign")]);
    assert_eq!((lost(&shown, "logs"), lost(&shown, "topic")), (vec![], vec![]), "the plan's own filter");
}
