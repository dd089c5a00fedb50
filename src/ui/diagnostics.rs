//! Mistakes in a plan, drawn with the lines that they stand on.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::console;
use crate::plan::{Diagnostic, Diagnostics, Severity};

/// Shows all mistakes, and how many there are when there are several.
pub fn show(diagnostics: &Diagnostics) {
    show_all(diagnostics);
    let errors = diagnostics.list.iter().filter(|mistake| mistake.severity == Severity::Error).count();
    if errors > 1 {
        console::note(format_args!("\n{errors} mistakes; nothing was done"));
    }
}

/// Shows everything in the list.
pub fn show_all(diagnostics: &Diagnostics) {
    if !diagnostics.list.is_empty() {
        console::note(render(diagnostics, &Renderer::styled().decor_style(DecorStyle::Unicode)));
    }
}

/// All mistakes as text. Lines of the plan are shown with what looks like a secret made unreadable.
pub fn render(diagnostics: &Diagnostics, renderer: &Renderer) -> String {
    let mut diagnostics = diagnostics.clone();
    diagnostics.sources.mask_secrets();
    for hidden in diagnostics.list.iter().filter_map(|mistake| mistake.hidden.as_deref()) {
        diagnostics.sources.mask(*hidden);
    }
    let diagnostics = &diagnostics;
    let texts: Vec<String> =
        diagnostics.list.iter().map(|mistake| renderer.render(&report(diagnostics, mistake))).collect();
    texts.join("\n\n")
}

fn report<'a>(diagnostics: &'a Diagnostics, mistake: &'a Diagnostic) -> Vec<Group<'a>> {
    let level = match mistake.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let mut group = Group::with_title(level.primary_title(&mistake.message));
    if let Some(span) = mistake.span
        && let Some((path, text)) = diagnostics.sources.get(span.file)
    {
        let end = span.end.min(text.len());
        let annotation = AnnotationKind::Primary.span(span.start.min(end)..end);
        let mut snippet = Snippet::source(text).path(path.to_string_lossy()).annotation(annotation);
        if let Some((other, remark)) = mistake.beside.as_deref().filter(|(other, _)| other.file == span.file)
        {
            let end = other.end.min(text.len());
            let place = AnnotationKind::Context.span(other.start.min(end)..end);
            snippet = snippet.annotation(place.label(remark.as_str()));
        }
        group = group.element(snippet);
    }
    if let Some(help) = &mistake.help {
        group = group.element(Level::HELP.message(help));
    }
    vec![group]
}
