//! Which plan, and with which variables.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{ENVIRONMENT, permission};
use crate::changeset::{RemovalScope, Selection};
use crate::confined_path::{PLAN, read_to};
use crate::plan::{
    self, Diagnostic, Diagnostics, Given, Node, NodeValue, STAGE_VARIABLE, Sources, StageChoice, given,
};
use crate::providers::PROVIDERS;
use crate::saved::{self, Origin, PlanRecord};
use crate::session::{self, Checked, Purpose};
use crate::trust::{Grant, InvalidGrant, Subject, Trust};

/// A plan file and what overrides its variables.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// The plan file
    pub plan: PathBuf,
    /// Choose one of the plan's stages [default: GROUNDWORK_STAGE]
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// Give a variable a value; may be repeated. The variable's declaration decides how it is read: as text, a
    /// number, true or false, or JSON for lists and maps; nothing in it is evaluated. Never a secret: others can
    /// read command lines
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
    /// this run; may be repeated. Credentials of AWS, Vault and the pipeline cannot be allowed
    #[arg(long = "env", value_name = "NAME", value_parser = env_grant)]
    env: Vec<Grant>,
    /// The stage and the variables of a saved changeset, in place of those of the command line.
    #[arg(skip)]
    saved: Option<Given>,
    /// The scope of removal.
    #[arg(skip)]
    extent: RemovalScope,
    /// The part of the plan that the run deals with.
    #[arg(skip)]
    selection: Selection,
    /// The commit that the plan has to be of, in place of the one that is checked out.
    #[arg(skip)]
    commit: Option<String>,
}

impl PlanArgs {
    /// The same plan, of which this is to be removed.
    #[must_use]
    pub fn with_extent(self, extent: RemovalScope) -> Self {
        Self { extent, ..self }
    }

    /// The same plan, of which only this is dealt with.
    #[must_use]
    pub fn with_selection(self, selection: Selection) -> Self {
        Self { selection, ..self }
    }

    /// The plan of a saved changeset at this path, with the permissions of this command line. The
    /// file's variables are used only because the caller's are the same.
    ///
    /// # Errors
    /// When the stage or a variable is not what the caller says now.
    pub fn of_saved(
        &self,
        record: &PlanRecord,
        path: PathBuf,
        commit: Option<String>,
    ) -> Result<Self, session::Error> {
        let mut given = self.given()?;
        saved::require_stage(record.stage.as_deref(), given.stage.as_ref())?;
        let now = plan::load(&path, &given, &PROVIDERS.sections())?;
        given.vars = record.vars.iter().cloned().map(|(name, value)| (name, Node::of(value))).collect();
        saved::require_same(&plan::load(&path, &given, &PROVIDERS.sections())?, &now)?;
        let (extent, selection) = (record.removes, record.selection.clone());
        Ok(Self { plan: path, saved: Some(given), extent, selection, commit, ..self.clone() })
    }

    /// Allows the plan more, for this run.
    pub fn allow(&mut self, grants: Vec<Grant>) {
        self.grants.extend(grants);
    }

    /// Where a changeset of this plan comes from.
    ///
    /// # Errors
    /// As [`PlanArgs::check`].
    pub fn origin(&self) -> Result<Origin, session::Error> {
        let folder = self.plan.parent().filter(|folder| !folder.as_os_str().is_empty());
        let commit = || saved::commit::of(folder.unwrap_or(Path::new(".")));
        Ok(Origin {
            plan: self.plan.clone(),
            vars: self.given()?.vars,
            removes: self.extent,
            selection: self.selection.clone(),
            commit: self.commit.clone().or_else(commit),
        })
    }

    /// Reads and checks the plan without the network.
    ///
    /// # Errors
    /// All mistakes found.
    pub fn check(&self) -> Result<Checked, session::Error> {
        self.check_with(&[])
    }

    /// As [`PlanArgs::check`], for a command that talks to servers: asks the person at a terminal for
    /// the permissions that the plan lacks. Without an answer the session refuses the plan.
    ///
    /// # Errors
    /// As [`PlanArgs::check`].
    pub async fn open(&self, purpose: Purpose) -> Result<Checked, session::Error> {
        self.asked(self.check()?, purpose).await
    }

    /// The same for a plan that was checked already.
    ///
    /// # Errors
    /// As [`PlanArgs::check`].
    pub async fn asked(&self, checked: Checked, purpose: Purpose) -> Result<Checked, session::Error> {
        let allowed = permission::ask(&checked, purpose).await;
        // The checks may depend on the permissions: a variable that is allowed may be unset, for example.
        if allowed.is_empty() { Ok(checked) } else { self.check_with(&allowed) }
    }

    fn check_with(&self, more: &[Grant]) -> Result<Checked, session::Error> {
        let trust =
            Trust::of_environment(&ENVIRONMENT)?.with(self.granted().cloned()).with(more.iter().cloned());
        let checked = session::check(&self.plan, &self.given()?, &trust)?;
        let checked = Checked { extent: self.extent, ..checked };
        Ok(if self.selection.is_empty() { checked } else { checked.select(self.selection.clone())? })
    }

    /// The permissions that the command line gives the plan.
    pub fn granted(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter().chain(&self.env)
    }

    /// The stage, and the variables: those of files first, then those of the command line.
    fn given(&self) -> Result<Given, Diagnostics> {
        if let Some(saved) = &self.saved {
            return Ok(saved.clone());
        }
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
        Ok(Given { stage: self.choice(), vars, options: self.options() })
    }

    /// The choice of a stage.
    fn choice(&self) -> Option<StageChoice> {
        let of_environment =
            || ENVIRONMENT.text(STAGE_VARIABLE).map(|name| StageChoice::Environment(name.to_owned()));
        self.stage.clone().map(StageChoice::Option).or_else(of_environment)
    }

    /// The same plan in another stage.
    #[must_use]
    pub fn in_stage(&self, name: &str) -> Self {
        Self { stage: Some(name.to_owned()), ..self.clone() }
    }

    /// The stages that the plan has, while the caller has chosen none.
    pub fn open_stages(&self) -> Vec<String> {
        match self.choice() {
            None => plan::stage_names(&self.plan, &PROVIDERS.sections()),
            Some(_) => Vec::new(),
        }
    }

    fn options(&self) -> Vec<String> {
        let option = |name: &str, value: String| [name.to_owned(), value];
        let files = self.var_files.iter().map(|file| option("--var-file", file.display().to_string()));
        let vars = self.vars.iter().map(|var| option("--var", var.clone()));
        let stage = self.stage.iter().map(|stage| option("--stage", stage.clone()));
        stage.chain(files).chain(vars).flatten().collect()
    }
}

fn env_grant(name: &str) -> Result<Grant, InvalidGrant> {
    format!("{}={name}", Subject::Env.word()).parse()
}

fn read_vars(file: &PathBuf) -> Result<Vec<(String, Node)>, Diagnostics> {
    let mut sources = Sources::default();
    let mistake = |sources: Sources, mistake| Err(Diagnostics::new(sources, vec![mistake]));
    let unreadable = |why: String| Diagnostic::error(None, format!("cannot read {}: {why}", file.display()));
    let text = match File::open(file).and_then(|file| read_to(file, PLAN)).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => return mistake(sources, unreadable("it is not UTF-8".to_owned())),
        Err(error) => return mistake(sources, unreadable(error.to_string())),
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
