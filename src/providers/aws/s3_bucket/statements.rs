//! Whose the statements of a bucket policy are.
//!
//! A policy has no room for marks of ownership, and a plan that no longer declares a statement does not
//! say that it once did. So the bucket's tags record the statements that the plan has put there, each by
//! a short digest of its `Sid`, or of its meaning if it has none. A live statement that is recorded and
//! not declared any more is removed; one that is neither is somebody else's.

use std::collections::BTreeSet;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::providers::aws::policy::{self, Document};
use crate::resource::Tags;

/// The tag that has the digests; when there are many, more tags follow: `groundwork:policy-2` and so on.
const RECORD: &str = "groundwork:policy";
/// How many digests fit into the 256 characters of a tag.
const IN_ONE_TAG: usize = 28;

/// Whether a tag is part of the record.
pub fn is_record(tag: &str) -> bool {
    tag.strip_prefix(RECORD).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The tags that record the statements of a declared document.
pub fn record(declared: Option<&Document>) -> Tags {
    let statements = declared.map(Document::statements).unwrap_or_default();
    let digests: BTreeSet<String> = statements.iter().map(digest).collect();
    let digests: Vec<String> = digests.into_iter().collect();
    let name = |index: usize| if index == 0 { RECORD.to_owned() } else { format!("{RECORD}-{}", index + 1) };
    digests.chunks(IN_ONE_TAG).enumerate().map(|(index, some)| (name(index), some.join(" "))).collect()
}

/// The recorded part of a bucket's tags.
pub fn recorded(tags: &Tags) -> Tags {
    tags.iter().filter(|(tag, _)| is_record(tag)).map(|(tag, value)| (tag.clone(), value.clone())).collect()
}

/// Whether the tags record a live statement.
pub fn is_recorded(tags: &Tags, statement: &Value) -> bool {
    let digest = digest(statement);
    recorded(tags).values().any(|digests| digests.split(' ').any(|recorded| recorded == digest))
}

/// What a statement is known again by.
fn digest(statement: &Value) -> String {
    let identity = match sid(statement) {
        Some(sid) => format!("sid {sid}"),
        None => format!("meaning {}", policy::anonymous(statement)),
    };
    hex::encode(&Sha256::digest(identity)[..4])
}

/// The name of a statement, if it has one.
pub fn sid(statement: &Value) -> Option<&str> {
    statement.get("Sid").and_then(Value::as_str).filter(|sid| !sid.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn statements(count: usize) -> Document {
        Document::of((0..count).map(|n| json!({ "Sid": format!("S{n}"), "Effect": "Deny" })).collect())
    }

    #[test]
    fn a_statement_is_known_by_its_name_or_its_meaning() {
        let named = |action: &str| json!({ "Sid": "A", "Effect": "Allow", "Action": action });
        let nameless = |action: Value| json!({ "Effect": "Allow", "Action": action });
        let tags = record(Some(&Document::of(vec![named("s3:Get*"), nameless(json!("s3:Put*"))])));
        assert!(is_recorded(&tags, &named("s3:List*")));
        assert!(is_recorded(&tags, &nameless(json!(["S3:Put*"]))));
        assert!(!is_recorded(&tags, &nameless(json!("s3:List*"))));
    }

    #[test]
    fn long_records_take_several_tags() {
        let tags = record(Some(&statements(60)));
        let names: Vec<&str> = tags.keys().map(String::as_str).collect();
        assert_eq!(names, ["groundwork:policy", "groundwork:policy-2", "groundwork:policy-3"]);
        assert!(tags.values().all(|value| value.len() <= 256));
        assert_eq!(recorded(&tags), tags);
        assert!(statements(60).statements().iter().all(|statement| is_recorded(&tags, statement)));
        assert!(record(None).is_empty() && !is_record("groundwork:plan"));
    }
}
