//! `aws.iam_user`: a user with its policies.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::client::{AwsClient, missing};
use super::error::Answer;
use super::iam_holder::{
    Grants, Holder, LiveGrants, NO_SUCH_ENTITY, check_name, check_path, delete_conflict, from_sdk, root_path,
    to_sdk,
};
use super::policy::Document;
use super::scope::iam_arn;
use super::tags;
use crate::resource::{Diff, FieldError, Partial, Requirement, Resource, Result, Scope, Tags, Writer};

/// A user of IAM.
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_User.html>
pub struct IamUser;

/// What a plan declares.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "IamUser")]
pub struct Desired {
    /// The name, unique in the account.
    pub name: String,
    /// The path in front of the name in the ARN, e.g. `/apps/`.
    #[serde(default = "root_path")]
    pub path: String,
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

impl Desired {
    fn grants(&self) -> Grants<'_> {
        Grants {
            permissions_boundary: self.permissions_boundary.as_ref(),
            managed_policies: self.managed_policies.as_deref(),
            inline_policies: self.inline_policies.as_ref(),
        }
    }
}

/// What IAM says.
#[derive(Clone, Debug)]
pub struct Observed {
    name: String,
    arn: String,
    path: String,
    grants: LiveGrants,
    tags: Tags,
}

/// What other steps may refer to.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IamUserOutputs")]
pub struct Outputs {
    /// The user's name.
    pub name: String,
    /// The user's ARN.
    pub arn: String,
}

impl Resource for IamUser {
    const KIND: &'static str = "aws.iam_user";
    const ABOUT: &'static str = "An IAM user with its attached and inline policies.";
    const EXAMPLE: &'static str = r#"secrets_admin:
  kind: aws.iam_user
  name: candlefish-secrets-admin
  path: /candlefish/
  managed_policies: [ "arn:aws:iam::aws:policy/IAMReadOnlyAccess" ]
  inline_policies:
    read-secrets:
      Version: "2012-10-17"
      Statement:
        - { Effect: Allow, Action: "secretsmanager:GetSecretValue", Resource: "*" }
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
        let named = check_name("name", &desired.name, 64).into_iter().chain(check_path(&desired.path));
        named.chain(desired.grants().check()).chain(tags::check(&desired.tags)).collect()
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        desired.grants().requires()
    }

    /// Three calls at once, and one for each inline policy.
    async fn observe(client: &AwsClient, id: &String) -> Result<Option<Observed>> {
        let user = async {
            let answer = client.read().iam.get_user().user_name(id).send().await;
            answer.found("iam:GetUser", NO_SUCH_ENTITY)
        };
        let (answer, grants) = tokio::try_join!(user, Holder::User(id).grants(client))?;
        let (Some(answer), Some(grants)) = (answer, grants) else { return Ok(None) };
        let user = answer.user.ok_or_else(|| missing("iam:GetUser", "user"))?;
        let boundary = user.permissions_boundary.and_then(|boundary| boundary.permissions_boundary_arn);
        Ok(Some(Observed {
            name: user.user_name,
            arn: user.arn,
            path: user.path,
            grants: LiveGrants { permissions_boundary: boundary, ..grants },
            tags: from_sdk(user.tags),
        }))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        diff.field("path", &observed.path, &desired.path);
        desired.grants().diff(&mut diff, &observed.grants);
        diff.entries("tags", &observed.tags, &desired.tags);
        diff
    }

    /// One request that makes the user with boundary and marks of ownership, sent once: its name
    /// is unique, so that a second could only fail.
    async fn create(w: &Writer<'_, AwsClient>, desired: &Desired) -> Result<()> {
        let request = w.write_once(w.permit()).iam.create_user().user_name(&desired.name).path(&desired.path);
        let request = request
            .set_permissions_boundary(desired.permissions_boundary.clone())
            .set_tags(Some(to_sdk(&desired.tags)?));
        request.send().await.at("iam:CreateUser")?;
        let fresh = LiveGrants::with_boundary(desired.permissions_boundary.as_ref());
        desired.grants().apply(w, Holder::User(&desired.name), &fresh).await
    }

    async fn update(w: &Writer<'_, AwsClient>, desired: &Desired, observed: &Observed) -> Result<()> {
        if observed.path != desired.path {
            let request = w.write(w.permit()).iam.update_user().user_name(&desired.name);
            request.new_path(&desired.path).send().await.at("iam:UpdateUser")?;
        }
        let holder = Holder::User(&desired.name);
        desired.grants().apply(w, holder, &observed.grants).await?;
        holder.tag(w, &tags::to_add(&desired.tags, &observed.tags)).await
    }

    /// Takes its policies and group memberships away first. Keys, devices and passwords that the
    /// plan did not make stay, and IAM then refuses.
    async fn delete(w: &Writer<'_, AwsClient>, id: &String) -> Result<()> {
        Holder::User(id).strip(w).await?;
        leave_groups(w, id).await?;
        let answer = w.write(w.permit()).iam.delete_user().user_name(id).send().await;
        let answer = answer.found("iam:DeleteUser", NO_SUCH_ENTITY).map(drop);
        answer.map_err(|error| delete_conflict(error, "access keys, MFA devices, a password, certificates"))
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { name: observed.name.clone(), arn: observed.arn.clone() }
    }

    fn predicted_outputs(desired: &Desired, scope: &Scope) -> Partial {
        let arn = iam_arn(scope, "user", &desired.path, &desired.name);
        Partial::default().with("name", &desired.name).with_some("arn", arn)
    }

    fn tags(observed: &Observed) -> Option<&Tags> {
        Some(&observed.tags)
    }
}

async fn leave_groups(w: &Writer<'_, AwsClient>, user: &str) -> Result<()> {
    let groups = w.read().iam.list_groups_for_user().user_name(user).into_paginator().items().send();
    let groups = groups.try_collect().await.found("iam:ListGroupsForUser", NO_SUCH_ENTITY)?;
    for group in groups.unwrap_or_default() {
        let request = w.write(w.permit()).iam.remove_user_from_group();
        let answer = request.user_name(user).group_name(group.group_name).send().await;
        answer.found("iam:RemoveUserFromGroup", NO_SUCH_ENTITY)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_compared_and_foreign_tags_left_alone() {
        let desired: Desired =
            serde_json::from_value(json!({ "name": "ci", "path": "/apps/", "tags": { "a": "1" } }))
                .expect("valid");
        let observed = Observed {
            name: "ci".into(),
            arn: "arn:aws:iam::123456789012:user/ci".into(),
            path: "/".into(),
            grants: LiveGrants::default(),
            tags: Tags::from([("other".into(), "x".into())]),
        };
        let diff = IamUser::diff(&desired, &observed);
        let paths: Vec<&str> = diff.changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(paths, ["path", "tags.a"]);
        assert!(diff.blocked.is_empty());
    }

    #[test]
    fn the_arn_is_known_beforehand() {
        let desired: Desired = serde_json::from_value(json!({ "name": "ci" })).expect("valid");
        let scope = Scope { account_id: Some("123456789012".into()), ..Scope::default() };
        let outputs = IamUser::predicted_outputs(&desired, &scope).into_map();
        assert_eq!(outputs["arn"], "arn:aws:iam::123456789012:user/ci");
    }
}
