//! Information about a lock's holder, in Terraform's format.

use jiff::{SpanRound, Timestamp, Unit};
use serde::{Deserialize, Serialize};

use crate::journal::Who;

/// The fields that Terraform writes into a lock, so that each tool can identify the other's holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Info {
    /// The lock's own id, which `unlock` requires.
    #[serde(rename = "ID")]
    pub id: String,
    /// The running operation, e.g. `OperationTypeApply`.
    #[serde(default)]
    pub operation: String,
    /// Further information.
    #[serde(default)]
    pub info: String,
    /// `user@host`.
    #[serde(default)]
    pub who: String,
    /// The version of the holder's tool.
    #[serde(default)]
    pub version: String,
    /// When the lock was taken (RFC 3339).
    #[serde(default)]
    pub created: String,
    /// The locked object.
    #[serde(default)]
    pub path: String,
}

impl Info {
    /// For a run by `who` that is about to lock `path`.
    pub fn new(who: &Who, path: &str) -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            operation: "OperationTypeApply".to_owned(),
            info: format!("groundwork, process {}, plan {}", who.pid, who.plan),
            who: who.who.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            created: Timestamp::now().to_string(),
            path: path.to_owned(),
        }
    }

    /// Holder, age and id, for people.
    pub fn describe(&self) -> String {
        let mut text = if self.who.is_empty() { "an unnamed holder".to_owned() } else { self.who.clone() };
        for part in [&self.operation, &self.info] {
            if !part.is_empty() {
                text.push_str(&format!(", {part}"));
            }
        }
        if let (Some(age), Ok(created)) = (self.age(), self.created.parse::<Timestamp>()) {
            let since = created.strftime("%Y-%m-%dT%H:%M:%SZ");
            text.push_str(&format!(", since {since} ({age} ago)"));
        }
        format!("{text}, lock id {}", self.id)
    }

    /// How long it has been held. Only shown, never used for decisions: clocks differ.
    fn age(&self) -> Option<String> {
        let created: Timestamp = self.created.parse().ok()?;
        let round = SpanRound::new().largest(Unit::Hour).smallest(Unit::Second);
        let age = (Timestamp::now() - created).round(round).ok()?;
        Some(format!("{age:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;

    #[test]
    fn terraform_lock_is_understood() {
        let text = r#"{"ID":"8f0e4e5a-1","Operation":"OperationTypePlan","Info":"","Who":"ann@build",
            "Version":"1.15.5","Created":"2020-01-02T03:04:05.678901234Z","Path":"bucket/env/terraform.tfstate"}"#;
        let told = serde_json::from_str::<Info>(text).expect("readable").describe();
        assert!(told.starts_with("ann@build, OperationTypePlan, since 2020-01-02T03:04:05"), "{told}");
        assert!(
            told.ends_with("h 0m 0s ago), lock id 8f0e4e5a-1") || told.contains(" ago), lock id 8f0e4e5a-1")
        );
    }

    #[test]
    fn written_lock_has_terraforms_keys() {
        let info = Info::new(&Who::here("sha256:0", &Environment::default()), "bucket/key");
        let value = serde_json::to_value(&info).expect("plain data");
        let keys: Vec<&str> = value.as_object().expect("a map").keys().map(String::as_str).collect();
        assert_eq!(keys, ["ID", "Operation", "Info", "Who", "Version", "Created", "Path"]);
        assert!(info.describe().contains(&info.id) && info.describe().contains(&info.who));
    }
}
