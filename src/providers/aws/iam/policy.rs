//! `aws.iam_policy`: a managed policy of the account.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    NO_SUCH_ENTITY, Outputs, W, arn, check_named, delete_conflict, from_sdk, predicted, root_path, to_sdk,
};
use crate::providers::aws::client::{AwsClient, missing};
use crate::providers::aws::error::Answer;
use crate::providers::aws::policy::{self, Document, PolicyType};
use crate::providers::aws::tags;
use crate::resource::{Diff, FieldError, Partial, Resource, Result, Scope, Tags};

/// IAM keeps this many versions of a policy.
const VERSIONS: usize = 5;
const DESCRIPTION_IS_FIXED: &str = "IAM cannot change a policy's description; keep the old one, \
                                    or declare another name";

/// A managed policy.
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_Policy.html>
pub struct IamPolicy;

/// What a plan declares.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "IamPolicy")]
pub struct Desired {
    /// The name, unique in the account.
    pub name: String,
    /// The path in front of the name in the ARN, e.g. `/apps/`; part of the policy's identity.
    #[serde(default = "root_path")]
    pub path: String,
    /// What the policy is for. Fixed when it is made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The policy itself.
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
    /// The name alone where the path is the usual one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path.trim_start_matches('/'))?;
        f.write_str(&self.name)
    }
}

/// What IAM says.
#[derive(Clone, Debug)]
pub struct Observed {
    name: String,
    arn: String,
    description: String,
    document: Option<Document>,
    tags: Tags,
}

impl Resource for IamPolicy {
    const KIND: &'static str = "aws.iam_policy";
    const ABOUT: &'static str = "A managed IAM policy; a change makes a new default version.";
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
    const TAGGED: bool = true;

    type Client = AwsClient;
    type Id = Id;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn id(desired: &Desired) -> Id {
        Id { path: desired.path.clone(), name: desired.name.clone() }
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let named = check_named(&desired.name, 128, &desired.path).into_iter();
        let document = desired.document.check("document", PolicyType::Identity);
        named.chain(document).chain(tags::check(&desired.tags)).collect()
    }

    /// Two calls, one after the other; in a large plan one, for the tags.
    async fn observe(client: &AwsClient, id: &Id) -> Result<Option<Observed>> {
        let arn = arn(client, "policy", &id.path, &id.name).await?;
        let answer = client.read().iam.get_policy().policy_arn(&arn).send().await;
        let Some(answer) = answer.found("iam:GetPolicy", NO_SUCH_ENTITY)? else { return Ok(None) };
        let policy = answer.policy.ok_or_else(|| missing("iam:GetPolicy", "policy"))?;
        let version = policy.default_version_id.ok_or_else(|| missing("iam:GetPolicy", "default version"))?;
        Ok(Some(Observed {
            name: id.name.clone(),
            document: document(client, &arn, &version).await?,
            arn,
            description: policy.description.unwrap_or_default(),
            tags: from_sdk(policy.tags),
        }))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        diff.immutable("description", &observed.description, &desired.description, DESCRIPTION_IS_FIXED);
        policy::compare(&mut diff, "document", observed.document.as_ref(), &desired.document);
        diff.entries("tags", &observed.tags, &desired.tags);
        diff
    }

    /// Sent once: the name is unique, so that a second request could only fail.
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

    /// Removes all versions, then the policy. IAM refuses while somebody still has it.
    async fn delete(w: &W<'_>, id: &Id) -> Result<()> {
        let arn = arn(w, "policy", &id.path, &id.name).await?;
        for version in old_versions(w, &arn).await? {
            delete_version(w, &arn, &version).await?;
        }
        let answer = w.write(w.permit()).iam.delete_policy().policy_arn(&arn).send().await;
        let answer = answer.found("iam:DeletePolicy", NO_SUCH_ENTITY).map(drop);
        answer.map_err(|error| delete_conflict(error, "its attachments to users, groups and roles"))
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { name: observed.name.clone(), arn: observed.arn.clone() }
    }

    fn predicted_outputs(desired: &Desired, scope: &Scope) -> Partial {
        predicted(scope, "policy", &desired.path, &desired.name)
    }

    fn tags(observed: &Observed) -> Option<&Tags> {
        Some(&observed.tags)
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

/// Makes room for one more version where there is none, then makes it the default.
async fn new_version(w: &W<'_>, arn: &str, document: &Document) -> Result<()> {
    let old = old_versions(w, arn).await?;
    // The default version is not among the old ones.
    if let Some(oldest) = old.first().filter(|_| old.len() + 1 >= VERSIONS) {
        delete_version(w, arn, oldest).await?;
    }
    let request = w.write_once(w.permit()).iam.create_policy_version().policy_arn(arn);
    let request = request.policy_document(document.text()).set_as_default(true);
    request.send().await.at("iam:CreatePolicyVersion").map(drop)
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
            name: "p".into(),
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
    fn the_path_is_part_of_the_identity() {
        let id = |path: &str| Id { path: path.into(), name: "p".into() }.to_string();
        assert_eq!((id("/"), id("/apps/")), ("p".into(), "apps/p".into()));
    }
}
