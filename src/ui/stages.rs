//! The stages of a plan beside each other, on a terminal and as Markdown.

use super::changeset::wrap::{columns, pad, shortened, wrapped};
use super::style::{BAD, CHANGE, FAINT, GOOD, STRONG, paint};
use crate::changeset::Action;
use crate::console;
use crate::review::stages::{Comparison, Summary};
use crate::review::{as_declared, counted};
use crate::visible::sanitize;

/// The widest column of ids and paths.
const WIDEST_NAME: usize = 40;
/// The narrowest column of a stage.
const NARROWEST: usize = 10;

/// Prints a comparison for people; steps that are as declared in every stage only with `all`.
pub fn show(comparison: &Comparison, all: bool) {
    console::out(human(comparison, console::width(), all).trim_end());
}

/// Prints a comparison as Markdown, with the same content.
pub fn show_markdown(comparison: &Comparison, all: bool) {
    console::out(markdown(comparison, all).trim_end());
}

/// A table: a title, and rows that begin with a name.
struct Table {
    title: &'static str,
    rows: Vec<(String, Vec<Option<String>>)>,
}

fn tables(comparison: &Comparison, all: bool) -> Vec<Table> {
    let is_quiet = |actions: &[Option<Action>]| actions.iter().all(|action| *action == Some(Action::None));
    let action = |action: &Option<Action>| {
        action.map(|action| match action {
            Action::None => "unchanged".to_owned(),
            other => other.name().to_owned(),
        })
    };
    let steps = comparison.steps.iter().filter(|row| all || !is_quiet(&row.actions));
    let steps = steps.map(|row| (row.id.clone(), row.actions.iter().map(action).collect())).collect();
    let values = comparison.values.iter().map(|row| (format!("{}.{}", row.id, row.path), row.values.clone()));
    let tables = [
        Table { title: "What is to be done", rows: steps },
        Table { title: "Declared values that differ", rows: values.collect() },
    ];
    tables.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

fn human(comparison: &Comparison, width: usize, all: bool) -> String {
    let mut text = String::new();
    for table in tables(comparison, all) {
        let names = table.rows.iter().map(|(name, _)| columns(name)).max().unwrap_or_default();
        let names = names.min(WIDEST_NAME).min(width / 3);
        let count = comparison.stages.len().max(1);
        let column = (width.saturating_sub(names + 2) / count).saturating_sub(2).max(NARROWEST);
        let line = |name: &str, cells: Vec<String>| {
            let cells: Vec<String> = cells.into_iter().map(|cell| format!("  {cell}")).collect();
            format!("  {}{}\n", pad(&shortened(&sanitize(name), names), names), cells.concat())
        };
        // Nothing stands behind the last cell.
        let width_of = |place: usize| if place + 1 == count { 0 } else { column };
        let heads = comparison.stages.iter().enumerate();
        let head = heads.map(|(place, stage)| paint(STRONG, pad(&shortened(stage, column), width_of(place))));
        text.push_str(&format!("{}\n{}", paint(STRONG.underline(), table.title), line("", head.collect())));
        for (name, cells) in &table.rows {
            let cell = |(place, cell): (usize, &Option<String>)| match cell {
                None => paint(FAINT, pad("not there", width_of(place))),
                Some(cell) => coloured(&pad(&shortened(&sanitize(cell), column), width_of(place)), cell),
            };
            text.push_str(&line(name, cells.iter().enumerate().map(cell).collect()));
        }
        text.push('\n');
    }
    for (stage, summary) in comparison.stages.iter().zip(&comparison.summaries) {
        let lines = wrapped(&described(summary), width.saturating_sub(2));
        text.push_str(&format!("{}: {}\n", paint(STRONG, stage), lines.join("\n  ")));
    }
    text
}

/// A cell in the colour of its action.
fn coloured(padded: &str, cell: &str) -> String {
    match cell {
        "create" => paint(GOOD, padded),
        "update" | "adopt" | "deferred" => paint(CHANGE, padded),
        "delete" | "blocked" => paint(BAD, padded),
        "unchanged" => paint(FAINT, padded),
        _ => padded.to_owned(),
    }
}

fn described(summary: &Summary) -> String {
    match summary {
        Summary::Failed { error } => format!("cannot be planned: {}", sanitize(error)),
        Summary::Planned { summary, undeclared, .. } => {
            let mut words: Vec<String> = counted(summary).into_iter().map(|(_, words)| words).collect();
            if summary.writing() + summary.stuck() == 0 {
                words = vec![format!("nothing to do, {}", as_declared(summary).trim_end_matches('.'))];
            }
            if *undeclared > 0 {
                words.push(format!("{undeclared} no longer declared"));
            }
            words.join(", ")
        }
    }
}

fn markdown(comparison: &Comparison, all: bool) -> String {
    let cell = |text: &str| sanitize(text).replace('|', "\\|").replace('\n', " ");
    let mut text = String::new();
    for table in tables(comparison, all) {
        let head: Vec<String> = comparison.stages.iter().map(|stage| cell(stage)).collect();
        let rule = "---|".repeat(head.len() + 1);
        text.push_str(&format!("### {}\n\n| | {} |\n|{rule}\n", table.title, head.join(" | ")));
        for (name, cells) in &table.rows {
            let cells = cells.iter().map(|one| {
                one.as_deref().map_or("–".to_owned(), |one| format!("`{}`", cell(one).replace('`', "'")))
            });
            text.push_str(&format!(
                "| `{}` | {} |\n",
                cell(name).replace('`', "'"),
                cells.collect::<Vec<_>>().join(" | ")
            ));
        }
        text.push('\n');
    }
    for (stage, summary) in comparison.stages.iter().zip(&comparison.summaries) {
        text.push_str(&format!("- **{stage}**: {}\n", cell(&described(summary))));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changeset::Counts;
    use crate::review::stages::{StepRow, ValueRow};

    fn comparison() -> Comparison {
        let row = |id: &str, actions: [Option<Action>; 2]| StepRow {
            id: id.to_owned(),
            kind: "aws.s3_bucket",
            actions: actions.to_vec(),
        };
        let planned = |create: usize| Summary::Planned {
            plan: "demo".to_owned(),
            summary: Counts { create, none: 1, ..Counts::default() },
            undeclared: create,
        };
        Comparison {
            stages: vec!["dev".to_owned(), "production".to_owned()],
            summaries: vec![planned(1), Summary::Failed { error: "no | login".to_owned() }],
            steps: vec![
                row("bucket", [Some(Action::Create), None]),
                row("quiet", [Some(Action::None), Some(Action::None)]),
            ],
            values: vec![ValueRow {
                id: "bucket".to_owned(),
                path: "name".to_owned(),
                values: vec![Some("x".repeat(200)), Some("a|b".to_owned())],
            }],
        }
    }

    #[test]
    fn terminal_table_fits_its_width() {
        for width in [60, 100, 140] {
            let text = anstream::adapter::strip_str(&human(&comparison(), width, false)).to_string();
            assert!(text.lines().all(|line| columns(line) <= width), "{text}");
            assert!(text.contains("bucket") && !text.contains("quiet"), "{text}");
            assert!(text.contains("production: cannot be planned: no | login"), "{text}");
            assert!(text.contains("dev: 1 to create, 1 unchanged, 1 no longer declared"), "{text}");
        }
        assert!(human(&comparison(), 100, true).contains("quiet"));
    }

    #[test]
    fn markdown_cells_cannot_break_the_table() {
        let text = markdown(&comparison(), false);
        assert!(text.contains("| `bucket` | `create` | – |"), "{text}");
        assert!(text.contains("a\\|b"), "{text}");
    }
}
