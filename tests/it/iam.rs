//! IAM where the contract cannot go: another hand's changes, and plans with many steps.

use aws_sdk_iam::types::Tag;
use serde_json::{Value, json};

use crate::aws::{OWN, config_with, root_of};
use crate::support::{TestEnvironment, block_on, paths, step, summary};

/// IAM of an account of the emulator.
pub fn iam(environment: &TestEnvironment, account: &str) -> aws_sdk_iam::Client {
    let sandbox = &environment.sandbox;
    aws_sdk_iam::Client::new(&config_with(sandbox, root_of(sandbox, account), "us-east-1"))
}

fn plan(steps: &Value) -> String {
    json!({ "version": 1, "name": "iam", "aws": { "region": "us-east-1" }, "steps": steps }).to_string()
}

#[test]
fn undeclared_console_password_is_found_and_removed() {
    let environment = TestEnvironment::new();
    let user = |allowed: bool| {
        plan(&json!({ "user": { "kind": "aws.iam_user", "name": "gw-person", "console_login": allowed } }))
    };
    environment.write("plan.yaml", &user(false));
    environment.write("allowed.yaml", &user(true));
    environment.apply("plan.yaml");
    let iam = iam(&environment, OWN);
    let login = || block_on(iam.get_login_profile().user_name("gw-person").send()).is_ok();
    block_on(iam.create_login_profile().user_name("gw-person").password("Made-by-hand-1").send())
        .expect("made");

    assert_eq!(step(&environment.plan("allowed.yaml"), "user")["action"], "none");
    let shown = environment.plan("plan.yaml");
    assert_eq!(
        (&step(&shown, "user")["action"], paths(step(&shown, "user"))),
        (&json!("update"), vec!["console_login"])
    );
    assert!(login());
    environment.apply("plan.yaml");
    assert!(!login(), "the password is gone");
    assert_eq!(summary(&environment.apply("plan.yaml"))["api_calls"]["write"], 0);
}

/// Twelve each of groups, roles and policies, and two users.
fn many() -> String {
    let document = json!([{ "allow": "s3:GetObject", "on": "*" }]);
    let names: Vec<String> = (10..22).map(|number| number.to_string()).collect();
    plan(&json!({
        "policy": { "kind": "aws.iam_policy", "for_each": names, "name": "gw-{{ each.key }}", "document": document },
        "group": { "kind": "aws.iam_group", "for_each": names, "name": "gw-{{ each.key }}",
                   "inline_policies": { "own": document } },
        "role": { "kind": "aws.iam_role", "for_each": names, "name": "gw-{{ each.key }}", "description": "One of many",
                  "max_session_duration": 7200, "trust": [{ "service": "ec2.amazonaws.com" }],
                  "managed_policies": ["{{ policy[each.key].arn }}"], "inline_policies": { "own": document } },
        "user": { "kind": "aws.iam_user", "for_each": ["a", "b"], "name": "gw-{{ each.key }}", "groups": ["gw-10"],
                  "inline_policies": { "own": document } },
    }))
}

#[test]
fn large_plan_detects_drift_in_few_iam_calls() {
    let environment = TestEnvironment::new();
    environment.write("plan.yaml", &many());
    environment.apply("plan.yaml");
    let calls = summary(&environment.apply("plan.yaml"))["api_calls"].clone();
    // Who we are, all of IAM, all roles; the tags of each policy; whether each user has a password.
    assert_eq!((&calls["read"], &calls["write"]), (&json!(3 + 12 + 2), &json!(0)), "{calls}");

    let iam = iam(&environment, OWN);
    let tag = Tag::builder().key("groundwork:step").value("by-hand").build().expect("a tag");
    block_on(iam.tag_role().role_name("gw-11").tags(tag).send()).expect("tagged");
    block_on(iam.update_role().role_name("gw-12").max_session_duration(3600).send()).expect("updated");
    block_on(iam.delete_group_policy().group_name("gw-13").policy_name("own").send()).expect("deleted");
    block_on(iam.remove_user_from_group().user_name("gw-a").group_name("gw-10").send()).expect("removed");
    block_on(
        iam.detach_role_policy()
            .role_name("gw-14")
            .policy_arn("arn:aws:iam::000000000000:policy/gw-14")
            .send(),
    )
    .expect("detached");
    let shown = environment.plan("plan.yaml");
    let changed = |id: &str| paths(step(&shown, id));
    assert_eq!(changed("role[11]"), ["tags.groundwork:step"]);
    assert_eq!(changed("role[12]"), ["max_session_duration"]);
    assert_eq!(changed("group[13]"), ["inline_policies.own"]);
    assert_eq!(changed("user[a]"), ["groups"]);
    assert_eq!(changed("role[14]"), ["managed_policies"]);
    assert_eq!(shown["summary"]["update"], 5, "{shown:#}");
}

#[test]
fn changes_keep_settings_made_by_others() {
    let environment = TestEnvironment::new();
    let role = |extra: Value| {
        let mut role = json!({ "kind": "aws.iam_role", "name": "gw-role", "description": "one",
            "trust": [{ "service": "ec2.amazonaws.com" }] });
        role.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
        role
    };
    let steps = |session: u32, action: &str, team: &str, profiled: &str| {
        json!({
            "role": role(json!({ "max_session_duration": session, "tags": { "Team": team } })),
            "second": { "kind": "aws.iam_role", "name": "gw-second", "trust": [{ "service": "ec2.amazonaws.com" }] },
            "user": { "kind": "aws.iam_user", "name": "gw-user", "tags": { "Team": team } },
            "group": { "kind": "aws.iam_group", "name": "gw-group",
                       "inline_policies": { "own": [{ "allow": action, "on": "*" }] } },
            "policy": { "kind": "aws.iam_policy", "name": "gw-policy", "tags": { "Team": team },
                        "document": [{ "allow": action, "on": "*" }] },
            "profile": { "kind": "aws.iam_instance_profile", "name": "gw-profile", "role": profiled,
                         "tags": { "Team": team } },
        })
    };
    environment.write("plan.yaml", &plan(&steps(3600, "s3:GetObject", "one", "gw-role")));
    environment.apply("plan.yaml");

    let iam = iam(&environment, OWN);
    let read_only = "arn:aws:iam::aws:policy/ReadOnlyAccess";
    let document = json!({ "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*" }] })
    .to_string();
    let tag = || Tag::builder().key("Others").value("x").build().expect("a tag");
    let policy = "arn:aws:iam::000000000000:policy/gw-policy";
    block_on(async {
        iam.put_role_permissions_boundary()
            .role_name("gw-role")
            .permissions_boundary(read_only)
            .send()
            .await?;
        iam.attach_role_policy().role_name("gw-role").policy_arn(read_only).send().await?;
        let put = iam.put_role_policy().role_name("gw-role").policy_name("others");
        put.policy_document(&document).send().await?;
        iam.tag_role().role_name("gw-role").tags(tag()).send().await?;
        iam.put_user_permissions_boundary()
            .user_name("gw-user")
            .permissions_boundary(read_only)
            .send()
            .await?;
        iam.attach_user_policy().user_name("gw-user").policy_arn(policy).send().await?;
        let put = iam.put_user_policy().user_name("gw-user").policy_name("others");
        put.policy_document(&document).send().await?;
        iam.tag_user().user_name("gw-user").tags(tag()).send().await?;
        iam.add_user_to_group().user_name("gw-user").group_name("gw-group").send().await?;
        iam.attach_group_policy().group_name("gw-group").policy_arn(read_only).send().await?;
        iam.tag_policy().policy_arn(policy).tags(tag()).send().await?;
        iam.tag_instance_profile().instance_profile_name("gw-profile").tags(tag()).send().await?;
        Ok::<(), aws_sdk_iam::Error>(())
    })
    .expect("set by hand");
    let set_by_others = || {
        block_on(async {
            let role = iam.get_role().role_name("gw-role").send().await?.role.expect("there");
            let user = iam.get_user().user_name("gw-user").send().await?.user.expect("there");
            let policy = iam.get_policy().policy_arn(policy).send().await?.policy.expect("there");
            let profile = iam.get_instance_profile().instance_profile_name("gw-profile").send().await?;
            let attached = iam.list_attached_role_policies().role_name("gw-role").send().await?;
            let user_attached = iam.list_attached_user_policies().user_name("gw-user").send().await?;
            let group_attached = iam.list_attached_group_policies().group_name("gw-group").send().await?;
            let mine =
                |tags: Option<Vec<Tag>>| tags.unwrap_or_default().iter().any(|tag| tag.key() == "Others");
            let tags = [
                mine(role.tags),
                mine(user.tags),
                mine(policy.tags),
                mine(profile.instance_profile.expect("there").tags),
            ];
            let boundaries = [role.permissions_boundary.is_some(), user.permissions_boundary.is_some()];
            let policies = [
                attached.attached_policies,
                user_attached.attached_policies,
                group_attached.attached_policies,
            ]
            .map(|list| list.unwrap_or_default().len());
            let inline = iam.list_role_policies().role_name("gw-role").send().await?.policy_names.len()
                + iam.list_user_policies().user_name("gw-user").send().await?.policy_names.len();
            let groups = iam.list_groups_for_user().user_name("gw-user").send().await?.groups.len();
            let described = role.description;
            Ok::<_, aws_sdk_iam::Error>((tags, boundaries, policies, inline, groups, described))
        })
        .expect("read")
    };
    let before = set_by_others();
    let all = ([true; 4], [true; 2], [1, 1, 1], 2, 1, Some("one".to_owned()));
    assert_eq!(before, all);
    assert_eq!(environment.plan("plan.yaml")["summary"]["update"], 0, "none of it is the plan's");

    environment.write("plan.yaml", &plan(&steps(7200, "s3:PutObject", "two", "gw-second")));
    let shown = environment.plan("plan.yaml");
    assert_eq!(paths(step(&shown, "role")), ["max_session_duration", "tags.Team"]);
    assert_eq!(paths(step(&shown, "profile")), ["role", "tags.Team"]);
    environment.apply("plan.yaml");
    assert_eq!(set_by_others(), before);
}
