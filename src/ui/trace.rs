//! Requests as they end, one a line.

use super::style::{BAD, CHANGE, FAINT, paint};
use crate::console;
use crate::trace::{Answer, Call};
use crate::visible::sanitize;

/// Prints a call.
pub fn show(call: &Call<'_>) {
    console::note(line(call));
}

fn line(call: &Call<'_>) -> String {
    let answer = match &call.answer {
        Answer::Status(status @ 500..) => paint(BAD, status),
        Answer::Status(status @ 400..) => paint(CHANGE, status),
        Answer::Status(status) => status.to_string(),
        Answer::Done => "ok".to_owned(),
        Answer::None(why) => paint(BAD, sanitize(why)),
    };
    let id = call.request_id.map(|id| format!("  request {}", sanitize(id))).unwrap_or_default();
    let (system, operation) = (call.system, sanitize(&call.operation));
    let address = sanitize(&call.address);
    format!(
        "{} {operation} {address}  {answer}  {} ms{}",
        paint(FAINT, system),
        call.took.as_millis(),
        paint(FAINT, id)
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn traced_call_is_one_line_without_control_characters() {
        let call = Call {
            system: "vault",
            operation: "GET".to_owned(),
            address: "http://vault/v1/sys/mounts".to_owned(),
            answer: Answer::Status(200),
            took: Duration::from_millis(3),
            request_id: Some("a\u{1b}[2J"),
        };
        let plain = anstream::adapter::strip_str(&line(&call)).to_string();
        assert_eq!(plain, "vault GET http://vault/v1/sys/mounts  200  3 ms  request a\\u{1b}[2J");
    }
}
