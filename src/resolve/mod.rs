//! Expressions become values: variables at once, references to other steps as far as their
//! outputs are known.

pub mod declare;
mod duplicates;
pub(crate) mod expression;
mod names;
pub mod notify;
mod own_entry;
pub mod places;
pub mod recovery;
mod scope;
mod shape;
pub mod step_secrets;
mod steps;
mod variables;
mod walk;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

pub use steps::Step;

use names::Names;
use shape::Schema;
use variables::{name_of_instance, variables, with_stage};

use crate::place::{Place, Realms};
use crate::plan::settings::{
    BackupSettings, CustodySettings, JournalSettings, LockSettings, NotifySettings, RecoverySettings,
};
use crate::plan::{Diagnostic, Document, Node, Section};
use crate::provider::{Entry, Provider, Registry};
use crate::resource::strict::parse;
use crate::run::{Connection, Connections, Service};
use crate::template::budget::Budget;
use crate::template::{self, Context, unknown};
use crate::trust::Trust;

/// The outputs of steps, by step id.
pub type OutputTable = HashMap<String, Map<String, Value>>;

/// A plan whose variables have values and whose repeated steps are spelled out.
pub struct Resolved {
    /// The plan as declared.
    pub document: Document,
    /// The caller's permissions for the plan; none until a session sets them.
    pub trust: Trust,
    /// The variables' values.
    pub vars: Map<String, Value>,
    /// The providers and kinds that it may use.
    pub registry: &'static Registry,
    /// The providers with their sections.
    pub providers: Connections,
    /// The realms of the plan's own places and of further connections, as far as they are known.
    pub realms: Realms,
    /// The steps that take part, `for_each` expanded, in the order declared.
    pub steps: Vec<Step>,
    /// Steps that the `custody:` section refers to.
    pub custody_references: Vec<String>,
    /// Steps that the sections `journal:` and `lock:` refer to.
    pub place_references: Vec<String>,
    /// The template files that were read for it.
    pub templates: template::Templates,
    /// Which of the steps have been made of each declared one, by its id.
    by_name: HashMap<String, Vec<usize>>,
    /// The steps by their ids.
    by_id: HashMap<String, usize>,
    /// The ids of declared steps whose outputs are used somewhere.
    referred_to: HashSet<String>,
    /// The names that every expression sees.
    context: Context,
    /// The time that evaluations may take.
    budget: Budget,
    /// The mistakes so far; [`declare::declare`] looks for more before all are reported.
    pub mistakes: Vec<Diagnostic>,
}

/// Gives every variable its value and expands the steps. Unknown kinds and names, wrong
/// expressions and wrong sections are among the result's mistakes.
pub fn resolve(document: Document, registry: &'static Registry) -> Resolved {
    let budget = Budget::default();
    budget.clone().spend(|| resolve_within(document, registry, budget))
}

fn resolve_within(mut document: Document, registry: &'static Registry, budget: Budget) -> Resolved {
    let mut mistakes = Vec::new();
    let vars = variables(&document, registry, &mut mistakes);
    match name_of_instance(&document, registry, &vars) {
        Ok(name) => document.name = name,
        Err(found) if mistakes.is_empty() => mistakes = found,
        // The name depends on variables with mistakes.
        Err(_) => {}
    }
    let mut base = base_context(&document, &vars);
    let (mut providers, mut realms) = (Connections::default(), Realms::default());
    for entry in registry.providers() {
        let provider = open(&document, registry, entry, &base, &mut mistakes);
        add_declared_realms(&mut realms, provider.as_ref());
        base = with_provider(&base, provider.as_ref(), &realms);
        providers.push(provider);
    }
    let steps = steps::expand(&document, registry, &base, &providers, &mut mistakes);
    let ids = steps.iter().map(|step| step.id.as_str()).collect();
    mistakes.extend(document.check_former(&ids));
    let custody_references =
        references::<CustodySettings>(&document, registry, Section::Custody, &mut mistakes);
    let place_references = [
        references::<JournalSettings>(&document, registry, Section::Journal, &mut mistakes),
        references::<LockSettings>(&document, registry, Section::Lock, &mut mistakes),
        references::<BackupSettings>(&document, registry, Section::Backup, &mut mistakes),
        references::<RecoverySettings>(&document, registry, Section::Recovery, &mut mistakes),
        references::<NotifySettings>(&document, registry, Section::Notify, &mut mistakes),
    ]
    .concat();
    let templates = template::Templates::default();
    let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
    let by_id = steps.iter().enumerate().map(|(index, step)| (step.id.clone(), index)).collect();
    for (index, step) in steps.iter().enumerate() {
        by_name.entry(document.steps[step.declared].id.name.clone()).or_default().push(index);
    }
    let referred_to = steps
        .iter()
        .flat_map(|step| &step.references)
        .chain(&custody_references)
        .chain(&place_references)
        .cloned()
        .collect();
    Resolved {
        trust: Trust::default(),
        document,
        vars,
        registry,
        providers,
        realms,
        steps,
        custody_references,
        place_references,
        templates,
        by_name,
        by_id,
        referred_to,
        context: base,
        budget,
        mistakes,
    }
}

impl Resolved {
    /// The index of the step with this id, after `for_each`.
    pub fn index_of(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// Whether something in the plan uses outputs of a step, or of one that it was repeated with.
    pub fn is_referred_to(&self, step: &Step) -> bool {
        self.referred_to.contains(&self.document.steps[step.declared].id.name)
    }

    /// The fields of a step with every expression evaluated. Outputs that are not in `outputs`
    /// become markers of [`unknown`].
    ///
    /// # Errors
    /// Expressions that fail, with their places.
    pub fn fields(&self, step: &Step, outputs: &OutputTable) -> Result<Map<String, Value>, Vec<Diagnostic>> {
        let context = steps::with_each(&self.context, step.each.as_ref());
        let mut others = self.outputs_of(&step.references, Some(step), outputs);
        let mut context = context.with(&others);
        let declared = &self.document.steps[step.declared];
        if let Some(scope) = &declared.scope {
            let mut own = self.budget.spend(|| scope::parameters(scope, &context))?;
            let local = |(local, id): (&String, &String)| Some((local.clone(), others.remove(id)?));
            own.extend(scope.steps.iter().filter_map(local));
            context = context.with(&own);
        }
        let schema = Schema::of_kind(step.kind);
        let evaluate = || walk::evaluate(&declared.fields, &schema.shape(), &context);
        match self.budget.spend(evaluate)? {
            Value::Object(fields) => Ok(fields),
            _ => Ok(Map::new()),
        }
    }

    /// The `custody:` section with every expression evaluated; `None` when there is none.
    ///
    /// # Errors
    /// Expressions that fail and fields that are wrong, with their places.
    pub fn custody(&self, outputs: &OutputTable) -> Result<Option<CustodySettings>, Vec<Diagnostic>> {
        self.section(Section::Custody, outputs)
    }

    /// A section that may refer to steps, with every expression evaluated.
    fn section<T: DeserializeOwned + JsonSchema>(
        &self,
        section: Section,
        outputs: &OutputTable,
    ) -> Result<Option<T>, Vec<Diagnostic>> {
        let Some(node) = self.document.section(section) else { return Ok(None) };
        let references = match section {
            Section::Custody => &self.custody_references,
            _ => &self.place_references,
        };
        let context = self.context.with(&self.outputs_of(references, None, outputs));
        let evaluate = || walk::evaluate(node, &Schema::of::<T>().shape(), &context);
        let value = self.budget.spend(evaluate)?;
        parse(value).map(Some).map_err(|mistakes| diagnose(node, mistakes))
    }

    /// The service behind a kind, whose writes are bounded together.
    pub fn service(&self, kind: &'static str) -> Service {
        let name = kind.split('.').next().unwrap_or_default();
        let provider = self.providers.named(name);
        let unbounded = Service { name, at_once: usize::MAX };
        provider.map_or(unbounded, |provider| provider.service(kind))
    }

    /// A provider with its section, by its type.
    pub fn provider<P: Provider>(&self) -> Option<&P> {
        self.providers.of_type()
    }

    /// The names that the templates of a step see: variables, the entry that it is repeated for, and those
    /// parameters of its group that depend on nothing else.
    pub fn context_of(&self, step: &Step) -> Context {
        let context = steps::with_each(&self.context, step.each.as_ref());
        self.budget.spend(|| scope::constant(&self.document.steps[step.declared], &context))
    }

    /// Takes over the realms that the live systems have reported.
    pub fn learn(&mut self, realms: Realms) {
        self.context =
            self.providers.iter().fold(base_context(&self.document, &self.vars), |context, provider| {
                with_provider(&context, provider, &realms)
            });
        self.realms = realms;
    }

    /// The outputs of the referenced steps. A repeated step is a map of its instances by key, or of only one when
    /// `by` uses no other.
    fn outputs_of(
        &self,
        references: &[String],
        by: Option<&Step>,
        outputs: &OutputTable,
    ) -> Map<String, Value> {
        let mut found = Map::new();
        for name in references {
            let mut instances = Map::new();
            for step in self.instances_of(name, by).iter().map(|index| &self.steps[*index]) {
                let values = Value::Object(known_outputs(step, outputs));
                match &step.each {
                    Some((key, _)) => instances.insert(key.clone(), values),
                    None => found.insert(name.clone(), values),
                };
            }
            if !found.contains_key(name) {
                found.insert(name.clone(), Value::Object(instances));
            }
        }
        found
    }

    /// The steps that have been made of the declared one with this id; only the one with the key of `by`, when `by`
    /// uses no other.
    pub fn instances_of(&self, name: &str, by: Option<&Step>) -> &[usize] {
        let made = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        let own = by.filter(|step| step.own_entries.contains(name)).and_then(|step| step.each.as_ref());
        let own = own.and_then(|(key, _)| self.index_of(&format!("{name}[{key}]")));
        match own.map(|index| made.partition_point(|other| *other < index)) {
            Some(at) => made.get(at..=at).unwrap_or(made),
            None => made,
        }
    }
}

/// A step's outputs, with a marker for each that is not known.
fn known_outputs(step: &Step, outputs: &OutputTable) -> Map<String, Value> {
    let known = outputs.get(&step.id);
    step.kind
        .output_names()
        .into_iter()
        .map(|name| {
            let value = known.and_then(|known| known.get(&name)).cloned();
            let value =
                value.unwrap_or_else(|| Value::String(unknown::marker(&format!("{}.{name}", step.id))));
            (name, value)
        })
        .collect()
}

/// The steps that a section refers to.
fn references<T: JsonSchema>(
    document: &Document,
    registry: &'static Registry,
    section: Section,
    mistakes: &mut Vec<Diagnostic>,
) -> Vec<String> {
    let Some(node) = document.section(section) else { return Vec::new() };
    Names::of_section(document, registry).check(node, &Schema::of::<T>().shape(), mistakes)
}

fn base_context(document: &Document, vars: &Map<String, Value>) -> Context {
    let plan = ("plan".to_owned(), json!({ "name": document.name }));
    with_stage(vars, document.stage()).with(&[plan].into_iter().collect())
}

/// With what expressions see under the provider's name.
fn with_provider(context: &Context, provider: &dyn Connection, realms: &Realms) -> Context {
    let seen = provider.expressions(realms).map(|seen| (provider.provider().to_owned(), seen));
    context.with(&seen.into_iter().collect())
}

/// The realms as far as the plan itself declares them.
fn add_declared_realms(realms: &mut Realms, provider: &dyn Connection) {
    let names = provider.aliases().into_iter().map(Some);
    for alias in std::iter::once(None).chain(names) {
        let place = Place { alias, namespace: None };
        let realm = provider.known_realm(&place);
        if !realm.is_unknown() {
            realms.set(provider.provider(), place, realm);
        }
    }
}

/// A provider with its section, which sees variables only. One with mistakes is as without a section.
fn open(
    document: &Document,
    registry: &'static Registry,
    entry: &dyn Entry,
    context: &Context,
    mistakes: &mut Vec<Diagnostic>,
) -> Arc<dyn Connection> {
    let node = document.section(Section::Provider(entry.name()));
    let opened = node.map_or_else(|| Ok(None), |node| section(document, registry, entry, node, context));
    let opened = opened.and_then(|value| {
        let provider =
            entry.open(value).map_err(|found| node.map(|node| diagnose(node, found)).unwrap_or_default())?;
        if let Some(node) = node {
            mistakes.extend(diagnose(node, provider.check()));
        }
        Ok(provider)
    });
    opened.unwrap_or_else(|found| {
        mistakes.extend(found);
        entry.open(None).unwrap_or_else(|_| unreachable!("a plan without the section has no mistakes in it"))
    })
}

/// A provider's section with every expression evaluated.
fn section(
    document: &Document,
    registry: &'static Registry,
    entry: &dyn Entry,
    node: &Node,
    context: &Context,
) -> Result<Option<Value>, Vec<Diagnostic>> {
    let schema = Schema::of_section(entry);
    let mut unknown = Vec::new();
    Names::of_section(document, registry).without_outputs().check(node, &schema.shape(), &mut unknown);
    if !unknown.is_empty() {
        return Err(unknown);
    }
    walk::evaluate(node, &schema.shape(), context).map(Some)
}

/// Gives mistakes in fields their places.
pub fn diagnose(node: &Node, mistakes: Vec<crate::error::FieldError>) -> Vec<Diagnostic> {
    mistakes
        .into_iter()
        .map(|mistake| {
            let (span, there) = node.find(&mistake.path);
            let message = match there {
                true => mistake.message,
                false => format!("`{}`: {}", mistake.path, mistake.message),
            };
            let hidden = node.at(&mistake.path).filter(|_| mistake.secret).map(|node| node.span);
            let diagnostic = Diagnostic::error(span, message).hiding(hidden);
            match mistake.help {
                Some(help) => diagnostic.help(help),
                None => diagnostic,
            }
        })
        .collect()
}
