//! Who can reach what, as one self-contained page: a matrix for each provider.

use std::collections::BTreeMap;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;

use super::View;
use crate::access::{Reach, Right, Subject};
use crate::template::unknown::describe;
use crate::ui::page;
use crate::visible::sanitize;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = concat!(include_str!("../changeset/page.css"), include_str!("page.css"));

#[derive(Serialize)]
struct Page<'a> {
    policy: String,
    style: &'static str,
    plan: &'a str,
    basis: &'static str,
    about: Option<&'a str>,
    matrices: Vec<Matrix>,
    remarks: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Matrix {
    provider: &'static str,
    columns: Vec<Head>,
    rows: Vec<Row>,
    /// Targets without a principal that reaches them.
    unreached: Vec<String>,
}

#[derive(Serialize)]
struct Head {
    sort: String,
    name: String,
}

#[derive(Serialize)]
struct Row {
    head: Head,
    cells: Vec<Vec<Shown>>,
}

#[derive(Serialize)]
struct Shown {
    right: &'static str,
    is_certain: bool,
    why: String,
}

/// The answer as an HTML page.
///
/// # Panics
/// Never: the template and what is given to it are part of the program, and tested.
pub fn render(view: &View<'_>) -> String {
    let mut engine = Environment::new();
    engine.set_auto_escape_callback(|_| AutoEscape::Html);
    let remarks = view.access.remarks.iter();
    let page = Page {
        policy: page::policy("", STYLE),
        style: STYLE,
        plan: view.plan,
        basis: view.basis(),
        about: view.about,
        matrices: matrices(view),
        remarks: remarks
            .map(|one| (sanitize(&one.about.title()), sanitize(&describe(&one.message))))
            .collect(),
    };
    let page = engine.render_str(PAGE, Serde(&page));
    page.unwrap_or_else(|error| unreachable!("the page's template: {error}"))
}

/// One matrix for each provider: targets in rows, since there are more of them, principals in columns.
fn matrices(view: &View<'_>) -> Vec<Matrix> {
    let access = view.access;
    let mut providers: Vec<&'static str> = Vec::new();
    for subject in access.principals.iter().chain(&access.targets) {
        if !providers.contains(&subject.provider) {
            providers.push(subject.provider);
        }
    }
    let by_pair: BTreeMap<(&Subject, &Subject), &Reach> =
        access.reach.iter().map(|one| ((&one.target, &one.principal), one)).collect();
    let matrix = |provider: &'static str| {
        let columns: Vec<&Subject> =
            access.principals.iter().filter(|one| one.provider == provider).collect();
        let targets = access.targets.iter().filter(|one| one.provider == provider);
        let is_reached = |target: &&Subject| columns.iter().any(|who| by_pair.contains_key(&(*target, *who)));
        let (reached, unreached): (Vec<&Subject>, Vec<&Subject>) = targets.partition(is_reached);
        let row = |target: &&Subject| Row {
            head: head(target),
            cells: columns.iter().map(|who| cell(by_pair.get(&(*target, *who)).copied())).collect(),
        };
        Matrix {
            provider,
            rows: reached.iter().map(row).collect(),
            unreached: unreached.iter().map(|one| sanitize(&one.title())).collect(),
            columns: columns.into_iter().map(head).collect(),
        }
    };
    providers.into_iter().map(matrix).collect()
}

fn head(subject: &Subject) -> Head {
    Head { sort: subject.sort.clone(), name: sanitize(&describe(&subject.name)) }
}

fn cell(reach: Option<&Reach>) -> Vec<Shown> {
    let shown = |right: &Right| Shown {
        right: right.right,
        is_certain: right.is_certain(),
        why: sanitize(&describe(&[right.because.clone(), right.conditions()].concat().join("; "))),
    };
    reach.map(|one| one.rights.iter().map(shown).collect()).unwrap_or_default()
}
