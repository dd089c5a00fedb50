//! A plan in the form that the rules read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::plan::settings::CustodySettings;
use crate::plan::{DeclaredStep, Document, Node, NodeValue, Section, Sources, Span};
use crate::resolve::{OutputTable, Resolved};
use crate::resource::erased::Instance;
use crate::secret::detect::{self, Sighting};
use crate::template;

/// A plan in the form that the rules read.
pub struct Facts<'a> {
    /// The plan.
    pub resolved: &'a Resolved,
    /// The outputs of the steps that are known before anything exists.
    pub outputs: &'a OutputTable,
    /// The steps that take part.
    pub steps: Vec<Fact<'a>>,
    /// The `custody:` section.
    pub custody: Option<CustodySettings>,
    /// The plan's files, and after them its templates.
    pub sources: Sources,
    /// Text in the sources that looks like a secret.
    pub sightings: Vec<(Span, Sighting, Option<String>)>,
    /// Literal values of fields and variables whose name is that of a secret: the name, the value's
    /// place, the step.
    pub plain: Vec<(String, Span, Option<String>)>,
}

/// A step that takes part.
pub struct Fact<'a> {
    /// The kind's name.
    pub kind: &'static str,
    /// Whether the kind is protected by default.
    pub protected: bool,
    /// Whether the step itself lifts that.
    pub says_unprotected: bool,
    /// The fields with their defaults.
    pub fields: Value,
    /// The declaration.
    pub declared: &'a DeclaredStep,
}

impl<'a> Facts<'a> {
    /// Gathers what the rules need.
    pub fn of(resolved: &'a Resolved, instances: &[Box<dyn Instance>], outputs: &'a OutputTable) -> Self {
        let fact = |step: &crate::resolve::Step, instance: &dyn Instance| Fact {
            kind: step.kind.name(),
            protected: step.kind.protected(),
            says_unprotected: step.says_unprotected(),
            fields: instance.fields(),
            declared: &resolved.document.steps[step.declared],
        };
        let steps =
            resolved.steps.iter().zip(instances).map(|(step, instance)| fact(step, &**instance)).collect();
        let custody = resolved.custody(outputs).ok().flatten();
        let mut facts = Self {
            resolved,
            outputs,
            steps,
            custody,
            sources: resolved.document.sources.clone(),
            sightings: Vec::new(),
            plain: plain(&resolved.document),
        };
        facts.read();
        facts
    }

    /// The declared plan.
    pub fn document(&self) -> &'a Document {
        &self.resolved.document
    }

    /// The steps of a kind.
    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Fact<'a>> {
        self.steps.iter().filter(move |fact| fact.kind == kind)
    }

    /// Whether a step of this kind takes part.
    pub fn has(&self, kind: &str) -> bool {
        self.of_kind(kind).next().is_some()
    }

    /// Whether the plan initialises Vault. Then Vault contains only what the plan declares.
    pub fn makes_vault(&self) -> bool {
        self.has("vault.init")
    }

    /// Searches the plan's files and templates for secrets.
    fn read(&mut self) {
        let document = self.document();
        let mut file = 0;
        while let Some((_, text)) = self.sources.get(file) {
            let extents = extents(document, file);
            for sighting in detect::sightings(text) {
                let span = Span { file, start: sighting.start, end: sighting.end };
                let step = extents.iter().find(|(range, _)| range.contains(&span.start));
                self.sightings.push((span, sighting, step.map(|(_, id)| id.clone())));
            }
            file += 1;
        }
        for (path, text, step) in templates(document) {
            let shown = path.strip_prefix(std::env::current_dir().unwrap_or_default()).unwrap_or(&path);
            let found = detect::sightings(&text);
            let file = self.sources.add(shown.to_owned(), Arc::from(text));
            for sighting in found {
                let span = Span { file, start: sighting.start, end: sighting.end };
                self.sightings.push((span, sighting, step.clone()));
            }
        }
    }

    /// The place of `needle` in a text below a field of a step, or the field's own.
    pub fn place(&self, fact: &Fact<'_>, path: &str, needle: Option<&str>) -> Span {
        let fields = &fact.declared.fields;
        let inside = needle.and_then(|needle| self.find(fields.at(path)?, needle));
        inside.unwrap_or_else(|| fields.span_at(path))
    }

    /// The place of a path in the rules of a Vault policy, whether they are text or data.
    pub fn place_of_path(&self, fact: &Fact<'_>, path: &str) -> Span {
        let rules = fact.declared.fields.at("rules");
        let key = rules.and_then(|rules| rules.entries().iter().find(|(key, _)| key.name == path));
        match key {
            Some((key, _)) => key.span,
            None => self.place(fact, "rules", Some(&format!("\"{path}\""))),
        }
    }

    fn find(&self, node: &Node, needle: &str) -> Option<Span> {
        let mut spans = Vec::new();
        node.strings(&mut |text, span| {
            if text.contains(needle) {
                spans.push(span);
            }
        });
        let span = *spans.first()?;
        let text = self.sources.get(span.file)?.1.get(span.start..span.end)?;
        let start = span.start + text.find(needle)?;
        Some(Span { file: span.file, start, end: start + needle.len() })
    }

    /// The place of a section's field.
    pub fn section(&self, section: Section, path: &str) -> Option<Span> {
        Some(self.document().section(section)?.span_at(path))
    }

    /// The place of the plan's name, for findings about the whole plan.
    pub fn name(&self) -> Option<Span> {
        let (_, text) = self.sources.get(0)?;
        let root = Node::parse(text, 0).ok()?;
        root.get("name").map(|node| node.span)
    }

    /// The files, with everything that looks like a secret masked.
    pub fn into_masked_sources(self) -> Sources {
        let mut sources = self.sources;
        let spans = self.sightings.iter().map(|(span, ..)| span);
        for span in spans.chain(self.plain.iter().map(|(_, span, _)| span)) {
            sources.mask(*span);
        }
        sources
    }
}

impl Fact<'_> {
    /// The id, before `for_each`.
    pub fn id(&self) -> &str {
        &self.declared.id.name
    }

    /// A text field; empty when there is none.
    pub fn text(&self, field: &str) -> &str {
        self.fields[field].as_str().unwrap_or_default()
    }

    /// A numeric field; 0 when it is absent or not known yet.
    pub fn number(&self, field: &str) -> u64 {
        self.fields[field].as_u64().unwrap_or_default()
    }

    /// The texts of a list.
    pub fn list(&self, field: &str) -> Vec<&str> {
        self.fields[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Why a safeguard is off: the reason of `{ off: … }`.
    pub fn off(&self, field: &str) -> Option<&str> {
        self.fields[field].get("off").and_then(Value::as_str)
    }
}

/// The range of lines of each step in a file.
fn extents(document: &Document, file: usize) -> Vec<(std::ops::Range<usize>, String)> {
    let steps = document.steps.iter().filter(|step| step.id.span.file == file);
    steps.map(|step| (step.id.span.start..end(&step.fields), step.id.name.clone())).collect()
}

fn end(node: &Node) -> usize {
    let below = match &node.value {
        NodeValue::List(items) => items.iter().map(end).max(),
        NodeValue::Map(entries) => entries.iter().map(|(_, node)| end(node)).max(),
        _ => None,
    };
    below.unwrap_or_default().max(node.span.end)
}

/// The template files that steps name, each once, with the first step that names it.
fn templates(document: &Document) -> Vec<(PathBuf, String, Option<String>)> {
    let mut found: Vec<(PathBuf, String, Option<String>)> = Vec::new();
    for step in &document.steps {
        named_templates(&step.fields, &mut |name| {
            // Loading the plan reports templates that cannot be read.
            if let Ok(Some((path, text))) = template::read(&document.folder, Path::new(name))
                && !found.iter().any(|(known, ..)| *known == path)
            {
                found.push((path, text, Some(step.id.name.clone())));
            }
        });
    }
    found
}

fn named_templates<'a>(node: &'a Node, visit: &mut dyn FnMut(&'a str)) {
    match &node.value {
        NodeValue::List(items) => items.iter().for_each(|item| named_templates(item, visit)),
        NodeValue::Map(entries) => {
            for (key, value) in entries {
                match value.as_str() {
                    Some(name) if key.name == "template" => visit(name),
                    _ => named_templates(value, visit),
                }
            }
        }
        _ => {}
    }
}

/// Literal values of variables, and of fields of KV secrets, whose name is that of a secret.
fn plain(document: &Document) -> Vec<(String, Span, Option<String>)> {
    let mut found = Vec::new();
    for (key, node) in &document.vars {
        add_plain(&key.name, node, None, &mut found);
    }
    for step in document.steps.iter().filter(|step| step.kind.0 == "vault.kv_secret") {
        let data = step.fields.get("data").map(Node::entries).unwrap_or_default();
        for (key, node) in data {
            add_plain(&key.name, node, Some(&step.id.name), &mut found);
            for (key, node) in node.get("json").map(Node::entries).unwrap_or_default() {
                add_plain(&key.name, node, Some(&step.id.name), &mut found);
            }
        }
    }
    found
}

fn add_plain(name: &str, node: &Node, step: Option<&str>, found: &mut Vec<(String, Span, Option<String>)>) {
    let is_literal = node.as_str().is_some_and(|text| !text.is_empty() && !text.contains("{{"));
    if is_literal && detect::is_secret_name(name) {
        found.push((name.to_owned(), node.span, step.map(str::to_owned)));
    }
}
