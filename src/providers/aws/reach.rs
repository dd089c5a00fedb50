//! Who can reach what in AWS, by the policies of users, groups and roles and of the things themselves.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::arn::regional_arn;
use super::client::AwsClient;
use super::iam::IamPolicy;
use super::iam::policy::live_document;
use super::policy::as_list;
use super::policy::evaluate::{
    Call, Caller, CallerKind, Context, Decision, Hits, Judgement, Named, decide, judge, judge_resource,
};
use crate::access::{Access, Grant, Operation, Principal, Reach, Remark, Right, Stated, Subject, Target};
use crate::place::{Place, Realm};
use crate::resource::{Provided, Resource};
use crate::run::Run;
use crate::template::unknown::marker;

/// The account that stands for the plan's own while it is not known.
const SOME_ACCOUNT: &str = "000000000000";
/// AWS's managed policies whose content never changes.
const FULL: &str = ":iam::aws:policy/AdministratorAccess";

/// A realm in which every part is known, for names that only have to differ.
pub(super) fn stand_in(realm: &Realm) -> Realm {
    let with = |realm: Realm, part: &str, value: &str| match realm.get(part) {
        Some(_) => realm,
        None => realm.with(part, value),
    };
    with(with(realm.clone(), "account", SOME_ACCOUNT), "region", "us-east-1")
}

/// A principal with its policies.
struct Who {
    caller: Caller,
    subject: Subject,
    policies: Vec<Named>,
    boundary: Option<Named>,
    context: Context,
    /// Nothing is known of its own policies: it belongs to others.
    is_foreign: bool,
}

/// A thing that can be reached.
struct What<'a> {
    target: &'a Target,
    subject: Subject,
    arn: String,
    account: String,
    policy: Option<Named>,
}

/// Who can reach what, by these statements.
pub(super) fn reach(stated: &[Stated]) -> Access {
    let known = Known::of(stated);
    let mut access = Access::default();
    let targets: Vec<What<'_>> = stated.iter().flat_map(|one| known.targets(one)).collect();
    let mut principals = Vec::new();
    for one in stated {
        for grant in &one.grants {
            if let Grant::Principal(principal) = grant {
                principals.push(known.principal(principal, one, &mut access.remarks));
            }
        }
    }
    let declared: BTreeSet<String> = principals.iter().map(|who| who.caller.name.clone()).collect();
    let foreign: BTreeSet<Caller> =
        targets.iter().flat_map(named_in).filter(|caller| !declared.contains(&caller.name)).collect();
    principals.extend(foreign.into_iter().map(foreigner));
    for who in &principals {
        for what in &targets {
            let rights: Vec<Right> =
                what.target.operations.iter().filter_map(|one| right(who, what, one)).collect();
            if !rights.is_empty() {
                access.reach.push(Reach {
                    principal: who.subject.clone(),
                    target: what.subject.clone(),
                    rights,
                });
            }
        }
    }
    access.targets.extend(targets.iter().map(|what| what.subject.clone()));
    let is_in = |subject: &Subject| access.reach.iter().any(|one| one.principal == *subject);
    access.principals = principals
        .iter()
        .filter(|who| !who.is_foreign || is_in(&who.subject))
        .map(|who| who.subject.clone())
        .collect();
    access
}

/// The live managed policies that these principals name and that are not among them.
pub(super) async fn further(run: &Run, stated: &[Stated]) -> Vec<Stated> {
    let known: BTreeSet<String> = stated.iter().map(arn_of).collect();
    let mut wanted: BTreeSet<(Place, String)> = BTreeSet::new();
    for one in stated {
        for grant in &one.grants {
            if let Grant::Principal(principal) = grant {
                let arns =
                    principal.policies.iter().chain(&principal.boundary).filter(|arn| !known.contains(*arn));
                wanted.extend(arns.map(|arn| (one.place.clone(), arn.clone())));
            }
        }
    }
    let mut found = Vec::new();
    for (place, arn) in wanted {
        let Ok(client) = AwsClient::provide(run, &place).await else { continue };
        let Ok(Some(document)) = live_document(&client, &arn).await else { continue };
        let name = arn.rsplit('/').next().unwrap_or_default().to_owned();
        let grants = vec![Grant::Policy { name, rules: document.value().clone() }];
        let outputs = Map::from_iter([("arn".to_owned(), json!(arn))]);
        let step = format!("policy {arn}");
        found.push(Stated { step, kind: IamPolicy::KIND, place, realm: Realm::UNKNOWN, outputs, grants });
    }
    found
}

/// What is known of all steps.
struct Known {
    /// Markers, and what stands in their place.
    values: Vec<(String, String)>,
    /// Documents of managed policies by ARN.
    policies: BTreeMap<String, (String, Value)>,
    /// Groups by name and connection.
    groups: BTreeMap<(String, Option<String>), Principal>,
}

/// The ARN of a thing: its output, or one that stands for it.
fn arn_of(stated: &Stated) -> String {
    if let Some(arn) = stated.outputs.get("arn").and_then(Value::as_str) {
        return arn.to_owned();
    }
    let name = stated.outputs.get("name").and_then(Value::as_str).unwrap_or(&stated.step);
    let made = match stated.kind {
        // AWS adds six characters to the name.
        "aws.secret" => regional_arn(&stated.realm, "secretsmanager", &format!("secret:{name}-??????")),
        "aws.kms_key" => regional_arn(&stated.realm, "kms", &format!("key/{}", stated.step)),
        _ => None,
    };
    made.unwrap_or_else(|| marker(&format!("{}.arn", stated.step)))
}

impl Known {
    fn of(stated: &[Stated]) -> Self {
        let mut known = Self { values: Vec::new(), policies: BTreeMap::new(), groups: BTreeMap::new() };
        for one in stated {
            known.values.push((marker(&format!("{}.arn", one.step)), arn_of(one)));
            let outputs = one.outputs.iter().filter_map(|(name, value)| Some((name, value.as_str()?)));
            known.values.extend(
                outputs.map(|(name, value)| (marker(&format!("{}.{name}", one.step)), value.to_owned())),
            );
        }
        for one in stated {
            for grant in &one.grants {
                match grant {
                    Grant::Policy { name, rules } => {
                        known.policies.insert(arn_of(one), (name.clone(), known.filled(rules)));
                    }
                    Grant::Principal(principal) if principal.sort == "IAM group" => {
                        known
                            .groups
                            .insert((principal.name.clone(), one.place.alias.clone()), principal.clone());
                    }
                    _ => {}
                }
            }
        }
        known
    }

    fn text(&self, text: &str) -> String {
        self.values.iter().fold(text.to_owned(), |text, (marker, value)| text.replace(marker, value))
    }

    fn filled(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => json!(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.filled(item)).collect(),
            Value::Object(fields) => {
                let filled = fields.iter().map(|(key, value)| (self.text(key), self.filled(value)));
                Value::Object(filled.collect())
            }
            other => other.clone(),
        }
    }

    fn targets<'a>(&self, stated: &'a Stated) -> Vec<What<'a>> {
        let targets = stated.grants.iter().filter_map(|grant| match grant {
            Grant::Target(target) => Some(target),
            _ => None,
        });
        let what = |target: &'a Target| {
            let policy = target.policy.as_ref().map(|policy| Named {
                name: match target.sort {
                    "IAM role" => "its trust policy".to_owned(),
                    sort => format!("the {sort}'s policy"),
                },
                document: Some(self.filled(policy)),
            });
            let arn = arn_of(stated);
            let account = stated.realm.get("account").unwrap_or_default().to_owned();
            What { target, subject: subject(target.sort, &target.name, stated, &arn), arn, account, policy }
        };
        targets.map(what).collect()
    }

    fn principal(&self, principal: &Principal, stated: &Stated, remarks: &mut Vec<Remark>) -> Who {
        let arn = arn_of(stated);
        let subject = subject(principal.sort, &principal.name, stated, &arn);
        let mut policies = self.policies_of(principal, "");
        for name in &principal.groups {
            match self.groups.get(&(name.clone(), stated.place.alias.clone())) {
                Some(group) => policies.extend(self.policies_of(group, &format!("group {name}: "))),
                None => policies.push(Named { name: format!("those of the group {name}"), document: None }),
            }
        }
        let boundary = principal.boundary.as_ref().map(|arn| self.managed(&self.text(arn), "boundary "));
        for policy in policies.iter().chain(&boundary).filter(|policy| policy.document.is_none()) {
            let message = format!("has {}: what it allows is not known here", policy.name);
            remarks.push(Remark { about: subject.clone(), message });
        }
        let account = stated.realm.get("account").unwrap_or_default();
        let kind = match principal.sort {
            "IAM role" => CallerKind::Role,
            _ => CallerKind::User,
        };
        let mut context = Context::default()
            .with("aws:SecureTransport", &["true"])
            .with("aws:PrincipalIsAWSService", &["false"])
            .with("aws:PrincipalArn", &[&arn])
            .with("aws:PrincipalAccount", &[account])
            .with("aws:ResourceAccount", &[account]);
        context = match kind {
            CallerKind::User => {
                context.with("aws:username", &[&principal.name]).with("aws:PrincipalType", &["User"])
            }
            _ => context.without("aws:username").with("aws:PrincipalType", &["AssumedRole"]),
        };
        for (key, value) in &principal.facts {
            context = context.with(&format!("aws:PrincipalTag/{key}"), &[value]);
        }
        let caller = Caller { kind, name: arn, account: account.to_owned() };
        Who { caller, subject, policies, boundary, context, is_foreign: false }
    }

    fn policies_of(&self, principal: &Principal, prefix: &str) -> Vec<Named> {
        let managed = principal.policies.iter().map(|arn| self.managed(&self.text(arn), prefix));
        let own = principal.documents.iter().map(|(name, document)| Named {
            name: format!("{prefix}inline policy {name}"),
            document: Some(self.filled(document)),
        });
        managed.chain(own).collect()
    }

    fn managed(&self, arn: &str, prefix: &str) -> Named {
        let everything = || json!({ "Version": "2012-10-17", "Statement": { "Effect": "Allow", "Action": "*", "Resource": "*" } });
        match self.policies.get(arn) {
            Some((name, document)) => {
                Named { name: format!("{prefix}policy {name}"), document: Some(document.clone()) }
            }
            None if arn.ends_with(FULL) => {
                Named { name: format!("{prefix}policy AdministratorAccess"), document: Some(everything()) }
            }
            None => Named { name: format!("{prefix}{arn}"), document: None },
        }
    }
}

fn subject(sort: &str, name: &str, stated: &Stated, arn: &str) -> Subject {
    let is_known = stated.outputs.get("arn").is_some();
    Subject {
        provider: "aws",
        sort: sort.to_owned(),
        name: stated.place.qualify("aws", name),
        step: Some(stated.step.clone()),
        also: is_known.then(|| arn.to_owned()).into_iter().collect(),
    }
}

/// Whom the policy of a thing names.
fn named_in(what: &What<'_>) -> Vec<Caller> {
    let document = what.policy.as_ref().and_then(|policy| policy.document.clone()).unwrap_or_default();
    let mut found = Vec::new();
    for statement in as_list(document.get("Statement")).iter().filter(|one| one["Effect"] == "Allow") {
        match statement.get("Principal") {
            None | Some(Value::String(_)) => found.push(everyone()),
            Some(families) => {
                for (family, names) in families.as_object().into_iter().flatten() {
                    let names = as_list(Some(names));
                    found.extend(
                        names.iter().filter_map(Value::as_str).filter_map(|name| caller(family, name)),
                    );
                }
            }
        }
    }
    let permits = what.target.permits.iter().filter_map(|permit| caller("AWS", &permit.principal));
    found.extend(permits);
    // The account as a whole leaves the decision to its own policies.
    found.retain(|one| !(one.kind == CallerKind::Account && one.account == what.account));
    found
}

fn everyone() -> Caller {
    Caller { kind: CallerKind::Everyone, name: "*".to_owned(), account: String::new() }
}

fn caller(family: &str, name: &str) -> Option<Caller> {
    let account = name.split(':').nth(4).unwrap_or(name).to_owned();
    let (kind, account) = match family {
        "AWS" if name == "*" => return Some(everyone()),
        "AWS" if name.contains(":role/") || name.contains(":assumed-role/") => (CallerKind::Role, account),
        "AWS" if name.contains(":user/") => (CallerKind::User, account),
        "AWS" => {
            let root = format!("arn:aws:iam::{account}:root");
            return Some(Caller { kind: CallerKind::Account, name: root, account });
        }
        "Service" => (CallerKind::Service, String::new()),
        "Federated" => (CallerKind::Federated, String::new()),
        _ => return None,
    };
    Some(Caller { kind, name: name.to_owned(), account })
}

/// A principal that only the policy of a thing names.
fn foreigner(caller: Caller) -> Who {
    let (sort, name) = match caller.kind {
        CallerKind::Everyone => ("everyone", "*"),
        CallerKind::Account => ("account", caller.account.as_str()),
        CallerKind::Service => ("service", caller.name.as_str()),
        CallerKind::Federated => ("identity provider", caller.name.as_str()),
        CallerKind::User | CallerKind::Role => ("AWS principal", caller.name.as_str()),
    };
    let subject = Subject {
        provider: "aws",
        sort: sort.to_owned(),
        name: name.to_owned(),
        step: None,
        also: Vec::new(),
    };
    let context = Context::default().with("aws:SecureTransport", &["true"]);
    Who { caller, subject, policies: Vec::new(), boundary: None, context, is_foreign: true }
}

/// The right to do this with the thing, if the policies give it.
fn right(who: &Who, what: &What<'_>, operation: &Operation) -> Option<Right> {
    let all = operation.any_of.iter().filter_map(|action| match decision(who, what, action, &operation.on) {
        Decision::Allowed { by, only, unless } => {
            Some(Right { right: operation.right, because: vec![by], only, unless })
        }
        Decision::Denied { .. } | Decision::NotAllowed => None,
    });
    let all: Vec<Right> = all.collect();
    let certain = all.iter().find(|right| right.is_certain()).cloned();
    certain.or_else(|| all.into_iter().next())
}

fn decision(who: &Who, what: &What<'_>, action: &str, on: &str) -> Decision {
    let resource = format!("{}{on}", what.arn);
    let call = Call { action, resource: &resource, caller: &who.caller, context: &who.context };
    // Only who may assume a role is decided by its trust policy.
    let has_say = what.target.sort != "IAM role" || action.starts_with("sts:");
    let (mut of_resource, mut delegated) = match &what.policy {
        Some(policy) if has_say => judge_resource(policy, &call),
        _ => (Judgement::default(), Hits::default()),
    };
    if who.caller.kind == CallerKind::Everyone && what.target.is_closed {
        // A public statement has no effect behind the block of public access.
        of_resource.allow.certain.clear();
    }
    let is_elsewhere =
        !who.is_foreign && !who.caller.account.is_empty() && who.caller.account != what.account;
    if is_elsewhere {
        // Across accounts both sides must allow it.
        delegated.extend(std::mem::take(&mut of_resource.allow));
    }
    for permit in what.target.permits.iter().filter(|permit| permit.principal == who.caller.name) {
        if permit.actions.iter().any(|one| one.eq_ignore_ascii_case(action)) {
            of_resource.allow.permit(format!("grant {}", permit.name), permit.only.clone());
        }
    }
    let needs_resource = is_elsewhere
        || what.target.sort == "key"
        || (what.target.sort == "IAM role" && action.starts_with("sts:"));
    let boundary = who.boundary.as_ref().map(|boundary| judge(std::slice::from_ref(boundary), &call));
    let bounds_named = who.caller.kind == CallerKind::Role;
    decide(judge(&who.policies, &call), boundary, (of_resource, delegated), needs_resource, bounds_named)
}
