//! The report of a drill as one self-contained page.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;

use super::{ended, facts, lists, time};
use crate::drill::Report;
use crate::ui::page;
use crate::visible::sanitize;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = concat!(include_str!("../changeset/page.css"), include_str!("page.css"));

#[derive(Serialize)]
struct Page {
    policy: String,
    style: &'static str,
    plan: String,
    date: String,
    verdict: &'static str,
    facts: Vec<(&'static str, String)>,
    phases: Vec<(&'static str, String, &'static str, String)>,
    lists: Vec<(&'static str, Vec<String>)>,
}

/// The report as an HTML page.
///
/// # Panics
/// Never: the template and what is given to it are part of the program, and tested.
pub fn html(report: &Report) -> String {
    let mut engine = Environment::new();
    engine.set_auto_escape_callback(|_| AutoEscape::Html);
    let phases = report.phases.iter().map(|phase| {
        let detail = sanitize(phase.detail.as_deref().unwrap_or_default());
        (phase.name.words(), time(phase.ms), ended(phase.end), detail)
    });
    let shown = |lines: Vec<String>| lines.iter().map(|line| sanitize(line)).collect();
    let page = Page {
        policy: page::policy("", STYLE),
        style: STYLE,
        plan: sanitize(&report.plan),
        date: report.started.strftime("%Y-%m-%d").to_string(),
        verdict: report.verdict.word(),
        facts: facts(report).into_iter().map(|(title, fact)| (title, sanitize(&fact))).collect(),
        phases: phases.collect(),
        lists: lists(report).into_iter().map(|(title, lines)| (title, shown(lines))).collect(),
    };
    let page = engine.render_str(PAGE, Serde(&page));
    page.unwrap_or_else(|error| unreachable!("the page's template: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::report;
    use super::*;

    #[test]
    fn page_shows_the_verdict_and_no_markup_of_others() {
        let page = html(&report());
        assert!(page.contains("<title>Drill of demo, 2026-11-28: missed</title>"), "{page}");
        assert!(page.contains("8.1 s, within 15m") && page.contains("&lt;script&gt;"), "{page}");
        assert!(!page.contains("<script>"));
    }
}
