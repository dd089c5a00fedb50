//! The changes of a restore: the contents of a backup against those of the live cluster.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::snapshot::{AuditDevice, Contents, KvSecret, Mount, Table};

/// The change of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is only in the backup, and comes back.
    Returns,
    /// It is only in the live cluster, and is lost.
    Lost,
    /// It is in both, and becomes what it was.
    Changes,
}

/// One thing that a restore changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its type and name.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its change.
    pub fate: Fate,
    /// Its parts that change, without a value.
    pub detail: Option<String>,
}

/// Everything that a restore changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Things with a name.
    pub changes: Vec<Change>,
    /// Tokens that were revoked or have expired since, and are good again.
    pub tokens_returning: usize,
    /// Tokens that were issued since, and are refused afterwards.
    pub tokens_lost: usize,
    /// Secret-ids of AppRoles that were destroyed or used up since, and are good again.
    pub secret_ids_returning: usize,
    /// Secret-ids that were issued since, and are refused afterwards.
    pub secret_ids_lost: usize,
}

impl Comparison {
    /// Whether nothing with a name changes.
    pub fn is_same(&self) -> bool {
        self.changes.is_empty()
    }

    /// Compares what is live with a backup.
    pub fn new(live: &Contents, backup: &Contents) -> Self {
        let mut changes = Vec::new();
        for (table, kind) in [(Table::Secrets, "secrets engine"), (Table::Auth, "auth method")] {
            let of = |contents: &Contents| contents.mounts_of(table).map(named_mount).collect();
            add(&mut changes, kind, &of(live), &of(backup), |one, other| {
                (one.kind != other.kind || one.version != other.version)
                    .then(|| format!("{} becomes {}", described(one), described(other)))
            });
        }
        let devices = |contents: &Contents| -> BTreeMap<String, AuditDevice> {
            contents.audit.iter().map(|one| (one.path.clone(), one.clone())).collect()
        };
        add(&mut changes, "audit device", &devices(live), &devices(backup), |one, other| {
            (one != other).then(|| "its options differ".to_owned())
        });
        add(&mut changes, "policy", &live.policies, &backup.policies, |one, other| {
            (one != other).then(|| "its text differs".to_owned())
        });
        let secrets = |contents: &Contents| -> BTreeMap<String, KvSecret> {
            contents.secrets.iter().map(|one| (format!("{}{}", one.mount, one.path), one.clone())).collect()
        };
        add(&mut changes, "secret", &secrets(live), &secrets(backup), |one, other| {
            (one.current != other.current || one.versions != other.versions)
                .then(|| format!("version {} becomes version {}", one.current, other.current))
        });
        Self {
            changes,
            tokens_returning: backup.tokens.difference(&live.tokens).count(),
            tokens_lost: live.tokens.difference(&backup.tokens).count(),
            secret_ids_returning: backup.secret_ids.difference(&live.secret_ids).count(),
            secret_ids_lost: live.secret_ids.difference(&backup.secret_ids).count(),
        }
    }
}

fn named_mount(mount: &Mount) -> (String, Mount) {
    (mount.path.clone(), mount.clone())
}

fn described(mount: &Mount) -> String {
    let version = mount.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    format!("{}{version}", mount.kind)
}

fn add<T>(
    changes: &mut Vec<Change>,
    kind: &'static str,
    live: &BTreeMap<String, T>,
    backup: &BTreeMap<String, T>,
    differs: impl Fn(&T, &T) -> Option<String>,
) {
    let names: BTreeSet<&String> = live.keys().chain(backup.keys()).collect();
    for name in names {
        let (fate, detail) = match (live.get(name), backup.get(name)) {
            (Some(one), Some(other)) => match differs(one, other) {
                Some(detail) => (Fate::Changes, Some(detail)),
                None => continue,
            },
            (Some(_), None) => (Fate::Lost, None),
            _ => (Fate::Returns, None),
        };
        changes.push(Change { kind, name: name.clone(), fate, detail });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(path: &str, current: u64) -> KvSecret {
        KvSecret { mount: "secret/".to_owned(), path: path.to_owned(), current, versions: Vec::new() }
    }

    #[test]
    fn comparison_names_what_returns_changes_and_is_lost() {
        let live = Contents {
            policies: [("app".to_owned(), "new".to_owned())].into(),
            secrets: vec![secret("changed", 3), secret("new", 1), secret("same", 2)],
            tokens: [1, 2].into(),
            ..Contents::default()
        };
        let backup = Contents {
            policies: [("app".to_owned(), "old".to_owned()), ("gone".to_owned(), String::new())].into(),
            secrets: vec![secret("changed", 1), secret("same", 2)],
            tokens: [2, 3, 4].into(),
            secret_ids: [9].into(),
            ..Contents::default()
        };
        let comparison = Comparison::new(&live, &backup);
        let told: Vec<String> = comparison
            .changes
            .iter()
            .map(|one| format!("{} {} {:?}", one.kind, one.name, one.fate))
            .collect();
        let expected = [
            "policy app Changes",
            "policy gone Returns",
            "secret secret/changed Changes",
            "secret secret/new Lost",
        ];
        assert_eq!(told, expected);
        assert_eq!((comparison.tokens_returning, comparison.tokens_lost), (2, 1));
        assert_eq!((comparison.secret_ids_returning, comparison.secret_ids_lost), (1, 0));
        assert!(Comparison::new(&live, &live).is_same());
    }
}
