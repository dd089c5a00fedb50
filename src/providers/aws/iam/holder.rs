//! The common parts of users, groups and roles: attached and inline policies; and tags and a boundary,
//! which groups do not have.

use std::collections::BTreeMap;
use std::fmt;

use aws_sdk_iam::types::{AttachedPolicy, PolicyDetail};
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{IamPolicy, NO_SUCH_ENTITY, W, check_name, gone_is_fine, to_sdk};
use crate::access::Principal;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::providers::aws::client::AwsClient;
use crate::providers::aws::error::Answer;
use crate::providers::aws::in_order::InOrder;
use crate::providers::aws::needs::{self, On};
use crate::providers::aws::policy::{self, Document, PolicyType};
use crate::resource::{Attachment, Diff, Requirement, Resource as _, Tags};

/// The managed policies that a holder declares.
pub const MANAGED: On = On::Other("managed");

/// A user, role or group, which policies can be attached to.
#[derive(Clone, Copy, Debug)]
pub enum Holder<'a> {
    /// The user of this name.
    User(&'a str),
    /// The role of this name.
    Role(&'a str),
    /// The group of this name.
    Group(&'a str),
}

/// The name of a user or role.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HolderId {
    /// The name.
    pub name: String,
}

impl fmt::Display for HolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The declared grants of a holder. Undeclared fields are not managed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Grants<'a> {
    /// ARN of the permissions boundary.
    pub permissions_boundary: Option<&'a String>,
    /// ARNs of attached policies; others are detached.
    pub managed_policies: Option<&'a [String]>,
    /// Name to document; others are removed.
    pub inline_policies: Option<&'a BTreeMap<String, Document>>,
}

/// The live grants of a holder.
#[derive(Clone, Debug, Default)]
pub struct LiveGrants {
    /// ARN of the boundary.
    pub permissions_boundary: Option<String>,
    /// ARNs of attached policies.
    pub managed_policies: Vec<String>,
    /// Name to document.
    pub inline_policies: BTreeMap<String, Document>,
}

impl LiveGrants {
    /// The grants of a holder that was just created with this boundary.
    pub fn with_boundary(boundary: Option<&String>) -> Self {
        Self { permissions_boundary: boundary.cloned(), ..Self::default() }
    }

    /// The grants of one holder in the bulk read.
    pub fn of(attached: Option<Vec<AttachedPolicy>>, inline: Option<Vec<PolicyDetail>>) -> Result<Self> {
        const OPERATION: &str = "iam:GetAccountAuthorizationDetails";
        let inline = inline.unwrap_or_default().into_iter();
        let inline = inline.filter_map(|policy| Some((policy.policy_name?, policy.policy_document?)));
        let parsed = |(name, text): (String, String)| Ok((name, Document::parse_encoded(OPERATION, &text)?));
        Ok(Self {
            permissions_boundary: None,
            managed_policies: arns(attached.unwrap_or_default()),
            inline_policies: inline.map(parsed).collect::<Result<_>>()?,
        })
    }
}

impl LiveGrants {
    /// Their result for the access of their holder.
    pub fn principal(&self, sort: &'static str, name: &str) -> Principal {
        Grants::default().principal(sort, name, Some(self))
    }
}

impl Grants<'_> {
    /// The managed policies that are declared, the boundary included, as resources of a policy.
    pub fn managed(&self) -> Vec<String> {
        let all = self.managed_policies.into_iter().flatten().chain(self.permissions_boundary);
        all.map(|arn| needs::literal(arn)).collect()
    }

    /// Their result for the access of their holder; the part that they do not manage is as in `live`.
    pub fn principal(&self, sort: &'static str, name: &str, live: Option<&LiveGrants>) -> Principal {
        let policies = self.managed_policies.or_else(|| Some(&live?.managed_policies));
        let documents = self.inline_policies.or_else(|| Some(&live?.inline_policies)).into_iter().flatten();
        Principal {
            sort,
            name: name.to_owned(),
            policies: policies.unwrap_or_default().to_vec(),
            documents: documents.map(|(name, document)| (name.clone(), document.value().clone())).collect(),
            boundary: self.permissions_boundary.or_else(|| live?.permissions_boundary.as_ref()).cloned(),
            ..Principal::default()
        }
    }

    /// Compares the declared fields.
    pub fn diff(&self, diff: &mut Diff, live: &LiveGrants) {
        if self.permissions_boundary.is_some() {
            diff.field("permissions_boundary", &live.permissions_boundary, &self.permissions_boundary);
        }
        if let Some(declared) = self.managed_policies {
            diff.field("managed_policies", &set(&live.managed_policies), &set(declared));
        }
        if let Some(declared) = self.inline_policies {
            diff_inline(diff, declared, &live.inline_policies);
        }
    }

    /// Finds mistakes without network access.
    pub fn check(&self) -> Vec<FieldError> {
        let arns = self.managed_policies.into_iter().flatten().enumerate();
        let arns = arns.map(|(index, arn)| (format!("managed_policies[{index}]"), arn));
        let boundary =
            self.permissions_boundary.into_iter().map(|arn| ("permissions_boundary".to_owned(), arn));
        let mut found: Vec<FieldError> =
            arns.chain(boundary).filter_map(|(path, arn)| check_policy_arn(&path, arn)).collect();
        for (name, document) in self.inline_policies.into_iter().flatten() {
            let path = format!("inline_policies.{name}");
            found.extend(check_name(&path, name, 128));
            found.extend(document.check(&path, PolicyType::Identity));
        }
        found
    }

    /// The policies that must exist before they can be attached.
    pub fn requires(&self) -> Vec<Requirement> {
        let arns = self.managed_policies.into_iter().flatten().chain(self.permissions_boundary);
        let ids = arns.filter_map(|arn| arn.split_once(":policy/").map(|(_, id)| id));
        ids.map(|id| Requirement::thing(IamPolicy::KIND, id)).collect()
    }

    /// The declared policies, named as [`attachments`] names them.
    pub fn attaches(&self) -> Vec<String> {
        let managed = self.managed_policies.into_iter().flatten();
        let managed = managed.map(|arn| Attachment::ends("managed_policies", arn).path());
        let inline = self.inline_policies.into_iter().flatten();
        managed.chain(inline.map(|(name, _)| Attachment::ends("inline_policies", name).path())).collect()
    }

    /// Applies the declared grants. Additions come first and removals last, so that users of the old
    /// grants do not lose access in between.
    pub async fn apply(&self, w: &W<'_>, holder: Holder<'_>, live: &LiveGrants) -> Result<()> {
        self.apply_boundary(w, holder, live).await?;
        let declared = self.managed_policies.unwrap_or(&live.managed_policies);
        for arn in declared.iter().filter(|arn| !live.managed_policies.contains(arn)) {
            holder.attach(w, arn).await?;
        }
        for (name, document) in self.inline_policies.into_iter().flatten() {
            if live.inline_policies.get(name) != Some(document) {
                holder.put_inline(w, name, document).await?;
            }
        }
        for arn in live.managed_policies.iter().filter(|arn| !declared.contains(arn)) {
            holder.detach(w, arn).await?;
        }
        let Some(declared) = self.inline_policies else { return Ok(()) };
        for name in live.inline_policies.keys().filter(|name| !declared.contains_key(*name)) {
            holder.delete_inline(w, name).await?;
        }
        Ok(())
    }

    async fn apply_boundary(&self, w: &W<'_>, holder: Holder<'_>, live: &LiveGrants) -> Result<()> {
        match self.permissions_boundary {
            Some(arn) if live.permissions_boundary.as_ref() != Some(arn) => holder.put_boundary(w, arn).await,
            _ => Ok(()),
        }
    }
}

/// One change per inline policy.
fn diff_inline(diff: &mut Diff, declared: &BTreeMap<String, Document>, live: &BTreeMap<String, Document>) {
    for (name, document) in declared {
        policy::compare(diff, &format!("inline_policies.{name}"), live.get(name), document);
    }
    for (name, document) in live.iter().filter(|(name, _)| !declared.contains_key(*name)) {
        diff.push(&format!("inline_policies.{name}"), document.value().clone(), Value::Null);
    }
}

fn set(arns: &[String]) -> Value {
    let mut arns: Vec<&String> = arns.iter().collect();
    arns.sort();
    arns.dedup();
    json!(arns)
}

fn arns(attached: Vec<AttachedPolicy>) -> Vec<String> {
    attached.into_iter().filter_map(|policy| policy.policy_arn).collect()
}

/// Sends the same request through one of three operations, for a user, a role or a group.
macro_rules! each {
    ($holder:expr, $iam:expr, $user:ident, $role:ident, $group:ident, |$request:ident| $then:expr) => {
        match $holder {
            Holder::User(name) => {
                let $request = $iam.$user().user_name(name);
                $then
            }
            Holder::Role(name) => {
                let $request = $iam.$role().role_name(name);
                $then
            }
            Holder::Group(name) => {
                let $request = $iam.$group().group_name(name);
                $then
            }
        }
    };
}

impl Holder<'_> {
    /// The operation `before` + User, Role or Group + `after`, as IAM names it.
    fn operation(self, before: &str, after: &str) -> String {
        let noun = match self {
            Self::User(_) => "User",
            Self::Role(_) => "Role",
            Self::Group(_) => "Group",
        };
        format!("iam:{before}{noun}{after}")
    }

    /// Reads attached and inline policies at once; the boundary comes with the holder itself. `None` if
    /// the holder does not exist.
    pub async fn grants(self, client: &AwsClient) -> Result<Option<LiveGrants>> {
        let (attached, names) = tokio::join!(self.attached(client), self.inline_names(client)).in_order()?;
        let (Some(attached), Some(names)) = (attached, names) else { return Ok(None) };
        let documents = try_join_all(names.iter().map(|name| self.inline(client, name))).await?;
        let inline = names.into_iter().zip(documents).filter_map(|(name, document)| Some((name, document?)));
        Ok(Some(LiveGrants {
            permissions_boundary: None,
            managed_policies: arns(attached),
            inline_policies: inline.collect(),
        }))
    }

    async fn attached(self, client: &AwsClient) -> Result<Option<Vec<AttachedPolicy>>> {
        let iam = &client.read().iam;
        let operation = self.operation("ListAttached", "Policies");
        each!(
            self,
            iam,
            list_attached_user_policies,
            list_attached_role_policies,
            list_attached_group_policies,
            |request| {
                let pages = request.into_paginator().items().send();
                pages.try_collect().await.found(&operation, NO_SUCH_ENTITY)
            }
        )
    }

    async fn inline_names(self, client: &AwsClient) -> Result<Option<Vec<String>>> {
        let iam = &client.read().iam;
        let operation = self.operation("List", "Policies");
        each!(self, iam, list_user_policies, list_role_policies, list_group_policies, |request| {
            let pages = request.into_paginator().items().send();
            pages.try_collect().await.found(&operation, NO_SUCH_ENTITY)
        })
    }

    async fn inline(self, client: &AwsClient, policy: &str) -> Result<Option<Document>> {
        let iam = &client.read().iam;
        let operation = self.operation("Get", "Policy");
        let text = each!(self, iam, get_user_policy, get_role_policy, get_group_policy, |request| {
            let answer = request.policy_name(policy).send().await;
            answer.found(&operation, NO_SUCH_ENTITY)?.map(|answer| answer.policy_document)
        });
        text.map(|text| Document::parse_encoded(&operation, &text)).transpose()
    }

    async fn attach(self, w: &W<'_>, arn: &str) -> Result<()> {
        let iam = &w.write(w.permit()).iam;
        let operation = self.operation("Attach", "Policy");
        each!(self, iam, attach_user_policy, attach_role_policy, attach_group_policy, |request| {
            request.policy_arn(arn).send().await.at(&operation).map(drop)
        })
    }

    async fn detach(self, w: &W<'_>, arn: &str) -> Result<()> {
        let iam = &w.write(w.permit()).iam;
        let operation = self.operation("Detach", "Policy");
        gone_is_fine(each!(
            self,
            iam,
            detach_user_policy,
            detach_role_policy,
            detach_group_policy,
            |request| request.policy_arn(arn).send().await.at(&operation).map(drop)
        ))
    }

    async fn put_inline(self, w: &W<'_>, policy: &str, document: &Document) -> Result<()> {
        let iam = &w.write(w.permit()).iam;
        let operation = self.operation("Put", "Policy");
        each!(self, iam, put_user_policy, put_role_policy, put_group_policy, |request| {
            let request = request.policy_name(policy).policy_document(document.text());
            request.send().await.at(&operation).map(drop)
        })
    }

    async fn delete_inline(self, w: &W<'_>, policy: &str) -> Result<()> {
        let iam = &w.write(w.permit()).iam;
        let operation = self.operation("Delete", "Policy");
        gone_is_fine(each!(
            self,
            iam,
            delete_user_policy,
            delete_role_policy,
            delete_group_policy,
            |request| request.policy_name(policy).send().await.at(&operation).map(drop)
        ))
    }

    async fn put_boundary(self, w: &W<'_>, arn: &str) -> Result<()> {
        let iam = &w.write(w.permit()).iam;
        let operation = self.operation("Put", "PermissionsBoundary");
        match self {
            Self::User(name) => {
                let request = iam.put_user_permissions_boundary().user_name(name);
                request.permissions_boundary(arn).send().await.at(&operation).map(drop)
            }
            Self::Role(name) => {
                let request = iam.put_role_permissions_boundary().role_name(name);
                request.permissions_boundary(arn).send().await.at(&operation).map(drop)
            }
            Self::Group(_) => Err(impossible(&operation)),
        }
    }

    /// Adds tags or changes their values.
    pub async fn tag(self, w: &W<'_>, added: &Tags) -> Result<()> {
        if added.is_empty() {
            return Ok(());
        }
        let iam = &w.write(w.permit()).iam;
        let (operation, tags) = (self.operation("Tag", ""), Some(to_sdk(added)?));
        match self {
            Self::User(name) => {
                iam.tag_user().user_name(name).set_tags(tags).send().await.at(&operation).map(drop)
            }
            Self::Role(name) => {
                iam.tag_role().role_name(name).set_tags(tags).send().await.at(&operation).map(drop)
            }
            Self::Group(_) => Err(impossible(&operation)),
        }
    }

    /// Deletes the holder with `delete`. IAM requires all policies to be removed first, so they are
    /// detached and, if the deletion fails, attached again.
    pub async fn delete_with(self, w: &W<'_>, delete: impl Future<Output = Result<()>>) -> Result<()> {
        let Some(live) = self.grants(w).await? else { return Ok(()) };
        let result = match self.strip(w, &live).await {
            Ok(()) => delete.await,
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => Ok(()),
            Err(error) => Err(error.after_restoring("policies", self.give(w, &live).await)),
        }
    }

    async fn strip(self, w: &W<'_>, live: &LiveGrants) -> Result<()> {
        for arn in &live.managed_policies {
            self.detach(w, arn).await?;
        }
        for name in live.inline_policies.keys() {
            self.delete_inline(w, name).await?;
        }
        Ok(())
    }

    /// Attaches all of these policies; existing ones stay.
    async fn give(self, w: &W<'_>, live: &LiveGrants) -> Result<()> {
        for arn in &live.managed_policies {
            gone_is_fine(self.attach(w, arn).await)?;
        }
        for (name, document) in &live.inline_policies {
            gone_is_fine(self.put_inline(w, name, document).await)?;
        }
        Ok(())
    }
}

/// The policies that are attached to a holder.
pub fn attachments(live: &LiveGrants) -> Vec<Attachment> {
    let managed = live.managed_policies.iter().map(|arn| Attachment::ends("managed_policies", arn));
    let inline = live.inline_policies.keys().map(|name| Attachment::ends("inline_policies", name));
    managed.chain(inline).collect()
}

/// Groups have neither a boundary nor tags.
fn impossible(operation: &str) -> Error {
    Error::new(
        ErrorKind::Rejected,
        operation,
        "IAM does not support this operation; this is a bug in Groundwork",
    )
}

fn check_policy_arn(path: &str, arn: &str) -> Option<FieldError> {
    let fits = arn.starts_with("arn:aws") && arn.contains(":iam::") && arn.contains(":policy/");
    (!fits).then(|| {
        FieldError::new(path, "not the ARN of a policy")
            .help("e.g. `arn:aws:iam::aws:policy/ReadOnlyAccess`, or `{{ step_id.arn }}`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(declared: Grants<'_>, live: &LiveGrants) -> Vec<String> {
        let mut diff = Diff::none();
        declared.diff(&mut diff, live);
        diff.changes.into_iter().map(|change| change.path).collect()
    }

    fn managed(arns: &[&str]) -> Vec<String> {
        let declared: Vec<String> = arns.iter().map(|arn| (*arn).to_owned()).collect();
        paths(Grants { managed_policies: Some(&declared), ..Grants::default() }, &live())
    }

    fn inline(value: Value) -> Vec<String> {
        let declared = serde_json::from_value(value).expect("valid");
        paths(Grants { inline_policies: Some(&declared), ..Grants::default() }, &live())
    }

    fn live() -> LiveGrants {
        let document: Document = serde_json::from_value(
            json!({ "Statement": { "Effect": "Allow", "Action": ["a:b"], "Resource": "*" } }),
        )
        .expect("a document");
        LiveGrants {
            permissions_boundary: Some("arn:aws:iam::aws:policy/B".into()),
            managed_policies: vec!["b".into(), "a".into()],
            inline_policies: BTreeMap::from([("own".into(), document)]),
        }
    }

    #[test]
    fn undeclared_grants_are_kept() {
        assert!(paths(Grants::default(), &live()).is_empty());
    }

    #[test]
    fn declared_grants_are_exact() {
        assert!(managed(&["a", "b", "a"]).is_empty());
        assert_eq!(managed(&[]), ["managed_policies"]);
        assert_eq!(inline(json!({})), ["inline_policies.own"]);
        let same = "{\"Statement\":[{\"Action\":\"A:B\",\"Effect\":\"Allow\",\"Resource\":[\"*\"]}]}";
        assert!(inline(json!({ "own": same })).is_empty());
    }

    #[test]
    fn permissions_boundary_requires_its_declared_policy() {
        let boundary = "arn:aws:iam::123456789012:policy/apps/limit".to_owned();
        let grants = Grants { permissions_boundary: Some(&boundary), ..Grants::default() };
        assert_eq!(grants.requires(), [Requirement::thing("aws.iam_policy", "apps/limit")]);
    }

    #[test]
    fn arns_are_checked() {
        assert!(check_policy_arn("p", "arn:aws-cn:iam::aws:policy/X").is_none());
        assert!(check_policy_arn("p", "ReadOnlyAccess").is_some());
    }
}
