//! Places in S3, as a plan names them.

use std::fmt;
use std::str::FromStr;

/// `s3://BUCKET/KEY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Location {
    /// The bucket's name.
    pub bucket: String,
    /// The object's key, or the part that several objects have in common; never empty, and without
    /// a slash at either end.
    pub key: String,
}

impl fmt::Display for S3Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

impl FromStr for S3Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
        match parts.map(|(bucket, key)| (bucket, key.trim_matches('/'))) {
            Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
                Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
            }
            _ => Err(format!("`{text}` is not a place in S3; write it as s3://BUCKET/PREFIX")),
        }
    }
}

/// Where a lock stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockPlace {
    /// An item in DynamoDB.
    Item {
        /// The table.
        table: String,
        /// The value of `LockID`.
        id: String,
    },
    /// An object in S3.
    Object(S3Location),
}

impl LockPlace {
    /// The thing that must exist for it, by kind and name: a table or a bucket.
    pub fn container(&self) -> (&'static str, &str) {
        match self {
            Self::Item { table, .. } => ("aws.dynamodb_table", table),
            Self::Object(place) => ("aws.s3_bucket", &place.bucket),
        }
    }
}

/// Bucket and prefix of a store of custody, `s3://bucket/prefix`; the prefix is empty or ends with a slash. `None`
/// when it is not such a place.
pub fn bucket_and_prefix(url: &str) -> Option<(&str, String)> {
    let place = url.strip_prefix("s3://")?;
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let prefix = prefix.trim_end_matches('/');
    let is_good = |part: &str| !part.is_empty() && part != "." && part != "..";
    if bucket.is_empty() || !(prefix.is_empty() || prefix.split('/').all(is_good)) {
        return None;
    }
    Some((bucket, if prefix.is_empty() { String::new() } else { format!("{prefix}/") }))
}

impl fmt::Display for LockPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Item { table, id } => write!(f, "{id} in the table {table}"),
            Self::Object(place) => place.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_location_requires_bucket_and_key() {
        let place: S3Location = "s3://state/groundwork/prod/".parse().expect("a place");
        assert_eq!((place.bucket.as_str(), place.key.as_str()), ("state", "groundwork/prod"));
        for wrong in ["state/groundwork", "s3://state", "s3://state/", "s3:///key", "https://state/key"] {
            assert!(wrong.parse::<S3Location>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn store_location_has_bucket_and_optional_prefix() {
        assert_eq!(bucket_and_prefix("s3://b/a/c/"), Some(("b", "a/c/".to_owned())));
        assert_eq!(bucket_and_prefix("s3://b"), Some(("b", String::new())));
        for wrong in ["b/a", "s3://", "s3:///a", "s3://b//a", "s3://b/../a", "https://b/a"] {
            assert_eq!(bucket_and_prefix(wrong), None, "{wrong}");
        }
    }
}
