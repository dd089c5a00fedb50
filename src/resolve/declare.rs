//! Typed declarations of all steps, as far as variables determine them.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{OutputTable, Resolved, Step, diagnose, duplicates, step_secrets};
use crate::confined_path::in_words;
use crate::custody::{paths, recipient};
use crate::error::FieldError;
pub use crate::plan::ownership::{PLAN_TAG, STEP_TAG};
use crate::plan::settings::CustodySettings;
use crate::plan::{
    Diagnostic, Diagnostics, MOST_MISTAKES, Node, STEP_KEYS, Section, Severity, Span, ownership,
};
use crate::resource::erased::Instance;
use crate::secret::{Fields, LoadError, Loader};
use crate::suggest::closest;
use crate::template::budget;
use crate::visible;

/// Reads every step into its kind's types and checks it; with the outputs that are certain before
/// anything exists.
///
/// # Errors
/// All mistakes in all steps, with their places.
pub fn declare(resolved: &Resolved) -> Result<(Vec<Box<dyn Instance>>, OutputTable), Diagnostics> {
    let mut outputs = OutputTable::new();
    let mut instances: Vec<Option<Box<dyn Instance>>> = resolved.steps.iter().map(|_| None).collect();
    let mut mistakes = resolved.mistakes.clone();
    let mut size = 0;
    for index in in_order_of_references(resolved) {
        let step = &resolved.steps[index];
        match instance(resolved, step, &outputs, &mut size) {
            Ok(_) if size > budget::FIELDS_IN_ALL => {
                mistakes.push(too_large(resolved, step, "fields", budget::FIELDS_IN_ALL));
                break;
            }
            Ok(instance) => {
                outputs.insert(
                    step.id.clone(),
                    instance.predicted_outputs(&resolved.realms.of(step.kind.provider(), instance.place())),
                );
                instances[index] = Some(instance);
            }
            Err(found) => add_new(&mut mistakes, without_consequences(resolved, step, found)),
        }
        if mistakes.len() > MOST_MISTAKES {
            break;
        }
    }
    if mistakes.is_empty() {
        add_new(&mut mistakes, duplicates::find(resolved, &instances));
        add_new(&mut mistakes, step_secrets::check(resolved, &instances));
    }
    match resolved.custody(&outputs) {
        Ok(settings) => add_new(&mut mistakes, custody_mistakes(resolved, settings.as_ref())),
        Err(found) => add_new(&mut mistakes, found),
    }
    if let Err(found) = resolved.places(&outputs, false) {
        add_new(&mut mistakes, found);
    }
    if let Err(found) = resolved.backups(&outputs, false) {
        add_new(&mut mistakes, found);
    }
    if let Err(found) = resolved.recovery(&outputs) {
        add_new(&mut mistakes, found);
    }
    if let Err(found) = resolved.notify(&outputs) {
        add_new(&mut mistakes, found);
    }
    if mistakes.is_empty() {
        Ok((instances.into_iter().flatten().collect(), outputs))
    } else {
        Err(Diagnostics::new(resolved.document.sources.clone(), mistakes))
    }
}

/// Recipients' keys that cannot be encrypted for, each at its place.
fn custody_mistakes(resolved: &Resolved, settings: Option<&CustodySettings>) -> Vec<Diagnostic> {
    match (settings, resolved.document.section(Section::Custody)) {
        (Some(settings), Some(node)) => {
            let mut found = paths::check(settings);
            if found.is_empty() {
                found = recipient::check_all(&settings.recipients, &resolved.document.folder);
            }
            diagnose(node, found)
        }
        _ => Vec::new(),
    }
}

/// Steps after those they refer to, so that names given by one step are known in the next. Steps
/// that refer to one another in a circle come as declared; the graph refuses them later.
fn in_order_of_references(resolved: &Resolved) -> Vec<usize> {
    let name = |index: &usize| resolved.document.steps[resolved.steps[*index].declared].id.name.as_str();
    let mut waiting: Vec<usize> = (0..resolved.steps.len()).collect();
    let mut order = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let open: HashSet<&str> = waiting.iter().map(name).collect();
        let is_free = |index: &usize| {
            !resolved.steps[*index].references.iter().any(|other| open.contains(other.as_str()))
        };
        let (free, bound): (Vec<usize>, Vec<usize>) = waiting.iter().partition(|index| is_free(index));
        if free.is_empty() {
            order.extend(bound);
            break;
        }
        order.extend(free);
        waiting = bound;
    }
    order
}

/// A step that refers to something that does not exist cannot be evaluated either; the mistake is
/// reported only once, where the reference was checked.
fn without_consequences(resolved: &Resolved, step: &Step, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let told = |span: Option<Span>| resolved.mistakes.iter().any(|mistake| mistake.span == span);
    let is_there = |name: &String| !resolved.instances_of(name, None).is_empty();
    let complete = step.references.iter().all(is_there);
    found.into_iter().filter(|mistake| complete && !told(mistake.span)).collect()
}

/// Adds mistakes; one that repeats in every instance of a repeated step is reported once.
fn add_new(mistakes: &mut Vec<Diagnostic>, found: Vec<Diagnostic>) {
    for mistake in found.into_iter().take(MOST_MISTAKES) {
        if !mistakes.iter().any(|known| known.span == mistake.span && known.message == mistake.message) {
            mistakes.push(mistake);
        }
    }
}

fn instance(
    resolved: &Resolved,
    step: &Step,
    outputs: &OutputTable,
    size: &mut usize,
) -> Result<Box<dyn Instance>, Vec<Diagnostic>> {
    let node = &resolved.document.steps[step.declared].fields;
    let fields = Value::Object(fields(resolved, step, outputs)?);
    *size += budget::size(&fields);
    let declared = step.kind.declare(fields).map_err(|found| found.into_iter().map(with_step_keys).collect());
    let mut instance = declared.map_err(|found| diagnose(node, found))?;
    instance.use_alias(step.alias.as_deref());
    if !resolved.is_referred_to(step) {
        instance.without_outputs();
    }
    match instance.check(resolved.providers.named(step.kind.provider())) {
        mistakes if mistakes.is_empty() => match deceptive(resolved, step, &instance.id()) {
            None => Ok(instance),
            Some(mistake) => Err(vec![mistake]),
        },
        mistakes => Err(diagnose(node, mistakes)),
    }
}

/// An unknown key of a step may be meant as one that every step takes, which its kind does not know.
fn with_step_keys(mistake: FieldError) -> FieldError {
    let Some(name) = mistake.message.strip_prefix("unknown key `").and_then(|rest| rest.strip_suffix('`'))
    else {
        return mistake;
    };
    if mistake.path != name {
        return mistake;
    }
    match (closest(name, STEP_KEYS), &mistake.help) {
        (Some(candidate), Some(help)) if !help.starts_with("did you mean") => {
            let help = format!("did you mean `{candidate}`?");
            mistake.help(help)
        }
        (None, Some(help)) if help.starts_with("known keys") => {
            let help = format!("{help}; every step also takes {}", STEP_KEYS.join(", "));
            mistake.help(help)
        }
        _ => mistake,
    }
}

/// A name that can be mistaken for another: the reviewer of the plan would approve something else.
fn deceptive(resolved: &Resolved, step: &Step, name: &str) -> Option<Diagnostic> {
    let (told, why) =
        [&step.id, name].into_iter().find_map(|told| Some((told, visible::deceptive(told)?)))?;
    let message = format!("`{}` can be mistaken for another name: {why}", visible::sanitize(told));
    let place = &resolved.document.steps[step.declared].id;
    Some(Diagnostic::error(place.span, message).help("write the name in letters of one script"))
}

/// A step's evaluated fields with the tags that it gets.
///
/// # Errors
/// Expressions that fail, with their places.
pub fn fields(
    resolved: &Resolved,
    step: &Step,
    outputs: &OutputTable,
) -> Result<Map<String, Value>, Vec<Diagnostic>> {
    let mut fields = resolved.fields(step, outputs)?;
    if step.kind.tagged() {
        let mut tags: Map<String, Value> = provider_tags(resolved, step.kind.provider());
        tags.insert(PLAN_TAG.to_owned(), json!(resolved.document.name));
        tags.insert(STEP_TAG.to_owned(), json!(step.id.replace('[', "/").replace(']', "")));
        match fields.remove("tags") {
            Some(Value::Object(own)) => {
                let mistakes = ownership::check(own.keys());
                if !mistakes.is_empty() {
                    let node = &resolved.document.steps[step.declared].fields;
                    return Err(diagnose(node, mistakes));
                }
                tags.extend(own);
            }
            Some(other) => {
                fields.insert("tags".to_owned(), other);
                return Ok(fields);
            }
            None => {}
        }
        fields.insert("tags".to_owned(), Value::Object(tags));
    }
    Ok(fields)
}

/// The tags that the section of a provider gives to its things.
fn provider_tags(resolved: &Resolved, provider: &str) -> Map<String, Value> {
    let tags = resolved.providers.named(provider).map(|provider| provider.tags()).unwrap_or_default();
    tags.into_iter().map(|(key, value)| (key, json!(value))).collect()
}

/// Reads the secret inputs and templates of every step, to find what is missing before anything
/// else happens. An unset variable is a warning: it may be set where the plan is applied.
pub fn check_sources(resolved: &Resolved, instances: &mut [Box<dyn Instance>]) -> Vec<Diagnostic> {
    let general = loader(resolved);
    let mut found = Vec::new();
    for (step, instance) in resolved.steps.iter().zip(instances) {
        let declared = &resolved.document.steps[step.declared];
        let span = declared.id.span;
        let loader = general.seeing(resolved.context_of(step), Fields::new());
        match resolved.budget.spend(|| instance.load(&loader)) {
            // Permissions that the plan lacks are reported separately from its mistakes.
            Ok(()) | Err(LoadError::ForeignEnv(_)) => {}
            Err(error @ LoadError::ReservedEnv(_)) => {
                let mistake = Diagnostic::error(span, format!("step `{}`: {error}", step.id));
                found.push(mistake.help("give the value in a variable of another name"));
            }
            Err(error @ (LoadError::MissingEnv(_) | LoadError::EmptyEnv(_))) => {
                found.push(Diagnostic::warning(span, format!("step `{}`: {error}", step.id)));
            }
            Err(error) => {
                let span = place_of(&declared.fields, &error).unwrap_or(span);
                let mistake = Diagnostic::error(span, format!("step `{}`: {error}", step.id));
                found.push(match named_step(resolved, &error) {
                    Some(id) => mistake.help(format!(
                        "`{id}` is a step: write `{{{{ secrets.{id}.FIELD }}}}` for a secret of it, such as \
                         `secrets.{id}.data.password`"
                    )),
                    None => mistake,
                });
            }
        }
        if found.len() >= MOST_MISTAKES && found.iter().any(|one| one.severity == Severity::Error) {
            break;
        }
        if general.taken() > budget::FILES_IN_ALL {
            found.push(too_large(resolved, step, "files", budget::FILES_IN_ALL));
            break;
        }
    }
    found
}

/// The text that a mistake of a template is in: the first one with the name that the message quotes.
fn place_of(fields: &Node, error: &LoadError) -> Option<Span> {
    let LoadError::Template(message) = error else { return None };
    let quoted = message.split('`').nth(1)?;
    let is_file = message.starts_with("there is no template");
    let mut place = None;
    fields.strings(&mut |text, span| {
        if (is_file && text == quoted) || (text.contains("{{") && text.contains(quoted)) {
            place = place.or(Some(span));
        }
    });
    place
}

/// The step that a template of secrets names as if it were a variable.
fn named_step<'a>(resolved: &'a Resolved, error: &LoadError) -> Option<&'a str> {
    let LoadError::Template(message) = error else { return None };
    let mut steps = resolved.document.steps.iter().map(|step| step.id.name.as_str());
    steps.find(|id| message.contains(&format!("`{id}` is undefined")))
}

fn too_large(resolved: &Resolved, step: &Step, what: &str, limit: usize) -> Diagnostic {
    let limit = in_words(limit as u64);
    let message = format!("with step `{}`, the {what} of all steps are larger than {limit}", step.id);
    Diagnostic::error(resolved.document.steps[step.declared].id.span, message)
}

/// The part of the plan that the sources and templates of every step see.
pub fn loader(resolved: &Resolved) -> Loader {
    Loader {
        folder: resolved.document.folder.clone(),
        templates: resolved.templates.clone(),
        trust: resolved.trust.clone(),
        ..Loader::default()
    }
}
