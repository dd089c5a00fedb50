//! Random IAM policies, and what the emulator's `SimulateCustomPolicy` and `SimulatePrincipalPolicy` say of them.

use aws_sdk_iam::Client;
use aws_sdk_iam::types::EvaluationResult;
use groundwork::providers::aws::policy::evaluate::{
    Call, Caller, CallerKind, Context, Decision, Hits, Judgement, Named, decide, judge,
};
use serde_json::{Map, Value, json};

use super::asked;
use crate::aws::OWN;
use crate::fuzz::Random;
use crate::iam::iam;
use crate::support::{TestEnvironment, block_on};

/// How many sets of policies are compared, and the seed of the first.
const SETS: &str = "IAM_SETS";
const SEED: &str = "IAM_SEED";

const ACTIONS: [&str; 6] =
    ["s3:GetObject", "s3:PutObject", "s3:ListBucket", "kms:Decrypt", "dynamodb:GetItem", "iam:PassRole"];
const PATTERNS: [&str; 10] = [
    "*",
    "s3:*",
    "s3:Get*",
    "S3:getobject",
    "s3:?etObject",
    "*:*Object",
    "kms:Decrypt",
    "dynamodb:*Item",
    "iam:Pass*",
    "s3:List*",
];
const RESOURCES: [&str; 4] = [
    "arn:aws:s3:::b/x",
    "arn:aws:s3:::b/y/z",
    "arn:aws:kms:us-east-1:000000000000:key/k",
    "arn:aws:s3:::B/x",
];
const RESOURCE_PATTERNS: [&str; 9] = [
    "*",
    "arn:aws:s3:::b/*",
    "arn:aws:s3:::b/?",
    "arn:aws:s3:::?/x",
    "arn:aws:kms:*:*:key/*",
    "arn:*:b/*z",
    "arn:aws:s3:::b",
    "arn:aws:s3:::*/x",
    "arn:aws:s3:::b/${aws:username}",
];

fn some<'a>(random: &mut Random, from: &[&'a str]) -> Vec<&'a str> {
    (0..=random.below(2)).map(|_| *random.pick(from)).collect()
}

fn condition(random: &mut Random) -> Value {
    // Keys with their values in the emulator's simulation; it knows no MFA.
    let arn = "arn:aws:iam::000000000000:root";
    let rows: [(&[&str], &str, &[&str]); 9] = [
        (&["Bool", "StringEquals", "BoolIfExists"], "aws:SecureTransport", &["true", "false"]),
        (
            &["IpAddress", "NotIpAddress", "IpAddressIfExists"],
            "aws:SourceIp",
            &["127.0.0.0/8", "127.0.0.1", "10.0.0.0/8", "::1"],
        ),
        (
            &["ArnEquals", "ArnLike", "ArnNotLike", "StringLike", "StringNotLike"],
            "aws:PrincipalArn",
            &[arn, "arn:aws:iam::*:root", "arn:aws:iam::*:user/*", "*", "arn:aws:iam:*"],
        ),
        (
            &["StringEquals", "StringNotEquals", "StringNotEqualsIfExists"],
            "aws:PrincipalAccount",
            &["000000000000", "111122223333"],
        ),
        (&["StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"], "aws:PrincipalType", &["user", "ROLE"]),
        (
            &["StringEquals", "StringLike", "ForAnyValue:StringEquals", "ForAllValues:StringLike"],
            "aws:RequestedRegion",
            &["us-east-1", "eu-*"],
        ),
        (
            &[
                "Bool",
                "BoolIfExists",
                "Null",
                "StringNotEquals",
                "ForAllValues:StringEquals",
                "ForAnyValue:StringEquals",
            ],
            "aws:MultiFactorAuthPresent",
            &["true", "false"],
        ),
        (
            &["NumericLessThan", "NumericGreaterThanEquals", "NumericNotEquals"],
            "aws:EpochTime",
            &["1000", "99999999999"],
        ),
        (
            &["DateLessThan", "DateGreaterThan", "DateNotEquals"],
            "aws:CurrentTime",
            &["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"],
        ),
    ];
    let mut all = Map::new();
    for _ in 0..=random.below(2) {
        let (operators, key, values) = *random.pick(&rows);
        // The emulator takes the first value of `Null`, as AWS takes only one.
        let operator = *random.pick(operators);
        let values = if operator == "Null" { vec![*random.pick(values)] } else { some(random, values) };
        all.insert(operator.to_owned(), json!({ key: values }));
    }
    Value::Object(all)
}

fn statement(random: &mut Random) -> Value {
    let mut statement = Map::new();
    let effect = if random.below(3) == 0 { "Deny" } else { "Allow" };
    statement.insert("Effect".to_owned(), json!(effect));
    let action = if random.below(5) == 0 { "NotAction" } else { "Action" };
    statement.insert(action.to_owned(), json!(some(random, &PATTERNS)));
    let resource = if random.below(5) == 0 { "NotResource" } else { "Resource" };
    statement.insert(resource.to_owned(), json!(some(random, &RESOURCE_PATTERNS)));
    if random.below(2) == 0 {
        statement.insert("Condition".to_owned(), condition(random));
    }
    Value::Object(statement)
}

fn document(random: &mut Random) -> Value {
    let statements: Vec<Value> = (0..=random.below(3)).map(|_| statement(random)).collect();
    json!({ "Version": "2012-10-17", "Statement": statements })
}

fn word(decision: &Decision) -> &'static str {
    match decision {
        Decision::Allowed { only, unless, .. } if only.is_empty() && unless.is_empty() => "allowed",
        Decision::Allowed { .. } => "under conditions",
        Decision::Denied { .. } => "explicitDeny",
        Decision::NotAllowed => "implicitDeny",
    }
}

struct Asker<'a> {
    arn: &'a str,
    kind: &'static str,
}

fn ours(policies: &[Value], action: &str, resource: &str, asker: &Asker<'_>) -> &'static str {
    let now = jiff::Timestamp::now();
    let context = Context::default()
        .with("aws:SecureTransport", &["false"])
        .with("aws:SourceIp", &["127.0.0.1"])
        .with("aws:PrincipalArn", &[asker.arn])
        .with("aws:PrincipalAccount", &["000000000000"])
        .with("aws:PrincipalType", &[asker.kind])
        .with("aws:RequestedRegion", &["us-east-1"])
        .with("aws:EpochTime", &[&now.as_second().to_string()])
        .with("aws:CurrentTime", &[&now.to_string()])
        .without("aws:MultiFactorAuthPresent")
        .without("aws:username");
    let caller = Caller { kind: CallerKind::User, name: asker.arn.to_owned(), account: OWN.to_owned() };
    let call = Call { action, resource, caller: &caller, context: &context };
    let named = |document: &Value| Named { name: "p".to_owned(), document: Some(document.clone()) };
    let policies: Vec<Named> = policies.iter().map(named).collect();
    let nothing = (Judgement::default(), Hits::default());
    word(&decide(judge(&policies, &call), None, nothing, false, false))
}

/// What was compared: how often, and how often something was allowed.
#[derive(Default)]
struct Counts {
    compared: usize,
    allowed: usize,
}

impl Counts {
    fn compare(
        &mut self,
        seed: usize,
        policies: &[Value],
        resource: &str,
        told: &[EvaluationResult],
        asker: &Asker<'_>,
    ) {
        for result in told {
            let (action, theirs) = (result.eval_action_name(), result.eval_decision().as_str());
            let own = ours(policies, action, resource, asker);
            self.compared += 1;
            self.allowed += usize::from(own == "allowed");
            assert_eq!(own, theirs, "{SEED}={seed}: {action} on {resource}, by {}", json!(policies));
        }
    }
}

#[test]
fn decisions_on_random_policies_are_those_of_the_emulator() {
    let environment = TestEnvironment::new();
    let client = iam(&environment, OWN);
    let mut counts = Counts::default();
    block_on(async {
        let (first, sets) = (asked(SEED, 0), asked(SETS, 120));
        client.create_user().user_name("random").send().await.expect("a user");
        for seed in first..first + sets {
            let mut random = Random(u64::try_from(seed).expect("small"));
            let policies: Vec<Value> = (0..=random.below(3)).map(|_| document(&mut random)).collect();
            let resource = *random.pick(&RESOURCES);
            let own = simulate_custom(&client, &policies, resource).await;
            let root = Asker { arn: "arn:aws:iam::000000000000:root", kind: "User" };
            counts.compare(seed, &policies, resource, &own, &root);
            if seed % 4 == 0 {
                let told = simulate_principal(&client, &policies, resource).await;
                let user = Asker { arn: "arn:aws:iam::000000000000:user/random", kind: "User" };
                counts.compare(seed, &policies, resource, &told, &user);
            }
        }
    });
    println!("{} decisions compared, {} allowed; no difference", counts.compared, counts.allowed);
    assert!(
        counts.allowed * 10 > counts.compared,
        "too few are allowed: {} of {}",
        counts.allowed,
        counts.compared
    );
}

async fn simulate_custom(client: &Client, policies: &[Value], resource: &str) -> Vec<EvaluationResult> {
    let mut request = client.simulate_custom_policy().resource_arns(resource);
    for policy in policies {
        request = request.policy_input_list(policy.to_string());
    }
    for action in ACTIONS {
        request = request.action_names(action);
    }
    request.send().await.expect("a simulation").evaluation_results().to_vec()
}

/// The same policies as inline policies of a user.
async fn simulate_principal(client: &Client, policies: &[Value], resource: &str) -> Vec<EvaluationResult> {
    let known = client.list_user_policies().user_name("random").send().await.expect("a list");
    for name in known.policy_names() {
        client.delete_user_policy().user_name("random").policy_name(name).send().await.expect("deleted");
    }
    for (number, policy) in policies.iter().enumerate() {
        let request = client.put_user_policy().user_name("random").policy_name(format!("p{number}"));
        request.policy_document(policy.to_string()).send().await.expect("put");
    }
    let arn = "arn:aws:iam::000000000000:user/random";
    let mut request = client.simulate_principal_policy().policy_source_arn(arn).resource_arns(resource);
    for action in ACTIONS {
        request = request.action_names(action);
    }
    request.send().await.expect("a simulation").evaluation_results().to_vec()
}
