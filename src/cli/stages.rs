//! All stages of a plan at once: for `validate` and `plan --all-stages`.

use super::Outcome;
use super::plan::{PlanCommand, View, prepare};
use crate::console;
use crate::plan::{Diagnostic, Diagnostics, Sources};
use crate::review::stages::{Comparison, Declared, PlannedStage};
use crate::session;
use crate::ui;

/// Plans every stage, and shows them beside each other.
///
/// # Errors
/// When the plan has no stages. A stage that cannot be planned is shown as such.
pub async fn compare(args: &PlanCommand) -> Result<Outcome, session::Error> {
    let names = args.plan.open_stages();
    if names.is_empty() {
        let mistake = Diagnostic::error(None, "the plan has no stages to compare, or one is chosen");
        let help = "declare them with `stages:`; with `--all-stages` leave `--stage` out, and GROUNDWORK_STAGE unset";
        return Err(Diagnostics::new(Sources::default(), vec![mistake.help(help)]).into());
    }
    let (mut stages, mut worst) = (Vec::new(), Outcome::Done);
    for stage in names {
        let plan = args.plan.in_stage(&stage);
        let planned = prepare(&plan, args.parallelism, args.format.progress()).await;
        let (planned, outcome) = match planned {
            Ok((session, changeset)) => {
                let outcome = args.outcome(&session, &changeset);
                (Ok(Declared { steps: session::stages::declared(&session), changeset }), outcome)
            }
            Err(error) => {
                console::note(format_args!("stage {stage}:"));
                (Err(error.to_string()), super::failed(&error))
            }
        };
        worst = worse(worst, outcome);
        stages.push(PlannedStage { stage, planned });
    }
    let comparison = Comparison::of(&stages);
    match args.format {
        View::Json => console::json(&comparison),
        View::Markdown => ui::stages::show_markdown(&comparison, args.all),
        View::Human | View::Html => ui::stages::show(&comparison, args.all),
    }
    Ok(worst)
}

/// The outcome that needs a person's attention more.
pub fn worse(one: Outcome, other: Outcome) -> Outcome {
    let rank = |outcome: Outcome| match outcome {
        Outcome::Done => 0,
        Outcome::Pending => 1,
        Outcome::Stuck => 2,
        Outcome::Usage => 3,
        Outcome::Failed => 4,
        Outcome::Unknown => 5,
    };
    if rank(other) > rank(one) { other } else { one }
}
