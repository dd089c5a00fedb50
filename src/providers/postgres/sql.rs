//! Names and texts inside of statements. Values are bound as parameters wherever the server takes
//! parameters; commands that define things take none, so names and texts are quoted here.
//! <https://www.postgresql.org/docs/current/sql-syntax-lexical.html>

use crate::error::FieldError;

/// The longest name that PostgreSQL keeps; it cuts longer ones without an error.
const LONGEST: usize = 63;

/// A quoted name.
pub fn name(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A quoted name inside of a schema.
pub fn qualified(schema: &str, text: &str) -> String {
    format!("{}.{}", name(schema), name(text))
}

/// A quoted text, read the same with every setting of `standard_conforming_strings`.
pub fn text(value: &str) -> String {
    let quoted = value.replace('\'', "''");
    match quoted.contains('\\') {
        true => format!(" E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

/// A value as a line of `COPY … FROM STDIN` in the text format.
/// <https://www.postgresql.org/docs/current/sql-copy.html>
pub fn copy_line(value: &str) -> String {
    let mut line = String::with_capacity(value.len() + 2);
    for character in value.chars() {
        match character {
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            other => line.push(other),
        }
    }
    line.push('\n');
    line
}

/// The mistake in a name, if the server would refuse or cut it.
pub fn mistake_in_name(field: &str, text: &str) -> Option<FieldError> {
    let message = match () {
        () if text.is_empty() => "a name cannot be empty",
        () if text.contains('\0') => "a name cannot contain a zero byte",
        () if text.len() > LONGEST => "is longer than 63 bytes, and PostgreSQL would cut it",
        () => return None,
    };
    Some(FieldError::new(field, message))
}

/// The mistake in the name of a role: the server keeps some for itself.
pub fn mistake_in_role(field: &str, text: &str) -> Option<FieldError> {
    let reserved = ["public", "none", "current_role", "current_user", "session_user"].contains(&text)
        || text.starts_with("pg_");
    let mistake = || FieldError::new(field, "PostgreSQL keeps this name for itself");
    mistake_in_name(field, text).or_else(|| reserved.then(mistake))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_names_and_texts_end_where_they_should() {
        assert_eq!(name("a\"; DROP TABLE b; --"), "\"a\"\"; DROP TABLE b; --\"");
        assert_eq!(qualified("s", "t"), "\"s\".\"t\"");
        assert_eq!(text("it's"), "'it''s'");
        assert_eq!(text("\\'; --"), " E'\\\\''; --'");
    }

    #[test]
    fn copied_value_stays_on_one_line() {
        assert_eq!(copy_line("a\tb\\N\r\nc"), "a\\tb\\\\N\\r\\nc\n");
    }

    #[test]
    fn names_that_the_server_would_change_are_mistakes() {
        assert!(mistake_in_name("name", "orders").is_none());
        for wrong in ["", "a\0b", &"x".repeat(64)] {
            assert!(mistake_in_name("name", wrong).is_some(), "{wrong}");
        }
        for wrong in ["public", "pg_monitor"] {
            assert!(mistake_in_role("name", wrong).is_some(), "{wrong}");
        }
    }
}
