//! Constants that cannot be: regions, account ids and ARNs, in any field of any kind.

use serde_json::Value;

use super::arn::{is_account_id, partition_of};
use crate::error::FieldError;
use crate::resource::constants::{each_text, networks};
use crate::suggest::closest;
use crate::template::unknown::is_unknown;

/// <https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html>
const PARTITIONS: [&str; 8] =
    ["aws", "aws-cn", "aws-us-gov", "aws-eusc", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f"];
/// <https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html>
const REGIONS: [&str; 44] = [
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "eu-central-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-central-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-east-1",
    "ap-east-2",
    "ca-central-1",
    "ca-west-1",
    "sa-east-1",
    "mx-central-1",
    "af-south-1",
    "me-central-1",
    "me-south-1",
    "il-central-1",
    "cn-north-1",
    "cn-northwest-1",
    "us-gov-east-1",
    "us-gov-west-1",
    "eusc-de-east-1",
    "us-iso-east-1",
    "us-isob-east-1",
    "eu-isoe-west-1",
    "us-isof-south-1",
    "us-isof-east-1",
];
/// Fields whose text is free: an ARN in it is not a reference.
const FREE_TEXT: [&str; 10] =
    ["tags", "description", "comment", "data", "value", "content", "metadata", "with", "body", "message"];

/// A region that AWS cannot have. One whose parts are all known is taken: it may be newer than this program.
fn region_mistake(region: &str) -> Option<String> {
    let parts = |region: &'static str| region.rsplitn(3, '-').collect::<Vec<_>>();
    let known = REGIONS.map(parts);
    let is_known = |at: usize, part: &str| known.iter().any(|parts| parts[at] == part);
    let is_number = |text: &str| matches!(text.as_bytes(), [b'1'..=b'9']);
    match *region.rsplitn(3, '-').collect::<Vec<_>>() {
        [number, direction, area] if is_number(number) && is_known(1, direction) && is_known(2, area) => None,
        _ => Some(match closest(region, REGIONS) {
            Some(meant) => format!("`{region}` is not a region of AWS; did you mean `{meant}`?"),
            None => format!("`{region}` is not a region of AWS; `eu-central-1` is one"),
        }),
    }
}

/// The mistakes in a region and an account id that a section declares.
pub(super) fn of_account(path: &str, region: Option<&str>, account: Option<&str>) -> Vec<FieldError> {
    let known = |text: Option<&str>| text.filter(|text| !is_unknown(text)).map(ToOwned::to_owned);
    let region = known(region).and_then(|region| region_mistake(&region)).map(|message| {
        FieldError::new(format!("{path}region"), message)
            .help("for a region that is newer than this program, leave `region` out and set AWS_REGION")
    });
    let account = known(account).filter(|account| !is_account_id(account)).map(|account| {
        FieldError::new(format!("{path}account_id"), format!("`{account}` is not an account id"))
            .help("an account id has twelve digits; `aws sts get-caller-identity` shows it")
    });
    region.into_iter().chain(account).collect()
}

/// The ARNs and addresses in a step's fields that cannot be. `partition` is that of the step's region.
pub(in crate::providers) fn in_fields(fields: &Value, partition: Option<&str>) -> Vec<FieldError> {
    let mut found = networks(fields, |name| {
        ["aws:sourceip", "aws:vpcsourceip"].contains(&name.to_ascii_lowercase().as_str())
    });
    each_text(fields, &mut |path, _, text| {
        let field = path.split(['.', '[']).next().unwrap_or_default();
        if FREE_TEXT.contains(&field) || !text.starts_with("arn:") || text.contains(char::is_whitespace) {
            return;
        }
        if let Some(message) = arn_mistake(text, partition) {
            found.push(FieldError::new(path, message).help("e.g. `arn:aws:iam::123456789012:role/deployer`"));
        }
    });
    found
}

/// What is wrong with an ARN. Patterns stand for any text, and policy variables may contain colons.
fn arn_mistake(arn: &str, partition: Option<&str>) -> Option<String> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    if is_unknown(arn) || parts.iter().take(5).any(|part| part.contains('$')) {
        return None;
    }
    let [_, of, service, region, account, resource] = parts[..] else {
        return (!arn.ends_with('*')).then(|| {
            format!("`{arn}` is not an ARN: it has {} of the six parts that colons separate", parts.len())
        });
    };
    let open = |part: &str| part.is_empty() || part.contains(['*', '?']);
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let wrong_service = |name: &str| {
        !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let why = match partition {
        _ if resource.is_empty() => "nothing stands behind the account".to_owned(),
        _ if service.is_empty() || (!open(service) && wrong_service(service)) => {
            format!("`{service}` is not a service of AWS")
        }
        _ if of.is_empty() || (!open(of) && !PARTITIONS.contains(&of)) => {
            let meant = closest(of, PARTITIONS).unwrap_or("aws");
            format!("`{of}` is not a partition of AWS; did you mean `{meant}`?")
        }
        _ if !open(account) && is_digits(account) && !is_account_id(account) => {
            format!("`{account}` is not an account id, which has twelve digits")
        }
        Some(own) if !open(of) && of != own => {
            return Some(format!(
                "`{arn}` is in another partition than the step's region; an ARN there begins with `arn:{own}:`"
            ));
        }
        _ if open(region) => return None,
        Some(own) if partition_of(region) != own => {
            return Some(format!("the region of `{arn}` is in another partition than the step's region"));
        }
        _ => region_mistake(region)?,
    };
    Some(format!("`{arn}` is not an ARN: {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::unknown::marker;

    #[test]
    fn misspelt_regions_are_corrected_and_new_ones_taken() {
        let corrected = [
            ("us-esat-1", "us-east-1"),
            ("eu-wset-1", "eu-west-1"),
            ("eu-central1", "eu-central-1"),
            ("us-east-1a", "us-east-1"),
            ("US-EAST-1", "eu-central-1"),
            ("useast-2", "us-east-2"),
            ("us-gov-wets-1", "us-gov-west-1"),
            ("frankfurt", "eu-central-1"),
        ];
        for (region, meant) in corrected {
            assert!(
                region_mistake(region).is_some_and(|why| why.contains(meant)),
                "{region}: {:?}",
                region_mistake(region)
            );
        }
        for region in REGIONS.iter().copied().chain(["us-west-3", "ap-south-3", "eu-east-1", "cn-west-1"]) {
            assert_eq!(region_mistake(region), None);
        }
    }

    #[test]
    fn every_part_of_an_arn_is_judged() {
        let wrong = [
            ("arn:aws:iam::12345:role/a", "12345"),
            ("arn:aws:iam::1234-5678-9012:role/a", "1234-5678-9012"),
            ("arn:amazon:iam::123456789012:role/a", "amazon"),
            ("arn:asw:iam::123456789012:role/a", "did you mean `aws`"),
            ("arn:aws:IAM::123456789012:role/a", "IAM"),
            ("arn:aws:kms:us-esat-1:123456789012:key/a", "us-east-1"),
            ("arn:aws:iam::123456789012:", "nothing stands"),
            ("arn:aws:s3:bucket", "4 of the six parts"),
            ("arn:aws-cn:s3:::bucket", "begins with `arn:aws:`"),
            ("arn:aws:sns:cn-north-1:123456789012:a", "another partition"),
        ];
        for (arn, why) in wrong {
            let found = arn_mistake(arn, Some("aws"));
            assert!(found.as_ref().is_some_and(|found| found.contains(why)), "{arn}: {found:?}");
        }
        let right = [
            "arn:aws:iam::aws:policy/ReadOnlyAccess",
            "arn:aws:s3:::bucket/a:b/*",
            "arn:aws:iam::*:user/${aws:username}",
            "arn:aws:iam::${aws:PrincipalAccount}:role/x",
            "arn:aws:iam::cloudfront:user/CloudFront Origin Access Identity E1",
            "arn:*:sns:*:*:topic",
            "arn:aws:s3:*",
            "arn:aws:execute-api:us-east-1:123456789012:a/*/GET/",
            "arn:${Partition}:s3:::x",
        ];
        for arn in right {
            assert_eq!(arn_mistake(arn, Some("aws")), None, "{arn}");
        }
        assert_eq!(arn_mistake("arn:aws-cn:s3:::bucket", None), None);
    }

    #[test]
    fn every_field_but_free_text_is_judged() {
        let wrong = "arn:aws:iam::1:role/a";
        let fields = json!({
            "key": wrong, "list": [wrong, "x"], "policy": { "Statement": [{ "Resource": wrong }] },
            "description": wrong, "tags": { "a": wrong }, "known": "arn:aws:s3:::b", "later": marker("a.arn"),
            "when": { "IpAddress": { "aws:SourceIp": ["10.0.0.0/33", "10.0.0.0/8"] } },
        });
        let paths: Vec<String> = in_fields(&fields, None).into_iter().map(|mistake| mistake.path).collect();
        let expected = ["when.IpAddress.aws:SourceIp[0]", "key", "list[0]", "policy.Statement[0].Resource"];
        assert_eq!(paths, expected);
    }

    #[test]
    fn account_and_region_of_a_section_are_judged() {
        let found = of_account("aliases.a.", Some("eu-wset-1"), Some("012345"));
        let paths: Vec<&str> = found.iter().map(|mistake| mistake.path.as_str()).collect();
        assert_eq!(paths, ["aliases.a.region", "aliases.a.account_id"]);
        assert!(of_account("", Some("eu-west-1"), Some("012345678901")).is_empty());
        assert!(of_account("", Some(&marker("a.b")), None).is_empty());
    }
}
