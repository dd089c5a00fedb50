//! The permissions that a plan needs of the caller: for the servers, roles, files and variables that it
//! names.

use std::collections::HashSet;

use super::checked::{Checked, local_journal};
use crate::plan::settings::{BackupStoreSettings, StoreSettings};
use crate::plan::{Node, NodeValue, Section, Span};
use crate::run::{Connection, Want};
use crate::session::Wanted;
use crate::template::unknown;
use crate::trust::{Grant, Standing, Subject, is_variable, standing};

/// The permissions that one part of a plan needs.
type Part = fn(&Checked) -> Vec<Wanted>;

/// The parts of a plan that want something.
const PARTS: [Part; 4] = [sections, custody_folders, backup_folders, variables];

/// Every permission that the plan needs, once, in the order of the parts. Asks no questions and reads
/// no variables.
pub(super) fn wanted(checked: &Checked) -> Vec<Wanted> {
    let mut known = HashSet::new();
    let all = PARTS.iter().flat_map(|part| part(checked));
    all.filter(|wanted| known.insert(wanted.grant.clone())).collect()
}

/// The key that has signed the journal beside the plan, unless this machine has it. Only `trust` asks for
/// it: other commands read the journal's copy as well, and refuse what they do not believe. A journal
/// that cannot be read is reported by the commands that need it.
pub(super) fn signer(checked: &Checked) -> Option<Wanted> {
    let journal = local_journal(&checked.resolved).ok()?;
    let signer = journal.signer().filter(|signer| !journal.authority().has_key_of(signer))?;
    let why = format!("the plan's journal is signed with the key {signer}, which this machine does not have");
    Some(Wanted::new(Grant::new(Subject::Signer, signer.to_string()), None, why))
}

/// Where a field of a section stands.
fn place(node: &Node, path: &str) -> Span {
    node.find(path).0
}

/// What the sections of the providers want.
fn sections(checked: &Checked) -> Vec<Wanted> {
    let document = &checked.resolved.document;
    let of = |provider: &dyn Connection| {
        let node = document.section(Section::Provider(provider.provider()));
        let wants = node.map(|_| provider.wants(&document.folder)).unwrap_or_default();
        let wanted = |want: Want| Wanted::new(want.grant, node.map(|node| place(node, &want.path)), want.why);
        wants.into_iter().map(wanted).collect::<Vec<_>>()
    };
    checked.resolved.providers.iter().flat_map(of).collect()
}

/// Folders of custody outside of the plan's own.
fn custody_folders(checked: &Checked) -> Vec<Wanted> {
    let resolved = &checked.resolved;
    let (Some(node), Ok(Some(custody))) =
        (resolved.document.section(Section::Custody), resolved.custody(&checked.outputs))
    else {
        return Vec::new();
    };
    let stores = custody.stores.iter().enumerate();
    stores
        .filter_map(|(index, store)| match store {
            StoreSettings::File(path) if path.is_absolute() => {
                let folder = path.to_string_lossy();
                let why = format!("the plan keeps its custody in {folder}, outside of its own folder");
                let span = place(node, &format!("stores[{index}].file"));
                Some(Wanted::new(Grant::new(Subject::Store, folder), span, why))
            }
            _ => None,
        })
        .collect()
}

/// Folders of backups outside of the plan's own.
fn backup_folders(checked: &Checked) -> Vec<Wanted> {
    let resolved = &checked.resolved;
    let (Some(node), Ok(Some(backups))) =
        (resolved.document.section(Section::Backup), resolved.backups(&checked.outputs, false))
    else {
        return Vec::new();
    };
    let wanted = |(index, store): (usize, &BackupStoreSettings)| match store {
        BackupStoreSettings::File(path) if path.is_absolute() => {
            let folder = path.to_string_lossy();
            let why = format!("the plan keeps backups in {folder}, outside of its own folder");
            let span = place(node, &format!("stores[{index}].file"));
            Some(Wanted::new(Grant::new(Subject::Store, folder), span, why))
        }
        _ => None,
    };
    backups.stores.iter().enumerate().filter_map(wanted).collect()
}

/// Credentials and what is not a name are mistakes, which nothing allows.
fn variables(checked: &Checked) -> Vec<Wanted> {
    let document = &checked.resolved.document;
    let steps = checked.resolved.steps.iter().zip(&checked.instances);
    let named =
        steps.flat_map(|(step, instance)| instance.env_names().into_iter().map(move |name| (step, name)));
    named
        .filter(|(_, name)| !unknown::is_unknown(name) && is_variable(name))
        .filter(|(_, name)| standing(name) != Standing::Credential)
        .map(|(step, name)| {
            let declared = &document.steps[step.declared];
            let span = env_source(&declared.fields, &name).unwrap_or(declared.id.span);
            let why = format!("step `{}` reads the environment variable {name}", step.id);
            Wanted::new(Grant::new(Subject::Env, name), span, why)
        })
        .collect()
}

/// Where a variable is named, unless an expression does it.
fn env_source(node: &Node, name: &str) -> Option<Span> {
    match node.get("env") {
        Some(source) if source.as_str() == Some(name) => Some(source.span),
        _ => match &node.value {
            NodeValue::List(items) => items.iter().find_map(|item| env_source(item, name)),
            _ => node.entries().iter().find_map(|(_, value)| env_source(value, name)),
        },
    }
}
