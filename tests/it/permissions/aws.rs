//! Least IAM policies, in the emulator that enforces them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::aws::OWN;
use crate::iam::iam;
use crate::support::{Ran, TestEnvironment, block_on, text_of};

/// Actions of whose requests the emulator does not read the resource: it asks for them on `*`.
const WITHOUT_RESOURCE: &[&str] = &[
    "dynamodb:ListTagsOfResource",
    "dynamodb:TagResource",
    "iam:AddRoleToInstanceProfile",
    "iam:CreateInstanceProfile",
    "iam:CreateOpenIDConnectProvider",
    "iam:DeleteInstanceProfile",
    "iam:DeleteOpenIDConnectProvider",
    "iam:GetInstanceProfile",
    "iam:GetOpenIDConnectProvider",
    "iam:RemoveRoleFromInstanceProfile",
    "iam:SimulatePrincipalPolicy",
    "iam:TagInstanceProfile",
    "iam:TagOpenIDConnectProvider",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    // Through an alias it asks for the alias in place of the key.
    "kms:Encrypt",
    "kms:GenerateMac",
    "kms:GetPublicKey",
    "kms:UpdateAlias",
    "kms:VerifyMac",
    "sns:GetSubscriptionAttributes",
    "sns:ListTagsForResource",
    "sns:SetSubscriptionAttributes",
    "sns:TagResource",
    "sns:Unsubscribe",
    "ssm:GetParameters",
];

const SECOND_STORE: &str = "custody reads its second store only when the first one lacks something";
const OTHER_STORE: &str = "custody goes on with one store, and warns of the other";

/// Actions that AWS asks for and the emulator, or this way of trying, does not, and why.
const NOT_ENFORCED: &[(&str, &str)] = &[
    ("dynamodb:TagResource", "tags of a request that makes a thing"),
    ("dynamodb:UpdateTable", "the table is protected from deletion in AWS, and not in the emulator"),
    ("iam:PassRole", "roles that are passed on"),
    ("iam:TagInstanceProfile", "tags of a request that makes a thing"),
    ("iam:TagOpenIDConnectProvider", "tags of a request that makes a thing"),
    ("iam:TagRole", "tags of a request that makes a thing"),
    ("iam:TagUser", "tags of a request that makes a thing"),
    ("kms:CreateGrant", "what a service does with a key in the caller's name"),
    ("kms:Decrypt", "also what a service does with a key in the caller's name"),
    ("kms:GenerateDataKey", "what a service does with a key in the caller's name"),
    ("kms:TagResource", "tags of a request that makes a thing"),
    ("logs:AssociateKmsKey", "the key of a request that makes a thing"),
    ("logs:TagResource", "tags of a request that makes a thing"),
    ("s3:AbortMultipartUpload", "the upload of a large object that is broken off"),
    ("s3:GetObjectVersion", "what custody had before: nothing, in a new environment"),
    ("s3:ListBucket", "an object that does not exist"),
    ("s3:PutBucketPolicy", "these plans do without `tls_only`, because the emulator speaks http"),
    ("s3:TagResource", "tags of a request that makes a thing"),
    ("secretsmanager:BatchGetSecretValue", SECOND_STORE),
    ("secretsmanager:CreateSecret", OTHER_STORE),
    ("secretsmanager:DescribeSecret", OTHER_STORE),
    ("secretsmanager:GetSecretValue", SECOND_STORE),
    ("secretsmanager:ListSecrets", SECOND_STORE),
    ("secretsmanager:PutSecretValue", OTHER_STORE),
    ("secretsmanager:TagResource", "tags of a request that makes a thing"),
    ("sns:TagResource", "tags of a request that makes a thing"),
    ("ssm:AddTagsToResource", "tags of a request that makes a thing"),
];

/// Whether the emulator asks for an action. Requests of CloudWatch are in CBOR, and it lets all of them through.
pub fn is_enforced(action: &str) -> bool {
    !action.starts_with("cloudwatch:") && !NOT_ENFORCED.iter().any(|(name, _)| *name == action)
}

/// A user of the sandbox's account that has only what it is given.
pub struct Operator {
    pub environment: TestEnvironment,
    key: (String, String),
}

/// The key of a new user of the sandbox's account, who has nothing yet.
pub fn key_of_operator(environment: &TestEnvironment) -> (String, String) {
    let iam = iam(environment, OWN);
    block_on(iam.create_user().user_name("operator").send()).expect("a user");
    let made = block_on(iam.create_access_key().user_name("operator").send()).expect("a key");
    let key = made.access_key.expect("a key");
    (key.access_key_id, key.secret_access_key)
}

/// Takes away what the operator had, and gives these policies.
pub fn give(environment: &TestEnvironment, policies: &[Value]) {
    let iam = iam(environment, OWN);
    let listed = block_on(iam.list_user_policies().user_name("operator").send()).expect("listed");
    for name in listed.policy_names {
        block_on(iam.delete_user_policy().user_name("operator").policy_name(name).send()).expect("gone");
    }
    for (index, policy) in policies.iter().enumerate() {
        let request = iam.put_user_policy().user_name("operator").policy_name(format!("part-{index}"));
        block_on(request.policy_document(policy.to_string()).send()).expect("given");
    }
}

impl Operator {
    pub fn new() -> Self {
        Self::of(TestEnvironment::new())
    }

    /// A user of the account in this sandbox.
    pub fn of(environment: TestEnvironment) -> Self {
        let key = key_of_operator(&environment);
        Self { environment, key }
    }

    /// Takes away what it had, and gives it these policies.
    pub fn give(&self, policies: &[Value]) {
        give(&self.environment, policies);
    }

    /// The program with these arguments as the operator.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().expect("the program starts"))
    }

    pub fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.environment.command(arguments);
        command.env("AWS_ACCESS_KEY_ID", &self.key.0).env("AWS_SECRET_ACCESS_KEY", &self.key.1);
        command.env_remove("AWS_SESSION_TOKEN");
        command
    }

    /// The program as the root of the account, which must succeed.
    pub fn root(&self, arguments: &[&str]) {
        let ran = self.environment.run(arguments);
        assert!(ran.code == 0, "{ran:?}");
    }
}

/// The documents of the policies for IAM, as the program gives them.
pub fn policies(environment: &TestEnvironment, plan: &str, command: &str) -> Vec<Value> {
    policies_by(environment, &["permissions", plan, "--for", command, "--format", "json"])
}

/// The same by these arguments.
pub fn policies_by(environment: &TestEnvironment, arguments: &[&str]) -> Vec<Value> {
    let ran = environment.run(arguments);
    assert_eq!(ran.code, 0, "{ran:?}");
    let all: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert!(arguments.contains(&all["command"].as_str().expect("a command")), "{all:#}");
    let all = all["policies"].as_array().expect("policies");
    all.iter().filter(|policy| policy["format"] == "json").map(|policy| policy["policy"].clone()).collect()
}

pub fn actions(policies: &[Value]) -> BTreeSet<String> {
    let statements = policies.iter().flat_map(|policy| policy["Statement"].as_array().expect("statements"));
    let actions = statements.flat_map(|statement| statement["Action"].as_array().expect("actions"));
    actions.map(|action| text_of(action).to_owned()).collect()
}

/// The policies as the emulator understands them, without these actions.
pub fn without<'a>(policies: &[Value], taken: impl IntoIterator<Item = &'a str>) -> Vec<Value> {
    let taken: BTreeSet<&str> = taken.into_iter().collect();
    let mut policies = policies.to_vec();
    for policy in &mut policies {
        let statements = policy["Statement"].as_array_mut().expect("statements");
        for statement in &mut *statements {
            let kept = statement["Action"].as_array_mut().expect("actions");
            kept.retain(|one| !taken.contains(text_of(one)));
        }
        // The emulator takes a statement without an action for one about every action.
        statements.retain(|statement| statement["Action"].as_array().is_some_and(|kept| !kept.is_empty()));
    }
    let wide: Vec<String> =
        actions(&policies).into_iter().filter(|one| WITHOUT_RESOURCE.contains(&one.as_str())).collect();
    let mut statements =
        vec![json!({ "Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*" })];
    if !wide.is_empty() {
        statements.push(json!({ "Effect": "Allow", "Action": wide, "Resource": "*" }));
    }
    policies.push(json!({ "Version": "2012-10-17", "Statement": statements }));
    policies
}

/// Says which actions of a command were tried, and that each was needed.
pub fn report(plan: &str, command: &str, all: &BTreeSet<String>, spared: &BTreeSet<String>) {
    let tried = all.iter().filter(|action| is_enforced(action)).count();
    let unneeded: Vec<&String> = spared.iter().filter(|action| is_enforced(action)).collect();
    let needed = tried - unneeded.len();
    println!("{plan:<28} {command:<8} {:>4} actions {tried:>4} tried {needed:>4} needed", all.len());
    assert!(unneeded.is_empty(), "{command} of {plan} goes well without {unneeded:?}");
}

const SMALL: &str = r#"
version: 1
name: least
aws: { region: us-east-1, account_id: "000000000000" }
steps:
  role:
    kind: aws.iam_role
    name: gw-least
    max_session_duration: SESSION
    trust: [ { service: ec2.amazonaws.com } ]
    inline_policies: { own: [ { allow: "s3:ACTION", on: "*" } ] }
  topic:
    kind: aws.sns_topic
    name: gw-least
    display_name: TITLE
"#;

fn small(session: &str, action: &str, title: &str) -> String {
    SMALL.replace("SESSION", session).replace("ACTION", action).replace("TITLE", title)
}

#[test]
fn small_plan_needs_each_action_of_its_policies() {
    let operator = Operator::new();
    let environment = &operator.environment;
    environment.write("plan.yaml", &small("3600", "GetObject", "One"));
    environment.write("changed.yaml", &small("7200", "PutObject", "Two"));

    // `apply` makes everything, and then changes everything that can be.
    let all = policies(environment, "plan.yaml", "apply");
    let mut spared = BTreeSet::new();
    for action in actions(&all).iter().filter(|action| is_enforced(action)) {
        operator.give(&without(&all, [action.as_str()]));
        let made = operator.run(&["apply", "plan.yaml", "--yes"]).code == 0;
        if made && operator.run(&["apply", "changed.yaml", "--yes"]).code == 0 {
            spared.insert(action.clone());
        }
        operator.root(&["destroy", "plan.yaml", "--yes"]);
    }
    // Differences that no plan makes: a drifted description, trust and policy of another hand.
    let of_drift = ["iam:DeleteRolePolicy", "iam:UpdateAssumeRolePolicy", "iam:UpdateRoleDescription"];
    spared.retain(|action| !of_drift.contains(&action.as_str()));
    report("small", "apply", &actions(&all), &spared);
    for action in of_drift {
        operator.give(&without(&all, []));
        assert_eq!(operator.run(&["apply", "plan.yaml", "--yes"]).code, 0);
        drift(environment);
        operator.give(&without(&all, [action]));
        assert_ne!(operator.run(&["apply", "plan.yaml", "--yes"]).code, 0, "{action} is needed");
    }
    operator.give(&without(&all, []));
    assert_eq!(operator.run(&["apply", "plan.yaml", "--yes"]).code, 0, "the whole policy suffices");

    for (command, arguments) in
        [("plan", &["plan", "plan.yaml"][..]), ("destroy", &["destroy", "plan.yaml", "--yes"])]
    {
        let all = policies(environment, "plan.yaml", command);
        let mut spared = BTreeSet::new();
        for action in actions(&all).iter().filter(|action| is_enforced(action)) {
            operator.root(&["apply", "plan.yaml", "--yes"]);
            operator.give(&without(&all, [action.as_str()]));
            if operator.run(arguments).code == 0 {
                spared.insert(action.clone());
            }
        }
        report("small", command, &actions(&all), &spared);
        operator.root(&["apply", "plan.yaml", "--yes"]);
        operator.give(&without(&all, []));
        let ran = operator.run(arguments);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
}

/// What another hand does to the small plan's role.
fn drift(environment: &TestEnvironment) {
    let iam = iam(environment, OWN);
    let document =
        |statement: Value| json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
    let trust = document(
        json!({ "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": { "Service": "ecs.amazonaws.com" } }),
    );
    block_on(iam.update_assume_role_policy().role_name("gw-least").policy_document(trust).send())
        .expect("trust");
    block_on(iam.update_role_description().role_name("gw-least").description("drifted").send())
        .expect("description");
    let other = document(json!({ "Effect": "Allow", "Action": "s3:*", "Resource": "*" }));
    let request = iam.put_role_policy().role_name("gw-least").policy_name("other").policy_document(other);
    block_on(request.send()).expect("policy");
}

#[test]
fn run_that_cannot_give_its_lock_back_fails() {
    let operator = Operator::new();
    let plan = json!({
        "version": 1, "name": "kept", "aws": { "region": "us-east-1" }, "lock": { "dynamodb": "{{ table.name }}" },
        "steps": {
            "table": { "kind": "aws.dynamodb_table", "name": "gw-locks", "preset": "terraform_lock" },
            "user": { "kind": "aws.iam_user", "name": "gw-user", "needs": ["table"] },
        },
    });
    operator.environment.write("plan.yaml", &plan.to_string());
    let all = policies(&operator.environment, "plan.yaml", "apply");
    operator.give(&without(&all, ["dynamodb:DeleteItem"]));
    let ran = operator.run(&["apply", "plan.yaml", "--yes"]);
    assert_eq!(ran.code, 1, "a lock that stays stops every later run: {ran:?}");
    let shown = ran.stdout.clone() + &ran.stderr;
    let id = shown.split("groundwork unlock plan.yaml --id ").nth(1).and_then(|rest| rest.get(..36));
    let id = id.unwrap_or_else(|| panic!("the command that removes it: {ran:?}"));
    assert!(shown.contains("may still be locked"), "{ran:?}");

    operator.give(&without(&all, []));
    let unlocked = operator.run(&["unlock", "plan.yaml", "--id", id]);
    assert_eq!(unlocked.code, 0, "{unlocked:?}");
    let again = operator.run(&["apply", "plan.yaml", "--yes"]);
    assert!(again.code == 0 && again.stdout.contains("Nothing to do"), "all was written: {again:?}");
}

#[test]
fn preflight_names_what_the_caller_lacks_and_refuses() {
    let operator = Operator::new();
    operator.environment.write("plan.yaml", &small("3600", "GetObject", "One"));
    let all = policies(&operator.environment, "plan.yaml", "apply");
    let ask = json!({ "Effect": "Allow", "Action": "iam:SimulatePrincipalPolicy", "Resource": "*" });
    let ask = json!({ "Version": "2012-10-17", "Statement": [ask] });
    let mut given = without(&all, ["sns:CreateTopic"]);
    given.push(ask.clone());
    operator.give(&given);
    let planned = operator.run(&["plan", "plan.yaml"]);
    assert!(
        planned.stdout.contains("Permissions you lack") && planned.stdout.contains("sns:CreateTopic"),
        "{planned:?}"
    );
    let planned = operator.run(&["plan", "plan.yaml", "--format", "json"]);
    let planned: Value = serde_json::from_str(&planned.stdout).expect("JSON");
    let topic = format!("arn:aws:sns:us-east-1:{OWN}:gw-least");
    assert_eq!(
        planned["lacking"],
        json!([{ "action": "sns:CreateTopic", "resource": topic, "step": "topic" }])
    );
    for format in ["markdown", "html"] {
        let shown = operator.run(&["plan", "plan.yaml", "--format", format]).stdout;
        assert!(shown.contains("Permissions you lack") && shown.contains(&topic), "{shown}");
    }
    let refused = operator.run(&["apply", "plan.yaml", "--yes"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("lacks permissions") && refused.stderr.contains("groundwork permissions"),
        "{refused:?}"
    );
    let role = block_on(iam(&operator.environment, OWN).get_role().role_name("gw-least").send());
    assert!(role.is_err(), "nothing was written");
    let ran = operator.run(&["apply", "plan.yaml", "--yes", "--no-preflight"]);
    assert!(ran.code != 0 && ran.stdout.contains("sns:CreateTopic"), "{ran:?}");

    let mut given = without(&all, []);
    given.push(ask);
    operator.give(&given);
    let ran = operator.run(&["apply", "plan.yaml", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let planned = operator.run(&["plan", "plan.yaml", "--format", "json"]);
    assert!(!planned.stdout.contains("lacking"), "{planned:?}");
}
