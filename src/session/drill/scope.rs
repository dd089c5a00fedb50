//! The parts of a recovery that a drill goes through, and those that it does not.

use super::Proven;
use crate::drill::{Phase, PhaseEnd, PhaseName};
use crate::session::Checked;
use crate::snapshot::{Contents, Table};

/// Engines and auth methods that ask nothing of other systems by themselves.
const SELF_CONTAINED: [&str; 15] = [
    "kv",
    "generic",
    "cubbyhole",
    "identity",
    "system",
    "transit",
    "pki",
    "ssh",
    "totp",
    "token",
    "approle",
    "userpass",
    "cert",
    "jwt",
    "oidc",
];
/// Targets of an audit device of type `file` other than files.
const NO_FILES: [&str; 2] = ["stdout", "discard"];

/// The things in a backup by which a restored server would act on other systems, or write outside of its folder.
pub(super) fn reaching(contents: &Contents) -> Vec<String> {
    let is_contained = |kind: &str| SELF_CONTAINED.contains(&kind.trim_start_matches("ns_"));
    let mounts = contents.mounts.iter().filter(|mount| !is_contained(&mount.kind));
    let mounts = mounts.map(|mount| format!("{} of type {}", mount.path, mount.kind));
    let is_harmless =
        |options: Option<&String>| options.is_some_and(|path| NO_FILES.contains(&path.as_str()));
    let devices = contents.audit.iter().filter(|device| !is_harmless(device.options.get("file_path")));
    mounts.chain(devices.map(|device| format!("the audit device {}", device.path))).collect()
}

/// The parts of a recovery that these phases went through.
pub(super) fn rehearsed(phases: &[Phase]) -> Vec<String> {
    let done = |name| phases.iter().any(|phase| phase.name == name && phase.end == PhaseEnd::Done);
    let all = [
        (PhaseName::Fetch, "having the backup from where it is kept"),
        (PhaseName::Prove, "opening it with the keys at hand, and authenticating every entry"),
        (
            PhaseName::Unseal,
            "restoring it into an empty server of the same shape, and opening that with these keys",
        ),
        (PhaseName::LogIn, "logging in to it with what custody has"),
        (PhaseName::Join, "joining the other servers, opening them, and comparing what they serve"),
        (PhaseName::Compare, "comparing its mounts, policies and secrets with the backup"),
        (PhaseName::Canaries, "reading the canaries from it"),
        (PhaseName::Roles, "logging in as each AppRole role"),
    ];
    all.into_iter().filter(|(name, _)| done(*name)).map(|(_, words)| words.to_owned()).collect()
}

/// The parts of a recovery that this drill leaves out, whatever comes of it.
/// `missing` nodes of the plan's have no server here that could join.
pub(super) fn left_out(checked: &Checked, missing: usize, proven: &Proven) -> Vec<String> {
    let contents = &proven.opened.contents;
    let mut left = Vec::new();
    let aws = checked.resolved.steps.iter().filter(|step| step.kind.provider() == "aws").count();
    if aws > 0 {
        left.push(format!("the {aws} steps in AWS: nothing was made there"));
    }
    if missing > 0 {
        left.push(format!("the joining of the {missing} other nodes: this machine does not confine servers"));
    }
    left.push("machines, names, certificates and load balancers: the server listened on a socket".to_owned());
    if !contents.audit.is_empty() {
        left.push(
            "audit devices: the server had none declared, and let go of those of the backup".to_owned(),
        );
    }
    let reaching: Vec<&str> = contents
        .mounts
        .iter()
        .filter(|mount| !SELF_CONTAINED.contains(&mount.kind.trim_start_matches("ns_")))
        .map(|mount| mount.path.as_str())
        .collect();
    if !reaching.is_empty() {
        left.push(format!("the systems behind {}: the server could not reach them", reaching.join(", ")));
    }
    let others = contents
        .mounts_of(Table::Auth)
        .filter(|mount| !["approle", "token", "ns_token"].contains(&mount.kind.as_str()));
    let others: Vec<&str> = others.map(|mount| mount.path.as_str()).collect();
    if !others.is_empty() {
        left.push(format!(
            "logins by {}: they take what only people or other systems have",
            others.join(", ")
        ));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{AuditDevice, Mount};

    #[test]
    fn only_what_was_done_counts_as_rehearsed() {
        let phase = |name, end| Phase { name, end, ms: 1, detail: None };
        let phases = [
            phase(PhaseName::Fetch, PhaseEnd::Done),
            phase(PhaseName::Start, PhaseEnd::Done),
            phase(PhaseName::Restore, PhaseEnd::Failed),
        ];
        assert_eq!(rehearsed(&phases), ["having the backup from where it is kept"]);
    }

    #[test]
    fn engines_of_other_systems_and_audit_files_reach_out() {
        let device = |path: &str, file: &str| AuditDevice {
            path: path.to_owned(),
            kind: "file".to_owned(),
            options: [("file_path".to_owned(), file.to_owned())].into(),
        };
        let contents = Contents {
            mounts: vec![
                Mount::test("secret/", "kv", Table::Secrets),
                Mount::test("team/sys/", "ns_system", Table::Secrets),
                Mount::test("db/", "database", Table::Secrets),
                Mount::test("kubernetes/", "kubernetes", Table::Auth),
            ],
            audit: vec![device("main/", "/var/log/audit.log"), device("out/", "stdout")],
            ..Contents::default()
        };
        let expected = ["db/ of type database", "kubernetes/ of type kubernetes", "the audit device main/"];
        assert_eq!(reaching(&contents), expected);
    }
}
