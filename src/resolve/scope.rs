//! The values that parameters of groups have for a step.

use serde_json::{Map, Value};

use super::shape::Shape;
use super::walk;
use crate::plan::{DeclaredStep, Diagnostic, Scope};
use crate::template::Context;

/// What the step's own expressions see beside what the place sees that uses its group: the values of the
/// parameters.
///
/// # Errors
/// Expressions that fail, and values that break the rules of the parameters.
pub fn parameters(scope: &Scope, context: &Context) -> Result<Map<String, Value>, Vec<Diagnostic>> {
    let (mut values, mut mistakes) = (Map::new(), Vec::new());
    for (key, node) in &scope.parameters {
        match walk::evaluate(node, &Shape::any(), context) {
            Ok(value) => {
                let broken = scope.rules.get(&key.name).and_then(|rules| rules.check(&value).err());
                mistakes.extend(broken.map(|why| {
                    let message = format!("parameter `{}` of `{}` {why}", key.name, scope.used_as.name);
                    Diagnostic::error(node.span, message)
                }));
                values.insert(key.name.clone(), value);
            }
            Err(found) => mistakes.extend(found),
        }
    }
    if mistakes.is_empty() { Ok(values) } else { Err(mistakes) }
}

/// The context of a step that depends on nothing but variables: parameters that depend on other steps are
/// left out.
pub fn constant(declared: &DeclaredStep, context: &Context) -> Context {
    let Some(scope) = &declared.scope else { return context.clone() };
    let known = scope.parameters.iter().filter_map(|(key, node)| {
        let value = walk::evaluate(node, &Shape::any(), context).ok()?;
        Some((key.name.clone(), value))
    });
    context.with(&known.collect())
}
