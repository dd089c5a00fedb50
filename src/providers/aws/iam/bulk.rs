//! Reads all of IAM in a few pages, for plans with many IAM steps.
//!
//! [`GetAccountAuthorizationDetails`](https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetAccountAuthorizationDetails.html)
//! returns users, groups, roles and policies. Otherwise each takes three requests and one more per
//! inline policy. It omits the description and maximum session of roles, which `ListRoles` returns, the
//! tags of policies, and whether users have a password.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_iam::types::{
    EntityType, GroupDetail, ManagedPolicyDetail, Policy, PolicyScopeType, Role, RoleDetail, UserDetail,
};

use super::holder::LiveGrants;
use super::{from_sdk, group, role, user};
use crate::error::{ErrorKind, Result};
use crate::providers::aws::cache::Cached;
use crate::providers::aws::client::AwsClient;
use crate::providers::aws::error::Answer;
use crate::providers::aws::in_order::InOrder;
use crate::providers::aws::policy::Document;

/// From this number of steps, reading everything takes fewer requests than reading each step.
pub const THRESHOLD: usize = 20;
const OPERATION: &str = "iam:GetAccountAuthorizationDetails";
/// IAM's largest page.
const PAGE: i32 = 1000;

/// The response that all steps of a run share until the first write.
#[derive(Debug, Default)]
pub struct Bulk {
    wanted: bool,
    written: AtomicBool,
    answer: Cached<Option<Arc<Details>>>,
    /// The ARNs of the account's policies, by their names in lower case.
    policies: Cached<HashMap<String, String>>,
}

/// All of IAM at one moment.
#[derive(Debug, Default)]
pub struct Details {
    users: HashMap<String, user::Observed>,
    groups: HashMap<String, group::Observed>,
    /// `None` for a role that was created between the two requests.
    roles: HashMap<String, Option<role::Observed>>,
    /// By the policy's ARN and the version's id.
    documents: HashMap<(String, String), Document>,
}

/// The bulk read's answer for one resource.
pub enum Lookup<T> {
    /// Unknown; the resource must be read by itself.
    Unknown,
    /// The resource does not exist.
    Absent,
    /// The resource exists.
    Present(T),
}

impl Bulk {
    /// The cache for a plan with this number of IAM steps.
    pub fn new(steps: usize) -> Self {
        Self { wanted: steps >= THRESHOLD, ..Self::default() }
    }

    /// Stops using the bulk read after a write. Each resource is then read by itself, because IAM may
    /// return the old state from one API and the new state from another.
    pub fn note_write(&self) {
        self.written.store(true, Ordering::Relaxed);
    }

    /// Drops the response, so that everything is read again.
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
                // A caller without permission to read everything may still read each resource.
                Err(error) if error.kind == ErrorKind::Denied => Ok(None),
                Err(error) => Err(error),
            }
        });
        Ok(answer.await?.as_ref().clone())
    }

    /// A user, except whether it has a password. `bounded` says whether the plan declares a boundary.
    pub async fn user(
        &self,
        client: &AwsClient,
        name: &str,
        bounded: bool,
    ) -> Result<Lookup<user::Observed>> {
        let Some(details) = self.details(client).await? else { return Ok(Lookup::Unknown) };
        Ok(match details.users.get(name) {
            None => Lookup::Absent,
            Some(user) if is_complete(bounded, &user.grants) => Lookup::Present(user.clone()),
            Some(_) => Lookup::Unknown,
        })
    }

    /// A role. `bounded` says whether the plan declares a boundary.
    pub async fn role(
        &self,
        client: &AwsClient,
        name: &str,
        bounded: bool,
    ) -> Result<Lookup<role::Observed>> {
        let Some(details) = self.details(client).await? else { return Ok(Lookup::Unknown) };
        Ok(match details.roles.get(name) {
            None => Lookup::Absent,
            Some(Some(role)) if is_complete(bounded, &role.grants) => Lookup::Present(role.clone()),
            Some(_) => Lookup::Unknown,
        })
    }

    /// A group.
    pub async fn group(&self, client: &AwsClient, name: &str) -> Result<Lookup<group::Observed>> {
        let Some(details) = self.details(client).await? else { return Ok(Lookup::Unknown) };
        Ok(details.groups.get(name).map_or(Lookup::Absent, |group| Lookup::Present(group.clone())))
    }

    /// The ARN of the policy of this name at any path. IAM allows a name only once, ignoring case. All
    /// steps share one list until the first write.
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

/// Whether the bulk read can be trusted about the boundary. If the plan declares one, a missing boundary is
/// read separately, because ministack 1.5.33 omits boundaries from the bulk read. AWS includes them.
fn is_complete(bounded: bool, live: &LiveGrants) -> bool {
    !bounded || live.permissions_boundary.is_some()
}

/// Combines the two responses about a role.
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
