//! Partitions, and ARNs that are computed from names.

use crate::resource::Scope;

/// The partition that a region belongs to: `aws`, `aws-cn` or `aws-us-gov`.
pub fn partition_of(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// Whether a text is an account id: twelve digits.
/// <https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-identifiers.html>
pub fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The ARN of an IAM resource, if the account is known. `path` starts and ends with `/`.
pub fn iam_arn(scope: &Scope, noun: &str, path: &str, name: &str) -> Option<String> {
    let account = scope.account_id.as_deref()?;
    Some(format!("arn:{}:iam::{account}:{noun}{path}{name}", partition(scope)))
}

/// The ARN of a resource in the scope's region, if account and region are known.
pub fn regional_arn(scope: &Scope, service: &str, resource: &str) -> Option<String> {
    let account = scope.account_id.as_deref()?;
    let region = Some(scope.region.as_str()).filter(|region| !region.is_empty())?;
    Some(format!("arn:{}:{service}:{region}:{account}:{resource}", partition(scope)))
}

/// The scope's partition; derived from the region if it is not set.
pub fn partition(scope: &Scope) -> &str {
    if scope.partition.is_empty() { partition_of(&scope.region) } else { &scope.partition }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(region: &str) -> Scope {
        Scope {
            plan: "p".into(),
            account_id: Some("123456789012".into()),
            region: region.into(),
            partition: partition_of(region).into(),
            ..Scope::default()
        }
    }

    #[test]
    fn arns_carry_the_partition_of_the_region() {
        let user = |region| iam_arn(&scope(region), "user", "/apps/", "ci").expect("account is known");
        assert_eq!(user("eu-west-1"), "arn:aws:iam::123456789012:user/apps/ci");
        assert_eq!(user("cn-north-1"), "arn:aws-cn:iam::123456789012:user/apps/ci");
        let table = regional_arn(&scope("us-gov-west-1"), "dynamodb", "table/lock");
        assert_eq!(table.as_deref(), Some("arn:aws-us-gov:dynamodb:us-gov-west-1:123456789012:table/lock"));
    }

    #[test]
    fn nothing_is_predicted_without_an_account() {
        assert_eq!(iam_arn(&Scope { account_id: None, ..scope("us-east-1") }, "user", "/", "a"), None);
    }
}
