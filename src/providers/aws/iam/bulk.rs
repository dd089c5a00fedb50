//! All of IAM in a few pages, for plans with many steps in it.
//!
//! [`GetAccountAuthorizationDetails`](https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetAccountAuthorizationDetails.html)
//! tells of users, groups, roles and policies what else takes three calls and one more for each
//! inline policy. It leaves out what roles are for and how long their sessions last, which
//! `ListRoles` tells, the tags of policies, and whether users have a password.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_iam::types::{
    EntityType, GroupDetail, ManagedPolicyDetail, Policy, PolicyScopeType, Role, RoleDetail, UserDetail,
};

use super::holder::{HolderId, LiveGrants};
use super::{from_sdk, group, role, user};
use crate::providers::aws::cache::Cached;
use crate::providers::aws::client::AwsClient;
use crate::providers::aws::error::Answer;
use crate::providers::aws::in_order::InOrder;
use crate::providers::aws::policy::Document;
use crate::resource::{ErrorKind, Result};

/// From this many steps on, reading everything takes fewer calls than reading each step.
pub const THRESHOLD: usize = 20;
const OPERATION: &str = "iam:GetAccountAuthorizationDetails";
/// The most that IAM gives on a page.
const PAGE: i32 = 1000;

/// The one answer for all steps of a run, until something is written.
#[derive(Debug, Default)]
pub struct Bulk {
    wanted: bool,
    written: AtomicBool,
    answer: Cached<Option<Arc<Details>>>,
    /// The ARNs of the account's policies, by their names in lower case.
    policies: Cached<HashMap<String, String>>,
}

/// Everything that one look at IAM told.
#[derive(Debug, Default)]
pub struct Details {
    users: HashMap<String, user::Observed>,
    groups: HashMap<String, group::Observed>,
    /// `None` for a role that appeared between two of the calls.
    roles: HashMap<String, Option<role::Observed>>,
    /// By the policy's ARN and the version's id.
    documents: HashMap<(String, String), Document>,
}

/// What is known of one thing without asking for it.
pub enum Told<T> {
    /// It has to be asked for.
    Nothing,
    /// There is no such thing.
    Absent,
    /// This.
    There(T),
}

impl Bulk {
    /// For a plan with this many steps of IAM.
    pub fn new(steps: usize) -> Self {
        Self { wanted: steps >= THRESHOLD, ..Self::default() }
    }

    /// Notes that something is written: each thing is then looked at by itself, because IAM may go
    /// on telling the old state in one place and the new one in another.
    pub fn note_write(&self) {
        self.written.store(true, Ordering::Relaxed);
    }

    /// Forgets the answer, so that everything is read anew.
    pub async fn forget(&self) {
        self.written.store(false, Ordering::Relaxed);
        self.answer.forget().await;
        self.policies.forget().await;
    }

    async fn details(&self, client: &AwsClient) -> Result<Option<Arc<Details>>> {
        if !self.wanted || self.written.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let answer = self.answer.get_or(async {
            match read(client).await {
                Ok(details) => Ok(Some(Arc::new(details))),
                // Whoever may not read everything can still read each thing.
                Err(error) if error.kind == ErrorKind::Denied => Ok(None),
                Err(error) => Err(error),
            }
        });
        Ok(answer.await?.as_ref().clone())
    }

    /// What is known of a user, save for a password.
    pub async fn user(&self, client: &AwsClient, id: &HolderId) -> Result<Told<user::Observed>> {
        let Some(details) = self.details(client).await? else { return Ok(Told::Nothing) };
        Ok(match details.users.get(&id.name) {
            None => Told::Absent,
            Some(user) if id.may_lack(&user.grants) => Told::There(user.clone()),
            Some(_) => Told::Nothing,
        })
    }

    /// What is known of a role.
    pub async fn role(&self, client: &AwsClient, id: &HolderId) -> Result<Told<role::Observed>> {
        let Some(details) = self.details(client).await? else { return Ok(Told::Nothing) };
        Ok(match details.roles.get(&id.name) {
            None => Told::Absent,
            Some(Some(role)) if id.may_lack(&role.grants) => Told::There(role.clone()),
            Some(_) => Told::Nothing,
        })
    }

    /// What is known of a group.
    pub async fn group(&self, client: &AwsClient, name: &str) -> Result<Told<group::Observed>> {
        let Some(details) = self.details(client).await? else { return Ok(Told::Nothing) };
        Ok(details.groups.get(name).map_or(Told::Absent, |group| Told::There(group.clone())))
    }

    /// The ARN of the policy of this name, whatever its path. IAM allows a name only once, in any case
    /// of its letters. One list serves all steps until something is written.
    pub async fn namesake(&self, client: &AwsClient, name: &str) -> Result<Option<String>> {
        let key = name.to_ascii_lowercase();
        if self.written.load(Ordering::Relaxed) {
            return Ok(list_policies(client).await?.remove(&key));
        }
        Ok(self.policies.get_or(list_policies(client)).await?.get(&key).cloned())
    }

    /// A version of a policy.
    pub async fn document(&self, client: &AwsClient, arn: &str, version: &str) -> Result<Option<Document>> {
        let details = self.details(client).await?;
        let key = (arn.to_owned(), version.to_owned());
        Ok(details.and_then(|details| details.documents.get(&key).cloned()))
    }
}

async fn read(client: &AwsClient) -> Result<Details> {
    let (details, roles) = tokio::join!(read_details(client), list_roles(client)).in_order()?;
    let (mut all, found) = details;
    for detail in found {
        let Some(name) = detail.role_name.clone() else { continue };
        let role = roles.get(&name).map(|role| to_role(detail, role)).transpose()?;
        all.roles.insert(name, role.flatten());
    }
    Ok(all)
}

async fn read_details(client: &AwsClient) -> Result<(Details, Vec<RoleDetail>)> {
    let request = client.read().iam.get_account_authorization_details().max_items(PAGE);
    let request = request
        .filter(EntityType::User)
        .filter(EntityType::Role)
        .filter(EntityType::Group)
        .filter(EntityType::LocalManagedPolicy);
    let mut pages = request.into_paginator().send();
    let (mut all, mut roles) = (Details::default(), Vec::new());
    while let Some(page) = pages.next().await {
        let page = page.at(OPERATION)?;
        for user in page.user_detail_list.unwrap_or_default() {
            all.add_user(user)?;
        }
        for group in page.group_detail_list.unwrap_or_default() {
            all.add_group(group)?;
        }
        for policy in page.policies.unwrap_or_default() {
            all.add_policy(policy)?;
        }
        roles.extend(page.role_detail_list.unwrap_or_default());
    }
    Ok((all, roles))
}

async fn list_policies(client: &AwsClient) -> Result<HashMap<String, String>> {
    let request = client.read().iam.list_policies().scope(PolicyScopeType::Local).max_items(PAGE);
    let policies = request.into_paginator().items().send().try_collect().await.at("iam:ListPolicies")?;
    let named = |policy: Policy| Some((policy.policy_name?.to_ascii_lowercase(), policy.arn?));
    Ok(policies.into_iter().filter_map(named).collect())
}

async fn list_roles(client: &AwsClient) -> Result<HashMap<String, Role>> {
    let pages = client.read().iam.list_roles().max_items(PAGE).into_paginator().items().send();
    let roles = pages.try_collect().await.at("iam:ListRoles")?;
    Ok(roles.into_iter().map(|role| (role.role_name.clone(), role)).collect())
}

impl Details {
    fn add_user(&mut self, user: UserDetail) -> Result<()> {
        let (Some(name), Some(arn), Some(path)) = (user.user_name, user.arn, user.path) else {
            return Ok(());
        };
        let boundary = user.permissions_boundary.and_then(|boundary| boundary.permissions_boundary_arn);
        let grants = LiveGrants::of(user.attached_managed_policies, user.user_policy_list)?;
        let observed = user::Observed {
            name: name.clone(),
            arn,
            unique_id: user.user_id.unwrap_or_default(),
            path,
            grants: LiveGrants { permissions_boundary: boundary, ..grants },
            groups: user.group_list.unwrap_or_default(),
            console_login: false,
            tags: from_sdk(user.tags),
        };
        self.users.insert(name, observed);
        Ok(())
    }

    fn add_group(&mut self, group: GroupDetail) -> Result<()> {
        let (Some(name), Some(arn), Some(path)) = (group.group_name, group.arn, group.path) else {
            return Ok(());
        };
        let grants = LiveGrants::of(group.attached_managed_policies, group.group_policy_list)?;
        self.groups.insert(name.clone(), group::Observed { name, arn, path, grants });
        Ok(())
    }

    fn add_policy(&mut self, policy: ManagedPolicyDetail) -> Result<()> {
        let Some(arn) = policy.arn else { return Ok(()) };
        for version in policy.policy_version_list.unwrap_or_default() {
            if let (Some(id), Some(text)) = (version.version_id, version.document) {
                self.documents.insert((arn.clone(), id), Document::parse_encoded(OPERATION, &text)?);
            }
        }
        Ok(())
    }
}

/// What the two calls tell of a role together.
fn to_role(detail: RoleDetail, listed: &Role) -> Result<Option<role::Observed>> {
    let (Some(name), Some(arn), Some(path)) = (detail.role_name, detail.arn, detail.path) else {
        return Ok(None);
    };
    let grants = LiveGrants::of(detail.attached_managed_policies, detail.role_policy_list)?;
    let role = Role::builder()
        .role_name(name)
        .arn(arn)
        .path(path)
        .role_id(&listed.role_id)
        .create_date(listed.create_date)
        .set_assume_role_policy_document(detail.assume_role_policy_document)
        .set_permissions_boundary(detail.permissions_boundary)
        .set_tags(detail.tags)
        .set_description(listed.description.clone())
        .set_max_session_duration(listed.max_session_duration);
    role.build().map_or(Ok(None), |role| role::assemble(role, grants).map(Some))
}
