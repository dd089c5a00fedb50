//! The stages of one plan beside each other: what is to be done in each, and which declared values differ.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use serde_json::Value;

use super::field::brief;
use crate::changeset::{Action, Changeset};
use crate::plan::ownership::PLAN_TAG;
use crate::resource::Change;

/// One stage, as it was planned.
pub struct PlannedStage {
    /// The stage's name.
    pub stage: String,
    /// Its changes, or why it could not be planned.
    pub planned: Result<Declared, String>,
}

/// The changes of a stage, and what its steps declare.
pub struct Declared {
    /// The changes.
    pub changeset: Changeset,
    /// Each step that the stage has, with its fields, secrets masked, in the order declared.
    pub steps: Vec<(String, Vec<Change>)>,
}

/// Stages beside each other. Each list has one entry for each stage, in the order of the stages.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// The names of the stages.
    pub stages: Vec<String>,
    /// The changesets' plans and counts, or why there is none.
    pub summaries: Vec<Summary>,
    /// The steps of all stages.
    pub steps: Vec<StepRow>,
    /// The declared values that are not the same in all stages that have the step.
    pub values: Vec<ValueRow>,
}

/// How a stage is.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Summary {
    /// It was planned.
    Planned {
        /// The name of the stage's instance.
        plan: String,
        /// How many steps have each action.
        summary: crate::changeset::Counts,
        /// How many things it has made and no longer declares.
        undeclared: usize,
    },
    /// It could not be planned.
    Failed {
        /// Why.
        error: String,
    },
}

/// One step in all stages.
#[derive(Debug, Serialize)]
pub struct StepRow {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: &'static str,
    /// Its action in each stage; `None` where the stage does not have it.
    pub actions: Vec<Option<Action>>,
}

/// One value in all stages.
#[derive(Debug, Serialize)]
pub struct ValueRow {
    /// The step's id.
    pub id: String,
    /// The field, as a dotted path below the step.
    pub path: String,
    /// Its value in each stage, on one line; `None` where the stage does not have it.
    pub values: Vec<Option<String>>,
}

impl Comparison {
    /// Compares stages.
    pub fn of(stages: &[PlannedStage]) -> Self {
        Self {
            stages: stages.iter().map(|one| one.stage.clone()).collect(),
            summaries: stages.iter().map(summary).collect(),
            steps: steps(stages),
            values: values(stages),
        }
    }
}

fn summary(stage: &PlannedStage) -> Summary {
    match &stage.planned {
        Err(error) => Summary::Failed { error: error.clone() },
        Ok(Declared { changeset, .. }) => Summary::Planned {
            plan: changeset.plan.name.clone(),
            summary: changeset.summary,
            undeclared: changeset.undeclared.len(),
        },
    }
}

fn steps(stages: &[PlannedStage]) -> Vec<StepRow> {
    let mut rows: Vec<StepRow> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (column, stage) in stages.iter().enumerate() {
        for step in stage.planned.iter().flat_map(|planned| &planned.changeset.steps) {
            let place = *places.entry(step.id.clone()).or_insert(rows.len());
            if place == rows.len() {
                rows.push(StepRow {
                    id: step.id.clone(),
                    kind: step.kind,
                    actions: vec![None; stages.len()],
                });
            }
            rows[place].actions[column] = Some(step.action);
        }
    }
    rows
}

fn values(stages: &[PlannedStage]) -> Vec<ValueRow> {
    let mut rows: Vec<(ValueRow, Vec<bool>)> = Vec::new();
    let mut places: BTreeMap<(String, String), usize> = BTreeMap::new();
    let ids_of = |stage: &PlannedStage| -> HashSet<String> {
        stage.planned.iter().flat_map(|planned| &planned.steps).map(|(id, _)| id.clone()).collect()
    };
    let ids: Vec<HashSet<String>> = stages.iter().map(ids_of).collect();
    for (column, stage) in stages.iter().enumerate() {
        for (id, changes) in stage.planned.iter().flat_map(|planned| &planned.steps) {
            for change in changes {
                let place = *places.entry((id.clone(), change.path.clone())).or_insert(rows.len());
                if place == rows.len() {
                    let (id, path) = (id.clone(), change.path.clone());
                    let present = ids.iter().map(|ids| ids.contains(&id)).collect();
                    rows.push((ValueRow { id, path, values: vec![None; stages.len()] }, present));
                }
                rows[place].0.values[column] = Some(text(change));
            }
        }
    }
    let differs = |(row, present): &(ValueRow, Vec<bool>)| {
        let mut of_stages = row.values.iter().zip(present).filter(|(_, present)| **present);
        let first = of_stages.next();
        of_stages.any(|(value, _)| Some(value) != first.map(|(value, _)| value))
    };
    // Every stage marks what it owns with its own name.
    let is_mark = |row: &ValueRow| row.path.ends_with(PLAN_TAG);
    rows.into_iter().filter(|row| differs(row) && !is_mark(&row.0)).map(|(row, _)| row).collect()
}

/// A declared value on one line. Of a secret only its source is known here.
fn text(change: &Change) -> String {
    match (change.sensitive, &change.source) {
        (true, Some(source)) => format!("sensitive, {source}"),
        (true, None) => "sensitive".to_owned(),
        (false, _) if change.after == Value::Null => "nothing".to_owned(),
        (false, _) => brief(&change.after),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::changeset::{PlanIdentity, StepChange};

    fn change(path: &str, after: Value) -> Change {
        Change { path: path.to_owned(), after, ..Change::default() }
    }

    fn stage(name: &str, steps: &[(&str, Action, Vec<Change>)]) -> PlannedStage {
        let of = |(id, action, changes): &(&str, Action, Vec<Change>)| StepChange {
            id: (*id).to_owned(),
            kind: "aws.s3_bucket",
            name: String::new(),
            action: *action,
            changes: changes.clone(),
            unchanged: Vec::new(),
            needs: Vec::new(),
            reason: None,
            unprotected: false,
        };
        let plan = PlanIdentity { name: format!("demo-{name}"), ..PlanIdentity::default() };
        let changeset = Changeset::of(plan, steps.iter().map(of).collect());
        let steps = steps.iter().map(|(id, _, changes)| ((*id).to_owned(), changes.clone()));
        PlannedStage { stage: name.to_owned(), planned: Ok(Declared { changeset, steps: steps.collect() }) }
    }

    #[test]
    fn stages_are_compared_by_action_and_value() {
        let bucket = |size: u64| {
            vec![
                change("size", json!(size)),
                change("tags.groundwork:plan", json!(size)),
                change("on", json!(true)),
            ]
        };
        let failed = PlannedStage { stage: "broken".to_owned(), planned: Err("no login".to_owned()) };
        let comparison = Comparison::of(&[
            stage("dev", &[("a", Action::Create, bucket(1)), ("b", Action::None, bucket(7))]),
            failed,
            stage("production", &[("a", Action::None, bucket(3))]),
        ]);
        assert_eq!(comparison.stages, ["dev", "broken", "production"]);
        let actions: Vec<_> =
            comparison.steps.iter().map(|row| (row.id.as_str(), row.actions.clone())).collect();
        assert_eq!(
            actions,
            [
                ("a", vec![Some(Action::Create), None, Some(Action::None)]),
                ("b", vec![Some(Action::None), None, None])
            ]
        );
        let values: Vec<_> = comparison
            .values
            .iter()
            .map(|row| (row.id.as_str(), row.path.as_str(), row.values.clone()))
            .collect();
        assert_eq!(values, [("a", "size", vec![Some("1".to_owned()), None, Some("3".to_owned())])]);
    }

    #[test]
    fn field_that_one_stage_lacks_differs_and_secrets_show_their_source() {
        let secret = |source: &str| Change {
            sensitive: true,
            source: Some(source.to_owned()),
            ..change("data.password", Value::Null)
        };
        let comparison = Comparison::of(&[
            stage("dev", &[("a", Action::None, vec![secret("env DEV"), change("x", json!("y"))])]),
            stage("production", &[("a", Action::None, vec![secret("generated, 32 characters")])]),
        ]);
        let values: Vec<_> =
            comparison.values.iter().map(|row| (row.path.as_str(), row.values.clone())).collect();
        let (dev, production) = ("sensitive, env DEV", "sensitive, generated, 32 characters");
        assert_eq!(
            values,
            [
                ("data.password", vec![Some(dev.to_owned()), Some(production.to_owned())]),
                ("x", vec![Some("y".to_owned()), None])
            ]
        );
    }
}
