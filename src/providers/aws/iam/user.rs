//! `aws.iam_user`: a user with its policies and groups.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bulk::Lookup;
use super::holder::{self, Grants, Holder, HolderId, LiveGrants, MANAGED};
use super::{
    NO_SUCH_ENTITY, PrincipalOutputs, W, check_name, check_named, credentials, delete_conflict, folded,
    from_sdk, gone_is_fine, predicted, root_path, to_sdk,
};
use crate::access::{Grant, Granting, Principal};
use crate::error::{FieldError, Result};
use crate::place::Realm;
use crate::proof::{Proof, Prover};
use crate::providers::aws::ACCOUNT;
use crate::providers::aws::client::{AwsClient, missing};
use crate::providers::aws::error::Answer;
use crate::providers::aws::in_order::InOrder;
use crate::providers::aws::needs::{self, Need, On, creates, deletes, proves, reads, updates, writes};
use crate::providers::aws::policy::Document;
use crate::providers::aws::risk::{BOUNDARY_RISKS, GRANT_RISKS, OTHER_ARN, of_principal_tags};
use crate::providers::aws::{prove, states, tags};
use crate::resource::risk::Category::{BroaderGrant, ProtectionOff};
use crate::resource::risk::{Risks, added, analysed, changed, identity, turned_on};
use crate::resource::{Attachment, Diff, Look, Partial, Requirement, Resource, Tags, Writer};
use crate::run::{Permission, Use};

/// An IAM user. <https://docs.aws.amazon.com/IAM/latest/APIReference/API_User.html>
pub struct IamUser;

/// Its statement about access.
const USER: &str = "IAM user";

/// The declared fields.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "IamUser")]
pub struct Desired {
    /// The name, unique in the account.
    pub name: String,
    /// The path in front of the name in the ARN, e.g. `/apps/`.
    #[serde(default = "root_path")]
    pub path: String,
    /// ARN of the permissions boundary. Not managed unless declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions_boundary: Option<String>,
    /// ARNs of attached policies; others are detached. Not managed unless declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_policies: Option<Vec<String>>,
    /// Inline policies, name to document; others are removed. Not managed unless declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline_policies: Option<BTreeMap<String, Document>>,
    /// Names of its groups; the user leaves others. Not managed unless declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Whether it may have a console password. If false, an existing one is deleted.
    #[serde(default)]
    pub console_login: bool,
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

/// The user as IAM reports it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The name.
    pub name: String,
    /// The ARN.
    pub arn: String,
    /// The id that AWS assigned.
    pub unique_id: String,
    /// The path.
    pub path: String,
    /// Its grants.
    pub grants: LiveGrants,
    /// Names of its groups.
    pub groups: Vec<String>,
    /// Whether it has a console password.
    pub console_login: bool,
    /// Tags.
    pub tags: Tags,
}

/// The actions that it needs.
const NEEDS: &[Need] = &[
    reads(&[
        "iam:GetLoginProfile",
        "iam:GetUser",
        "iam:ListAttachedUserPolicies",
        "iam:ListGroupsForUser",
        "iam:ListUserPolicies",
    ]),
    reads(&["iam:GetUserPolicy"]).with(&["inline_policies"]),
    writes(&["iam:AttachUserPolicy"]).with(&["managed_policies"]),
    writes(&["iam:PutUserPolicy"]).with(&["inline_policies"]),
    updates(&["iam:DetachUserPolicy"]).with(&["managed_policies"]),
    updates(&["iam:DeleteUserPolicy"]).with(&["inline_policies"]),
    creates(&["iam:CreateUser", "iam:TagUser"]),
    writes(&["iam:AddUserToGroup"]).with(&["groups"]).on(On::Other("groups")),
    updates(&["iam:RemoveUserFromGroup"]).with(&["groups"]).on(On::Other("groups")),
    updates(&["iam:UpdateUser"]).with(&["path"]),
    updates(&["iam:PutUserPermissionsBoundary"]).with(&["permissions_boundary"]),
    updates(&["iam:DeleteLoginProfile"]).with(&["console_login"]),
    updates(&["iam:TagUser"]).with(&["tags"]),
    proves(&["iam:SimulatePrincipalPolicy"]),
    proves(&["iam:GetPolicy", "iam:GetPolicyVersion"]).on(MANAGED),
    deletes(&[
        "iam:DeleteUser",
        "iam:ListAccessKeys",
        "iam:ListMFADevices",
        "iam:ListSSHPublicKeys",
        "iam:ListServiceSpecificCredentials",
        "iam:ListSigningCertificates",
    ]),
    deletes(&["iam:RemoveUserFromGroup"]).with(&["groups"]).on(On::Other("groups")),
    deletes(&["iam:DetachUserPolicy"]).with(&["managed_policies"]),
    deletes(&["iam:DeleteUserPolicy"]).with(&["inline_policies"]),
];

impl Resource for IamUser {
    const KIND: &'static str = "aws.iam_user";
    const GRANTS: Granting = Granting::States;
    const REALM: &'static [&'static str] = ACCOUNT;
    const ABOUT: &'static str =
        "An IAM user with its policies and groups, without a password unless the plan allows one.";
    const EXAMPLE: &'static str = r#"secrets_admin:
  kind: aws.iam_user
  name: candlefish-secrets-admin
  path: /candlefish/
  groups: [ candlefish-operators ]
  permissions_boundary: arn:aws:iam::aws:policy/PowerUserAccess
  managed_policies: [ "arn:aws:iam::aws:policy/IAMReadOnlyAccess" ]
  inline_policies:
    read-secrets:
      - { allow: "secretsmanager:GetSecretValue", on: "*" }
"#;
    const REBUILT: Option<&'static str> =
        Some("with another unique id: policies of others that name it have to be written again");
    const RISKS: Risks = &[
        &[
            identity("name"),
            changed("path").low(ProtectionOff, OTHER_ARN),
            added("groups").medium(BroaderGrant, "joins groups, with their permissions"),
            turned_on("console_login").low(BroaderGrant, "may have a console password"),
            analysed("tags", of_principal_tags),
        ],
        BOUNDARY_RISKS,
        GRANT_RISKS,
    ];
    const PROOF: Proof = Proof::Tried("IAM simulates what its policies allow, and what lies beside");
    const TAGGED: bool = true;

    type Client = AwsClient;
    type Id = HolderId;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = PrincipalOutputs;

    /// The path of a group is not part of its name, so a group may be at any.
    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        let group =
            |name: &String| ["group/", "group/*/"].map(|noun| needs::in_iam(used.realm, noun, "", name));
        needs::of(NEEDS, used, desired, |on| match on {
            MANAGED => desired.grants().managed(),
            On::Other(_) => desired.groups.iter().flatten().flat_map(group).collect(),
            _ => vec![needs::in_iam(used.realm, "user", &desired.path, &desired.name)],
        })
    }

    fn id(desired: &Desired) -> HolderId {
        HolderId { name: desired.name.clone() }
    }

    fn same_name(id: &HolderId) -> String {
        folded(&id.name)
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut found = check_named(&desired.name, 64, &desired.path);
        for (index, group) in desired.groups.iter().flatten().enumerate() {
            found.extend(check_name(&format!("groups[{index}]"), group, 128));
        }
        found.extend(desired.grants().check());
        found.extend(tags::check(&desired.tags));
        found
    }

    fn grants(desired: &Desired, live: Option<&Observed>, _: &Realm) -> Vec<Grant> {
        let principal = desired.grants().principal(USER, &desired.name, live.map(|live| &live.grants));
        let groups = desired.groups.as_ref().or_else(|| Some(&live?.groups)).cloned().unwrap_or_default();
        let facts = desired.tags.clone();
        let user = states::target(USER, &desired.name, states::USER);
        vec![Grant::Principal(Principal { groups, facts, ..principal }), Grant::Target(user)]
    }

    fn granted(observed: &Observed) -> Vec<Grant> {
        let principal = observed.grants.principal(USER, &observed.name);
        let (groups, facts) = (observed.groups.clone(), observed.tags.clone());
        let user = states::target(USER, &observed.name, states::USER);
        vec![Grant::Principal(Principal { groups, facts, ..principal }), Grant::Target(user)]
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        let groups = desired.groups.iter().flatten().map(|group| Requirement::thing("aws.iam_group", group));
        desired.grants().requires().into_iter().chain(groups).collect()
    }

    /// Sends five requests at once, and one for each inline policy; one in a large plan.
    async fn observe(client: &AwsClient, id: &HolderId, look: Look<'_, Self>) -> Result<Option<Observed>> {
        let bounded = look.declares(|desired| desired.permissions_boundary.is_some());
        let user = match client.iam.user(client, &id.name, bounded).await? {
            Lookup::Absent => return Ok(None),
            Lookup::Present(user) => user,
            Lookup::Unknown => {
                let (user, console_login) =
                    tokio::join!(read(client, &id.name), console_login(client, &id.name)).in_order()?;
                return Ok(user.map(|user| Observed { console_login, ..user }));
            }
        };
        Ok(Some(Observed { console_login: console_login(client, &id.name).await?, ..user }))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        diff.field("path", &observed.path, &desired.path);
        desired.grants().diff(&mut diff, &observed.grants);
        if let Some(declared) = &desired.groups {
            diff.field("groups", &sorted(&observed.groups), &sorted(declared));
        }
        if !desired.console_login && observed.console_login {
            diff.field("console_login", &true, &false).note("its console password is deleted");
        }
        diff.entries("tags", &observed.tags, &desired.tags);
        diff
    }

    /// One request that creates the user with its boundary and ownership tags, sent only once: the name
    /// is unique, so a second request could only fail.
    async fn create(w: &Writer<'_, AwsClient>, desired: &Desired) -> Result<()> {
        let request = w.write_once(w.permit()).iam.create_user().user_name(&desired.name).path(&desired.path);
        let request = request
            .set_permissions_boundary(desired.permissions_boundary.clone())
            .set_tags(Some(to_sdk(&desired.tags)?));
        request.send().await.at("iam:CreateUser")?;
        let fresh = LiveGrants::with_boundary(desired.permissions_boundary.as_ref());
        desired.grants().apply(w, Holder::User(&desired.name), &fresh).await?;
        regroup(w, &desired.name, desired.groups.as_deref().unwrap_or_default(), &[]).await
    }

    async fn update(w: &Writer<'_, AwsClient>, desired: &Desired, observed: &Observed) -> Result<()> {
        if observed.path != desired.path {
            let request = w.write(w.permit()).iam.update_user().user_name(&desired.name);
            request.new_path(&desired.path).send().await.at("iam:UpdateUser")?;
        }
        let holder = Holder::User(&desired.name);
        desired.grants().apply(w, holder, &observed.grants).await?;
        if let Some(groups) = &desired.groups {
            regroup(w, &desired.name, groups, &observed.groups).await?;
        }
        if observed.console_login && !desired.console_login {
            delete_login(w, &desired.name).await?;
        }
        holder.tag(w, &tags::to_add(&desired.tags, &observed.tags)).await
    }

    /// The user leaves its groups first, and joins them again if the deletion fails.
    async fn delete(w: &Writer<'_, AwsClient>, id: &HolderId) -> Result<()> {
        let groups = groups(w, &id.name).await?.unwrap_or_default();
        let delete = async {
            regroup(w, &id.name, &[], &groups).await?;
            let answer = w.write(w.permit()).iam.delete_user().user_name(&id.name).send().await;
            let answer = answer.found("iam:DeleteUser", NO_SUCH_ENTITY).map(drop);
            answer
                .map_err(|error| delete_conflict(error, "access keys, MFA devices, a password, certificates"))
        };
        match Holder::User(&id.name).delete_with(w, delete).await {
            Ok(()) => Ok(()),
            Err(error) => {
                let joined = gone_is_fine(regroup(w, &id.name, &groups, &[]).await);
                Err(error.after_restoring("groups", joined))
            }
        }
    }

    /// Credentials block its deletion.
    async fn attachments(client: &AwsClient, id: &HolderId, observed: &Observed) -> Result<Vec<Attachment>> {
        let mut found = credentials::read(client, &id.name, observed.console_login).await?;
        found.extend(observed.groups.iter().map(|group| Attachment::ends("groups", group)));
        found.extend(holder::attachments(&observed.grants));
        Ok(found)
    }

    fn attaches(desired: &Desired) -> Option<Vec<String>> {
        let groups = desired.groups.iter().flatten().map(|group| Attachment::ends("groups", group).path());
        Some(desired.grants().attaches().into_iter().chain(groups).collect())
    }

    async fn prove(prover: &Prover<'_, AwsClient>, desired: &Desired, observed: &Observed) {
        let grants = Self::grants(desired, Some(observed), &Realm::UNKNOWN);
        prove::principal::prove(prover, &observed.arn, grants).await;
    }

    fn outputs(observed: &Observed) -> PrincipalOutputs {
        let Observed { name, arn, unique_id, .. } = observed.clone();
        PrincipalOutputs { name, arn, unique_id }
    }

    fn predicted_outputs(desired: &Desired, realm: &Realm) -> Partial {
        predicted(realm, "user", &desired.path, &desired.name)
    }

    fn tags(observed: &Observed) -> Option<&Tags> {
        Some(&observed.tags)
    }
}

async fn read(client: &AwsClient, name: &str) -> Result<Option<Observed>> {
    let user = async {
        let answer = client.read().iam.get_user().user_name(name).send().await;
        answer.found("iam:GetUser", NO_SUCH_ENTITY)
    };
    let (answer, grants, groups) =
        tokio::join!(user, Holder::User(name).grants(client), groups(client, name)).in_order()?;
    let (Some(answer), Some(grants), Some(groups)) = (answer, grants, groups) else { return Ok(None) };
    let user = answer.user.ok_or_else(|| missing("iam:GetUser", "user"))?;
    let boundary = user.permissions_boundary.and_then(|boundary| boundary.permissions_boundary_arn);
    Ok(Some(Observed {
        name: user.user_name,
        arn: user.arn,
        unique_id: user.user_id,
        path: user.path,
        grants: LiveGrants { permissions_boundary: boundary, ..grants },
        groups,
        console_login: false,
        tags: from_sdk(user.tags),
    }))
}

async fn groups(client: &AwsClient, user: &str) -> Result<Option<Vec<String>>> {
    let groups = client.read().iam.list_groups_for_user().user_name(user).into_paginator().items().send();
    let groups = groups.try_collect().await.found("iam:ListGroupsForUser", NO_SUCH_ENTITY)?;
    Ok(groups.map(|groups| groups.into_iter().map(|group| group.group_name).collect()))
}

async fn console_login(client: &AwsClient, user: &str) -> Result<bool> {
    let answer = client.read().iam.get_login_profile().user_name(user).send().await;
    Ok(answer.found("iam:GetLoginProfile", NO_SUCH_ENTITY)?.is_some())
}

async fn delete_login(w: &W<'_>, user: &str) -> Result<()> {
    let answer = w.write(w.permit()).iam.delete_login_profile().user_name(user).send().await;
    answer.found("iam:DeleteLoginProfile", NO_SUCH_ENTITY).map(drop)
}

/// Joins the declared groups, then leaves the others.
async fn regroup(w: &W<'_>, user: &str, declared: &[String], live: &[String]) -> Result<()> {
    let iam = &w.write(w.permit()).iam;
    for group in declared.iter().filter(|group| !live.contains(group)) {
        let request = iam.add_user_to_group().user_name(user).group_name(group);
        request.send().await.at("iam:AddUserToGroup")?;
    }
    for group in live.iter().filter(|group| !declared.contains(group)) {
        let request = iam.remove_user_from_group().user_name(user).group_name(group);
        gone_is_fine(request.send().await.at("iam:RemoveUserFromGroup").map(drop))?;
    }
    Ok(())
}

fn sorted(names: &[String]) -> BTreeSet<&String> {
    names.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn observed() -> Observed {
        Observed {
            name: "ci".into(),
            arn: "arn:aws:iam::123456789012:user/ci".into(),
            unique_id: "AIDAEXAMPLE".into(),
            path: "/".into(),
            grants: LiveGrants::default(),
            groups: vec!["b".into(), "a".into()],
            console_login: false,
            tags: Tags::from([("other".into(), "x".into())]),
        }
    }

    fn paths(desired: serde_json::Value, observed: &Observed) -> Vec<String> {
        let desired: Desired = serde_json::from_value(desired).expect("valid");
        let diff = IamUser::diff(&desired, observed);
        assert!(diff.blocked.is_empty());
        diff.changes.into_iter().map(|change| change.path).collect()
    }

    #[test]
    fn fields_are_compared_and_foreign_tags_kept() {
        let declared = json!({ "name": "ci", "path": "/apps/", "groups": ["a"], "tags": { "a": "1" } });
        assert_eq!(paths(declared, &observed()), ["path", "groups", "tags.a"]);
        let same = json!({ "name": "ci", "groups": ["a", "b", "a"] });
        assert!(
            paths(same, &observed()).is_empty() && paths(json!({ "name": "ci" }), &observed()).is_empty()
        );
    }

    #[test]
    fn undeclared_console_password_is_a_difference() {
        let with_password = Observed { console_login: true, ..observed() };
        assert_eq!(paths(json!({ "name": "ci" }), &with_password), ["console_login"]);
        assert!(paths(json!({ "name": "ci", "console_login": true }), &with_password).is_empty());
    }
}
