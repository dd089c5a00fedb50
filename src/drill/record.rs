//! The reports of a plan's drills, in its workspace: `.groundwork/drills/PLAN/TIME.json`, and the same for people.

use std::path::PathBuf;

use super::Report;
use crate::confined_path::OBJECT;
use crate::durable;
use crate::error::{Error, ErrorKind, Result};
use crate::workspace::Workspace;

/// The folder of all reports.
const FOLDER: &str = "drills";

fn folder(plan: &str) -> String {
    format!("{FOLDER}/{plan}")
}

/// Keeps a report, durably, with its other forms by the ends of their names. Gives the path of the record.
///
/// # Errors
/// When it cannot be written.
pub fn keep(workspace: &Workspace, report: &Report, others: &[(&str, String)]) -> Result<PathBuf> {
    // Names sort by time, and two drills of one second have different ones.
    let name = format!("{}/{}", folder(&report.plan), report.started.strftime("%Y%m%dT%H%M%S%3fZ"));
    let record = format!("{:#}\n", serde_json::to_value(report).unwrap_or_default());
    let all = others.iter().map(|(end, text)| (*end, text.as_str())).chain([("json", record.as_str())]);
    for (end, text) in all {
        let file = workspace.file(&format!("{name}.{end}"));
        file.put(false, |to| durable::write(to, text.as_bytes())).map_err(|error| {
            Error::new(ErrorKind::Local, format!("write {file}"), error.to_string())
                .advice("the report is not kept, so `groundwork status` does not know of this drill")
        })?;
    }
    Ok(workspace.file(&format!("{name}.json")).path())
}

/// The report of the newest drill; `None` when there was none. Records that cannot be understood are passed over.
///
/// # Errors
/// When the folder cannot be read.
pub fn latest(workspace: &Workspace, plan: &str) -> Result<Option<Report>> {
    let unreadable = |error: std::io::Error| {
        Error::new(ErrorKind::Local, "read the reports of drills", error.to_string())
            .advice("check the folder `.groundwork/drills` beside the plan")
    };
    let mut names = workspace.entries(&folder(plan)).map_err(unreadable)?;
    names.sort_unstable_by(|one, other| other.cmp(one));
    for name in names.iter().filter(|name| name.strip_suffix(".json").is_some()) {
        let file = workspace.file(&format!("{}/{name}", folder(plan)));
        let bytes = file.read(OBJECT).map_err(unreadable)?.unwrap_or_default();
        if let Ok(report) = serde_json::from_slice::<Report>(&bytes) {
            return Ok(Some(report));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_record_is_found_among_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let workspace = Workspace::of(folder.path()).expect("a workspace");
        assert_eq!(latest(&workspace, "demo").expect("no folder yet"), None);
        let at = |time: &str| Report {
            started: time.parse().expect("a time"),
            ..Report::begin("demo", Some("prod"), "sha256:1")
        };
        let (older, newer) = (at("2026-11-27T10:00:00Z"), at("2026-11-28T09:00:00.5Z"));
        let path = keep(&workspace, &newer, &[("md", "# Drill\n".to_owned())]).expect("kept");
        keep(&workspace, &older, &[]).expect("kept");
        assert!(path.ends_with(".groundwork/drills/demo/20261128T090000500Z.json"), "{path:?}");
        assert_eq!(std::fs::read_to_string(path.with_extension("md")).expect("there"), "# Drill\n");
        std::fs::write(path.with_file_name("20261128T100000000Z.json"), "{").expect("written");
        assert_eq!(latest(&workspace, "demo").expect("read"), Some(newer));
        assert_eq!(latest(&workspace, "other").expect("read"), None);
    }
}
