//! A verification as JUnit's XML, which CI systems show beside their tests.

use std::fmt::Write;

use crate::proof::{Finding, Outcome};
use crate::verify::{Report, StepReport};
use crate::visible::sanitize;

/// The text.
pub fn junit(report: &Report) -> String {
    let totals = report.totals();
    let seconds = format!("{}.{:03}", report.ms / 1000, report.ms % 1000);
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"{}\" tests=\"{}\" \
         failures=\"{}\" skipped=\"{}\" time=\"{seconds}\">\n",
        escaped(&report.plan.name),
        totals.proven + totals.failed + totals.untried,
        totals.failed,
        totals.untried,
    );
    for step in &report.steps {
        step.findings.iter().for_each(|finding| case(&mut text, step, finding));
    }
    text.push_str("  </testsuite>\n</testsuites>");
    text
}

fn case(text: &mut String, step: &StepReport, finding: &Finding) {
    let (class, name) = (escaped(&step.id), escaped(&finding.tried));
    let _ = write!(text, "    <testcase classname=\"{class}\" name=\"{name}\"");
    let _ = match &finding.outcome {
        Outcome::Proven => writeln!(text, "/>"),
        Outcome::Failed { expected, seen, advice } => writeln!(
            text,
            "><failure message=\"{}\">expected: {}\nseen: {}\nto do: {}</failure></testcase>",
            escaped(&format!("{}: {}", step.id, finding.tried)),
            escaped(expected),
            escaped(seen),
            escaped(advice),
        ),
        Outcome::Untried { needs } => {
            writeln!(text, "><skipped message=\"{}\"/></testcase>", escaped(&format!("needs {needs}")))
        }
    };
}

/// Text inside of an element or an attribute. XML has no way to write most control characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in sanitize(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
