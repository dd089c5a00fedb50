//! `for_each` and `when`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::names::Names;
use super::shape::{Schema, Shape};
use super::{own_entry, scope, walk};
use crate::plan::{DeclaredStep, Diagnostic, Document, MOST_MISTAKES, Node, NodeValue};
use crate::provider::Registry;
use crate::resource::erased::Kind;
use crate::run::Connections;
use crate::suggest::closest;
use crate::template::Context;

/// The most steps that a plan may have, `for_each` spelled out.
const MOST: usize = 20_000;

/// One step after `for_each`.
pub struct Step {
    /// The id; `team[payments]` for one of a repeated step.
    pub id: String,
    /// The declaration, as an index into [`Document::steps`].
    pub declared: usize,
    /// The kind.
    pub kind: &'static dyn Kind,
    /// The entry of `for_each`: key and value.
    pub each: Option<(String, Value)>,
    /// The name under `aws.aliases` of the account and region it is in.
    pub alias: Option<String>,
    /// Ids of the steps, before `for_each`, whose outputs its fields use.
    pub references: Vec<String>,
    /// Of these, the repeated ones of which it uses nothing but the entry of its own key.
    pub own_entries: Arc<BTreeSet<String>>,
    /// Whether deletion is refused, as the step or its stage says; absent means the kind's default.
    pub protect: Option<bool>,
    /// Whether the step itself says so.
    pub says_protect: bool,
    /// Whether the thing stays when the step is gone from the plan.
    pub retain: bool,
}

impl Step {
    /// Whether the step itself lifts the protection from deletion.
    pub fn says_unprotected(&self) -> bool {
        self.says_protect && self.protect == Some(false)
    }
}

/// The steps that take part.
pub fn expand(
    document: &Document,
    registry: &'static Registry,
    context: &Context,
    providers: &Connections,
    mistakes: &mut Vec<Diagnostic>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for (index, declared) in document.steps.iter().enumerate() {
        if mistakes.len() >= MOST_MISTAKES {
            break;
        }
        let Some(kind) = find_kind(declared, registry, mistakes) else { continue };
        let schema = Schema::of_kind(kind);
        let references =
            Names::of_step(document, registry, declared).check(&declared.fields, &schema.shape(), mistakes);
        let own_entries = match (&declared.for_each, &declared.scope) {
            (Some(_), None) => own_entry::only_used(&declared.fields, &schema.shape(), &references),
            _ => BTreeSet::new(),
        };
        if !decides(document, registry, declared, mistakes) {
            continue;
        }
        // A repeated use is repeated outside of the group, a repeated step of a group inside.
        let entries = match &declared.scope {
            Some(scope) if scope.is_repeated => entries(declared, context, mistakes),
            _ => entries(declared, &scope::constant(declared, context), mistakes),
        };
        if steps.len() + entries.len() > MOST {
            let message = format!("a plan has at most {MOST} steps, `for_each` spelled out");
            mistakes.push(Diagnostic::error(declared.id.span, message));
            break;
        }
        let made =
            Declaration { document, index, kind, references, own_entries: Arc::new(own_entries), providers };
        steps.extend(entries.into_iter().filter_map(|each| made.step(each, context, mistakes)));
    }
    check_switched_off(document, &steps, mistakes);
    steps
}

/// What the instances of one declared step have in common.
struct Declaration<'a> {
    document: &'a Document,
    /// Where it is among the steps of the document.
    index: usize,
    kind: &'static dyn Kind,
    references: Vec<String>,
    own_entries: Arc<BTreeSet<String>>,
    providers: &'a Connections,
}

impl Declaration<'_> {
    /// The step, or one instance of a repeated one; `None` when it does not take part.
    fn step(
        &self,
        each: Option<(String, Value)>,
        context: &Context,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Option<Step> {
        let (declared, stage) = (&self.document.steps[self.index], self.document.stage());
        let outer = with_each(context, each.as_ref());
        let seen = scope::constant(declared, &outer);
        if !takes_part(declared, &outer, &seen, mistakes) {
            return None;
        }
        let id = match &each {
            Some((key, _)) => format!("{}[{key}]", declared.id.name),
            None => declared.id.name.clone(),
        };
        let alias = alias(declared, self.kind, &seen, self.providers, mistakes);
        let protect = flag("protect", declared.protect.as_ref(), &seen, mistakes);
        let retain = flag("retain", declared.retain.as_ref(), &seen, mistakes);
        Some(Step {
            id,
            declared: self.index,
            kind: self.kind,
            each,
            alias,
            references: self.references.clone(),
            own_entries: Arc::clone(&self.own_entries),
            protect: protect.or(stage.and_then(|stage| stage.protect)),
            says_protect: protect.is_some(),
            retain: retain.or(stage.and_then(|stage| stage.retain)).unwrap_or(false),
        })
    }
}

fn find_kind(
    declared: &DeclaredStep,
    registry: &'static Registry,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<&'static dyn Kind> {
    let (name, span) = &declared.kind;
    let kind = registry.find(name);
    if let Some(left_out) = registry.left_out(name) {
        mistakes.push(Diagnostic::error(*span, left_out.to_string()).help(left_out.advice()));
    } else if kind.is_none() {
        let mistake = Diagnostic::error(*span, format!("there is no kind `{name}`"));
        let candidate = closest(name, registry.names());
        mistakes.push(match candidate {
            Some(_) => mistake.did_you_mean(candidate),
            None => mistake.help("`groundwork explain` lists the kinds"),
        });
    }
    kind
}

/// The entries that a step is repeated for; a single `None` for a step that is not.
fn entries(
    declared: &DeclaredStep,
    context: &Context,
    mistakes: &mut Vec<Diagnostic>,
) -> Vec<Option<(String, Value)>> {
    let Some(node) = &declared.for_each else { return vec![None] };
    match constant(node, context, mistakes) {
        Some(Value::Object(fields)) => fields.into_iter().map(Some).collect(),
        Some(Value::Array(items)) if items.iter().all(|item| item.is_string() || item.is_u64()) => {
            let key = |item: &Value| item.as_str().map_or_else(|| item.to_string(), ToOwned::to_owned);
            let entries: Vec<_> = items.into_iter().map(|item| (key(&item), item)).collect();
            mistakes.extend(repeated(node, &entries));
            entries.into_iter().map(Some).collect()
        }
        Some(_) => {
            let message = "`for_each` takes a map, or a list of strings or whole numbers";
            mistakes.push(Diagnostic::error(node.span, message));
            Vec::new()
        }
        None => Vec::new(),
    }
}

/// An entry that makes the id of another one again, with both places.
fn repeated(node: &Node, entries: &[(String, Value)]) -> Option<Diagnostic> {
    let place = |index: usize| match &node.value {
        NodeValue::List(items) => items.get(index).map_or(node.span, |item| item.span),
        _ => node.span,
    };
    let mut seen = HashMap::new();
    entries.iter().enumerate().find_map(|(index, (key, _))| {
        let first = seen.insert(key.as_str(), index)?;
        let message = format!("`for_each` has the entry `{key}` twice");
        let mistake = Diagnostic::error(place(index), message).help("each entry makes the id of a step");
        Some(if place(first) == place(index) { mistake } else { mistake.beside(place(first), "the first") })
    })
}

fn takes_part(
    declared: &DeclaredStep,
    outer: &Context,
    inner: &Context,
    mistakes: &mut Vec<Diagnostic>,
) -> bool {
    let of_use = declared.scope.as_ref().and_then(|scope| scope.when.as_ref());
    let mut holds = |node: Option<&Node>, context: &Context| {
        node.is_none_or(|node| flag("when", Some(node), context, mistakes).unwrap_or(false))
    };
    holds(of_use, outer) && holds(declared.when.as_ref(), inner)
}

/// A boolean, or an expression over variables for one; `None` where there is none, or it is a mistake.
fn flag(key: &str, node: Option<&Node>, context: &Context, mistakes: &mut Vec<Diagnostic>) -> Option<bool> {
    let node = node?;
    match constant(node, context, mistakes)? {
        Value::Bool(flag) => Some(flag),
        _ => {
            let mistake =
                Diagnostic::error(node.span, format!("`{key}` is true or false, found {}", node.describe()));
            mistakes.push(
                mistake.help(format!("compare, as in `{key}: \"{{{{ environment == 'production' }}}}\"`")),
            );
            None
        }
    }
}

/// The further connection that a step uses; `None` for the plan's own.
fn alias(
    declared: &DeclaredStep,
    kind: &dyn Kind,
    context: &Context,
    providers: &Connections,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<String> {
    let node = declared.provider.as_ref()?;
    let value = constant(node, context, mistakes)?;
    let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let (provider, name) = text.split_once('.').unwrap_or((&text, ""));
    let aliases = |provider: &str| providers.named(provider).map(|one| one.aliases()).unwrap_or_default();
    let mistake = match () {
        () if kind.provider() != provider && providers.named(provider).is_some() => {
            Diagnostic::error(node.span, format!("`{}` is not a kind of `{provider}`", kind.name()))
                .help("`provider` says which account or server of its own provider a step uses; remove it")
        }
        () if kind.once_only() => {
            Diagnostic::error(node.span, format!("`{}` is made only in the plan's own account", kind.name()))
                .help("make it in a plan of that account")
        }
        () if aliases(kind.provider()).iter().any(|alias| alias == name) => return Some(name.to_owned()),
        () => {
            let own = kind.provider();
            let known: Vec<String> = aliases(own).iter().map(|name| format!("{own}.{name}")).collect();
            let candidate = closest(&text, known.iter().map(String::as_str));
            let mistake = Diagnostic::error(node.span, format!("there is no provider `{text}`"));
            match candidate {
                Some(_) => mistake.did_you_mean(candidate),
                None => mistake.help(format!("declare it under `{own}: {{ aliases: {{ NAME: … }} }}`")),
            }
        }
    };
    mistakes.push(mistake);
    None
}

/// The context for the expressions of one instance of a repeated step.
pub fn with_each(context: &Context, each: Option<&(String, Value)>) -> Context {
    let each = each.map(|(key, value)| ("each".to_owned(), json!({ "key": key, "value": value })));
    context.with(&each.into_iter().collect())
}

const DECIDING: &str = "`for_each`, `when`, `provider`, `protect` and `retain` are decided before the run and see only variables";

/// Whether what decides which steps there are names only variables that are there. An expression may
/// end before it comes to a name, so this does not depend on values.
fn decides(
    document: &Document,
    registry: &'static Registry,
    declared: &DeclaredStep,
    mistakes: &mut Vec<Diagnostic>,
) -> bool {
    let mut found = Vec::new();
    if let Some(node) = &declared.for_each {
        Names::of_section(document, registry).without_outputs().check(node, &Shape::any(), &mut found);
    }
    for node in
        [&declared.when, &declared.provider, &declared.protect, &declared.retain].into_iter().flatten()
    {
        Names::of_step(document, registry, declared).without_outputs().check(node, &Shape::any(), &mut found);
    }
    let all_right = found.is_empty();
    mistakes.extend(found.into_iter().map(with_reason));
    all_right
}

/// The value of something that decides which steps there are: it may use variables only.
fn constant(node: &Node, context: &Context, mistakes: &mut Vec<Diagnostic>) -> Option<Value> {
    match walk::evaluate(node, &Shape::any(), context) {
        Ok(value) => Some(value),
        Err(found) => {
            mistakes.extend(found.into_iter().map(with_reason));
            None
        }
    }
}

fn with_reason(mistake: Diagnostic) -> Diagnostic {
    match mistake.help {
        None => mistake.help(DECIDING),
        Some(_) => mistake,
    }
}

/// A step that takes part must not use the outputs of one that does not.
fn check_switched_off(document: &Document, steps: &[Step], mistakes: &mut Vec<Diagnostic>) {
    let on: HashSet<usize> = steps.iter().map(|step| step.declared).collect();
    let declared = document.steps.iter().enumerate();
    let names: HashMap<&str, usize> =
        declared.map(|(index, declared)| (declared.id.name.as_str(), index)).collect();
    for step in steps {
        for name in &step.references {
            let Some(&target) = names.get(name.as_str()) else { continue };
            let switched = &document.steps[target];
            let may_be_off =
                switched.when.is_some() || switched.scope.as_ref().is_some_and(|scope| scope.when.is_some());
            if may_be_off && !on.contains(&target) {
                let span = document.steps[step.declared].id.span;
                mistakes.push(
                    Diagnostic::error(
                        span,
                        format!("step `{}` uses `{name}`, which its `when` switches off", step.id),
                    )
                    .help("give both steps the same `when`"),
                );
            }
        }
    }
}
