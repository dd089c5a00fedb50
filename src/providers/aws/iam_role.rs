//! `aws.iam_role`: a role with its trust policy and its policies.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::client::{AwsClient, missing};
use super::error::Answer;
use super::iam_holder::{
    Grants, Holder, LiveGrants, NO_SUCH_ENTITY, check_name, check_path, delete_conflict, from_sdk, root_path,
    to_sdk,
};
use super::policy::{self, Document, PolicyType};
use super::scope::iam_arn;
use super::tags;
use crate::resource::{Diff, FieldError, Partial, Requirement, Resource, Result, Scope, Tags, Writer};

const PATH_IS_FIXED: &str = "IAM cannot move a role to another path; destroy the role and make it again, \
                             or declare another name";

/// A role of IAM.
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_Role.html>
pub struct IamRole;

/// What a plan declares.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "IamRole")]
pub struct Desired {
    /// The name, unique in the account.
    pub name: String,
    /// The path in front of the name in the ARN, e.g. `/apps/`. Fixed when the role is made.
    #[serde(default = "root_path")]
    pub path: String,
    /// What the role is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who may assume the role: the trust policy.
    pub assume_role_policy: Document,
    /// The longest session, in seconds, 3600 to 43200.
    #[serde(default = "hour")]
    #[schemars(range(min = 3600, max = 43200))]
    pub max_session_duration: u32,
    /// ARN of the policy that limits what the others can allow. Not declared: left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions_boundary: Option<String>,
    /// ARNs of attached policies; others are detached. Not declared: left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_policies: Option<Vec<String>>,
    /// Policies of its own, name to document; others are removed. Not declared: left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline_policies: Option<BTreeMap<String, Document>>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

fn hour() -> u32 {
    3600
}

impl Desired {
    fn grants(&self) -> Grants<'_> {
        Grants {
            permissions_boundary: self.permissions_boundary.as_ref(),
            managed_policies: self.managed_policies.as_deref(),
            inline_policies: self.inline_policies.as_ref(),
        }
    }

    /// The longest session as the SDK wants it; `check` keeps it in range.
    fn session(&self) -> i32 {
        i32::try_from(self.max_session_duration).unwrap_or(i32::MAX)
    }
}

/// What IAM says.
#[derive(Clone, Debug)]
pub struct Observed {
    name: String,
    arn: String,
    path: String,
    description: String,
    assume_role_policy: Option<Document>,
    max_session_duration: i32,
    grants: LiveGrants,
    tags: Tags,
}

/// What other steps may refer to.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IamRoleOutputs")]
pub struct Outputs {
    /// The role's name.
    pub name: String,
    /// The role's ARN.
    pub arn: String,
}

impl Resource for IamRole {
    const KIND: &'static str = "aws.iam_role";
    const ABOUT: &'static str = "An IAM role with its trust policy, attached and inline policies.";
    const EXAMPLE: &'static str = r#"vault_server:
  kind: aws.iam_role
  name: candlefish-vault
  description: Lets the Vault servers unseal themselves
  assume_role_policy:
    Version: "2012-10-17"
    Statement:
      - { Effect: Allow, Principal: { Service: ec2.amazonaws.com }, Action: "sts:AssumeRole" }
  max_session_duration: 7200
  inline_policies:
    unseal:
      Version: "2012-10-17"
      Statement:
        - { Effect: Allow, Action: [ "kms:Encrypt", "kms:Decrypt", "kms:DescribeKey" ], Resource: "*" }
"#;
    const TAGGED: bool = true;

    type Client = AwsClient;
    type Id = String;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn id(desired: &Desired) -> String {
        desired.name.clone()
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut found: Vec<FieldError> = check_name("name", &desired.name, 64).into_iter().collect();
        found.extend(check_path(&desired.path));
        if !(3600..=43200).contains(&desired.max_session_duration) {
            found.push(FieldError::new("max_session_duration", "must be from 3600 to 43200 seconds"));
        }
        found.extend(desired.assume_role_policy.check("assume_role_policy", PolicyType::Trust));
        found.extend(desired.grants().check());
        found.extend(tags::check(&desired.tags));
        found
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        desired.grants().requires()
    }

    /// Three calls at once, and one for each inline policy.
    async fn observe(client: &AwsClient, id: &String) -> Result<Option<Observed>> {
        let role = async {
            let answer = client.read().iam.get_role().role_name(id).send().await;
            answer.found("iam:GetRole", NO_SUCH_ENTITY)
        };
        let (answer, grants) = tokio::try_join!(role, Holder::Role(id).grants(client))?;
        let (Some(answer), Some(grants)) = (answer, grants) else { return Ok(None) };
        assemble(answer.role.ok_or_else(|| missing("iam:GetRole", "role"))?, grants).map(Some)
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        diff.immutable("path", &observed.path, &desired.path, PATH_IS_FIXED);
        diff.field("description", &observed.description, &desired.description);
        let trust = observed.assume_role_policy.as_ref();
        policy::compare(&mut diff, "assume_role_policy", trust, &desired.assume_role_policy);
        diff.field("max_session_duration", &observed.max_session_duration, &desired.session());
        desired.grants().diff(&mut diff, &observed.grants);
        diff.entries("tags", &observed.tags, &desired.tags);
        diff
    }

    /// One request that makes the role with boundary and marks of ownership, sent once: its name
    /// is unique, so that a second could only fail.
    async fn create(w: &Writer<'_, AwsClient>, desired: &Desired) -> Result<()> {
        let request = w.write_once(w.permit()).iam.create_role().role_name(&desired.name).path(&desired.path);
        let request = request
            .description(&desired.description)
            .assume_role_policy_document(desired.assume_role_policy.text())
            .max_session_duration(desired.session())
            .set_permissions_boundary(desired.permissions_boundary.clone())
            .set_tags(Some(to_sdk(&desired.tags)?));
        request.send().await.at("iam:CreateRole")?;
        let fresh = LiveGrants::with_boundary(desired.permissions_boundary.as_ref());
        desired.grants().apply(w, Holder::Role(&desired.name), &fresh).await
    }

    async fn update(w: &Writer<'_, AwsClient>, desired: &Desired, observed: &Observed) -> Result<()> {
        let diff = Self::diff(desired, observed);
        let iam = &w.write(w.permit()).iam;
        // UpdateRole would not take an empty description for one that is to be removed.
        if diff.touches("description") {
            let request = iam.update_role_description().role_name(&desired.name);
            request.description(&desired.description).send().await.at("iam:UpdateRoleDescription")?;
        }
        if diff.touches("max_session_duration") {
            let request = iam.update_role().role_name(&desired.name).max_session_duration(desired.session());
            request.send().await.at("iam:UpdateRole")?;
        }
        if diff.touches("assume_role_policy") {
            let request = iam.update_assume_role_policy().role_name(&desired.name);
            let request = request.policy_document(desired.assume_role_policy.text());
            request.send().await.at("iam:UpdateAssumeRolePolicy")?;
        }
        let holder = Holder::Role(&desired.name);
        desired.grants().apply(w, holder, &observed.grants).await?;
        holder.tag(w, &tags::to_add(&desired.tags, &observed.tags)).await
    }

    /// Takes its policies away first. Instance profiles that hold the role stay, and IAM then refuses.
    async fn delete(w: &Writer<'_, AwsClient>, id: &String) -> Result<()> {
        Holder::Role(id).strip(w).await?;
        let answer = w.write(w.permit()).iam.delete_role().role_name(id).send().await;
        let answer = answer.found("iam:DeleteRole", NO_SUCH_ENTITY).map(drop);
        answer.map_err(|error| delete_conflict(error, "instance profiles"))
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { name: observed.name.clone(), arn: observed.arn.clone() }
    }

    fn predicted_outputs(desired: &Desired, scope: &Scope) -> Partial {
        let arn = iam_arn(scope, "role", &desired.path, &desired.name);
        Partial::default().with("name", &desired.name).with_some("arn", arn)
    }

    fn tags(observed: &Observed) -> Option<&Tags> {
        Some(&observed.tags)
    }
}

fn assemble(role: aws_sdk_iam::types::Role, grants: LiveGrants) -> Result<Observed> {
    let trust = role.assume_role_policy_document;
    let trust = trust.map(|text| Document::parse_encoded("iam:GetRole", &text)).transpose()?;
    let boundary = role.permissions_boundary.and_then(|boundary| boundary.permissions_boundary_arn);
    Ok(Observed {
        name: role.role_name,
        arn: role.arn,
        path: role.path,
        description: role.description.unwrap_or_default(),
        assume_role_policy: trust,
        // IAM's default, where it names none.
        max_session_duration: role.max_session_duration.unwrap_or(3600),
        grants: LiveGrants { permissions_boundary: boundary, ..grants },
        tags: from_sdk(role.tags),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn trust() -> Value {
        json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": { "AWS": "123456789012" } }] })
    }

    fn observed() -> Observed {
        let live = trust().to_string().replace("\"123456789012\"", "[\"arn:aws:iam::123456789012:root\"]");
        Observed {
            name: "r".into(),
            arn: "arn:aws:iam::123456789012:role/r".into(),
            path: "/".into(),
            description: String::new(),
            assume_role_policy: Some(Document::parse("iam:GetRole", &live).expect("JSON")),
            max_session_duration: 3600,
            grants: LiveGrants::default(),
            tags: Tags::new(),
        }
    }

    #[test]
    fn the_notation_of_the_trust_policy_is_no_change() {
        let desired: Desired =
            serde_json::from_value(json!({ "name": "r", "assume_role_policy": trust() })).expect("valid");
        assert!(IamRole::check(&desired).is_empty());
        assert!(IamRole::diff(&desired, &observed()).is_empty());
    }

    #[test]
    fn every_field_is_compared() {
        let desired: Desired =
            serde_json::from_value(json!({ "name": "r", "path": "/x/", "description": "d",
            "max_session_duration": 7200, "tags": { "a": "b" }, "managed_policies": ["p"],
            "assume_role_policy": { "Statement": [] } }))
            .expect("valid");
        let diff = IamRole::diff(&desired, &observed());
        let paths: Vec<&str> = diff.changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "path",
                "description",
                "assume_role_policy",
                "max_session_duration",
                "managed_policies",
                "tags.a"
            ]
        );
        assert_eq!(diff.blocked.len(), 1);
    }
}
