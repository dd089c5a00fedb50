//! Reading a plan file and its includes into a [`Document`].

mod groups;
mod steps;
mod variables;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::diagnostic::{Diagnostic, Diagnostics, Sources, Span};
use super::document::{DeclaredStep, Document, Section, VERSION};
use super::given::{self, Given};
use super::group::{Group, GroupUse};
use super::keys::unknown_keys;
use super::moved_removed::{self, RemovedStep};
use super::node::{Key, Node, NodeValue};
use super::silence::{self, Silence};
use super::stage::{self, Stage};
use super::text::{forbidden, is_forbidden};
use super::variable::Variables;
use crate::confined_path::{self, PLAN, PLAN_IN_ALL, in_words, read_caller_file};
use crate::plan_shape::{self, PLAN_KEYS};

/// How many includes a plan may have, counted as often as they are read.
const MAX_INCLUDES: usize = 200;
/// How many variables a plan may have.
const MAX_VARIABLES: usize = 1_000;
/// How many steps may be declared.
const MAX_STEPS: usize = 20_000;
/// The longest name of a plan, in bytes; the names of files have a few more.
const MAX_NAME: usize = 200;
/// How deep includes may include each other.
const MAX_DEPTH: usize = 8;
/// Names that expressions use for something else.
const RESERVED: [&str; 6] = ["plan", "each", "data", "true", "false", "none"];

/// Reads the plan at `path`, with the stage and the variables that the caller gives.
///
/// # Errors
/// Every mistake in the outer shape of the plan and its includes, with its place.
pub fn load(path: &Path, given: &Given, providers: &[&'static str]) -> Result<Document, Diagnostics> {
    let mut loader = Loader::read(path, providers);
    // Names that an unreadable file may declare are not reported as missing.
    let (mut chosen, mut vars) = (None, Vec::new());
    if !loader.incomplete {
        chosen = loader.choose_stage(given);
        vars = loader.give(given, chosen);
        loader.check_names();
    }
    if loader.name.is_none() && loader.mistakes.is_empty() {
        let start = Span::default();
        loader
            .mistakes
            .push(Diagnostic::error(start, "the plan has no `name`").help("add `name: my-environment`"));
    }
    match loader.name {
        Some(name) if loader.mistakes.is_empty() => Ok(Document {
            path: path.to_owned(),
            command_line: given::command_line(path, &given.options),
            folder: loader.root,
            digest: format!("sha256:{}", hex::encode(loader.digest.finalize())),
            name: name.text().unwrap_or_default().to_owned(),
            declared_name: name,
            stages: loader.stages,
            stage: chosen,
            vars,
            variables: loader.variables,
            sections: loader.sections,
            by_id: loader.known_steps,
            steps: loader.steps,
            used: loader.used,
            silences: loader.silences,
            moved: loader.moved,
            removed: loader.removed,
            sources: loader.sources,
        }),
        _ => Err(Diagnostics::new(loader.sources, loader.mistakes)),
    }
}

/// The names of the stages that the plan at `path` declares. Mistakes in it are reported by [`load`].
pub fn stage_names(path: &Path, providers: &[&'static str]) -> Vec<String> {
    Loader::read(path, providers).stages.into_iter().map(|stage| stage.id.name).collect()
}

#[derive(Default)]
struct Loader {
    root: PathBuf,
    sources: Sources,
    mistakes: Vec<Diagnostic>,
    digest: Sha256,
    /// Whether something was not read, so that what it declares is not known.
    incomplete: bool,
    /// Paths, below the plan's folder, of the files being read, to find cycles.
    open: Vec<String>,
    /// How many includes were read, and the bytes of all files.
    includes: usize,
    bytes: u64,
    name: Option<Node>,
    /// Where each step is among `steps`.
    known_steps: HashMap<String, usize>,
    variables: Variables,
    /// The place of `stages:`, and what it declares.
    stages_at: Option<Span>,
    stages: Vec<Stage>,
    groups: HashMap<String, Group>,
    uses: Vec<GroupUse>,
    /// The ids of the steps that were made for each use.
    used: HashMap<String, Vec<String>>,
    sections: Vec<(Section, Node)>,
    known_sections: Vec<Section>,
    steps: Vec<DeclaredStep>,
    silences: Vec<Silence>,
    moved: Vec<(Key, Key)>,
    removed: Vec<RemovedStep>,
}

impl Loader {
    /// Reads the plan and its includes.
    fn read(path: &Path, providers: &[&'static str]) -> Self {
        let root = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let own = Section::OWN.into_iter();
        let known_sections = providers.iter().map(|name| Section::Provider(name)).chain(own).collect();
        let mut loader = Self { root, known_sections, ..Self::default() };
        loader.read_plan(path);
        if !loader.incomplete {
            loader.expand_groups();
        }
        loader
    }

    fn mistake(&mut self, mistake: Diagnostic) {
        self.mistakes.push(mistake);
    }

    /// Reports that a limit is exceeded. Names beyond it are not read, so they must not be reported as
    /// missing.
    fn too_many(&mut self, span: Span, limit: usize, what: &str) {
        self.incomplete = true;
        self.mistake(Diagnostic::error(span, format!("a plan has at most {limit} {what}")));
    }

    /// Reads the plan itself, which the caller names: it may lie anywhere, and be a link.
    fn read_plan(&mut self, path: &Path) {
        let is_link = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
        self.open.push(normal(&path.file_name().unwrap_or_default().to_string_lossy()));
        match read_caller_file(path, PLAN) {
            Ok(bytes) => self.take_bytes(path, bytes, None, is_link),
            Err(why) => {
                self.mistake(Diagnostic::error(None, format!("cannot read {}: {why}", path.display())));
            }
        }
    }

    /// Takes a file in: the plan itself when `from` is `None`, else an include named there. Of a file
    /// that is not meant as a plan nothing is shown, because it may hold a secret.
    fn take_bytes(&mut self, path: &Path, bytes: Vec<u8>, from: Option<Span>, is_link: bool) {
        self.bytes += bytes.len() as u64;
        if self.bytes > PLAN_IN_ALL {
            let message = format!("the plan and its includes are larger than {}", in_words(PLAN_IN_ALL));
            return self.mistake(Diagnostic::error(from, message));
        }
        let text = match utf8(bytes) {
            Ok(text) => text,
            Err(why) => {
                let message = format!("cannot read {}: {why}", path.display());
                return self.mistake(Diagnostic::error(from, message));
            }
        };
        self.digest.update((text.len() as u64).to_be_bytes());
        self.digest.update(text.as_bytes());
        let file = self.sources.add(path.to_owned(), Arc::from(text.as_str()));
        let parsed = Node::parse(&text, file);
        let sections: Vec<&str> = self.known_sections.iter().map(|section| section.key()).collect();
        let is_meant = match &parsed {
            Ok(root) if matches!(root.value, NodeValue::Null) => true,
            Ok(root) => plan_shape::is_meant_as_plan(keys(root), &sections, is_link),
            Err(_) => plan_shape::is_meant_as_plan(plan_shape::keys_of(&text), &sections, is_link),
        };
        if !is_meant {
            self.incomplete = true;
            return self.mistake(not_a_plan(path, from, is_link));
        }
        if self.forbid_raw_characters(file, &text) {
            self.incomplete = true;
            return;
        }
        match parsed {
            Ok(root) => self.take_file(&root, from.is_none()),
            Err(mistake) => {
                self.incomplete = true;
                self.mistake(mistake);
            }
        }
    }

    fn take_file(&mut self, root: &Node, is_plan: bool) {
        if !matches!(root.value, NodeValue::Map(_)) {
            return self.mistake(
                Diagnostic::error(root.span, format!("a plan is a map, found {}", root.describe()))
                    .help("`groundwork init` writes a starter plan"),
            );
        }
        self.check_keys(root);
        self.check_version(root);
        self.forbid_characters(root);
        if is_plan {
            self.name = root.get("name").and_then(|node| self.plan_name(node));
        }
        for (key, node) in root.get("vars").map(Node::entries).unwrap_or_default() {
            if self.variables.declared.len() == MAX_VARIABLES {
                return self.too_many(key.span, MAX_VARIABLES, "variables");
            }
            if !self.variables.declared.iter().any(|known| known.key.name == key.name) {
                self.variables.declare(key, node, &mut self.mistakes);
            }
        }
        if let Some((key, node)) = root.entries().iter().find(|(key, _)| key.name == "stages")
            && self.stages_at.is_none()
        {
            self.stages_at = Some(key.span);
            self.stages = stage::read(node, &mut self.mistakes);
        }
        for section in self.known_sections.clone() {
            if let Some(node) = root.get(section.key())
                && !self.sections.iter().any(|(known, _)| *known == section)
            {
                self.sections.push((section, node.clone()));
            }
        }
        if let Some(node) = root.get("lint") {
            self.silences.extend(silence::read(node, &mut self.mistakes));
        }
        if let Some(groups) = root.get("groups") {
            self.take_groups(groups);
        }
        if let Some(steps) = root.get("steps") {
            self.take_steps(steps);
        }
        if let Some(node) = root.get("moved") {
            self.moved.extend(moved_removed::moved(node, &mut self.mistakes));
        }
        if let Some(node) = root.get("removed") {
            self.removed.extend(moved_removed::removed(node, &mut self.mistakes));
        }
        if let Some(include) = root.get("include") {
            self.take_includes(include);
        }
    }

    fn check_keys(&mut self, root: &Node) {
        let sections = self.known_sections.iter().map(|section| section.key());
        let others = sections.filter(|key| !PLAN_KEYS.contains(key));
        let known: Vec<&str> = PLAN_KEYS.into_iter().chain(others).collect();
        let help = format!("a plan has {}", known.join(", "));
        self.mistakes.extend(unknown_keys(root, &known, &help));
    }

    fn check_version(&mut self, root: &Node) {
        match root.get("version") {
            None => self.mistake(
                Diagnostic::error(root.span, "the file has no `version`")
                    .help(format!("add `version: {VERSION}`")),
            ),
            Some(node) if node.to_value() != VERSION => self.mistake(Diagnostic::error(
                node.span,
                format!("this version of the plan language is not known; Groundwork reads version {VERSION}"),
            )),
            Some(_) => {}
        }
    }

    /// The characters that mark values must not come from outside. And no character, not even in a
    /// comment, may control the reader's terminal or make the plan look different from what it is.
    fn forbid_characters(&mut self, root: &Node) {
        let mut found = Vec::new();
        root.texts(&mut |text, span| found.extend(forbidden(text).map(|what| (span, what))));
        for (span, what) in found {
            self.mistake(Diagnostic::error(span, what));
        }
    }

    /// As [`Self::forbid_characters`], where the characters stand as such.
    fn forbid_raw_characters(&mut self, file: usize, text: &str) -> bool {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let at = text.char_indices().find(|(_, c)| *c != '\r' && is_forbidden(*c));
        if let Some((start, c)) = at {
            let span = Span { file, start, end: start + c.len_utf8() };
            let code = u32::from(c);
            self.mistake(Diagnostic::error(
                span,
                format!("the character U+{code:04X} must not stand in a plan"),
            ));
        }
        at.is_some()
    }

    fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = node.text().filter(|text| !text.is_empty()).map(str::to_owned);
        if text.is_none() {
            self.mistake(Diagnostic::error(
                node.span,
                format!("`{what}` is a string, found {}", node.describe()),
            ));
        }
        text
    }

    /// The plan's name, after which files are named: text, or an expression whose value is checked later.
    fn plan_name(&mut self, node: &Node) -> Option<Node> {
        let name = self.text(node, "name")?;
        if let Some(help) = name_mistake(&name)
            && !name.contains("{{")
        {
            self.mistake(Diagnostic::error(node.span, "this cannot be a plan's name").help(help));
            return None;
        }
        Some(node.clone())
    }

    fn take_includes(&mut self, include: &Node) {
        let NodeValue::List(items) = &include.value else {
            return self.mistake(Diagnostic::error(include.span, "`include` is a list of paths"));
        };
        for item in items {
            if let Some(relative) = self.text(item, "include") {
                self.read_include(&relative, item.span);
            }
            if self.includes > MAX_INCLUDES || self.bytes > PLAN_IN_ALL {
                return;
            }
        }
    }

    fn read_include(&mut self, relative: &str, span: Span) {
        self.includes += 1;
        let name = normal(relative);
        if let Some(why) = confined_path::mistake(relative) {
            return self
                .mistake(Diagnostic::error(span, format!("`{relative}` cannot be included")).help(why));
        }
        let mistake = match () {
            () if self.includes > MAX_INCLUDES => Some(format!("a plan has at most {MAX_INCLUDES} includes")),
            () if self.open.contains(&name) => Some("this file includes itself".to_owned()),
            () if self.open.len() > MAX_DEPTH => {
                Some(format!("includes include each other at most {MAX_DEPTH} levels deep"))
            }
            () => None,
        };
        if let Some(message) = mistake {
            return self.mistake(Diagnostic::error(span, message));
        }
        let path = self.root.join(relative);
        match confined_path::read_existing(&self.root, Path::new(relative), PLAN) {
            Ok(bytes) => {
                self.open.push(name);
                self.take_bytes(&path, bytes, Some(span), false);
                self.open.pop();
            }
            Err(why) => {
                self.mistake(Diagnostic::error(span, format!("cannot read {}: {why}", path.display())));
            }
        }
    }
}

/// Keys that every step takes beside its kind's own fields.
pub(crate) const STEP_KEYS: [&str; 9] =
    ["kind", "for_each", "when", "needs", "adopt", "protect", "retain", "provider", "lint"];

/// Why a text cannot be a plan's name, after which files are named.
pub fn name_mistake(name: &str) -> Option<String> {
    let is_bad =
        name.contains(['/', '\\']) || name.starts_with('.') || name.is_empty() || name.len() > MAX_NAME;
    is_bad
        .then(|| format!("a name has no slash, does not begin with a dot, and has at most {MAX_NAME} bytes"))
}

/// A path in the one way that all ways to write it have in common.
fn normal(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    parts.join("/")
}

fn not_a_plan(path: &Path, from: Option<Span>, is_link: bool) -> Diagnostic {
    let what = if is_link { "is a link to a file that is not a plan" } else { "is not a plan" };
    let message =
        format!("{} {what}; a plan is a YAML map with `version`, `name` and `steps`", path.display());
    Diagnostic::error(from, message).help(match is_link {
        true => "name the file itself to see where it is wrong; through a link, nothing of it is shown",
        false => {
            "nothing of the file is shown, because it may be private; `groundwork init` writes a starter plan"
        }
    })
}

fn utf8(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8")
    })
}

/// The outermost keys of a document.
fn keys(root: &Node) -> impl Iterator<Item = &str> {
    root.entries().iter().map(|(key, _)| key.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<Document, Diagnostics> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("plan.yaml");
        std::fs::write(&path, text).expect("written");
        load(&path, &Given::default(), &["aws", "vault"])
    }

    fn messages(text: &str) -> Vec<String> {
        load_text(text).expect_err("mistakes").list.into_iter().map(|mistake| mistake.message).collect()
    }

    #[test]
    fn several_mistakes_are_reported_together() {
        let text = "version: 1\nname: x\nvrs: {}\nsteps:\n  Bad: { kind: a.b }\n  good: { needs: [bed], kind: a.b }\n  bad: {}\n";
        assert_eq!(
            messages(text),
            [
                "unknown key `vrs`",
                "`Bad` cannot be a step's id",
                "step `bad` has no `kind`",
                "there is no step `bed`"
            ]
        );
    }

    #[test]
    fn missing_variables_and_name_clashes_are_reported() {
        let text = "version: 1\nname: x\nvars: { region: null, key: a }\nsteps: { key: { kind: a.b } }\n";
        assert_eq!(messages(text), ["variable `region` has no value", "`key` is both a variable and a step"]);
    }

    #[test]
    fn includes_stay_inside_and_do_not_cycle() {
        let folder = tempfile::tempdir().expect("a folder");
        let plans = folder.path().join("plans");
        std::fs::create_dir(&plans).expect("made");
        std::fs::write(folder.path().join("outside.yaml"), "version: 1\n").expect("written");
        std::os::unix::fs::symlink(folder.path().join("outside.yaml"), plans.join("link.yaml"))
            .expect("linked");
        let path = plans.join("plan.yaml");
        std::fs::write(
            &path,
            "version: 1\nname: x\ninclude: [../outside.yaml, .git/config, ./plan.yaml, link.yaml, none.yaml]\n",
        )
        .expect("written");
        let mistakes = load(&path, &Given::default(), &["aws", "vault"]).expect_err("mistakes");
        let messages: Vec<&str> = mistakes.list.iter().map(|mistake| mistake.message.as_str()).collect();
        assert_eq!(
            messages[..3],
            [
                "`../outside.yaml` cannot be included",
                "`.git/config` cannot be included",
                "this file includes itself",
            ]
        );
        assert!(messages[3].ends_with("link.yaml is a link; links are not followed"), "{messages:?}");
        assert!(messages[4].ends_with("there is no such file"), "{messages:?}");
    }
}
