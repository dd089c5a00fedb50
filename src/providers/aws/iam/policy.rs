//! `aws.iam_policy`: a managed policy of the account.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    NO_SUCH_ENTITY, Outputs, W, arn, check_named, delete_conflict, folded, from_sdk, predicted, root_path,
    to_sdk,
};
use crate::access::{Grant, Granting};
use crate::error::{Error, FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::providers::aws::ACCOUNT;
use crate::providers::aws::client::{AwsClient, missing};
use crate::providers::aws::error::Answer;
use crate::providers::aws::needs::{self, Need, On, creates, deletes, reads, updates};
use crate::providers::aws::policy::iam_policy;
use crate::providers::aws::policy::{self, Document, PolicyType};
use crate::providers::aws::states;
use crate::providers::aws::tags;
use crate::resource::risk::{LABELS, Risks, fixed, identity, safe};
use crate::resource::{Attachment, Diff, Look, Partial, Resource, Tags};
use crate::run::{Permission, Use};

const NAME_IS_TAKEN: &str = "the account has a policy of this name at another path or in other case. IAM \
                             allows a name only once and cannot move a policy; declare another name";
const DESCRIPTION_IS_FIXED: &str = "IAM cannot change a policy's description; keep the old one, \
                                    or declare another name";

/// A managed policy. <https://docs.aws.amazon.com/IAM/latest/APIReference/API_Policy.html>
pub struct IamPolicy;

/// A policy that principals have by its ARN, and that others may change.
fn states(name: &str, document: Option<&Document>) -> Vec<Grant> {
    let policy =
        document.map(|document| Grant::Policy { name: name.to_owned(), rules: document.value().clone() });
    let target = Grant::Target(states::target("IAM policy", name, states::POLICY));
    policy.into_iter().chain([target]).collect()
}

/// The declared fields.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "IamPolicy")]
pub struct Desired {
    /// The name, unique in the account.
    pub name: String,
    /// The path in front of the name in the ARN, e.g. `/apps/`; part of the policy's identity.
    #[serde(default = "root_path")]
    pub path: String,
    /// The description. Fixed when the policy is created.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The policy document.
    pub document: Document,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// Path and name, which together make the ARN.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Id {
    path: String,
    name: String,
}

impl fmt::Display for Id {
    /// Shows only the name if the path is the default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path.trim_start_matches('/'))?;
        f.write_str(&self.name)
    }
}

/// The policy as IAM reports it.
#[derive(Clone, Debug)]
pub struct Observed {
    id: Id,
    /// Whether it is another policy that occupies the declared name.
    is_namesake: bool,
    arn: String,
    description: String,
    document: Option<Document>,
    tags: Tags,
}

impl Observed {
    /// Another policy that occupies the declared name.
    fn namesake(arn: String) -> Self {
        let resource = arn.split_once(":policy").map_or("", |(_, resource)| resource);
        let (path, name) = resource.rsplit_once('/').unwrap_or_default();
        Self {
            is_namesake: true,
            id: Id { path: format!("{path}/"), name: name.to_owned() },
            arn,
            description: String::new(),
            document: None,
            tags: Tags::new(),
        }
    }
}

/// The actions that it needs.
const NEEDS: &[Need] = &[
    reads(&["iam:GetPolicy", "iam:GetPolicyVersion"]),
    // IAM takes a name only once, at whatever path.
    creates(&["iam:ListPolicies"]).on(On::Everything),
    creates(&["iam:CreatePolicy", "iam:TagPolicy"]),
    // IAM keeps five versions of a policy.
    updates(&["iam:CreatePolicyVersion", "iam:DeletePolicyVersion", "iam:ListPolicyVersions"])
        .with(&["document"]),
    updates(&["iam:TagPolicy"]).with(&["tags"]),
    deletes(&["iam:DeletePolicy", "iam:ListEntitiesForPolicy", "iam:ListPolicyVersions"]),
    // Versions that an update has made.
    deletes(&["iam:DeletePolicyVersion"]),
];

impl Resource for IamPolicy {
    const KIND: &'static str = "aws.iam_policy";
    const GRANTS: Granting = Granting::States;
    const REALM: &'static [&'static str] = ACCOUNT;
    const ABOUT: &'static str = "A managed IAM policy; a change creates a new default version.";
    const EXAMPLE: &'static str = r#"terraform_state:
  kind: aws.iam_policy
  name: candlefish-terraform-state
  description: Reads and writes the Terraform state
  document:
    Version: "2012-10-17"
    Statement:
      - Effect: Allow
        Action: [ "s3:GetObject", "s3:PutObject" ]
        Resource: arn:aws:s3:::candlefish-terraform-state/*
read_artifacts:
  kind: aws.iam_policy
  name: candlefish-read-artifacts
  document:
    - { allow: "s3:GetObject", on: "arn:aws:s3:::candlefish-artifacts/*" }
    - deny: "s3:*"
      on: "*"
      when: { Bool: { "aws:SecureTransport": false } }
"#;
    const RISKS: Risks =
        &[&[identity("name path"), fixed("description"), iam_policy("document"), safe("tags", LABELS)]];
    const PROOF: Proof = Proof::InSync("IAM evaluates the policy as it reports it");
    const TAGGED: bool = true;

    type Client = AwsClient;
    type Id = Id;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        needs::of(NEEDS, used, desired, |_| {
            vec![needs::in_iam(used.realm, "policy", &desired.path, &desired.name)]
        })
    }

    fn id(desired: &Desired) -> Id {
        Id { path: desired.path.clone(), name: desired.name.clone() }
    }

    fn same_name(id: &Id) -> String {
        Id { name: folded(&id.name), ..id.clone() }.to_string()
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let named = check_named(&desired.name, 128, &desired.path).into_iter();
        let document = desired.document.check("document", PolicyType::Identity);
        named.chain(document).chain(tags::check(&desired.tags)).collect()
    }

    fn grants(desired: &Desired, _: Option<&Observed>, _: &Realm) -> Vec<Grant> {
        states(&desired.name, Some(&desired.document))
    }

    fn granted(observed: &Observed) -> Vec<Grant> {
        states(&observed.id.name, observed.document.as_ref())
    }

    /// Sends two requests, one after the other; in a large plan one, for the tags.
    async fn observe(client: &AwsClient, id: &Id, _: Look<'_, Self>) -> Result<Option<Observed>> {
        let arn = arn(client, "policy", &id.path, &id.name).await?;
        let answer = client.read().iam.get_policy().policy_arn(&arn).send().await;
        let Some(answer) = answer.found("iam:GetPolicy", NO_SUCH_ENTITY)? else {
            let other = client.iam.namesake(client, &id.name).await?;
            return Ok(other.filter(|other| *other != arn).map(Observed::namesake));
        };
        let policy = answer.policy.ok_or_else(|| missing("iam:GetPolicy", "policy"))?;
        let version = policy.default_version_id.ok_or_else(|| missing("iam:GetPolicy", "default version"))?;
        Ok(Some(Observed {
            id: id.clone(),
            is_namesake: false,
            document: document(client, &arn, &version).await?,
            arn,
            description: policy.description.unwrap_or_default(),
            tags: from_sdk(policy.tags),
        }))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        if observed.is_namesake {
            diff.immutable("name", &observed.id.name, &desired.name, NAME_IS_TAKEN);
            diff.immutable("path", &observed.id.path, &desired.path, NAME_IS_TAKEN);
            return diff;
        }
        diff.immutable("description", &observed.description, &desired.description, DESCRIPTION_IS_FIXED);
        policy::compare(&mut diff, "document", observed.document.as_ref(), &desired.document);
        diff.entries("tags", &observed.tags, &desired.tags);
        diff
    }

    /// Sent only once: the name is unique, so a second request could only fail.
    async fn create(w: &W<'_>, desired: &Desired) -> Result<()> {
        let request = w.write_once(w.permit()).iam.create_policy().policy_name(&desired.name);
        let description = Some(desired.description.clone()).filter(|text| !text.is_empty());
        let request = request
            .path(&desired.path)
            .set_description(description)
            .policy_document(desired.document.text())
            .set_tags(Some(to_sdk(&desired.tags)?));
        request.send().await.at("iam:CreatePolicy").map(drop)
    }

    async fn update(w: &W<'_>, desired: &Desired, observed: &Observed) -> Result<()> {
        let diff = Self::diff(desired, observed);
        if diff.touches("document") {
            new_version(w, &observed.arn, &desired.document).await?;
        }
        if diff.touches("tags") {
            let added = to_sdk(&tags::to_add(&desired.tags, &observed.tags))?;
            let request = w.write(w.permit()).iam.tag_policy().policy_arn(&observed.arn);
            request.set_tags(Some(added)).send().await.at("iam:TagPolicy")?;
        }
        Ok(())
    }

    /// Deletes all old versions, as IAM requires, then the policy. Recreates them if the deletion fails.
    async fn delete(w: &W<'_>, id: &Id) -> Result<()> {
        let arn = arn(w, "policy", &id.path, &id.name).await?;
        let mut taken = Vec::new();
        match delete_all(w, &arn, &mut taken).await {
            Ok(()) => Ok(()),
            Err(error) => Err(error.after_restoring("old versions", restore(w, &arn, taken).await)),
        }
    }

    /// A holder to which the policy is attached, or whose boundary it is, blocks its deletion.
    async fn attachments(client: &AwsClient, _: &Id, observed: &Observed) -> Result<Vec<Attachment>> {
        let pages = client.read().iam.list_entities_for_policy().policy_arn(&observed.arn);
        let pages = pages.into_paginator().send().try_collect().await;
        let pages = pages.found("iam:ListEntitiesForPolicy", NO_SUCH_ENTITY)?.unwrap_or_default();
        let holds = |noun: &str, kind: &'static str, name: Option<String>| {
            let name = name.unwrap_or_default();
            let clause = format!("the {noun} `{name}` uses the policy, attached or as its boundary");
            Attachment::blocks("attached_to", format!("{noun}/{name}"), clause)
                .held_by(kind, name)
                .by_value(&observed.arn)
        };
        let mut found = Vec::new();
        for page in pages {
            let users = page.policy_users.unwrap_or_default().into_iter();
            found.extend(users.map(|user| holds("user", "aws.iam_user", user.user_name)));
            let roles = page.policy_roles.unwrap_or_default().into_iter();
            found.extend(roles.map(|role| holds("role", "aws.iam_role", role.role_name)));
            let groups = page.policy_groups.unwrap_or_default().into_iter();
            found.extend(groups.map(|group| holds("group", "aws.iam_group", group.group_name)));
        }
        Ok(found)
    }

    fn obstructs(observed: &Observed) -> bool {
        observed.is_namesake
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { name: observed.id.name.clone(), arn: observed.arn.clone() }
    }

    fn predicted_outputs(desired: &Desired, realm: &Realm) -> Partial {
        predicted(realm, "policy", &desired.path, &desired.name)
    }

    fn tags(observed: &Observed) -> Option<&Tags> {
        Some(&observed.tags)
    }
}

/// The document of the policy with this ARN, AWS's own included.
pub(in crate::providers::aws) async fn live_document(
    client: &AwsClient,
    arn: &str,
) -> Result<Option<Document>> {
    let answer = client.read().iam.get_policy().policy_arn(arn).send().await;
    let policy = answer.found("iam:GetPolicy", NO_SUCH_ENTITY)?.and_then(|answer| answer.policy);
    match policy.and_then(|policy| policy.default_version_id) {
        Some(version) => document(client, arn, &version).await,
        None => Ok(None),
    }
}

async fn document(client: &AwsClient, arn: &str, version: &str) -> Result<Option<Document>> {
    const OPERATION: &str = "iam:GetPolicyVersion";
    if let Some(document) = client.iam.document(client, arn, version).await? {
        return Ok(Some(document));
    }
    let answer = client.read().iam.get_policy_version().policy_arn(arn).version_id(version).send().await;
    let answer = answer.found(OPERATION, NO_SUCH_ENTITY)?;
    let text = answer.and_then(|answer| answer.policy_version).and_then(|version| version.document);
    text.map(|text| Document::parse_encoded(OPERATION, &text)).transpose()
}

/// Deletes the policy with its old versions, and adds those to `taken`.
async fn delete_all(w: &W<'_>, arn: &str, taken: &mut Vec<Document>) -> Result<()> {
    for version in old_versions(w, arn).await? {
        taken.extend(take_version(w, arn, &version).await?);
    }
    let answer = w.write(w.permit()).iam.delete_policy().policy_arn(arn).send().await;
    let answer = answer.found("iam:DeletePolicy", NO_SUCH_ENTITY).map(drop);
    answer.map_err(|error| delete_conflict(error, "its attachments to users, groups and roles"))
}

/// Creates a new default version. Deletes the oldest version only if IAM is at its limit, so that a
/// refused document costs no version.
async fn new_version(w: &W<'_>, arn: &str, document: &Document) -> Result<()> {
    match create_version(w, arn, document, true).await {
        Err(error) if is_full(&error) => {}
        made => return made,
    }
    // The default version is not among the old ones.
    let taken = match old_versions(w, arn).await?.first() {
        Some(oldest) => take_version(w, arn, oldest).await?,
        None => None,
    };
    match create_version(w, arn, document, true).await {
        Ok(()) => Ok(()),
        Err(error) => Err(error.after_restoring("oldest version", restore(w, arn, taken).await)),
    }
}

async fn create_version(w: &W<'_>, arn: &str, document: &Document, default: bool) -> Result<()> {
    let request = w.write_once(w.permit()).iam.create_policy_version().policy_arn(arn);
    let request = request.policy_document(document.text()).set_as_default(default);
    request.send().await.at("iam:CreatePolicyVersion").map(drop)
}

/// Deletes a version and returns its document.
async fn take_version(w: &W<'_>, arn: &str, version: &str) -> Result<Option<Document>> {
    let taken = document(w, arn, version).await?;
    delete_version(w, arn, version).await?;
    Ok(taken)
}

/// Recreates deleted versions. They get new ids; none becomes the default.
async fn restore(w: &W<'_>, arn: &str, taken: impl IntoIterator<Item = Document>) -> Result<()> {
    for document in taken {
        create_version(w, arn, &document, false).await?;
    }
    Ok(())
}

/// IAM keeps five versions of a policy. It reports a document that is too large with the same code.
fn is_full(error: &Error) -> bool {
    error.is("LimitExceeded") && !error.message.contains("PolicySize")
}

/// Versions other than the default, oldest first. Their ids are `v1`, `v2`, … and are not reused.
async fn old_versions(w: &W<'_>, arn: &str) -> Result<Vec<String>> {
    let pages = w.read().iam.list_policy_versions().policy_arn(arn).into_paginator().items().send();
    let versions = pages.try_collect().await.found("iam:ListPolicyVersions", NO_SUCH_ENTITY)?;
    let old = versions.unwrap_or_default().into_iter().filter(|version| !version.is_default_version);
    let mut old: Vec<String> = old.filter_map(|version| version.version_id).collect();
    old.sort_by_key(|id| id.trim_start_matches('v').parse::<u32>().unwrap_or(u32::MAX));
    Ok(old)
}

async fn delete_version(w: &W<'_>, arn: &str, version: &str) -> Result<()> {
    let request = w.write(w.permit()).iam.delete_policy_version().policy_arn(arn).version_id(version);
    request.send().await.found("iam:DeletePolicyVersion", NO_SUCH_ENTITY).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_field_is_compared() {
        let desired: Desired = serde_json::from_value(json!({ "name": "p", "description": "new",
            "document": { "Statement": { "Effect": "Allow", "Action": "s3:*", "Resource": "*" } } }))
        .expect("valid");
        let live = "{\"Statement\":[{\"Effect\":\"Allow\",\"Action\":[\"s3:*\"],\"Resource\":[\"*\"]}]}";
        let observed = Observed {
            id: Id { path: "/".into(), name: "p".into() },
            is_namesake: false,
            arn: "arn".into(),
            description: "old".into(),
            document: Some(Document::parse("iam:GetPolicyVersion", live).expect("JSON")),
            tags: Tags::new(),
        };
        let diff = IamPolicy::diff(&desired, &observed);
        assert_eq!((diff.changes.len(), diff.blocked.len()), (1, 1));
        assert!(diff.touches("description"));
    }

    #[test]
    fn namesake_at_another_path_blocks() {
        let desired: Desired = serde_json::from_value(json!({ "name": "p", "path": "/new/",
            "document": [{ "allow": "s3:GetObject", "on": "*" }] }))
        .expect("valid");
        let other = |arn: &str| Observed::namesake(arn.to_owned());
        let live = other("arn:aws:iam::123456789012:policy/old/deep/p");
        let diff = IamPolicy::diff(&desired, &live);
        assert_eq!((diff.changes[0].before.clone(), diff.blocked.len()), (json!("/old/deep/"), 1));
        assert!(IamPolicy::obstructs(&live));
        let spelling = other("arn:aws:iam::123456789012:policy/new/P");
        assert_eq!(IamPolicy::diff(&desired, &spelling).blocked[0].path, "name");
        assert_eq!(other("arn:aws:iam::123456789012:policy/p").id.path, "/");
    }

    #[test]
    fn path_is_part_of_the_policy_identity() {
        let id = |path: &str| Id { path: path.into(), name: "p".into() }.to_string();
        assert_eq!((id("/"), id("/apps/")), ("p".into(), "apps/p".into()));
    }
}
