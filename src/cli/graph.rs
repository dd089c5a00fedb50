//! `groundwork graph`

use clap::{Args, ValueEnum};

use super::plan_args::PlanArgs;
use super::{Outcome, failed};
use crate::console;
use crate::ui;

/// Draw the steps of a plan and what each needs.
#[derive(Debug, Args)]
pub struct GraphArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// The notation
    #[arg(long, value_enum, default_value_t)]
    format: GraphFormat,
}

/// A notation for graphs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// A list in order, with what each step needs
    #[default]
    Text,
    /// Graphviz
    Dot,
    /// Mermaid, for Markdown
    Mermaid,
}

/// Draws the graph.
pub fn run(args: &GraphArgs) -> Outcome {
    match args.plan.check() {
        Ok(checked) => {
            console::out(match args.format {
                GraphFormat::Text => ui::graph::text(&checked.resolved, &checked.graph),
                GraphFormat::Dot => ui::graph::dot(&checked.resolved, &checked.graph),
                GraphFormat::Mermaid => ui::graph::mermaid(&checked.resolved, &checked.graph),
            });
            Outcome::Done
        }
        Err(error) => failed(&error),
    }
}
