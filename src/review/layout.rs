//! Places the steps of a drawing in columns, each step to the right of those it needs.
//!
//! The method is Sugiyama's: columns by the longest path, places in a column by the mean of the
//! neighbours' places, in a few sweeps back and forth.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use petgraph::Direction;
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{EdgeRef, Topo};

use super::{Item, Review, fold};
use crate::changeset::{Action, StepChange};

/// The number of sweeps that order the columns.
const SWEEPS: usize = 12;

/// A drawing without units of length.
pub struct Layout<'a> {
    /// The boxes.
    pub nodes: Vec<Node<'a>>,
    /// The lines, from a step to one that depends on it, as indices of `nodes`, without those that
    /// follow from others.
    pub edges: Vec<(usize, usize)>,
    /// How many columns there are.
    pub columns: usize,
    /// How many places the fullest column has.
    pub rows: usize,
}

/// A step, all instances of a repeated one, or steps that are alike.
pub struct Node<'a> {
    /// The first step.
    pub step: &'a StepChange,
    /// The id of the first, without a key.
    pub label: &'a str,
    /// How many steps it stands for.
    pub count: usize,
    /// The action of the step; if there are several steps, the most conspicuous action.
    pub action: Action,
    /// The column, from 0.
    pub column: usize,
    /// The place in the column, from 0; a half centres a short column.
    pub row: f64,
}

/// Places the steps of a changeset.
pub fn layout<'a>(review: &Review<'a>) -> Layout<'a> {
    let (mut nodes, graph) = declared(review);
    let edges = direct(&graph);
    let columns = columns(&graph);
    let order = ordered(&columns, &edges);
    let rows = order.iter().map(Vec::len).max().unwrap_or_default();
    for (column, members) in order.iter().enumerate() {
        for (place, node) in members.iter().enumerate() {
            nodes[*node].column = column;
            nodes[*node].row = place_of(place) + (place_of(rows) - place_of(members.len())) / 2.0;
        }
    }
    Layout { nodes, edges, columns: order.len(), rows }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of steps are far below 2^52")]
fn place_of(number: usize) -> f64 {
    number as f64
}

/// One node for each declared step, and one for steps that are alike.
fn declared<'a>(review: &Review<'a>) -> (Vec<Node<'a>>, DiGraph<(), ()>) {
    let labels = Labels::of(review);
    let steps = &review.changeset.steps;
    let mut nodes: Vec<Node> = Vec::new();
    let mut by_label: BTreeMap<&str, usize> = BTreeMap::new();
    for step in steps {
        let label = labels.label(&step.id);
        match by_label.get(label) {
            Some(known) => {
                nodes[*known].count += 1;
                nodes[*known].action = worse(nodes[*known].action, step.action);
            }
            None => {
                by_label.insert(label, nodes.len());
                nodes.push(Node { step, label, count: 1, action: step.action, column: 0, row: 0.0 });
            }
        }
    }
    let mut edges = BTreeSet::new();
    for step in steps {
        let to = by_label[labels.label(&step.id)];
        let needs = step.needs.iter().filter_map(|need| by_label.get(labels.label(need)));
        edges.extend(needs.filter(|from| **from != to).map(|from| (*from, to)));
    }
    let mut graph = DiGraph::with_capacity(nodes.len(), edges.len());
    let indices: Vec<NodeIndex> = nodes.iter().map(|_| graph.add_node(())).collect();
    for (from, to) in edges {
        graph.add_edge(indices[from], indices[to], ());
    }
    (nodes, without_circles(graph))
}

/// Drawing several steps as one box can create a cycle. In a cycle, only the lines to later steps are
/// kept.
fn without_circles(mut graph: DiGraph<(), ()>) -> DiGraph<(), ()> {
    let mut circle = vec![0; graph.node_count()];
    for (number, members) in tarjan_scc(&graph).into_iter().enumerate() {
        for node in members {
            circle[node.index()] = number;
        }
    }
    graph.retain_edges(|graph, edge| {
        let (from, to) = graph.edge_endpoints(edge).unwrap_or_default();
        circle[from.index()] != circle[to.index()] || from < to
    });
    graph
}

/// The box of each step.
struct Labels<'a>(HashMap<&'a str, &'a str>);

impl<'a> Labels<'a> {
    fn of(review: &Review<'a>) -> Self {
        let items = review.groups.iter().flat_map(|group| &group.items);
        let alike = |item: &Item<'a>| {
            let first = item.step.id.as_str();
            item.others.iter().map(move |step| (step.id.as_str(), first)).collect::<Vec<_>>()
        };
        Self(items.filter(|item| item.is_abridged()).flat_map(alike).collect())
    }

    fn label<'b>(&self, id: &'b str) -> &'b str
    where
        'a: 'b,
    {
        self.0.get(id).copied().or(fold::base(id)).unwrap_or(id)
    }
}

/// The more conspicuous of two actions.
fn worse(one: Action, other: Action) -> Action {
    let rank = |action| match action {
        Action::None => 0,
        Action::Create => 1,
        Action::Update => 2,
        Action::Adopt => 3,
        Action::Deferred => 4,
        Action::Blocked => 5,
        Action::Replace => 6,
        Action::Delete => 7,
    };
    if rank(other) > rank(one) { other } else { one }
}

/// The edges that no longer path implies.
fn direct(graph: &DiGraph<(), ()>) -> Vec<(usize, usize)> {
    let mut behind: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); graph.node_count()];
    let mut edges = Vec::new();
    let mut order = Topo::new(graph);
    while let Some(node) = order.next(graph) {
        let needs: Vec<usize> =
            graph.neighbors_directed(node, Direction::Incoming).map(NodeIndex::index).collect();
        let implied: BTreeSet<usize> = needs.iter().flat_map(|need| behind[*need].iter().copied()).collect();
        edges.extend(needs.iter().filter(|need| !implied.contains(need)).map(|need| (*need, node.index())));
        behind[node.index()] = implied.into_iter().chain(needs).collect();
    }
    edges.sort_unstable();
    edges
}

/// For each node, the length of the longest path to it.
fn columns(graph: &DiGraph<(), ()>) -> Vec<usize> {
    let mut columns = vec![0; graph.node_count()];
    let mut order = Topo::new(graph);
    while let Some(node) = order.next(graph) {
        let before =
            graph.edges_directed(node, Direction::Incoming).map(|edge| columns[edge.source().index()] + 1);
        columns[node.index()] = before.max().unwrap_or(0);
    }
    columns
}

/// The members of each column, from top to bottom.
fn ordered(columns: &[usize], edges: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let mut order: Vec<Vec<usize>> = vec![Vec::new(); columns.iter().max().map_or(0, |last| last + 1)];
    for (node, column) in columns.iter().enumerate() {
        order[*column].push(node);
    }
    let mut neighbours: Vec<Vec<usize>> = vec![Vec::new(); columns.len()];
    for (from, to) in edges {
        neighbours[*from].push(*to);
        neighbours[*to].push(*from);
    }
    let mut place = vec![0.0; columns.len()];
    let settle = |order: &[Vec<usize>], place: &mut Vec<f64>| {
        for members in order {
            for (index, node) in members.iter().enumerate() {
                place[*node] = place_of(index) - place_of(members.len()) / 2.0;
            }
        }
    };
    settle(&order, &mut place);
    for sweep in 0..SWEEPS {
        let forwards = sweep % 2 == 0;
        let count = order.len();
        for step in 0..count {
            let column = if forwards { step } else { count - 1 - step };
            let mean = |node: &usize| {
                let wanted = |other: &&usize| (columns[**other] < column) == forwards;
                let near: Vec<f64> =
                    neighbours[*node].iter().filter(wanted).map(|other| place[*other]).collect();
                match near.len() {
                    0 => place[*node],
                    number => near.iter().sum::<f64>() / place_of(number),
                }
            };
            let mut members: Vec<(f64, usize)> =
                order[column].iter().map(|node| (mean(node), *node)).collect();
            members.sort_by(|a, b| a.0.total_cmp(&b.0));
            order[column] = members.into_iter().map(|(_, node)| node).collect();
            settle(&order[column..=column], &mut place);
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changeset::Changeset;
    use crate::providers::PROVIDERS;
    use crate::review::testing::{PLACE, changeset, step};

    fn drawn(changeset: &Changeset) -> Layout<'_> {
        layout(&Review::new(changeset, &PROVIDERS, PLACE))
    }

    fn steps(rows: &[(&str, &[&str])]) -> Changeset {
        let with_needs = |(id, needs): &(&str, &[&str])| StepChange {
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            ..step(id, "vault.policy", "create", &[])
        };
        changeset(rows.iter().map(with_needs).collect())
    }

    #[test]
    fn each_step_is_drawn_after_its_needs() {
        let changeset = steps(&[("a", &[]), ("b", &["a"]), ("c", &["a", "b"]), ("d", &[])]);
        let drawn = drawn(&changeset);
        let columns: Vec<usize> = drawn.nodes.iter().map(|node| node.column).collect();
        assert_eq!(columns, [0, 1, 2, 0]);
        assert_eq!(drawn.edges, [(0, 1), (1, 2)], "what follows from others is not drawn");
        assert_eq!((drawn.columns, drawn.rows), (3, 2));
    }

    #[test]
    fn boxes_have_distinct_places_and_uncrossed_lines() {
        let changeset = steps(&[("a", &[]), ("b", &[]), ("x", &["b"]), ("y", &["a"])]);
        let drawn = drawn(&changeset);
        let row = |index: usize| drawn.nodes[index].row;
        assert!((row(0) < row(1)) == (row(3) < row(2)), "parallel lines");
        let places: BTreeSet<String> =
            drawn.nodes.iter().map(|node| format!("{} {}", node.column, node.row)).collect();
        assert_eq!(places.len(), 4);
    }

    #[test]
    fn repeated_steps_are_one_box() {
        let changeset = steps(&[("a", &[]), ("p[x]", &["a"]), ("p[y]", &["a"])]);
        let drawn = drawn(&changeset);
        assert_eq!(
            drawn.nodes.iter().map(|node| (node.label, node.count)).collect::<Vec<_>>(),
            [("a", 1), ("p", 2)]
        );
    }

    #[test]
    fn similar_steps_share_a_box_without_cycles() {
        let ids: Vec<String> = (10..40).flat_map(|n| [format!("a_{n}"), format!("b_{n}")]).collect();
        // Each is behind the one before: a_10, b_10, a_11, b_11 and so on.
        let all = ids.iter().enumerate().map(|(index, id)| StepChange {
            needs: index.checked_sub(1).map(|before| ids[before].clone()).into_iter().collect(),
            ..step(id, if index % 2 == 0 { "vault.policy" } else { "vault.mount" }, "create", &[])
        });
        let changeset = changeset(all.collect());
        let drawn = drawn(&changeset);
        let told: Vec<_> = drawn.nodes.iter().map(|node| (node.label, node.count, node.column)).collect();
        assert_eq!(told, [("a_10", 30, 0), ("b_10", 30, 1)]);
        assert_eq!(drawn.edges, [(0, 1)]);
    }

    #[test]
    fn empty_changeset_draws_nothing() {
        let changeset = steps(&[]);
        assert_eq!(drawn(&changeset).rows, 0);
    }
}
