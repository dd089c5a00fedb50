//! Which plan, and with which variables.

use std::path::PathBuf;

use clap::Args;

use crate::plan::{Diagnostic, Diagnostics, Node, NodeValue, Sources, given};
use crate::removal::Extent;
use crate::saved::{Origin, PlanRecord};
use crate::session::{self, Checked};
use crate::trust::{Grant, Subject, Trust};

/// A plan file and what overrides its variables.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// The plan file
    pub plan: PathBuf,
    /// Give a variable a value; may be repeated. The value is text, or a whole number or true/false where
    /// the plan's default is not text; nothing in it is evaluated. Never a secret: others can read
    /// command lines
    #[arg(long = "var", value_name = "NAME=VALUE")]
    vars: Vec<String>,
    /// Give variables values from a YAML file; may be repeated. Nothing in it is evaluated
    #[arg(long = "var-file", value_name = "FILE")]
    var_files: Vec<PathBuf>,
    /// Allow the plan to use this, for this run; may be repeated. A refusal names the permission that
    /// is missing; `groundwork trust PLAN` remembers it
    #[arg(long = "trust", value_name = "SUBJECT=VALUE")]
    grants: Vec<Grant>,
    /// Allow the plan to read this environment variable, or those with this beginning (`APP_*`), for
    /// this run; may be repeated
    #[arg(long = "env", value_name = "NAME")]
    env: Vec<String>,
    /// Variables that a saved changeset was made with.
    #[arg(skip)]
    saved: Vec<(String, Node)>,
    /// What is to be removed.
    #[arg(skip)]
    extent: Extent,
}

impl PlanArgs {
    /// The same plan, of which this is to be removed.
    #[must_use]
    pub fn with_extent(self, extent: Extent) -> Self {
        Self { extent, ..self }
    }

    /// The plan of a saved changeset, with the permissions of this command line.
    #[must_use]
    pub fn of_saved(&self, plan: &PlanRecord) -> Self {
        let saved = plan.vars.iter().cloned().map(|(name, value)| (name, Node::of(value))).collect();
        let extent = plan.removes;
        let plan = PathBuf::from(&plan.path);
        Self { plan, vars: Vec::new(), var_files: Vec::new(), saved, extent, ..self.clone() }
    }

    /// Whether the command line gives variables.
    pub fn gives_variables(&self) -> bool {
        !self.vars.is_empty() || !self.var_files.is_empty()
    }

    /// Where a changeset of this plan comes from.
    ///
    /// # Errors
    /// As [`PlanArgs::check`].
    pub fn origin(&self) -> Result<Origin, session::Error> {
        Ok(Origin { plan: self.plan.clone(), vars: self.overrides()?, removes: self.extent })
    }

    /// Reads and checks the plan without the network.
    ///
    /// # Errors
    /// All mistakes found.
    pub fn check(&self) -> Result<Checked, session::Error> {
        let checked = session::check(&self.plan, &self.overrides()?, &self.trust()?)?;
        Ok(Checked { extent: self.extent, ..checked })
    }

    /// What the command line and the environment allow the plan.
    fn trust(&self) -> Result<Trust, session::Error> {
        let names = self.env.iter().map(|name| Grant::new(Subject::Env, name));
        Ok(Trust::of_environment()?.with(self.grants.iter().cloned()).with(names))
    }

    /// The variables: those of files first, then those of the command line.
    fn overrides(&self) -> Result<Vec<(String, Node)>, Diagnostics> {
        let mut vars = Vec::new();
        for file in &self.var_files {
            vars.extend(read_vars(file)?);
        }
        for var in &self.vars {
            let Some((name, value)) = var.split_once('=') else {
                let mistake = Diagnostic::error(None, format!("`--var {var}` has no `=`"));
                return Err(Diagnostics::new(
                    Sources::default(),
                    vec![mistake.help("write `--var NAME=VALUE`")],
                ));
            };
            vars.push((name.to_owned(), given::of_argument(value)));
        }
        vars.extend(self.saved.iter().cloned());
        Ok(vars)
    }
}

fn read_vars(file: &PathBuf) -> Result<Vec<(String, Node)>, Diagnostics> {
    let mut sources = Sources::default();
    let mistake = |sources: Sources, mistake| Err(Diagnostics::new(sources, vec![mistake]));
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("cannot read {}: {error}", file.display());
            return mistake(sources, Diagnostic::error(None, message));
        }
    };
    let index = sources.add(file.clone(), text.as_str().into());
    match Node::parse(&text, index) {
        Ok(node) if matches!(node.value, NodeValue::Map(_)) => {
            let changed = node.changed_by_yaml();
            if !changed.is_empty() {
                return Err(Diagnostics::new(sources, changed));
            }
            Ok(node.entries().iter().map(|(key, node)| (key.name.clone(), node.clone())).collect())
        }
        Ok(node) => {
            mistake(sources, Diagnostic::error(node.span, "a variable file is a map from name to value"))
        }
        Err(error) => mistake(sources, error),
    }
}
