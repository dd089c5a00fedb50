//! Kinds, for the terminal and as Markdown.

use std::fmt::Write;

use super::style::{FAINT, STRONG, paint};
use crate::provider::Registry;
use crate::resource::erased::Kind;
use crate::resource::{Replacement, Rotation};
use crate::schema::describe;
use crate::schema::describe::Field;
use crate::schema::section;
use crate::schema::section::Section;

const PROTECTED: &str = "Protected: it is not deleted unless the step says `protect: false`.";
const ONCE_ONLY: &str = "Once only: its secret is given a single time, and goes into custody first.";
const RENEWED: &str = "`apply --replace` replaces its generated or once-only value; the thing stays.";

/// All kinds, a line each.
pub fn list(registry: &Registry) -> String {
    let width = registry.names().map(str::len).max().unwrap_or_default();
    let lines: Vec<String> = registry
        .kinds()
        .map(|kind| format!("{}  {}", paint(STRONG, format_args!("{:width$}", kind.name())), kind.about()))
        .collect();
    lines.join("\n")
}

/// One kind: what it is, its fields, its outputs, an example.
pub fn kind(kind: &dyn Kind) -> String {
    let mut text = format!("{}: {}\n", paint(STRONG, kind.name()), kind.about());
    for remark in remarks(kind) {
        let _ = writeln!(text, "{remark}");
    }
    let _ = write!(text, "\n{}\n", paint(STRONG, "Fields"));
    text.extend(describe::fields(kind).iter().map(entry));
    let _ = write!(text, "\n{}\n", paint(STRONG, "Outputs"));
    text.extend(describe::outputs(kind).iter().map(entry));
    let _ = write!(text, "\n{}\n{}", paint(STRONG, "Example"), example(kind));
    text.trim_end().to_owned()
}

/// One kind in Markdown.
pub fn kind_markdown(kind: &dyn Kind) -> String {
    let mut text = format!("## {}\n\n{}\n", kind.name(), kind.about());
    for remark in remarks(kind) {
        let _ = write!(text, "\n{remark}\n");
    }
    let _ = write!(text, "\n| field | type | default | |\n|---|---|---|---|\n");
    text.extend(describe::fields(kind).iter().map(row));
    let outputs = describe::outputs(kind);
    if !outputs.is_empty() {
        let _ = write!(text, "\n| output | type | |\n|---|---|---|\n");
        text.extend(outputs.iter().map(output_row));
    }
    let _ = write!(text, "\n```yaml\n{}```\n", example(kind));
    text
}

/// All kinds in Markdown, with a list of them at the top.
pub fn markdown(registry: &Registry) -> String {
    let mut text = String::from(
        "# Kinds\n\nWritten by `groundwork explain --format markdown`; `make docs` brings it up to date.\n\
         In a path, `[]` stands for each entry of a list and `NAME` for a name of one's own.\n\n",
    );
    for kind in registry.kinds() {
        let name = kind.name();
        let _ = writeln!(text, "- [{name}](#{}): {}", name.replace('.', ""), kind.about());
    }
    for kind in registry.kinds() {
        let _ = write!(text, "\n{}", kind_markdown(kind));
    }
    text.trim_end().to_owned()
}

/// All sections, a line each.
pub fn section_list(registry: &Registry) -> String {
    let sections = section::all(registry);
    let width = sections.iter().map(|section| section.name.len()).max().unwrap_or_default();
    let line =
        |one: &Section| format!("{}  {}", paint(STRONG, format_args!("{:width$}", one.name)), one.about);
    sections.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A section: what it is, its fields, an example.
pub fn section(section: &Section) -> String {
    let mut text = format!("{}: {}\n", paint(STRONG, &section.name), section.about);
    let needed = if section.required { ", required" } else { "" };
    let _ = writeln!(text, "{}{needed}", section.kind);
    if !section.fields.is_empty() {
        let _ = write!(text, "\n{}\n", paint(STRONG, "Fields"));
        text.extend(section.fields.iter().map(entry));
    }
    let _ = write!(text, "\n{}\n{}", paint(STRONG, "Example"), section.example);
    text
}

/// A section in Markdown.
pub fn section_markdown(section: &Section) -> String {
    let needed = if section.required { ", required" } else { "" };
    let kind = sentence(&format!("{}{needed}", section.kind));
    let mut text = format!("## {}\n\n{kind} {}\n", section.name, sentence(&section.about));
    if !section.fields.is_empty() {
        let _ = write!(text, "\n| field | type | default | |\n|---|---|---|---|\n");
        text.extend(section.fields.iter().map(row));
    }
    let _ = write!(text, "\n```yaml\n{}\n```\n", section.example);
    text
}

/// All sections in Markdown.
pub fn sections_markdown(registry: &Registry) -> String {
    let mut text = String::from(
        "# Sections of a plan\n\nWritten by `groundwork explain --sections --format markdown`; `make docs` brings it up \
         to date.\nIn a path, `[]` stands for each entry of a list and `NAME` for a name of one's own.\n",
    );
    for section in section::all(registry) {
        let _ = write!(text, "\n{}", section_markdown(&section));
    }
    text.trim_end().to_owned()
}

/// A description as a sentence of its own.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}{}", letters.as_str(), if text.ends_with('.') { "" } else { "." })
}

fn remarks(kind: &dyn Kind) -> impl Iterator<Item = String> {
    let anew = match kind.replacement() {
        Replacement::Recreated => None,
        Replacement::Renewed => Some(RENEWED.to_owned()),
        Replacement::Never(why) => Some(format!("`--replace` cannot replace it: {why}.")),
    };
    let marks = [kind.protected().then_some(PROTECTED), kind.once_only().then_some(ONCE_ONLY)];
    let turned = match kind.rotation() {
        Rotation::AtOnce(how) | Rotation::InPlace(how) => Some(format!("`rotate`: {how}.")),
        Rotation::Phased(how) => Some(format!("`rotate`, over several runs: {how}.")),
        Rotation::Never(_) => None,
    };
    marks.into_iter().flatten().map(str::to_owned).chain(anew).chain(turned)
}

fn example(kind: &dyn Kind) -> String {
    let lines = kind.example().trim_matches('\n').lines();
    lines.fold("steps:\n".to_owned(), |text, line| text + format!("  {line}").trim_end() + "\n")
}

/// Name, type, whether needed, default, description; fields within it stand further right.
fn entry(field: &Field) -> String {
    let indent = " ".repeat(2 + 4 * field.depth);
    let mut facts = vec![field.kind.clone()];
    facts.extend(field.required.then(|| "required".to_owned()));
    facts.extend(field.default.as_ref().map(|default| format!("default {default}")));
    let name = field.path.rsplit('.').next().unwrap_or(&field.path);
    let mut text = format!("{indent}{}  {}\n", paint(STRONG, name), paint(FAINT, facts.join(", ")));
    if !field.about.is_empty() {
        let _ = writeln!(text, "{indent}    {}", field.about);
    }
    text
}

fn row(field: &Field) -> String {
    let default = match &field.default {
        _ if field.required => "required".to_owned(),
        Some(default) => format!("`{}`", cell(&default.to_string())),
        None => String::new(),
    };
    format!("| `{}` | {} | {default} | {} |\n", field.path, cell(&field.kind), cell(&field.about))
}

fn output_row(field: &Field) -> String {
    format!("| `{}` | {} | {} |\n", field.path, cell(&field.kind), cell(&field.about))
}

/// A text that neither ends its cell nor passes for HTML.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
