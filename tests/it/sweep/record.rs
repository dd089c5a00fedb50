//! What was judged already, so that a sweep that was broken off goes on where it was.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::case::{Trouble, Verdict};
use super::table::name;

/// Verdicts of an earlier sweep of one plan, and the file to which those of this one are added.
#[derive(Default)]
pub struct Record {
    plan: &'static str,
    known: HashMap<String, Verdict>,
    file: Option<Mutex<File>>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    plan: String,
    case: String,
    #[serde(flatten)]
    verdict: Verdict,
}

impl Record {
    /// The file that `SWEEP_RESUME` names; nothing without it.
    pub fn of(plan: &'static str) -> Self {
        let Some(path) = std::env::var_os("SWEEP_RESUME") else { return Self::default() };
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let known = lines.filter(|line| line.plan == plan).map(|line| (line.case, line.verdict)).collect();
        let file = File::options().create(true).append(true).open(path).expect("the record of the sweep");
        Self { plan, known, file: Some(Mutex::new(file)) }
    }

    /// The verdict of a case; one that was violated is judged anew.
    pub fn verdict(&self, case: &[Trouble]) -> Option<Verdict> {
        self.known.get(&name(case)).filter(|verdict| verdict.violations.is_empty()).cloned()
    }

    /// Adds a verdict.
    pub fn add(&self, case: &[Trouble], verdict: &Verdict) {
        let Some(file) = &self.file else { return };
        let line = Line { plan: self.plan.to_owned(), case: name(case), verdict: verdict.clone() };
        let text = serde_json::to_string(&line).expect("plain data") + "\n";
        file.lock().expect("nobody panics with it").write_all(text.as_bytes()).expect("written");
    }
}
