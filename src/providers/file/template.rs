//! `file.template`: a file rendered from a template.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::Files;
use crate::access::Granting;
use crate::confined_path;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::Realm;
use crate::plan_shape::is_plan;
use crate::proof::Proof;
use crate::resource::risk::{Category, FieldChanges, Finding, Risks, Severity, analysed, identity, safe};
use crate::resource::{Change, Diff, Look, Partial, Resource, Writer};
use crate::secret::{LoadError, Loader};

/// The kind `file.template`.
pub struct Template;

/// A file whose text comes from a template. It cannot hold a secret: templates see only the values
/// under `with` and the plan's variables.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Desired {
    /// The file's path, relative to the plan's folder and inside it.
    pub path: String,
    /// The template's file name, in `templates/` beside the plan or beside the plan's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<PathBuf>,
    /// The text itself, instead of a template file; expressions in it are evaluated.
    #[serde(default, skip_serializing_if = "is_told_as_rendered")]
    pub content: Option<String>,
    /// Values for the template.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub with: Map<String, Value>,
    /// Permission bits in octal.
    #[serde(default = "default_mode")]
    pub mode: String,
    /// The rendered text, once the template has been read, for review before it is written.
    #[serde(skip_deserializing, rename = "content")]
    #[schemars(skip)]
    rendered: String,
}

/// The declaration is shown in its final form, under the same name.
#[expect(clippy::ref_option, reason = "serde asks with the field")]
fn is_told_as_rendered(_: &Option<String>) -> bool {
    true
}

fn default_mode() -> String {
    "0644".to_owned()
}

/// The live file.
#[derive(Clone, Debug)]
pub struct Observed {
    path: String,
    content: String,
    mode: String,
}

/// The outputs for other steps.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Outputs {
    /// The path, relative to the plan's folder.
    pub path: String,
    /// SHA-256 of the content, hexadecimal.
    pub sha256: String,
}

/// Permission bits that let others run, change or read the file.
fn of_mode(changes: &FieldChanges<'_>) -> Vec<Finding> {
    let bits = |value: &Value| value.as_str().and_then(|text| u32::from_str_radix(text, 8).ok());
    let of_change = |change: &&Change| {
        let after = bits(&change.after)?;
        let before = bits(&change.before);
        let new = |mask: u32| after & mask != 0 && before.unwrap_or_default() & mask == 0;
        let (severity, category, message) = match () {
            () if new(0o111) => {
                let message = "can be run as a program by every user of this folder";
                (Severity::High, Category::BroaderGrant, message)
            }
            () if new(0o022) => {
                (Severity::Medium, Category::BroaderGrant, "can be changed by other users of the machine")
            }
            () if before.is_some() && new(0o044) => {
                (Severity::Low, Category::PublicExposure, "can be read by other users of the machine")
            }
            () => return None,
        };
        Some(Finding::new(severity, category, message))
    };
    changes.changes.iter().filter_map(of_change).collect()
}

fn write(w: &Writer<'_, Files>, desired: &Desired) -> Result<()> {
    let mode = parse_mode(&desired.mode).unwrap_or(0o600);
    confined_path::replace(&w.folder, &desired.path, desired.rendered.as_bytes(), mode)
        .map_err(|error| Error::new(ErrorKind::Local, format!("write {}", desired.path), error.to_string()))
}

impl Resource for Template {
    const KIND: &'static str = "file.template";
    const GRANTS: Granting = Granting::Never("a file is on this machine");
    const ABOUT: &'static str =
        "A file rendered from a template, written atomically, such as Terraform's backend file.";
    const EXAMPLE: &'static str = r#"
backend_file:
  kind: file.template
  path: rendered/backend.hcl
  content: |
    bucket = "example-terraform-state"
    region = "us-east-1"
  mode: "0640"
"#;
    const RISKS: Risks = &[&[
        identity("path"),
        safe("template content with", "the content before and after is shown"),
        analysed("mode", of_mode),
    ]];
    const PROOF: Proof = Proof::InSync("the file is there with its content");
    const HOLDS_VALUES: bool = true;
    const ON_THIS_MACHINE: bool = true;
    const TELLING: &'static [&'static str] = &["sha256"];

    type Client = Files;
    type Id = String;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn id(desired: &Desired) -> String {
        desired.path.clone()
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut mistakes = Vec::new();
        if desired.template.is_some() == desired.content.is_some() {
            mistakes.push(FieldError::new("", "exactly one of `template` and `content` is needed"));
        }
        if parse_mode(&desired.mode).is_none() {
            mistakes.push(
                FieldError::new("mode", "not permission bits in octal")
                    .help("write it as text, such as \"0644\""),
            );
        }
        if let Some(why) = confined_path::mistake_in_writing(&desired.path) {
            mistakes.push(FieldError::new("path", "a plan cannot write this file").help(why));
        }
        mistakes
    }

    fn load(desired: &mut Desired, loader: &Loader) -> Result<(), LoadError> {
        desired.rendered = match (&desired.content, &desired.template) {
            (Some(content), _) => content.clone(),
            (None, Some(name)) => loader.render_file(name, &desired.with, None)?,
            (None, None) => String::new(),
        };
        if is_plan(desired.rendered.as_bytes()) {
            return Err(LoadError::Template("a plan does not write plans".to_owned()));
        }
        Ok(())
    }

    async fn observe(client: &Files, path: &String, _: Look<'_, Self>) -> Result<Option<Observed>> {
        let live = confined_path::read_output(&client.folder, path)
            .map_err(|error| Error::new(ErrorKind::Local, format!("read {path}"), error.to_string()))?;
        Ok(live.map(|(bytes, mode)| Observed {
            path: path.clone(),
            content: String::from_utf8_lossy(&bytes).into_owned(),
            mode: format!("{mode:04o}"),
        }))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        diff.content("content", &observed.content, &desired.rendered);
        let mode = parse_mode(&desired.mode).map(|mode| format!("{mode:04o}"));
        diff.field("mode", &Some(&observed.mode), &mode.as_ref());
        diff
    }

    async fn create(w: &Writer<'_, Files>, desired: &Desired) -> Result<()> {
        w.refuse_existing(&desired.path)?;
        write(w, desired)
    }

    async fn update(w: &Writer<'_, Files>, desired: &Desired, _observed: &Observed) -> Result<()> {
        write(w, desired)
    }

    async fn delete(w: &Writer<'_, Files>, path: &String) -> Result<()> {
        w.remove(w.permit(), path)
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { path: observed.path.clone(), sha256: hex::encode(Sha256::digest(&observed.content)) }
    }

    fn predicted_outputs(desired: &Desired, _realm: &Realm) -> Partial {
        Partial::default().with("path", &desired.path).with_sha256("sha256", desired.rendered.as_bytes())
    }
}

fn parse_mode(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777)
}
