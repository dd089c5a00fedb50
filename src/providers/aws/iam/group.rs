//! `aws.iam_group`: a group with its policies. Users declare their groups.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bulk::Lookup;
use super::holder::{self, Grants, Holder, LiveGrants};
use super::{NO_SUCH_ENTITY, Outputs, check_named, delete_conflict, folded, predicted, root_path};
use crate::access::{Grant, Granting};
use crate::error::{FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::providers::aws::ACCOUNT;
use crate::providers::aws::client::{AwsClient, missing};
use crate::providers::aws::error::Answer;
use crate::providers::aws::in_order::InOrder;
use crate::providers::aws::needs::{self, Need, creates, deletes, reads, updates, writes};
use crate::providers::aws::policy::Document;
use crate::providers::aws::risk::{GRANT_RISKS, OTHER_ARN};
use crate::providers::aws::states;
use crate::resource::risk::Category::ProtectionOff;
use crate::resource::risk::{Risks, changed, identity};
use crate::resource::{Attachment, Diff, Look, Partial, Requirement, Resource, Writer};
use crate::run::{Permission, Use};

/// An IAM group. <https://docs.aws.amazon.com/IAM/latest/APIReference/API_Group.html>
pub struct IamGroup;

/// Its statement about access.
const GROUP: &str = "IAM group";

/// The declared fields.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "IamGroup")]
pub struct Desired {
    /// The name, unique in the account.
    pub name: String,
    /// The path in front of the name in the ARN, e.g. `/teams/`.
    #[serde(default = "root_path")]
    pub path: String,
    /// ARNs of attached policies; others are detached. Not managed unless declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_policies: Option<Vec<String>>,
    /// Inline policies, name to document; others are removed. Not managed unless declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline_policies: Option<BTreeMap<String, Document>>,
}

impl Desired {
    fn grants(&self) -> Grants<'_> {
        Grants {
            permissions_boundary: None,
            managed_policies: self.managed_policies.as_deref(),
            inline_policies: self.inline_policies.as_ref(),
        }
    }
}

/// The group as IAM reports it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The name.
    pub name: String,
    /// The ARN.
    pub arn: String,
    /// The path.
    pub path: String,
    /// The permissions of its members.
    pub grants: LiveGrants,
}

/// The actions that it needs.
const NEEDS: &[Need] = &[
    reads(&["iam:GetGroup", "iam:ListAttachedGroupPolicies", "iam:ListGroupPolicies"]),
    reads(&["iam:GetGroupPolicy"]).with(&["inline_policies"]),
    writes(&["iam:AttachGroupPolicy"]).with(&["managed_policies"]),
    writes(&["iam:PutGroupPolicy"]).with(&["inline_policies"]),
    updates(&["iam:DetachGroupPolicy"]).with(&["managed_policies"]),
    updates(&["iam:DeleteGroupPolicy"]).with(&["inline_policies"]),
    creates(&["iam:CreateGroup"]),
    updates(&["iam:UpdateGroup"]).with(&["path"]),
    deletes(&["iam:DeleteGroup"]),
    deletes(&["iam:DetachGroupPolicy"]).with(&["managed_policies"]),
    deletes(&["iam:DeleteGroupPolicy"]).with(&["inline_policies"]),
];

impl Resource for IamGroup {
    const KIND: &'static str = "aws.iam_group";
    const GRANTS: Granting = Granting::States;
    const REALM: &'static [&'static str] = ACCOUNT;
    const ABOUT: &'static str = "An IAM group with its policies; users declare which groups they are in.";
    const EXAMPLE: &'static str = r#"operators:
  kind: aws.iam_group
  name: candlefish-operators
  path: /candlefish/
  managed_policies: [ "arn:aws:iam::aws:policy/ReadOnlyAccess" ]
  inline_policies:
    own-keys:
      - allow: [ "iam:ListAccessKeys", "iam:UpdateAccessKey", "iam:DeleteAccessKey" ]
        on: "arn:aws:iam::*:user/candlefish/${aws:username}"
"#;
    const RISKS: Risks = &[&[identity("name"), changed("path").low(ProtectionOff, OTHER_ARN)], GRANT_RISKS];
    const PROOF: Proof = Proof::InSync("IAM evaluates the policies that it reports");

    type Client = AwsClient;
    type Id = String;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        needs::of(NEEDS, used, desired, |_| {
            vec![needs::in_iam(used.realm, "group", &desired.path, &desired.name)]
        })
    }

    fn id(desired: &Desired) -> String {
        desired.name.clone()
    }

    fn same_name(id: &String) -> String {
        folded(id)
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let named = check_named(&desired.name, 128, &desired.path).into_iter();
        named.chain(desired.grants().check()).collect()
    }

    fn grants(desired: &Desired, live: Option<&Observed>, _: &Realm) -> Vec<Grant> {
        let principal = desired.grants().principal(GROUP, &desired.name, live.map(|live| &live.grants));
        vec![Grant::Principal(principal), Grant::Target(states::target(GROUP, &desired.name, states::GROUP))]
    }

    fn granted(observed: &Observed) -> Vec<Grant> {
        let principal = observed.grants.principal(GROUP, &observed.name);
        vec![Grant::Principal(principal), Grant::Target(states::target(GROUP, &observed.name, states::GROUP))]
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        desired.grants().requires()
    }

    /// Sends three requests at once, and one for each inline policy; none in a large plan.
    async fn observe(client: &AwsClient, id: &String, _: Look<'_, Self>) -> Result<Option<Observed>> {
        match client.iam.group(client, id).await? {
            Lookup::Absent => Ok(None),
            Lookup::Present(group) => Ok(Some(group)),
            Lookup::Unknown => read(client, id).await,
        }
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        diff.field("path", &observed.path, &desired.path);
        desired.grants().diff(&mut diff, &observed.grants);
        diff
    }

    /// Sent only once: the name is unique, so a second request could only fail.
    async fn create(w: &Writer<'_, AwsClient>, desired: &Desired) -> Result<()> {
        let request = w.write_once(w.permit()).iam.create_group().group_name(&desired.name);
        request.path(&desired.path).send().await.at("iam:CreateGroup")?;
        desired.grants().apply(w, Holder::Group(&desired.name), &LiveGrants::default()).await
    }

    async fn update(w: &Writer<'_, AwsClient>, desired: &Desired, observed: &Observed) -> Result<()> {
        if observed.path != desired.path {
            let request = w.write(w.permit()).iam.update_group().group_name(&desired.name);
            request.new_path(&desired.path).send().await.at("iam:UpdateGroup")?;
        }
        desired.grants().apply(w, Holder::Group(&desired.name), &observed.grants).await
    }

    async fn delete(w: &Writer<'_, AwsClient>, id: &String) -> Result<()> {
        let delete = async {
            let answer = w.write(w.permit()).iam.delete_group().group_name(id).send().await;
            let answer = answer.found("iam:DeleteGroup", NO_SUCH_ENTITY).map(drop);
            answer.map_err(|error| delete_conflict(error, "its users"))
        };
        Holder::Group(id).delete_with(w, delete).await
    }

    /// Members block its deletion.
    async fn attachments(client: &AwsClient, id: &String, observed: &Observed) -> Result<Vec<Attachment>> {
        let pages = client.read().iam.get_group().group_name(id).into_paginator().send();
        let pages = pages.try_collect().await.found("iam:GetGroup", NO_SUCH_ENTITY)?.unwrap_or_default();
        let members = pages.into_iter().flat_map(|page| page.users).map(|user| user.user_name);
        let blocking = members.map(|user| {
            let clause = format!("the user `{user}` is in the group");
            Attachment::blocks("members", &user, clause).held_by("aws.iam_user", user).by_value(id)
        });
        Ok(blocking.chain(holder::attachments(&observed.grants)).collect())
    }

    fn attaches(desired: &Desired) -> Option<Vec<String>> {
        Some(desired.grants().attaches())
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { name: observed.name.clone(), arn: observed.arn.clone() }
    }

    fn predicted_outputs(desired: &Desired, realm: &Realm) -> Partial {
        predicted(realm, "group", &desired.path, &desired.name)
    }
}

async fn read(client: &AwsClient, name: &str) -> Result<Option<Observed>> {
    let group = async {
        // The response includes the members, which are not needed here.
        let answer = client.read().iam.get_group().group_name(name).max_items(1).send().await;
        answer.found("iam:GetGroup", NO_SUCH_ENTITY)
    };
    let (answer, grants) = tokio::join!(group, Holder::Group(name).grants(client)).in_order()?;
    let (Some(answer), Some(grants)) = (answer, grants) else { return Ok(None) };
    let group = answer.group.ok_or_else(|| missing("iam:GetGroup", "group"))?;
    Ok(Some(Observed { name: group.group_name, arn: group.arn, path: group.path, grants }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_field_is_compared() {
        let desired: Desired = serde_json::from_value(json!({ "name": "g", "path": "/x/",
            "managed_policies": ["p"], "inline_policies": { "own": [{ "allow": "a:b", "on": "*" }] } }))
        .expect("valid");
        let observed = Observed {
            name: "g".into(),
            arn: "arn:aws:iam::123456789012:group/g".into(),
            path: "/".into(),
            grants: LiveGrants::default(),
        };
        let diff = IamGroup::diff(&desired, &observed);
        let paths: Vec<&str> = diff.changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(paths, ["path", "managed_policies", "inline_policies.own"]);
    }
}
