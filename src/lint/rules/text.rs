//! Text that looks like an expression and is none.

use crate::lint::Rule;
use crate::lint::facts::Facts;
use crate::plan::Severity;

pub const RULES: &[&Rule] = &[&FOREIGN];

const FOREIGN: Rule = Rule {
    id: "foreign-reference",
    severity: Severity::Warning,
    title: "A text names a variable or step in the notation of another language",
    explanation: "Expressions stand in `{{ … }}`. Terraform, shells and CI systems write `${…}`, which stays in the \
                  text as it is: a bucket would be called `${org}-state`.",
    help: "write `{{ NAME }}`, in quotes; silence this rule where the text is meant for a shell",
    bad: r#"vars: { org: example }
steps:
  state:
    kind: file.template
    path: state.txt
    content: "${org}-state"                  # here
"#,
    good: r#"vars: { org: example }
steps:
  state:
    kind: file.template
    path: state.txt
    content: "{{ org }}-state"
"#,
    check: |facts, findings| {
        for fact in &facts.steps {
            fact.declared.fields.strings(&mut |text, span| {
                if let Some(name) = text.split("${").skip(1).find_map(|rest| name_in(facts, rest)) {
                    let message = format!("`${{…}}` names `{name}` of the plan and stays as it is");
                    findings.at(span, Some(fact.id()), message);
                }
            });
        }
    },
};

/// The variable or step that the text after `${` names.
fn name_in<'t>(facts: &Facts<'_>, rest: &'t str) -> Option<&'t str> {
    let (inner, _) = rest.split_once('}')?;
    let mut parts = inner.trim().split('.').skip_while(|part| ["var", "vars", "local"].contains(part));
    let name = parts.next()?;
    let document = facts.document();
    let is_known = document.step(name).is_some() || document.vars.iter().any(|(key, _)| key.name == name);
    is_known.then_some(name)
}
