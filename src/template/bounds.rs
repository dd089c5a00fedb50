//! Evaluation within bounds. The engine's fuel ends loops; but a deep expression could use up the
//! stack, which ends the process, and a short one that doubles a text again and again the memory.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Context, budget};

/// The longest text with expressions in it, in bytes.
const LONGEST: usize = 128 * 1024;
/// The longest expression that cannot use up a usual stack.
const SHORT: usize = 512;
/// A stack for the longest: reserved, and taken only as far as it is used.
const STACK: usize = 512 * 1024 * 1024;
/// How much memory an evaluation may take, in KiB.
const MEMORY: u64 = 256 * 1024;
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked at.
const POLL: Duration = Duration::from_millis(5);
/// The largest result of an evaluation, in bytes; variables use each other.
const LARGEST: usize = 4 * 1024 * 1024;

/// Does `work` on a text with expressions and what they see. Unless they are small, it is watched: an evaluation that
/// takes too much is given up; its thread ends with the process, which has nothing to do without it.
///
/// # Errors
/// Those of `work`; when the text is too long, or takes too much.
pub fn within<T: Send + 'static>(
    text: &str,
    is_small: bool,
    context: &Context,
    work: fn(&str, &Context) -> Result<T, String>,
) -> Result<T, String> {
    if text.len() > LONGEST {
        return Err(format!("a text with expressions has at most {} KiB", LONGEST / 1024));
    }
    let (begun, patience) = (Instant::now(), budget::patience(PATIENCE)?);
    let result = match is_small {
        true => work(text, context),
        false => watched(text, context, work, patience),
    };
    budget::charge(begun);
    result
}

/// Whether an expression can take little: it is short, and neither filters nor multiplies.
pub fn is_small(expression: &str) -> bool {
    expression.len() <= SHORT && !["{%", "|", "*"].iter().any(|mark| expression.contains(mark))
}

/// Whether the expressions of a template can take little all together. The text around them is copied, so that a `*`
/// in a path needs no thread. Where a quote or a brace could hide the end of an expression, everything counts as one.
pub fn is_small_template(template: &str) -> bool {
    if template.contains("{%") {
        return false;
    }
    let mut length = 0;
    let mut rest = template;
    while let Some((_, after)) = rest.split_once("{{") {
        let Some((expression, next)) = after.split_once("}}") else { return is_small(template) };
        if expression.contains(['"', '\'', '`', '{', '}']) {
            return is_small(template);
        }
        length += expression.len();
        if length > SHORT || !is_small(expression) {
            return false;
        }
        rest = next;
    }
    true
}

/// Does `work` in a thread of its own, and watches the time and memory that it uses.
fn watched<T: Send + 'static>(
    text: &str,
    context: &Context,
    work: fn(&str, &Context) -> Result<T, String>,
    patience: Duration,
) -> Result<T, String> {
    let (sender, receiver) = channel();
    let (text, context) = (text.to_owned(), context.clone());
    let thread = std::thread::Builder::new().stack_size(STACK);
    thread
        .spawn(move || sender.send(work(&text, &context)))
        .map_err(|error| format!("cannot be evaluated: {error}"))?;
    let (begun, before) = (Instant::now(), resident());
    loop {
        match receiver.recv_timeout(POLL) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => return Err("cannot be evaluated".to_owned()),
            Err(RecvTimeoutError::Timeout) if resident() > before + MEMORY => {
                return Err("takes too much memory".to_owned());
            }
            Err(RecvTimeoutError::Timeout) if begun.elapsed() > patience => {
                return Err("takes too long".to_owned());
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Does `work`, which parses text of this length, where the stack is large enough.
///
/// # Errors
/// When the text is too long, or there can be no thread.
pub fn deep<T: Send>(length: usize, work: impl FnOnce() -> T + Send) -> Result<T, String> {
    match length {
        0..=SHORT => Ok(work()),
        _ if length > LONGEST => Err(format!("a template has at most {} KiB", LONGEST / 1024)),
        _ => std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
            let done = thread.map_err(|error| error.to_string())?.join();
            done.map_err(|_| "cannot be evaluated".to_owned())
        }),
    }
}

/// The result of an evaluation, if it is of a size that anything can use.
///
/// # Errors
/// When it is larger.
pub fn sized(value: Value) -> Result<Value, String> {
    match budget::size(&value) <= LARGEST {
        true => Ok(value),
        false => Err(format!("comes to more than {} MiB", LARGEST / 1024 / 1024)),
    }
}

/// The memory that this process uses, in KiB; 0 where the system does not report it.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::is_small_template;

    #[test]
    fn only_expressions_that_could_take_much_are_watched() {
        for small in ["team/*", "team/{{ name }}/* | {{ other }} *", "a }} * {{ b }}"] {
            assert!(is_small_template(small), "{small}");
        }
        for large in [
            "{{ a * 2 }}",
            "{{ a|upper }}",
            "{% if a %}{% endif %}",
            "{{ a }} {{ ((((|",
            "{{ '}}' * 9 }}",
            "{{ {a: {b: 1}} * 9 }}",
            "{{ `}}` * 9 }}",
            "{# {{ #} {{ a * 2 }}",
            "{{ a }} * {{ {'b': 1} }}",
        ] {
            assert!(!is_small_template(large), "{large}");
        }
        assert!(!is_small_template(&"{{ abcdef }}".repeat(100)));
    }
}
