//! Ownership of the statements of a bucket policy.

use serde_json::Value;

use crate::providers::aws::policy::{self, Document};
use crate::providers::aws::record::Record;
use crate::resource::Tags;

/// Records the statements that the plan has added to the policy.
pub const RECORD: Record = Record("groundwork:policy");

/// The tags that record the statements of a declared document.
pub fn record(declared: Option<&Document>) -> Tags {
    RECORD.of(declared.map(Document::statements).unwrap_or_default().iter().map(identity))
}

/// A statement's identity: its `Sid`, or its meaning without one.
pub fn identity(statement: &Value) -> String {
    match sid(statement) {
        Some(sid) => format!("sid {sid}"),
        None => format!("meaning {}", policy::anonymous(statement)),
    }
}

/// The `Sid` of a statement.
pub fn sid(statement: &Value) -> Option<&str> {
    statement.get("Sid").and_then(Value::as_str).filter(|sid| !sid.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn statement_is_identified_by_sid_or_meaning() {
        let named = |action: &str| json!({ "Sid": "A", "Effect": "Allow", "Action": action });
        let nameless = |action: Value| json!({ "Effect": "Allow", "Action": action });
        let tags = record(Some(&Document::of(vec![named("s3:Get*"), nameless(json!("s3:Put*"))])));
        let has = |statement: Value| RECORD.has(&tags, &Tags::new(), &identity(&statement));
        assert!(has(named("s3:List*")) && has(nameless(json!(["S3:Put*"]))));
        assert!(!has(nameless(json!("s3:List*"))));
        assert!(record(None).is_empty());
    }
}
