//! Expressions become values: variables at once, references to other steps as far as their
//! outputs are known.

pub mod declare;
pub(crate) mod expression;
mod names;
pub mod places;
mod shape;
mod steps;
mod walk;

use std::collections::{HashMap, HashSet};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

pub use steps::Step;

use names::Names;
use shape::{Schema, Shape};

use crate::confined_path::in_words;
use crate::net::endpoint;
use crate::plan::settings::{AwsSettings, CustodySettings, JournalSettings, LockSettings, VaultSettings};
use crate::plan::{Diagnostic, Document, Key, Node, Section};
use crate::resource::strict::parse;
use crate::template::budget::Budget;
use crate::template::{self, budget, unknown};
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
    /// The `aws:` section.
    pub aws: AwsSettings,
    /// The `vault:` section.
    pub vault: VaultSettings,
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
    /// The ids of declared steps whose outputs are used somewhere.
    referred_to: HashSet<String>,
    /// The time that evaluations may take.
    budget: Budget,
    /// The mistakes so far; [`declare::declare`] looks for more before all are reported.
    pub mistakes: Vec<Diagnostic>,
}

/// Gives every variable its value and expands the steps. Unknown kinds and names, wrong
/// expressions and wrong sections are among the result's mistakes.
pub fn resolve(document: Document) -> Resolved {
    let budget = Budget::default();
    budget.clone().spend(|| resolve_within(document, budget))
}

fn resolve_within(document: Document, budget: Budget) -> Resolved {
    let mut mistakes = Vec::new();
    let vars = variables(&document, &mut mistakes);
    let base = base_context(&document, &vars);
    let aws = section(&document, Section::Aws, &base, &mut mistakes);
    let vault = section(&document, Section::Vault, &base, &mut mistakes);
    mistakes.extend(wrong_addresses(&document, &vault));
    let base = with_aws(base, &aws);
    if let Some(node) = document.section(Section::Aws) {
        mistakes.extend(diagnose(node, aws.check()));
    }
    let steps = steps::expand(&document, &base, &aws, &mut mistakes);
    let ids = steps.iter().map(|step| step.id.as_str()).collect();
    mistakes.extend(document.check_former(&ids));
    let custody_references = references::<CustodySettings>(&document, Section::Custody, &mut mistakes);
    let place_references = [
        references::<JournalSettings>(&document, Section::Journal, &mut mistakes),
        references::<LockSettings>(&document, Section::Lock, &mut mistakes),
    ]
    .concat();
    let templates = template::Templates::default();
    let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
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
        aws,
        vault,
        steps,
        custody_references,
        place_references,
        templates,
        by_name,
        referred_to,
        budget,
        mistakes,
    }
}

impl Resolved {
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
        let mut context = self.context();
        if let Some((key, value)) = &step.each {
            context.insert("each".to_owned(), json!({ "key": key, "value": value }));
        }
        self.add_references(&mut context, &step.references, outputs);
        let declared = &self.document.steps[step.declared];
        let schema = Schema::of_kind(step.kind);
        let evaluate = || walk::evaluate(&declared.fields, &schema.shape(), &Value::Object(context));
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
        let mut context = self.context();
        self.add_references(&mut context, references, outputs);
        let evaluate = || walk::evaluate(node, &Schema::of::<T>().shape(), &Value::Object(context));
        let value = self.budget.spend(evaluate)?;
        parse(value).map(Some).map_err(|mistakes| diagnose(node, mistakes))
    }

    /// The variables that every expression sees, and that the template loader uses too.
    pub fn context(&self) -> Map<String, Value> {
        with_aws(base_context(&self.document, &self.vars), &self.aws)
    }

    /// Adds the referenced steps to what an expression sees. A repeated step is a map of its
    /// instances by key.
    fn add_references(&self, context: &mut Map<String, Value>, references: &[String], outputs: &OutputTable) {
        for name in references {
            let mut instances = Map::new();
            let made = self.by_name.get(name).into_iter().flatten();
            for step in made.map(|index| &self.steps[*index]) {
                let values = Value::Object(known_outputs(step, outputs));
                match &step.each {
                    Some((key, _)) => instances.insert(key.clone(), values),
                    None => context.insert(name.clone(), values),
                };
            }
            if !context.contains_key(name) {
                context.insert(name.clone(), Value::Object(instances));
            }
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

/// Addresses of Vault that are none, or could never be meant.
fn wrong_addresses(document: &Document, vault: &VaultSettings) -> Vec<Diagnostic> {
    let Some(node) = document.section(Section::Vault) else { return Vec::new() };
    let address = vault.address.iter().map(|address| ("address".to_owned(), address));
    let nodes = vault.nodes.iter().enumerate().map(|(index, node)| (format!("nodes[{index}]"), node));
    let wrong = address.chain(nodes).filter(|(_, url)| !unknown::is_unknown(url));
    wrong
        .filter_map(|(path, url)| {
            let span = node.at(&path).map_or(node.span, |node| node.span);
            let shown = crate::trace::public(url);
            endpoint::mistake(url).map(|why| {
                Diagnostic::error(span, format!("`{shown}`: {why}")).hiding(url.contains('@').then_some(span))
            })
        })
        .collect()
}

/// Evaluates the variables in the order declared; each may use those before it.
fn variables(document: &Document, mistakes: &mut Vec<Diagnostic>) -> Map<String, Value> {
    let (mut vars, mut size) = (Map::new(), 0);
    for (index, (key, node)) in document.vars.iter().enumerate() {
        let before = mistakes.len();
        let value = match document.given.contains(&key.name) {
            true => Ok(node.to_value()),
            false => {
                Names::of_variable(document, index).check(node, &Shape::any(), mistakes);
                walk::evaluate(node, &Shape::any(), &Value::Object(vars.clone()))
            }
        };
        match value {
            Ok(value) => {
                size += budget::size(&value);
                if size > budget::VARIABLES_IN_ALL {
                    mistakes.push(too_large(key));
                    break;
                }
                vars.insert(key.name.clone(), value);
            }
            // An undefined name has been reported.
            Err(found) if mistakes.len() == before => mistakes.extend(found),
            Err(_) => {}
        }
    }
    vars
}

fn too_large(key: &Key) -> Diagnostic {
    let limit = in_words(budget::VARIABLES_IN_ALL as u64);
    let message = format!("with the value of `{}`, the plan's variables are larger than {limit}", key.name);
    Diagnostic::error(key.span, message).help("put large texts into template files")
}

/// The steps that a section refers to.
fn references<T: JsonSchema>(
    document: &Document,
    section: Section,
    mistakes: &mut Vec<Diagnostic>,
) -> Vec<String> {
    let Some(node) = document.section(section) else { return Vec::new() };
    Names::of_section(document).check(node, &Schema::of::<T>().shape(), mistakes)
}

fn base_context(document: &Document, vars: &Map<String, Value>) -> Map<String, Value> {
    let mut context = vars.clone();
    context.insert("plan".to_owned(), json!({ "name": document.name }));
    context
}

/// `aws.region`, `aws.account_id`, and the same of each name under `aws.aliases`.
fn with_aws(mut context: Map<String, Value>, aws: &AwsSettings) -> Map<String, Value> {
    let known = |alias: Option<&str>, path: &str| {
        let account = aws.account(alias).unwrap_or_default();
        let or_marker = |value: Option<String>, field| {
            value.unwrap_or_else(|| unknown::marker(&format!("{path}.{field}")))
        };
        let region = or_marker(account.region, "region");
        json!({ "region": region, "account_id": or_marker(account.account_id, "account_id") })
    };
    let aliases =
        aws.aliases.keys().map(|name| (name.clone(), known(Some(name), &format!("aws.aliases.{name}"))));
    let aliases: Map<String, Value> = aliases.collect();
    let mut own = known(None, "aws");
    own["aliases"] = Value::Object(aliases);
    context.insert("aws".to_owned(), own);
    context
}

fn section<T: DeserializeOwned + JsonSchema + Default>(
    document: &Document,
    section: Section,
    context: &Map<String, Value>,
    mistakes: &mut Vec<Diagnostic>,
) -> T {
    let Some(node) = document.section(section) else { return T::default() };
    let schema = Schema::of::<T>();
    let mut unknown = Vec::new();
    Names::of_section(document).without_outputs().check(node, &schema.shape(), &mut unknown);
    if !unknown.is_empty() {
        mistakes.extend(unknown);
        return T::default();
    }
    let evaluated = walk::evaluate(node, &schema.shape(), &Value::Object(context.clone()));
    match evaluated.and_then(|value| parse(value).map_err(|found| diagnose(node, found))) {
        Ok(settings) => settings,
        Err(found) => {
            mistakes.extend(found);
            T::default()
        }
    }
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
