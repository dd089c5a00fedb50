//! What users and roles have in common: attached and inline policies, tags, a boundary.

use std::collections::BTreeMap;

use aws_sdk_iam::types::{AttachedPolicy, Tag};
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::client::AwsClient;
use super::error::Answer;
use super::iam_policy::IamPolicy;
use super::policy::{self, Document, PolicyType};
use crate::resolve::unknown::is_unknown;
use crate::resource::{Diff, Error, ErrorKind, FieldError, Requirement, Resource as _, Result, Tags, Writer};

/// The error code of IAM for a thing that is not there.
pub const NO_SUCH_ENTITY: &[&str] = &["NoSuchEntity"];

type W<'a> = Writer<'a, AwsClient>;

/// Somebody to whom policies can be given.
#[derive(Clone, Copy, Debug)]
pub enum Holder<'a> {
    /// The user of this name.
    User(&'a str),
    /// The role of this name.
    Role(&'a str),
}

/// What a user or role may do, as declared; what is not declared is left alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Grants<'a> {
    /// ARN of the policy that limits what the others can allow.
    pub permissions_boundary: Option<&'a String>,
    /// ARNs of attached policies; others are detached.
    pub managed_policies: Option<&'a [String]>,
    /// Name to document; others are removed.
    pub inline_policies: Option<&'a BTreeMap<String, Document>>,
}

/// What a user or role may do, as it is.
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
    /// What somebody has who was just made with this boundary.
    pub fn with_boundary(boundary: Option<&String>) -> Self {
        Self { permissions_boundary: boundary.cloned(), ..Self::default() }
    }
}

impl Grants<'_> {
    /// Compares what is declared.
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

    /// Mistakes that need no network.
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

    /// The policies that must be there before they can be given.
    pub fn requires(&self) -> Vec<Requirement> {
        let arns = self.managed_policies.into_iter().flatten().chain(self.permissions_boundary);
        let ids = arns.filter_map(|arn| arn.split_once(":policy/").map(|(_, id)| id));
        ids.map(|id| Requirement::thing(IamPolicy::KIND, id)).collect()
    }

    /// Brings the declared grants into force. What is taken away goes last, so that whoever uses
    /// the old grants has the new ones before.
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

/// One call for a user, another for a role: the same request under two names.
macro_rules! either {
    ($holder:expr, $iam:expr, $user:ident, $role:ident, $names:expr, |$request:ident| $then:expr) => {
        match $holder {
            Holder::User(name) => {
                let $request = $iam.$user().user_name(name);
                $then.send().await.at($names.0).map(drop)
            }
            Holder::Role(name) => {
                let $request = $iam.$role().role_name(name);
                $then.send().await.at($names.1).map(drop)
            }
        }
    };
}

impl Holder<'_> {
    /// Reads attached and inline policies, all at once; the boundary comes with the holder itself.
    /// `None` when the holder is not there.
    pub async fn grants(self, client: &AwsClient) -> Result<Option<LiveGrants>> {
        let (attached, names) = tokio::try_join!(self.attached(client), self.inline_names(client))?;
        let (Some(attached), Some(names)) = (attached, names) else { return Ok(None) };
        let documents = try_join_all(names.iter().map(|name| self.inline(client, name))).await?;
        let inline = names.into_iter().zip(documents).filter_map(|(name, document)| Some((name, document?)));
        Ok(Some(LiveGrants {
            permissions_boundary: None,
            managed_policies: attached.into_iter().filter_map(|policy| policy.policy_arn).collect(),
            inline_policies: inline.collect(),
        }))
    }

    async fn attached(self, client: &AwsClient) -> Result<Option<Vec<AttachedPolicy>>> {
        let iam = &client.read().iam;
        match self {
            Self::User(name) => {
                let pages = iam.list_attached_user_policies().user_name(name).into_paginator().items().send();
                pages.try_collect().await.found("iam:ListAttachedUserPolicies", NO_SUCH_ENTITY)
            }
            Self::Role(name) => {
                let pages = iam.list_attached_role_policies().role_name(name).into_paginator().items().send();
                pages.try_collect().await.found("iam:ListAttachedRolePolicies", NO_SUCH_ENTITY)
            }
        }
    }

    async fn inline_names(self, client: &AwsClient) -> Result<Option<Vec<String>>> {
        let iam = &client.read().iam;
        match self {
            Self::User(name) => {
                let pages = iam.list_user_policies().user_name(name).into_paginator().items().send();
                pages.try_collect().await.found("iam:ListUserPolicies", NO_SUCH_ENTITY)
            }
            Self::Role(name) => {
                let pages = iam.list_role_policies().role_name(name).into_paginator().items().send();
                pages.try_collect().await.found("iam:ListRolePolicies", NO_SUCH_ENTITY)
            }
        }
    }

    async fn inline(self, client: &AwsClient, policy: &str) -> Result<Option<Document>> {
        let iam = &client.read().iam;
        let (operation, text) = match self {
            Self::User(name) => {
                let answer = iam.get_user_policy().user_name(name).policy_name(policy).send().await;
                let answer = answer.found("iam:GetUserPolicy", NO_SUCH_ENTITY)?;
                ("iam:GetUserPolicy", answer.map(|answer| answer.policy_document))
            }
            Self::Role(name) => {
                let answer = iam.get_role_policy().role_name(name).policy_name(policy).send().await;
                let answer = answer.found("iam:GetRolePolicy", NO_SUCH_ENTITY)?;
                ("iam:GetRolePolicy", answer.map(|answer| answer.policy_document))
            }
        };
        text.map(|text| Document::parse_encoded(operation, &text)).transpose()
    }

    async fn attach(self, w: &W<'_>, arn: &str) -> Result<()> {
        let names = ("iam:AttachUserPolicy", "iam:AttachRolePolicy");
        let iam = &w.write(w.permit()).iam;
        either!(self, iam, attach_user_policy, attach_role_policy, names, |request| request.policy_arn(arn))
    }

    async fn detach(self, w: &W<'_>, arn: &str) -> Result<()> {
        let names = ("iam:DetachUserPolicy", "iam:DetachRolePolicy");
        let iam = &w.write(w.permit()).iam;
        gone_is_fine(either!(self, iam, detach_user_policy, detach_role_policy, names, |request| request
            .policy_arn(arn)))
    }

    async fn put_inline(self, w: &W<'_>, policy: &str, document: &Document) -> Result<()> {
        let names = ("iam:PutUserPolicy", "iam:PutRolePolicy");
        let iam = &w.write(w.permit()).iam;
        either!(self, iam, put_user_policy, put_role_policy, names, |request| request
            .policy_name(policy)
            .policy_document(document.text()))
    }

    async fn delete_inline(self, w: &W<'_>, policy: &str) -> Result<()> {
        let names = ("iam:DeleteUserPolicy", "iam:DeleteRolePolicy");
        let iam = &w.write(w.permit()).iam;
        gone_is_fine(either!(self, iam, delete_user_policy, delete_role_policy, names, |request| request
            .policy_name(policy)))
    }

    async fn put_boundary(self, w: &W<'_>, arn: &str) -> Result<()> {
        let names = ("iam:PutUserPermissionsBoundary", "iam:PutRolePermissionsBoundary");
        let iam = &w.write(w.permit()).iam;
        either!(self, iam, put_user_permissions_boundary, put_role_permissions_boundary, names, |request| {
            request.permissions_boundary(arn)
        })
    }

    /// Adds tags or changes their values.
    pub async fn tag(self, w: &W<'_>, added: &Tags) -> Result<()> {
        if added.is_empty() {
            return Ok(());
        }
        let (names, tags) = (("iam:TagUser", "iam:TagRole"), Some(to_sdk(added)?));
        let iam = &w.write(w.permit()).iam;
        either!(self, iam, tag_user, tag_role, names, |request| request.set_tags(tags))
    }

    /// Takes every policy away, as IAM wants it before the holder can be deleted.
    pub async fn strip(self, w: &W<'_>) -> Result<()> {
        let Some(live) = self.grants(w).await? else { return Ok(()) };
        for arn in &live.managed_policies {
            self.detach(w, arn).await?;
        }
        for name in live.inline_policies.keys() {
            self.delete_inline(w, name).await?;
        }
        Ok(())
    }
}

/// What is to be taken away and is not there any more, is taken away.
fn gone_is_fine(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind == ErrorKind::Eventual && error.message.contains("NoSuchEntity") => Ok(()),
        other => other,
    }
}

/// Tags for a request.
pub fn to_sdk(tags: &Tags) -> Result<Vec<Tag>> {
    let one = |(key, value): (&String, &String)| {
        let tag = Tag::builder().key(key).value(value).build();
        tag.map_err(|error| Error::new(ErrorKind::Local, "iam:Tag", error.to_string()))
    };
    tags.iter().map(one).collect()
}

/// Tags of an answer.
pub fn from_sdk(tags: Option<Vec<Tag>>) -> Tags {
    tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect()
}

/// Names of IAM: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
pub fn check_name(path: &str, name: &str, longest: usize) -> Option<FieldError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    let fits = !name.is_empty() && name.len() <= longest && name.chars().all(allowed);
    (!fits && !is_unknown(name)).then(|| {
        FieldError::new(path, "not a valid name in IAM")
            .help(format!("1 to {longest} letters, digits and `+=,.@_-`"))
    })
}

/// Paths of IAM start and end with a slash.
pub fn check_path(path: &str) -> Option<FieldError> {
    let fits =
        path == "/" || (path.len() <= 512 && path.len() > 2 && path.starts_with('/') && path.ends_with('/'));
    let fits = fits && path.chars().all(|c| ('!'..='~').contains(&c));
    (!fits && !is_unknown(path)).then(|| {
        FieldError::new("path", "not a valid path in IAM").help("start and end with `/`, e.g. `/apps/`")
    })
}

fn check_policy_arn(path: &str, arn: &str) -> Option<FieldError> {
    let fits = arn.starts_with("arn:aws") && arn.contains(":iam::") && arn.contains(":policy/");
    (!fits && !is_unknown(arn)).then(|| {
        FieldError::new(path, "not the ARN of a policy")
            .help("e.g. `arn:aws:iam::aws:policy/ReadOnlyAccess`, or `{{ step_id.arn }}`")
    })
}

/// IAM's default path.
pub fn root_path() -> String {
    "/".to_owned()
}

/// Adds what stands in the way when IAM refuses to delete.
pub fn delete_conflict(error: Error, what: &str) -> Error {
    if error.message.contains("DeleteConflict") {
        return error.advice(format!("remove first what it still has and this plan did not give it: {what}"));
    }
    error
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
    fn what_is_not_declared_is_left_alone() {
        assert!(paths(Grants::default(), &live()).is_empty());
    }

    #[test]
    fn what_is_declared_is_exact() {
        assert!(managed(&["a", "b", "a"]).is_empty());
        assert_eq!(managed(&[]), ["managed_policies"]);
        assert_eq!(inline(json!({})), ["inline_policies.own"]);
        let same = "{\"Statement\":[{\"Action\":\"A:B\",\"Effect\":\"Allow\",\"Resource\":[\"*\"]}]}";
        assert!(inline(json!({ "own": same })).is_empty());
    }

    #[test]
    fn declared_policies_come_first() {
        let boundary = "arn:aws:iam::123456789012:policy/apps/limit".to_owned();
        let grants = Grants { permissions_boundary: Some(&boundary), ..Grants::default() };
        assert_eq!(grants.requires(), [Requirement::thing("aws.iam_policy", "apps/limit")]);
    }

    #[test]
    fn names_paths_and_arns_are_checked() {
        assert!(
            check_name("name", "ci@example.net", 64).is_none() && check_name("name", "a b", 64).is_some()
        );
        assert!(
            check_path("/apps/x/").is_none() && check_path("apps").is_some() && check_path("//").is_some()
        );
        assert!(check_policy_arn("p", "arn:aws-cn:iam::aws:policy/X").is_none());
        assert!(check_policy_arn("p", "ReadOnlyAccess").is_some());
    }
}
