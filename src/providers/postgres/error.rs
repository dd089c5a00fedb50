//! The meaning of PostgreSQL's failures for a run.
//!
//! A server's message names things. Its detail quotes rows and values, so it is never shown.

use std::error::Error as StdError;

use tokio_postgres::Error as Failure;

use crate::error::{Error, ErrorKind, display_chain};

/// The database does not exist.
pub const NO_DATABASE: &str = "3D000";
/// A thing of this name exists: role or object, database, schema, relation, extension.
const DUPLICATES: [&str; 5] = ["42710", "42P04", "42P06", "42P07", "23505"];

/// How far a request had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It only reads, or its transaction was not committed: it has had no effect.
    WithoutEffect,
    /// It may have taken effect, unless the server says that it has not.
    Committing,
}

/// The error of a failed request.
pub fn explain(operation: &str, failure: &Failure, stage: Stage) -> Error {
    match failure.as_db_error() {
        Some(answer) => {
            let code = answer.code().code();
            let (kind, advice) = meaning(code, stage);
            let message = format!("{} (SQLSTATE {code})", answer.message());
            let error = Error::new(kind, operation, message).code(Some(code));
            advice.into_iter().fold(error, |error, advice| error.advice(advice))
        }
        None => Error::new(unanswered(stage), operation, causes(failure)),
    }
}

/// A request without any answer.
pub fn unanswered(stage: Stage) -> ErrorKind {
    match stage {
        Stage::WithoutEffect => ErrorKind::Unavailable,
        Stage::Committing => ErrorKind::Unknown,
    }
}

/// The error of a connection that could not be opened.
pub fn not_connected(operation: &str, failure: &Failure) -> Error {
    let error = explain(operation, failure, Stage::WithoutEffect);
    match error.advice {
        Some(_) => error,
        None => error.advice("check `postgres.host`, `port` and `sslmode`, and that the server is running"),
    }
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn meaning(code: &str, stage: Stage) -> (ErrorKind, Option<&'static str>) {
    match code {
        "42501" => (
            ErrorKind::Denied,
            Some("log in as a role that has this right, or give it to the role of the `postgres` section"),
        ),
        "28P01" | "28000" => (
            ErrorKind::Denied,
            Some("check `postgres.user` and the source of `postgres.password`, or PGUSER and PGPASSWORD"),
        ),
        NO_DATABASE => (
            ErrorKind::Rejected,
            Some("declare it as a step of kind `postgres.database`, or create it first"),
        ),
        "2BP01" => (
            ErrorKind::Conflict,
            Some("other things depend on it; remove them first, or set `retain: true` on its step"),
        ),
        "55006" => (ErrorKind::Conflict, Some("other sessions use it; end them and run again")),
        "55P03" => (ErrorKind::Throttled, Some("another transaction holds a lock; run again when it ends")),
        code if DUPLICATES.contains(&code) => {
            (ErrorKind::Conflict, Some("plan again, and check the existing one"))
        }
        // Serialisation failures and deadlocks, insufficient resources.
        code if code.starts_with("40") || code.starts_with("53") => (ErrorKind::Throttled, None),
        // The server shuts down or starts up; of a commit it does not say how far that came.
        code if code.starts_with("57P") => (unanswered(stage), None),
        _ => (ErrorKind::Rejected, None),
    }
}

fn causes(failure: &Failure) -> String {
    let mut chain: Vec<&(dyn StdError + 'static)> = Vec::new();
    let mut next: Option<&(dyn StdError + 'static)> = Some(failure);
    while let Some(cause) = next {
        chain.push(cause);
        next = cause.source();
    }
    display_chain(chain.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_commit_is_unknown_and_lost_read_is_not() {
        assert_eq!(meaning("57P01", Stage::Committing).0, ErrorKind::Unknown);
        assert_eq!(meaning("57P01", Stage::WithoutEffect).0, ErrorKind::Unavailable);
    }

    #[test]
    fn codes_decide_whether_a_run_may_try_again() {
        let rows = [
            ("42501", ErrorKind::Denied),
            ("28P01", ErrorKind::Denied),
            ("42710", ErrorKind::Conflict),
            ("2BP01", ErrorKind::Conflict),
            ("40001", ErrorKind::Throttled),
            ("53300", ErrorKind::Throttled),
            ("42P01", ErrorKind::Rejected),
        ];
        for (code, kind) in rows {
            assert_eq!(meaning(code, Stage::WithoutEffect).0, kind, "{code}");
        }
    }
}
