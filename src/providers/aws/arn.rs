//! Partitions, and ARNs that are computed from names.

use crate::place::Realm;

/// The partition that a region belongs to, such as `aws`, `aws-cn` or `aws-us-gov`.
pub fn partition_of(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        region if region.starts_with("eusc-") => "aws-eusc",
        region if region.starts_with("us-iso-") => "aws-iso",
        region if region.starts_with("us-isob-") => "aws-iso-b",
        region if region.starts_with("eu-isoe-") => "aws-iso-e",
        region if region.starts_with("us-isof-") => "aws-iso-f",
        _ => "aws",
    }
}

/// Whether a text is an account id: twelve digits.
/// <https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-identifiers.html>
pub fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The ARN of an IAM resource, if the account is known. `path` starts and ends with `/`.
pub fn iam_arn(realm: &Realm, noun: &str, path: &str, name: &str) -> Option<String> {
    let account = realm.get("account")?;
    Some(format!("arn:{}:iam::{account}:{noun}{path}{name}", partition(realm)))
}

/// The ARN of a resource in the realm's region, if account and region are known.
pub fn regional_arn(realm: &Realm, service: &str, resource: &str) -> Option<String> {
    let (account, region) = (realm.get("account")?, realm.get("region")?);
    Some(format!("arn:{}:{service}:{region}:{account}:{resource}", partition(realm)))
}

/// The realm's partition; derived from the region if it is not known.
pub fn partition(realm: &Realm) -> &str {
    realm.get("partition").unwrap_or_else(|| partition_of(realm.get("region").unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realm(region: &str) -> Realm {
        let realm = Realm::default().with("account", "123456789012").with("region", region);
        realm.with("partition", partition_of(region))
    }

    #[test]
    fn arns_carry_the_partition_of_the_region() {
        let user = |region| iam_arn(&realm(region), "user", "/apps/", "ci").expect("account is known");
        assert_eq!(user("eu-west-1"), "arn:aws:iam::123456789012:user/apps/ci");
        assert_eq!(user("cn-north-1"), "arn:aws-cn:iam::123456789012:user/apps/ci");
        let table = regional_arn(&realm("us-gov-west-1"), "dynamodb", "table/lock");
        assert_eq!(table.as_deref(), Some("arn:aws-us-gov:dynamodb:us-gov-west-1:123456789012:table/lock"));
    }

    #[test]
    fn arn_is_not_predicted_without_account() {
        assert_eq!(iam_arn(&Realm::default().with("region", "us-east-1"), "user", "/", "a"), None);
    }
}
