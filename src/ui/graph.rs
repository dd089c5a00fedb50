//! The graph of a plan in several notations.

use std::fmt::Write;

use crate::graph::Graph;
use crate::resolve::Resolved;

/// Steps in order, each with what it needs.
pub fn text(resolved: &Resolved, graph: &Graph) -> String {
    let width = resolved.steps.iter().map(|step| step.id.chars().count()).max().unwrap_or_default();
    let mut lines = Vec::new();
    for index in &graph.order {
        let step = &resolved.steps[*index];
        let needs: Vec<&str> =
            graph.needs[*index].iter().map(|need| resolved.steps[*need].id.as_str()).collect();
        let needs = if needs.is_empty() { String::new() } else { format!("  ← {}", needs.join(", ")) };
        lines.push(format!("{:width$}  {}{needs}", step.id, step.kind.name()));
    }
    lines.join("\n")
}

/// Graphviz.
pub fn dot(resolved: &Resolved, graph: &Graph) -> String {
    let mut text = format!("digraph {:?} {{\n  rankdir=LR;\n  node [shape=box];\n", resolved.document.name);
    for step in &resolved.steps {
        let _ = writeln!(text, "  {:?} [label=\"{}\\n{}\"];", step.id, step.id, step.kind.name());
    }
    for (from, to) in edges(graph) {
        let _ = writeln!(text, "  {:?} -> {:?};", resolved.steps[from].id, resolved.steps[to].id);
    }
    text.push('}');
    text
}

/// Mermaid, which GitHub and GitLab draw inside Markdown.
pub fn mermaid(resolved: &Resolved, graph: &Graph) -> String {
    let mut text = String::from("graph LR\n");
    for (index, step) in resolved.steps.iter().enumerate() {
        let _ = writeln!(text, "  s{index}[\"{}<br/>{}\"]", step.id, step.kind.name());
    }
    for (from, to) in edges(graph) {
        let _ = writeln!(text, "  s{from} --> s{to}");
    }
    text.trim_end().to_owned()
}

/// The edges that are not implied by longer ways, so that a drawing stays readable.
fn edges(graph: &Graph) -> Vec<(usize, usize)> {
    let mut edges = Vec::new();
    for (to, needs) in graph.needs.iter().enumerate() {
        let behind: std::collections::BTreeSet<usize> =
            needs.iter().flat_map(|need| graph.ancestors(*need)).collect();
        edges.extend(needs.iter().filter(|need| !behind.contains(need)).map(|need| (*need, to)));
    }
    edges
}
