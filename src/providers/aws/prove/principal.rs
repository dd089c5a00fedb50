//! An IAM user or role is proven by what IAM decides for it: on what its policies name, and on what lies closely beside.
//!
//! Nothing is called: IAM simulates each request.
//! [`SimulatePrincipalPolicy`](https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html)

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_iam::types::{EvaluationResult, PolicyEvaluationDecisionType as Verdict};
use serde_json::Value;

use super::Aws;
use crate::access::{Grant, Principal};
use crate::error::Result;
use crate::place::Realm;
use crate::providers::aws::error::Answer;
use crate::providers::aws::iam::IamGroup;
use crate::providers::aws::iam::policy::live_document;
use crate::providers::aws::policy::as_list;
use crate::providers::aws::policy::evaluate::{
    Call, Caller, CallerKind, Context, Decision, Hits, Judgement, Named, covers, decide, judge,
};
use crate::providers::aws::states::EVERY;
use crate::resource::Resource;
use crate::visible::first_few;

const TRIED: &str = "what its policies allow, and what lies beside";
const ADVICE: &str =
    "see which policies it has (`groundwork access PLAN ARN --live`), and who may change them";
/// Stands for what a wildcard leaves open.
const ANYTHING: &str = "groundwork-verify";
/// How many actions stand for one pattern, and how many of its relatives are tried.
const ACTIONS: usize = 3;
/// How many pairs of an action and a resource are asked about, and how many of them in one question.
const TRIALS: usize = 400;
const PAIRS: usize = 200;
/// How many differing pairs a finding names.
const SHOWN: usize = 5;

/// An action and a resource.
type Pair = (String, String);

/// The policies of a principal, with what is not known of them.
#[derive(Debug, Default)]
struct Policies {
    named: Vec<Named>,
    boundary: Option<Named>,
}

/// Tries the principal with this ARN, which states this of access.
pub(in crate::providers::aws) async fn prove(prover: &Aws<'_>, arn: &str, grants: Vec<Grant>) {
    let Some(principal) = principal_in(grants) else { return };
    let policies = policies_of(prover, &principal).await;
    let pairs = trials(policies.named.iter().chain(&policies.boundary));
    if pairs.is_empty() {
        return;
    }
    let Some(answers) = prover.ask(TRIED, "IAM simulates it", simulate(prover, arn, &pairs).await) else {
        return;
    };
    let Compared { allowed, refused, differing } = compare(&policies, &answers);
    if differing.is_empty() {
        return prover.proven(format!("IAM allows it {allowed} requests and refuses {refused} beside them"));
    }
    let side = |allows: fn(bool) -> bool| {
        let told = differing.iter().map(|((action, resource), expected)| {
            let word = if allows(*expected) { "is allowed" } else { "is refused" };
            format!("{action} on {resource} {word}")
        });
        first_few(told, SHOWN, "; ")
    };
    prover.failed(TRIED, side(|expected| expected), side(|expected| !expected), ADVICE);
}

/// How many answers are as the policies say, and those that are not, with what the policies say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Compared<'a> {
    allowed: usize,
    refused: usize,
    differing: Vec<(&'a Pair, bool)>,
}

/// Compares the answers of IAM with the policies. What depends on more than these is left out.
fn compare<'a>(policies: &Policies, answers: &'a BTreeMap<Pair, Simulated>) -> Compared<'a> {
    let mut compared = Compared::default();
    for (pair, answer) in answers.iter().filter(|(_, answer)| !answer.is_open) {
        // An endpoint that does not judge by boundaries says nothing of them.
        let boundary = policies.boundary.as_ref().filter(|_| answer.knows_boundary);
        let Some(expected) = expected(&policies.named, boundary, pair) else { continue };
        match (expected, answer.is_allowed) {
            (true, true) => compared.allowed += 1,
            (false, false) => compared.refused += 1,
            _ => compared.differing.push((pair, expected)),
        }
    }
    compared
}

fn principal_in(grants: Vec<Grant>) -> Option<Principal> {
    grants.into_iter().find_map(|grant| match grant {
        Grant::Principal(principal) => Some(principal),
        _ => None,
    })
}

/// The policies of the principal and of its groups. Managed ones are read; one that cannot be is not known.
async fn policies_of(prover: &Aws<'_>, principal: &Principal) -> Policies {
    let mut named = inline(principal);
    let own: BTreeSet<&String> = principal.policies.iter().chain(&principal.boundary).collect();
    let mut arns: BTreeSet<&String> = principal.policies.iter().collect();
    let groups: Vec<Option<Principal>> = principal.groups.iter().map(|name| group(prover, name)).collect();
    for group in &groups {
        match group {
            Some(group) => {
                named.extend(inline(group));
                arns.extend(&group.policies);
            }
            None => named.push(Named { name: "those of a group".to_owned(), document: None }),
        }
    }
    for arn in arns {
        named.push(managed(prover, arn, own.contains(arn)).await);
    }
    let boundary = match &principal.boundary {
        Some(arn) => Some(managed(prover, arn, true).await),
        None => None,
    };
    Policies { named, boundary }
}

fn inline(principal: &Principal) -> Vec<Named> {
    let documents = principal.documents.iter();
    documents.map(|(name, document)| Named { name: name.clone(), document: Some(document.clone()) }).collect()
}

/// A group that the plan declares.
fn group(prover: &Aws<'_>, name: &str) -> Option<Principal> {
    let step = prover.steps_of(IamGroup::KIND).find(|step| step.fields["name"] == name)?;
    let desired = serde_json::from_value(step.fields.clone()).ok()?;
    principal_in(IamGroup::grants(&desired, None, &Realm::UNKNOWN))
}

/// A managed policy, which is not known where it cannot be read. That of a group may be another's to read.
async fn managed(prover: &Aws<'_>, arn: &str, is_own: bool) -> Named {
    let document = match live_document(prover, arn).await {
        Err(error) if is_own => {
            prover.refused(TRIED, &format!("its policy {arn} can be read"), &error);
            None
        }
        document => document.ok().flatten(),
    };
    Named { name: arn.to_owned(), document: document.map(|document| document.value().clone()) }
}

/// Whether the policies allow a request; `None` where that is open, as under a condition.
fn expected(policies: &[Named], boundary: Option<&Named>, (action, resource): &Pair) -> Option<bool> {
    let caller = Caller { kind: CallerKind::Role, name: String::new(), account: String::new() };
    let context = Context::default();
    let call = Call { action, resource, caller: &caller, context: &context };
    let limits = boundary.map(|boundary| judge(std::slice::from_ref(boundary), &call));
    let none = (Judgement::default(), Hits::default());
    let is_known = policies.iter().chain(boundary).all(|policy| policy.document.is_some());
    match decide(judge(policies, &call), limits, none, false, false) {
        Decision::Allowed { only, unless, .. } => {
            (only.is_empty() && unless.is_empty() && is_known).then_some(true)
        }
        Decision::Denied { .. } => Some(false),
        Decision::NotAllowed => is_known.then_some(false),
    }
}

/// The requests that are tried: what the statements name, and the same with other actions and other resources.
fn trials<'a>(policies: impl Iterator<Item = &'a Named>) -> BTreeSet<Pair> {
    let mut all = BTreeSet::new();
    for document in policies.filter_map(|policy| policy.document.as_ref()) {
        for statement in as_list(document.get("Statement")) {
            let texts = |name: &str| {
                let list = as_list(statement.get(name));
                list.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
            };
            for pattern in texts("Resource").iter().filter(|pattern| !pattern.contains("${")) {
                let resource = filled(pattern);
                for action in texts("Action").iter().flat_map(|action| actions(action, &resource)) {
                    if resource != "*" {
                        all.insert((action.clone(), format!("{resource}-beside")));
                    }
                    all.insert((action, resource.clone()));
                }
            }
        }
    }
    all.into_iter().take(TRIALS).collect()
}

/// A resource for which the pattern stands. `*` by itself stays, for actions that have no resource.
fn filled(pattern: &str) -> String {
    if pattern == "*" { pattern.to_owned() } else { pattern.replace('*', ANYTHING).replace('?', "x") }
}

/// Actions for which the pattern stands, and relatives of them: what else can be done with the same thing.
fn actions(pattern: &str, resource: &str) -> Vec<String> {
    let lower = pattern.to_ascii_lowercase();
    let fits = |action: &str| covers(&lower, &action.to_ascii_lowercase());
    let mut found: Vec<String> = Vec::new();
    for family in EVERY {
        let all = family.iter().flat_map(|(_, any_of, on)| any_of.iter().map(move |action| (*action, *on)));
        let all: Vec<(&str, &str)> = all.collect();
        let Some((_, on)) = all.iter().find(|(action, on)| fits(action) && is_on(on, resource)) else {
            continue;
        };
        let alike = all.iter().filter(|(_, other)| other == on).map(|(action, _)| *action);
        let (meant, others): (Vec<&str>, Vec<&str>) = alike.partition(|action| fits(action));
        found.extend(
            meant.into_iter().take(ACTIONS).chain(others.into_iter().take(ACTIONS)).map(str::to_owned),
        );
    }
    if !pattern.contains(['*', '?']) && !found.iter().any(|one| one.eq_ignore_ascii_case(pattern)) {
        found.push(pattern.to_owned());
    }
    found
}

/// Whether an operation that follows the thing's ARN by `on` can be on this resource.
fn is_on(on: &str, resource: &str) -> bool {
    let is_object = resource.starts_with("arn:") && resource.contains(":s3:::") && resource.contains('/');
    resource == "*" || !resource.contains(":s3:::") || (on == "/*") == is_object
}

/// The answer of IAM to one request.
#[derive(Clone, Copy, Debug)]
struct Simulated {
    is_allowed: bool,
    /// Whether it depends on something about the request that was not given.
    is_open: bool,
    /// Whether boundaries were considered.
    knows_boundary: bool,
}

async fn simulate(prover: &Aws<'_>, arn: &str, pairs: &BTreeSet<Pair>) -> Result<BTreeMap<Pair, Simulated>> {
    let mut by_actions: BTreeMap<BTreeSet<&str>, BTreeSet<&str>> = BTreeMap::new();
    let mut by_resource: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (action, resource) in pairs {
        by_resource.entry(resource).or_default().insert(action);
    }
    for (resource, actions) in by_resource {
        by_actions.entry(actions).or_default().insert(resource);
    }
    let mut found = BTreeMap::new();
    for (actions, resources) in by_actions {
        let resources: Vec<&str> = resources.into_iter().collect();
        for some in resources.chunks((PAIRS / actions.len().max(1)).max(1)) {
            let request = prover.read().iam.simulate_principal_policy().policy_source_arn(arn);
            let request =
                request.set_action_names(Some(actions.iter().map(|one| (*one).to_owned()).collect()));
            let request = request.set_resource_arns(Some(some.iter().map(|one| (*one).to_owned()).collect()));
            let mut pages = request.into_paginator().send();
            while let Some(page) = pages.next().await {
                let page = page.at("iam:SimulatePrincipalPolicy")?;
                for result in page.evaluation_results.unwrap_or_default() {
                    read(&result, &mut found);
                }
            }
        }
    }
    Ok(found)
}

fn read(result: &EvaluationResult, found: &mut BTreeMap<Pair, Simulated>) {
    let action = &result.eval_action_name;
    let knows_boundary = result.permissions_boundary_decision_detail.is_some();
    let of = |verdict: &Verdict, missing: &[String]| Simulated {
        is_allowed: *verdict == Verdict::Allowed,
        is_open: !missing.is_empty(),
        knows_boundary,
    };
    let single = result.eval_resource_name.as_deref().unwrap_or("*");
    found.insert(
        (action.clone(), single.to_owned()),
        of(&result.eval_decision, result.missing_context_values()),
    );
    for one in result.resource_specific_results() {
        let simulated = of(&one.eval_resource_decision, one.missing_context_values());
        found.insert((action.clone(), one.eval_resource_name.clone()), simulated);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(statements: Value) -> Named {
        let document = json!({ "Version": "2012-10-17", "Statement": statements });
        Named { name: "p".to_owned(), document: Some(document) }
    }

    fn pair(action: &str, resource: &str) -> Pair {
        (action.to_owned(), resource.to_owned())
    }

    #[test]
    fn statement_is_tried_where_it_allows_and_closely_beside() {
        let all = trials(
            [policy(json!([
                { "Effect": "Allow", "Action": ["s3:Get*"], "Resource": ["arn:aws:s3:::b/*"] },
                { "Effect": "Allow", "Action": "kms:Decrypt", "Resource": "arn:aws:kms:eu-west-1:1:key/k" },
                { "Effect": "Allow", "Action": "ec2:RunInstances", "Resource": "*" },
                { "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/${aws:username}" },
            ]))]
            .iter(),
        );
        for (action, resource) in [
            ("s3:GetObject", "arn:aws:s3:::b/groundwork-verify"),
            ("s3:PutObject", "arn:aws:s3:::b/groundwork-verify"),
            ("s3:GetObject", "arn:aws:s3:::b/groundwork-verify-beside"),
            ("kms:Decrypt", "arn:aws:kms:eu-west-1:1:key/k-beside"),
            ("kms:Encrypt", "arn:aws:kms:eu-west-1:1:key/k"),
            ("ec2:RunInstances", "*"),
        ] {
            assert!(all.contains(&pair(action, resource)), "{action} on {resource} is not among {all:#?}");
        }
        assert!(!all.iter().any(|(action, _)| action == "s3:ListBucket"), "objects are not listed: {all:#?}");
        assert!(!all.iter().any(|(_, resource)| resource.contains('$')), "{all:#?}");
    }

    #[test]
    fn only_certain_decisions_are_expected() {
        let get =
            policy(json!([{ "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*" }]));
        let mfa = policy(json!([
            { "Effect": "Deny", "Action": "*", "Resource": "*", "Condition": { "Bool": { "aws:MultiFactorAuthPresent": "false" } } }
        ]));
        let unknown = Named { name: "AWS".to_owned(), document: None };
        let read = pair("s3:GetObject", "arn:aws:s3:::b/x");
        let other = pair("s3:PutObject", "arn:aws:s3:::b/x");
        assert_eq!(expected(std::slice::from_ref(&get), None, &read), Some(true));
        assert_eq!(expected(std::slice::from_ref(&get), None, &other), Some(false));
        assert_eq!(expected(&[get.clone(), mfa], None, &read), None, "it depends on how the caller logs in");
        assert_eq!(expected(&[get.clone(), unknown], None, &other), None, "another policy may allow it");
        let nothing = policy(json!([]));
        assert_eq!(expected(&[get], Some(&nothing), &read), Some(false), "the boundary ends it");
    }

    #[test]
    fn answer_that_no_policy_explains_differs() {
        let get = json!([{ "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*" }]);
        let mut policies = Policies { named: vec![policy(get)], boundary: None };
        let answer = |is_allowed| Simulated { is_allowed, is_open: false, knows_boundary: false };
        let (read, write) =
            (pair("s3:GetObject", "arn:aws:s3:::b/x"), pair("s3:PutObject", "arn:aws:s3:::b/x"));
        let as_written = BTreeMap::from([(read.clone(), answer(true)), (write.clone(), answer(false))]);
        let expected = Compared { allowed: 1, refused: 1, differing: Vec::new() };
        assert_eq!(compare(&policies, &as_written), expected);
        // A policy of the organisation refuses what the principal's own allow, and another allows more.
        let otherwise = BTreeMap::from([(read.clone(), answer(false)), (write.clone(), answer(true))]);
        assert_eq!(compare(&policies, &otherwise).differing, [(&read, true), (&write, false)]);
        let open = BTreeMap::from([(read.clone(), Simulated { is_open: true, ..answer(false) })]);
        assert_eq!(compare(&policies, &open), Compared::default());
        // Without its word on boundaries an endpoint is compared by the other policies.
        policies.boundary = Some(policy(json!([])));
        assert_eq!(compare(&policies, &as_written).differing, []);
        let bounded = BTreeMap::from([(read, Simulated { knows_boundary: true, ..answer(false) })]);
        assert_eq!(compare(&policies, &bounded).refused, 1);
    }
}
