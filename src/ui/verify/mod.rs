//! Shows what a verification found: for people, for programs, for CI systems and for comments.

mod human;
mod junit;
mod markdown;

pub use human::human;
pub use junit::junit;
pub use markdown::markdown;

use serde_json::{Value, json};

use crate::verify::Report;

/// Everything as one JSON value.
pub fn json(report: &Report) -> Value {
    let mut value = json!({
        "format_version": "1",
        "plan": report.plan,
        "steps": report.steps,
        "summary": report.totals(),
        "stopped": report.stopped,
        "ms": report.ms,
        "api_calls": report.api_calls,
    });
    if !report.load.is_empty() {
        value["load"] =
            report.load.iter().map(|(provider, load)| ((*provider).to_owned(), json!(load))).collect();
        value["machine"] = json!(report.machine);
    }
    value
}

/// The totals in words: `41 proven, 1 failed, none left untried`.
fn totals(report: &Report) -> String {
    let totals = report.totals();
    let untried = match totals.untried {
        0 => String::new(),
        count => format!(", {count} could not be tried"),
    };
    format!("{} proven, {} failed{untried}", totals.proven, totals.failed)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::changeset::PlanIdentity;
    use crate::proof::{Finding, Load};
    use crate::trace::CallCount;
    use crate::verify::{Machine, StepReport};

    /// A report with one step of each kind.
    pub fn report() -> Report {
        let step = |id: &str, kind, proof, findings| StepReport { id: id.to_owned(), kind, proof, findings };
        let failed = Finding::failed(
            "app_role",
            "the token's ttl",
            "3600 s",
            "7200 s & <more>",
            "find out who changed it\nand set it back",
        );
        let plan = PlanIdentity { name: "shop".to_owned(), stage: None, digest: "sha256:0".to_owned() };
        Report {
            plan,
            steps: vec![
                step(
                    "kv",
                    Some("vault.mount"),
                    Some("it is a mount"),
                    vec![Finding::proven("kv", "is as declared")],
                ),
                step(
                    "app[a]",
                    Some("vault.policy"),
                    None,
                    vec![Finding::proven("app[a]", "is as declared"), Finding::proven("app[a]", "5 paths")],
                ),
                step(
                    "app[b]",
                    Some("vault.policy"),
                    None,
                    vec![Finding::proven("app[b]", "is as declared"), Finding::proven("app[b]", "7 paths")],
                ),
                step(
                    "app_role",
                    Some("vault.approle_role"),
                    None,
                    vec![Finding::proven("app_role", "logs in"), failed],
                ),
                step("custody", None, None, vec![Finding::untried("custody", "every copy opens", "a key")]),
            ],
            load: vec![(
                "vault",
                Load { reads: 5000, at_once: 16, p50_ms: 4.5, p99_ms: 12.0, reads_per_second: 3500 },
            )],
            machine: Some(Machine { processors: 2, load_before: 0.5, load_after: 1.25 }),
            stopped: false,
            ms: 1234,
            api_calls: CallCount { read: 7, write: 2, login: 1 },
        }
    }

    #[test]
    fn json_has_each_finding_with_its_outcome() {
        let told = json(&report());
        assert_eq!(told["summary"], json!({ "proven": 6, "failed": 1, "untried": 1 }));
        let failed = &told["steps"][3]["findings"][1];
        assert_eq!(failed["outcome"], "failed");
        assert_eq!(failed["expected"], "3600 s");
        assert_eq!(told["steps"][0]["proof"], "it is a mount");
        assert_eq!(told["steps"][4]["findings"][0]["needs"], "a key");
        assert_eq!(told["api_calls"]["login"], 1);
        assert_eq!(told["load"]["vault"]["reads_per_second"], 3500);
        assert_eq!(told["machine"]["processors"], 2);
    }

    #[test]
    fn human_report_has_a_line_for_each_group() {
        let text = anstream::adapter::strip_str(&human(&report())).to_string();
        let expected = "\
shop
  failed    app_role (vault.approle_role): the token's ttl
              expected  3600 s
              seen      7200 s & <more>
              to do     find out who changed it and set it back
  untried   custody: every copy opens
              needs     a key
  proven    app (2 × vault.policy): 5 paths; 7 paths
  proven    1 step is as declared, which is its proof
  load      vault: 5000 reads, 16 at once: p50 4.5 ms, p99 12.0 ms, 3500 reads per second
            this machine has 2 processors, and its load was 0.50 before and 1.25 after

6 proven, 1 failed, 1 could not be tried; 10 requests, 1.2 s";
        assert_eq!(text, expected);
    }

    #[test]
    fn junit_and_markdown_escape_what_they_quote() {
        let xml = junit(&report());
        assert!(
            xml.contains("<testsuite name=\"shop\" tests=\"8\" failures=\"1\" skipped=\"1\" time=\"1.234\">"),
            "{xml}"
        );
        assert!(xml.contains("seen: 7200 s &amp; &lt;more&gt;"), "{xml}");
        let text = markdown(&report());
        assert!(
            text.contains(
                "| <code>app&#95;role</code> | the token&#39;s ttl | 3600 s | 7200 s &#38; &#60;more&#62; |"
            ),
            "{text}"
        );
    }
}
