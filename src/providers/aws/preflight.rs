//! The permissions that the caller lacks, according to IAM.
//!
//! IAM evaluates the caller's own policies, its boundary and the organisation's policies, for resources that do
//! not exist yet too. It does not know policies of resources, and conditions only as far as it knows the
//! request, so that an answer which may depend on these says nothing.
//! [`SimulatePrincipalPolicy`](https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html)

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_iam::types::{EvaluationResult, PolicyEvaluationDecisionType as Decision};
use futures::StreamExt as _;

use super::client::AwsClient;
use super::needs::EVERYTHING;
use crate::run::{Lack, Needs, Permission};

/// How many questions are asked at the same time; IAM throttles early.
const AT_ONCE: usize = 4;
/// How many pairs of an action and a resource one question has.
const PAIRS: usize = 200;
/// Services whose resources have policies that may give a permission as well.
const WITH_POLICIES: [&str; 6] = ["dynamodb:", "kms:", "logs:", "s3:", "secretsmanager:", "sns:"];
/// The keys of a request that say whether it was made with MFA.
const MFA: [&str; 2] = ["aws:multifactorauthage", "aws:multifactorauthpresent"];
const NEEDS_MFA: &str = "a policy asks for MFA, and the credentials are an access key without it";
const IS_DENIED: &str = "a policy denies it explicitly";

/// Actions that are asked about together, and the resources of all of them.
type Questions = BTreeMap<BTreeSet<&'static str>, BTreeSet<String>>;
/// Why a pair of an action and a resource is not allowed.
type Answers = HashMap<(String, String), Refusal>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Explicit,
    Implicit,
    WithoutMfa,
}

/// The permissions that the caller certainly lacks. None for the root of an account and for callers that IAM does not know,
/// or where the caller may not ask.
pub(super) async fn lacking(client: &AwsClient, needs: &[&Needs]) -> Vec<Lack> {
    let Ok(identity) = client.identity().await else { return Vec::new() };
    let Some(principal) = principal(&identity.arn) else { return Vec::new() };
    let asked: Vec<(&Needs, &Permission)> =
        needs.iter().flat_map(|needs| needs.permissions.iter().map(move |one| (*needs, one))).collect();
    let asked: Vec<(&Needs, &Permission)> = asked.into_iter().filter(|(_, one)| is_definite(one)).collect();
    let is_session = client.is_session().await;
    let questions = questions(asked.iter().map(|(_, one)| *one));
    let questions: Vec<(Vec<String>, Vec<String>)> = questions.into_iter().flat_map(parts).collect();
    let answers = futures::stream::iter(questions)
        .map(|(actions, resources)| ask(client, &principal, actions, resources))
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let mut refusals = Answers::new();
    for result in answers.into_iter().flatten() {
        read(&result, is_session, &mut refusals);
    }
    let lack = |(needs, one): &(&Needs, &Permission)| lack(needs, one, &refusals);
    let found: BTreeSet<Lack> = asked.iter().filter_map(lack).collect();
    found.into_iter().collect()
}

fn lack(needs: &Needs, one: &Permission, refusals: &Answers) -> Option<Lack> {
    let action = *one.any_of.first()?;
    let refusal = *refusals.get(&(action.to_lowercase(), one.on.clone()))?;
    let may_be_given = needs.may_exist && WITH_POLICIES.iter().any(|service| action.starts_with(service));
    let reason = match refusal {
        Refusal::Explicit => Some(IS_DENIED.to_owned()),
        Refusal::Implicit if may_be_given => return None,
        Refusal::Implicit => None,
        Refusal::WithoutMfa => Some(NEEDS_MFA.to_owned()),
    };
    Some(Lack { action: action.to_owned(), resource: one.on.clone(), step: needs.step.clone(), reason })
}

/// A resource that is known completely, and used without a condition.
fn is_definite(one: &Permission) -> bool {
    one.only.is_none() && (one.on == EVERYTHING || !one.on.contains(['*', '?', '$']))
}

/// The ARN by which IAM knows the caller: a user's own, or that of the role that a session has assumed.
fn principal(arn: &str) -> Option<String> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, partition, service, _, account, resource] = parts.as_slice() else { return None };
    match (*service, resource.split_once('/')?) {
        ("iam", ("user", _)) => Some(arn.to_owned()),
        ("sts", ("assumed-role", session)) => {
            let role = session.split('/').next()?;
            Some(format!("arn:{partition}:iam::{account}:role/{role}"))
        }
        _ => None,
    }
}

fn questions<'a>(permissions: impl Iterator<Item = &'a Permission>) -> Questions {
    let mut by_resource: BTreeMap<&str, BTreeSet<&'static str>> = BTreeMap::new();
    for one in permissions {
        by_resource.entry(&one.on).or_default().extend(one.any_of.first());
    }
    let mut questions = Questions::new();
    for (resource, actions) in by_resource {
        questions.entry(actions).or_default().insert(resource.to_owned());
    }
    questions
}

/// A question in parts that are not too large.
fn parts(
    (actions, resources): (BTreeSet<&'static str>, BTreeSet<String>),
) -> Vec<(Vec<String>, Vec<String>)> {
    let actions: Vec<String> = actions.into_iter().map(ToOwned::to_owned).collect();
    let resources: Vec<String> = resources.into_iter().collect();
    let fitting = (PAIRS / actions.len().max(1)).max(1);
    resources.chunks(fitting).map(|some| (actions.clone(), some.to_vec())).collect()
}

/// The answers to one question; none when the caller may not ask it, or the server does not know it.
async fn ask(
    client: &AwsClient,
    principal: &str,
    actions: Vec<String>,
    resources: Vec<String>,
) -> Vec<EvaluationResult> {
    let request = client.read().iam.simulate_principal_policy().policy_source_arn(principal);
    let request = request.set_action_names(Some(actions)).set_resource_arns(Some(resources));
    let mut pages = request.into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let Ok(page) = page else { return Vec::new() };
        found.extend(page.evaluation_results.unwrap_or_default());
    }
    found
}

/// Adds the refusals of a result, which has either one resource or a part for each.
fn read(result: &EvaluationResult, is_session: bool, refusals: &mut Answers) {
    let action = result.eval_action_name.to_lowercase();
    let of_each = result.resource_specific_results.as_deref().unwrap_or_default();
    let single = result.eval_resource_name.as_deref().unwrap_or(EVERYTHING);
    let whole = (single, &result.eval_decision, result.missing_context_values());
    let parts = of_each.iter().map(|one| {
        (one.eval_resource_name.as_str(), &one.eval_resource_decision, one.missing_context_values())
    });
    let all: Vec<_> = if of_each.is_empty() { vec![whole] } else { parts.collect() };
    for (resource, decision, missing) in all {
        if let Some(refusal) = refusal(decision, missing, is_session) {
            refusals.insert((action.clone(), resource.to_owned()), refusal);
        }
    }
}

/// Whether a decision is a certain refusal. It is none where it may depend on something about the request that
/// IAM does not know.
fn refusal(decision: &Decision, missing: &[String], is_session: bool) -> Option<Refusal> {
    let is_mfa = |key: &String| MFA.contains(&key.to_lowercase().as_str());
    match decision {
        Decision::Allowed => None,
        _ if missing.iter().any(|key| !is_mfa(key)) => None,
        _ if !missing.is_empty() => (!is_session).then_some(Refusal::WithoutMfa),
        Decision::ExplicitDeny => Some(Refusal::Explicit),
        Decision::ImplicitDeny => Some(Refusal::Implicit),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Place;

    #[test]
    fn principal_of_a_session_is_its_role() {
        let rows = [
            ("arn:aws:iam::123456789012:user/apps/ci", Some("arn:aws:iam::123456789012:user/apps/ci")),
            (
                "arn:aws-cn:sts::123456789012:assumed-role/deploy/me",
                Some("arn:aws-cn:iam::123456789012:role/deploy"),
            ),
            ("arn:aws:iam::123456789012:root", None),
            ("arn:aws:sts::123456789012:federated-user/x", None),
            ("x", None),
        ];
        for (arn, expected) in rows {
            assert_eq!(principal(arn).as_deref(), expected, "{arn}");
        }
    }

    #[test]
    fn uncertain_decisions_are_no_refusals() {
        let missing = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        let mfa = missing(&["aws:MultiFactorAuthPresent"]);
        assert_eq!(refusal(&Decision::Allowed, &[], false), None);
        assert_eq!(refusal(&Decision::ImplicitDeny, &[], true), Some(Refusal::Implicit));
        assert_eq!(refusal(&Decision::ExplicitDeny, &[], true), Some(Refusal::Explicit));
        assert_eq!(refusal(&Decision::ImplicitDeny, &missing(&["aws:SourceVpc"]), false), None);
        assert_eq!(refusal(&Decision::ExplicitDeny, &mfa, false), Some(Refusal::WithoutMfa));
        assert_eq!(refusal(&Decision::ExplicitDeny, &mfa, true), None);
        assert_eq!(
            refusal(&Decision::ImplicitDeny, &missing(&["aws:MultiFactorAuthPresent", "x"]), false),
            None
        );
    }

    #[test]
    fn own_policy_of_an_existing_thing_may_allow_it() {
        let one = Permission::new("arn:aws:s3:::b", &["s3:PutBucketPolicy"]);
        let needs = |may_exist| Needs {
            step: "bucket".to_owned(),
            provider: "aws",
            place: Place::OWN,
            may_exist,
            permissions: vec![one.clone()],
        };
        let key = ("s3:putbucketpolicy".to_owned(), one.on.clone());
        let implicit = Answers::from([(key.clone(), Refusal::Implicit)]);
        assert_eq!(lack(&needs(true), &one, &implicit), None);
        assert_eq!(lack(&needs(false), &one, &implicit).map(|lack| lack.step), Some("bucket".to_owned()));
        let explicit = Answers::from([(key, Refusal::Explicit)]);
        assert!(lack(&needs(true), &one, &explicit).is_some_and(|lack| lack.reason.is_some()));
    }

    #[test]
    fn questions_join_resources_of_the_same_actions() {
        let one = |on: &str, action| Permission::new(on, action);
        let all = [
            one("a", &["x:A"]),
            one("b", &["x:A"]),
            one("a", &["x:B"]),
            one("b", &["x:B"]),
            one("c", &["x:A"]),
        ];
        let asked = questions(all.iter());
        assert_eq!(asked.len(), 2);
        let many = (BTreeSet::from(["x:A", "x:B"]), (0..300).map(|index| format!("{index:03}")).collect());
        assert_eq!(parts(many).len(), 3);
        assert!(is_definite(&one("*", &["x:A"])) && !is_definite(&one("a*", &["x:A"])));
    }
}
