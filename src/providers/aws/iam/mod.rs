//! Identity and Access Management: users, groups, roles, policies, and account settings.
//!
//! [`holder`] contains the common parts of users, groups and roles; this module those of all IAM kinds.

pub mod account_password_policy;
mod bulk;
mod credentials;
pub mod group;
mod holder;
pub mod instance_profile;
pub mod oidc_provider;
pub mod policy;
pub mod role;
mod trust;
pub mod user;

use aws_sdk_iam::types::Tag;
use schemars::JsonSchema;
use serde::Serialize;

pub use account_password_policy::IamAccountPasswordPolicy;
pub use bulk::Bulk;
pub use group::IamGroup;
pub use instance_profile::IamInstanceProfile;
pub use oidc_provider::IamOidcProvider;
pub use policy::IamPolicy;
pub use role::IamRole;
pub use user::IamUser;

use super::arn::iam_arn;
use super::client::AwsClient;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::Realm;
use crate::resource::{Partial, Tags, Writer};

/// IAM's error code for a missing resource.
pub const NO_SUCH_ENTITY: &[&str] = &["NoSuchEntity"];

/// An AWS client with write permission.
type W<'a> = Writer<'a, AwsClient>;

/// The outputs for other steps.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IamOutputs")]
pub struct Outputs {
    /// The name.
    pub name: String,
    /// The ARN.
    pub arn: String,
}

/// The outputs of a principal for other steps.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IamPrincipalOutputs")]
pub struct PrincipalOutputs {
    /// The name.
    pub name: String,
    /// The ARN.
    pub arn: String,
    /// The id that AWS assigned, e.g. `AROA…`. A recreated principal of the same name gets another id.
    pub unique_id: String,
}

/// The known outputs of a resource that IAM identifies by name. `noun` is as in its ARN.
fn predicted(realm: &Realm, noun: &str, path: &str, name: &str) -> Partial {
    Partial::default().with("name", name).with_some("arn", iam_arn(realm, noun, path, name))
}

/// The ARN of a resource in the client's account. `path` starts and ends with `/`.
async fn arn(client: &AwsClient, noun: &str, path: &str, name: &str) -> Result<String> {
    let account = client.account_id().await?;
    Ok(format!("arn:{}:iam::{account}:{noun}{path}{name}", client.partition()))
}

/// Removing a missing resource succeeds.
fn gone_is_fine(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind == ErrorKind::Eventual && error.is("NoSuchEntity") => Ok(()),
        other => other,
    }
}

/// Adds the blocking resources to IAM's refusal to delete.
fn delete_conflict(error: Error, what: &str) -> Error {
    if error.is("DeleteConflict") {
        return error.advice(format!("first remove what this plan did not add to it: {what}"));
    }
    error
}

/// Tags for a request.
fn to_sdk(tags: &Tags) -> Result<Vec<Tag>> {
    let one = |(key, value): (&String, &String)| {
        let tag = Tag::builder().key(key).value(value).build();
        tag.map_err(|error| Error::new(ErrorKind::Local, "iam:Tag", error.to_string()))
    };
    tags.iter().map(one).collect()
}

/// Tags of a response.
fn from_sdk(tags: Option<Vec<Tag>>) -> Tags {
    tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect()
}

/// Names of IAM: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
pub fn check_name(path: &str, name: &str, longest: usize) -> Option<FieldError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    let fits = !name.is_empty() && name.len() <= longest && name.chars().all(allowed);
    (!fits).then(|| {
        FieldError::new(path, "not a valid name in IAM")
            .help(format!("1 to {longest} letters, digits and `+=,.@_-`"))
    })
}

/// Paths of IAM start and end with a slash.
fn check_path(path: &str) -> Option<FieldError> {
    let fits =
        path == "/" || (path.len() <= 512 && path.len() > 2 && path.starts_with('/') && path.ends_with('/'));
    let fits = fits && path.chars().all(|c| ('!'..='~').contains(&c));
    (!fits).then(|| {
        FieldError::new("path", "not a valid path in IAM").help("start and end with `/`, e.g. `/apps/`")
    })
}

/// A name as IAM compares it: names are not distinguished by case.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
pub fn folded(name: &str) -> String {
    name.to_lowercase()
}

/// Checks name and path of a resource whose name has at most `longest` characters.
fn check_named(name: &str, longest: usize, path: &str) -> Vec<FieldError> {
    check_name("name", name, longest).into_iter().chain(check_path(path)).collect()
}

/// IAM's default path.
fn root_path() -> String {
    "/".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_checked() {
        assert!(
            check_name("name", "ci@example.net", 64).is_none() && check_name("name", "a b", 64).is_some()
        );
        assert!(
            check_path("/apps/x/").is_none() && check_path("apps").is_some() && check_path("//").is_some()
        );
        assert_eq!(check_named("a b", 64, "apps").len(), 2);
    }

    #[test]
    fn arn_is_predicted() {
        let realm = Realm::default().with("account", "123456789012");
        let outputs = predicted(&realm, "user", "/apps/", "ci").into_map();
        assert_eq!(outputs["arn"], "arn:aws:iam::123456789012:user/apps/ci");
        assert!(!predicted(&Realm::default(), "user", "/", "ci").into_map().contains_key("arn"));
    }
}
