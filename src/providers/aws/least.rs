//! The least IAM policies that give some permissions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::needs::EVERYTHING;
use super::policy::evaluate::covers;
use super::settings::AwsAccount;
use crate::place::Place;
use crate::run::{Condition, LeastPolicy, Needs, Permission};

/// How many characters a managed policy may have, without spaces.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
const LONGEST: usize = 6144;
const VERSION: &str = "2012-10-17";

/// The content of a statement but its resources; statements are in this order.
type Key = (BTreeSet<&'static str>, Option<Condition>);

/// The policies; as few as IAM's limit on their size allows.
pub fn policies(connection: &Place, account: &AwsAccount, needs: &[&Needs]) -> Vec<LeastPolicy> {
    let wanted: BTreeSet<&Permission> = needs.iter().flat_map(|needs| &needs.permissions).collect();
    let statements = statements(&wanted);
    let notes = notes(account, &wanted);
    let documents = documents(&statements);
    let of = |document: Value| LeastPolicy {
        connection: connection.connection("aws"),
        text: format!("{document:#}"),
        step: ("aws.iam_policy", json!({ "document": document })),
        ending: "json",
        notes: notes.clone(),
    };
    documents.into_iter().map(of).collect()
}

/// The statements, each of them as JSON: what is allowed together, on all the resources that it is allowed on.
fn statements(wanted: &BTreeSet<&Permission>) -> Vec<Value> {
    let mut by_resource: BTreeMap<(&str, Option<&Condition>), BTreeSet<&'static str>> = BTreeMap::new();
    for one in wanted.iter().filter(|one| !is_covered(one, wanted)) {
        let action = one.any_of.first().copied().unwrap_or_default();
        by_resource.entry((&one.on, one.only.as_ref())).or_default().insert(action);
    }
    let mut by_actions: BTreeMap<Key, BTreeSet<&str>> = BTreeMap::new();
    for ((resource, only), actions) in by_resource {
        by_actions.entry((actions, only.cloned())).or_default().insert(resource);
    }
    by_actions.into_iter().map(|((actions, only), resources)| statement(&actions, &resources, only)).collect()
}

fn statement(actions: &BTreeSet<&str>, resources: &BTreeSet<&str>, only: Option<Condition>) -> Value {
    let mut statement = json!({ "Effect": "Allow", "Action": actions, "Resource": resources });
    if let Some(Condition { key, values }) = only {
        statement["Condition"] = json!({ "StringEquals": { key: values } });
    }
    statement
}

/// Whether another permission includes this one: the same action on a larger set of resources.
fn is_covered(one: &Permission, wanted: &BTreeSet<&Permission>) -> bool {
    let is_wider = |other: &Permission| {
        other.any_of.first() == one.any_of.first()
            && (other.only.is_none() || other.only == one.only)
            && (&other.on, &other.only) != (&one.on, &one.only)
            && matches(&other.on, &one.on)
    };
    wanted.iter().any(|other| is_wider(other))
}

/// Whether a resource of a policy includes another one. `*` stands for any text.
fn matches(pattern: &str, resource: &str) -> bool {
    if pattern.contains('$') { pattern == resource } else { covers(pattern, resource) }
}

/// Documents with all statements. One that is too large by itself is divided by its resources.
fn documents(statements: &[Value]) -> Vec<Value> {
    let mut documents: Vec<Vec<Value>> = Vec::new();
    for statement in statements.iter().flat_map(fitting) {
        let fits = |open: &Vec<Value>| {
            size(&[open.as_slice(), std::slice::from_ref(&statement)].concat()) <= LONGEST
        };
        match documents.last_mut().filter(|open| fits(open)) {
            Some(open) => open.push(statement),
            None => documents.push(vec![statement]),
        }
    }
    documents.into_iter().map(document).collect()
}

fn document(statements: Vec<Value>) -> Value {
    json!({ "Version": VERSION, "Statement": statements })
}

/// The characters that IAM counts.
fn size(statements: &[Value]) -> usize {
    document(statements.to_vec()).to_string().chars().filter(|c| !c.is_whitespace()).count()
}

/// A statement in parts that each fit into a document.
fn fitting(statement: &Value) -> Vec<Value> {
    if size(std::slice::from_ref(statement)) <= LONGEST {
        return vec![statement.clone()];
    }
    let longer =
        ["Resource", "Action"].into_iter().max_by_key(|part| statement[*part].as_array().map(Vec::len));
    let part = longer.unwrap_or("Resource");
    let all = statement[part].as_array().cloned().unwrap_or_default();
    if all.len() < 2 {
        return vec![statement.clone()];
    }
    let halves = all.chunks(all.len().div_ceil(2)).flat_map(|half| {
        let mut smaller = statement.clone();
        smaller[part] = json!(half);
        fitting(&smaller)
    });
    halves.collect()
}

/// Where the policy is wider than the plan, and why; and what it does not have.
fn notes(account: &AwsAccount, wanted: &BTreeSet<&Permission>) -> Vec<String> {
    let mut notes = Vec::new();
    let of_all: BTreeSet<&str> = wanted
        .iter()
        .filter(|one| one.on == EVERYTHING)
        .filter_map(|one| one.any_of.first().copied())
        .collect();
    if !of_all.is_empty() {
        let names = of_all.into_iter().collect::<Vec<_>>().join(", ");
        notes
            .push(format!("AWS has no permission on a single resource for {names}, so the resource is `*`."));
    }
    if wanted.iter().any(|one| one.on.ends_with(":key/*")) {
        notes.push(
            "The id of a KMS key is not known before the key exists, so the resource is every key of the account and \
             region; the keys' own policies still limit what is done with them."
                .to_owned(),
        );
    }
    let is_open = |part: usize| wanted.iter().any(|one| one.on.split(':').nth(part) == Some(EVERYTHING));
    for (part, field) in [(4, "account_id"), (3, "region")] {
        if is_open(part) {
            notes.push(format!("Declare `aws.{field}`, so that the policy names it instead of `*`."));
        }
    }
    if let Some(role) = &account.assume_role {
        notes.push(format!(
            "It is for the role {}; the credentials that assume this role need `sts:AssumeRole` on it.",
            role.role_arn
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(permissions: Vec<Permission>) -> Needs {
        Needs { step: "a".to_owned(), provider: "aws", place: Place::OWN, may_exist: true, permissions }
    }

    fn made(permissions: Vec<Permission>) -> Vec<Value> {
        let needs = needs(permissions);
        let policies = policies(&Place::OWN, &AwsAccount::default(), &[&needs]);
        policies.iter().map(|policy| serde_json::from_str(&policy.text).expect("JSON")).collect()
    }

    const GET: &[&str] = &["s3:GetObject"];
    const PUT: &[&str] = &["s3:PutObject"];

    #[test]
    fn permissions_are_merged_and_ordered() {
        let one = |on: &str, action| Permission::new(on, action);
        let [policy] = made(vec![
            one("b", PUT),
            one("b", GET),
            one("a", GET),
            one("a", PUT),
            one("a", GET),
            one("c", GET),
        ])
        .try_into()
        .expect("one policy");
        let statements = json!([
            { "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["c"] },
            { "Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": ["a", "b"] },
        ]);
        assert_eq!(policy, json!({ "Version": VERSION, "Statement": statements }));
    }

    #[test]
    fn covered_resources_are_left_out() {
        let only = Condition { key: "k", values: vec!["v".to_owned()] };
        let limited = Permission { only: Some(only), ..Permission::new("arn:key/1", GET) };
        let policy =
            made(vec![Permission::new("arn:key/*", GET), Permission::new("arn:key/1", GET), limited.clone()]);
        assert_eq!(policy[0]["Statement"][0]["Resource"], json!(["arn:key/*"]));
        assert_eq!(policy[0]["Statement"].as_array().map(Vec::len), Some(1));
        let policy = made(vec![limited, Permission::new("arn:key/2", GET)]);
        assert_eq!(policy[0]["Statement"].as_array().map(Vec::len), Some(2));
        assert_eq!(policy[0]["Statement"][1]["Condition"], json!({ "StringEquals": { "k": ["v"] } }));
    }

    #[test]
    fn resources_match_by_their_wildcards() {
        for (pattern, resource, is_in) in [
            ("*", "a", true),
            ("a/*", "a/b/c", true),
            ("a/*/c", "a/b/c", true),
            ("a/*", "a", false),
            ("a-??", "a-bc", true),
            ("a-??", "a-*", false),
            ("a${*}", "ab", false),
            ("a${*}", "a${*}", true),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(pattern, resource), is_in, "{pattern} {resource}");
        }
    }

    #[test]
    fn policies_are_split_over_the_limit() {
        let all: Vec<Permission> = (0..400)
            .map(|index| {
                Permission::new(
                    format!("arn:aws:s3:::bucket-{index:03}"),
                    if index % 2 == 0 { GET } else { PUT },
                )
            })
            .collect();
        let policies = made(all.clone());
        assert!(policies.len() > 1);
        let mut found = BTreeSet::new();
        for policy in &policies {
            assert!(policy.to_string().len() <= LONGEST);
            for statement in policy["Statement"].as_array().expect("statements") {
                for resource in statement["Resource"].as_array().expect("resources") {
                    found.insert((
                        resource.as_str().map(str::to_owned),
                        statement["Action"][0].clone().to_string(),
                    ));
                }
            }
        }
        assert_eq!(found.len(), all.len());
    }
}
