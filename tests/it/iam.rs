//! IAM where the contract cannot go: another hand's changes, and plans with many steps.

use aws_sdk_iam::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_iam::types::Tag;
use serde_json::{Value, json};

use crate::support::{TestEnvironment, block_on, paths, step, summary};

/// IAM of an account of the emulator, whose access key id may be an account's number.
pub fn iam(environment: &TestEnvironment, access_key_id: &str) -> aws_sdk_iam::Client {
    let config = aws_sdk_iam::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(access_key_id, "test", None, None, "test"))
        .endpoint_url(environment.sandbox.aws_url());
    aws_sdk_iam::Client::from_conf(config.build())
}

fn plan(steps: &Value) -> String {
    json!({ "version": 1, "name": "iam", "aws": { "region": "us-east-1" }, "steps": steps }).to_string()
}

#[test]
fn a_password_for_the_console_is_found_and_removed() {
    let environment = TestEnvironment::new();
    let user = |allowed: bool| {
        plan(&json!({ "user": { "kind": "aws.iam_user", "name": "gw-person", "console_login": allowed } }))
    };
    environment.write("plan.yaml", &user(false));
    environment.write("allowed.yaml", &user(true));
    environment.apply("plan.yaml");
    let iam = iam(&environment, "test");
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
fn a_large_plan_reads_iam_in_a_few_calls_and_sees_what_each_step_is() {
    let environment = TestEnvironment::new();
    environment.write("plan.yaml", &many());
    environment.apply("plan.yaml");
    let calls = summary(&environment.apply("plan.yaml"))["api_calls"].clone();
    // Who we are, all of IAM, all roles; the tags of each policy; whether each user has a password.
    assert_eq!((&calls["read"], &calls["write"]), (&json!(3 + 12 + 2), &json!(0)), "{calls}");

    let iam = iam(&environment, "test");
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
