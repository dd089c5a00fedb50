//! Where boxes and lines of the drawn graph are, in pixels.

use serde::Serialize;

use super::html::Numbers;
use super::wrap::shortened;
use crate::review::Review;
use crate::review::layout::{Node, layout};

const WIDTH: f64 = 176.0;
const HEIGHT: f64 = 30.0;
/// From the left edge of a column to that of the next.
const COLUMN: f64 = WIDTH + 52.0;
const ROW: f64 = HEIGHT + 12.0;
const MARGIN: f64 = 8.0;
/// Characters of a label that fit into a box.
const LABEL: usize = 19;

/// A drawing for the template.
#[derive(Serialize)]
pub struct Drawing {
    width: f64,
    height: f64,
    boxes: Vec<DrawnBox>,
    lines: Vec<DrawnLine>,
}

#[derive(Serialize)]
struct DrawnBox {
    /// The position of its first step in the changeset.
    step: usize,
    x: f64,
    y: f64,
    label: String,
    title: String,
    action: &'static str,
}

#[derive(Serialize)]
struct DrawnLine {
    from: usize,
    to: usize,
    path: String,
}

/// Draws the graph of a changeset; `None` when there is nothing to be seen in it.
pub(super) fn draw(review: &Review, numbers: &Numbers) -> Option<Drawing> {
    let layout = layout(review);
    if layout.edges.is_empty() {
        return None;
    }
    let number_of = |node: &Node| numbers.get(node.step.id.as_str()).copied();
    let boxes: Vec<DrawnBox> =
        layout.nodes.iter().map(|node| drawn(node, number_of(node).unwrap_or(0))).collect();
    let lines = layout.edges.iter().map(|(from, to)| line(&boxes, *from, *to)).collect();
    let far = |value: fn(&DrawnBox) -> f64| boxes.iter().map(value).fold(0.0, f64::max);
    Some(Drawing {
        width: far(|drawn| drawn.x) + WIDTH + MARGIN,
        height: far(|drawn| drawn.y) + HEIGHT + MARGIN,
        lines,
        boxes,
    })
}

#[expect(clippy::cast_precision_loss, reason = "columns are few")]
fn drawn(node: &Node, step: usize) -> DrawnBox {
    let times = if node.count > 1 { format!(" ×{}", node.count) } else { String::new() };
    DrawnBox {
        step,
        x: MARGIN + node.column as f64 * COLUMN,
        y: MARGIN + node.row * ROW,
        label: format!("{}{times}", shortened(node.label, LABEL - times.chars().count())),
        title: format!("{}{times}: {} ({})", node.label, node.action.name(), node.step.kind),
        action: node.action.name(),
    }
}

/// A curve from the right side of one box to the left side of another.
fn line(boxes: &[DrawnBox], from: usize, to: usize) -> DrawnLine {
    let (x1, y1) = (boxes[from].x + WIDTH, boxes[from].y + HEIGHT / 2.0);
    let (x2, y2) = (boxes[to].x, boxes[to].y + HEIGHT / 2.0);
    let bend = ((x2 - x1) / 2.0).max(20.0);
    let path = format!("M{x1},{y1} C{},{y1} {},{y2} {x2},{y2}", x1 + bend, x2 - bend);
    DrawnLine { from: boxes[from].step, to: boxes[to].step, path }
}
