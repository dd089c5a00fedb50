//! Words, numbers and marks of HCL 1.

use serde_json::Number;

use super::text::{heredoc, unquoted};
use super::{Mistake, Result};

/// A word or mark, with what it means.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Word(String),
    Text(String),
    Number(Number),
    Bool(bool),
    /// `{`, `}`, `[`, `]`, `=`, `,` and what has no meaning in HCL.
    Mark(char),
    End,
}

/// Reads one token after the other.
pub(super) struct Scanner<'a> {
    rest: &'a str,
    /// The line that is being read.
    line: usize,
    /// The line at which the last token began.
    pub at: usize,
}

/// The characters that may follow a backslash in a quoted text.
const ESCAPES: &str = "abfnrtv\\\"01234567xuU";

/// Reserved by the server's own implementation.
const RESERVED: [char; 2] = ['\0', '\u{e123}'];

impl<'a> Scanner<'a> {
    /// # Errors
    /// A character that the server takes nowhere.
    pub(super) fn new(text: &'a str) -> Result<Self> {
        match text.find(RESERVED) {
            Some(at) => {
                let line = 1 + text[..at].matches('\n').count();
                Err(Mistake::new(line, "the text contains a character that is reserved"))
            }
            None => Ok(Self { rest: text, line: 1, at: 1 }),
        }
    }

    pub(super) fn wrong<T>(&self, what: impl Into<String>) -> Result<T> {
        Err(Mistake::new(self.at, what))
    }

    /// Takes the next bytes.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    /// The number of bytes at the beginning whose characters fit.
    fn while_it(&self, fits: impl Fn(char) -> bool) -> usize {
        self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len())
    }

    /// Passes over spaces, and over comments where they are allowed.
    fn skip(&mut self, comments: bool) -> Result<()> {
        loop {
            self.take(self.while_it(|c| " \t\r\n".contains(c)));
            self.at = self.line;
            if !comments {
                return Ok(());
            }
            if self.rest.starts_with('#') || self.rest.starts_with("//") {
                self.take(self.while_it(|c| c != '\n'));
            } else if let Some(comment) = self.rest.strip_prefix("/*") {
                let Some(end) = comment.find("*/") else { return self.wrong("a comment is not closed") };
                self.take(end + 4);
            } else {
                return Ok(());
            }
        }
    }

    /// The next token of HCL.
    pub(super) fn next(&mut self) -> Result<Token> {
        self.skip(true)?;
        let Some(first) = self.rest.chars().next() else { return Ok(Token::End) };
        match first {
            '"' => self.quoted(true).map(Token::Text),
            '<' => self.heredoc().map(Token::Text),
            c if c.is_ascii_digit() => self.number(false),
            '-' | '.' if self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number(false),
            c if is_letter(c) => Ok(self.word()),
            c => {
                self.take(c.len_utf8());
                Ok(Token::Mark(c))
            }
        }
    }

    /// The next token of JSON.
    pub(super) fn next_of_json(&mut self) -> Result<Token> {
        self.skip(false)?;
        let Some(first) = self.rest.chars().next() else { return Ok(Token::End) };
        match first {
            '"' => self.quoted(false).map(Token::Text),
            c if c == '-' || c.is_ascii_digit() => self.number(true),
            c if is_letter(c) => Ok(self.word()),
            c => {
                self.take(c.len_utf8());
                Ok(Token::Mark(c))
            }
        }
    }

    fn word(&mut self) -> Token {
        let fits = |c: char| is_letter(c) || c.is_numeric() || c == '-' || c == '.';
        match self.take(self.while_it(fits)) {
            "true" => Token::Bool(true),
            "false" => Token::Bool(false),
            word => Token::Word(word.to_owned()),
        }
    }

    fn number(&mut self, json: bool) -> Result<Token> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._".contains(c);
        let length = 1 + self.rest[1..].find(|c| !fits(c)).unwrap_or(self.rest.len() - 1);
        // The sign of an exponent.
        let signed = self.rest[..length].ends_with(['e', 'E']) && self.rest[length..].starts_with(['+', '-']);
        let more = |rest: &str| rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let length = length + if signed { 1 + more(&self.rest[length + 1..]) } else { 0 };
        let written = self.take(length);
        let number = match json {
            true => written.parse().ok(),
            false => number(written),
        };
        match number {
            Some(number) => Ok(Token::Number(number)),
            None => self.wrong(format!("`{written}` is not a number; put text in quotes")),
        }
    }

    /// A quoted text. In HCL it includes everything between `${` and `}`, line breaks and quotes, too.
    fn quoted(&mut self, hcl: bool) -> Result<String> {
        let mut chars = self.rest.char_indices().skip(1).peekable();
        let mut braces = 0_usize;
        let end = loop {
            let Some((at, c)) = chars.next() else { return self.wrong("a closing quote is missing") };
            match c {
                '\n' if braces == 0 => return self.wrong("a closing quote is missing"),
                '"' if braces == 0 => break at,
                '\\' => match chars.next() {
                    Some((_, next)) if ESCAPES.contains(next) => {}
                    _ => {
                        return self
                            .wrong("this use of `\\` is not understood; a backslash itself is `\\\\`");
                    }
                },
                '$' if hcl && braces == 0 && chars.peek().is_some_and(|(_, next)| *next == '{') => {
                    chars.next();
                    braces = 1;
                }
                '{' if braces > 0 => braces += 1,
                '}' => braces = braces.saturating_sub(1),
                _ => {}
            }
        };
        let written = self.take(end + 1);
        match unquoted(&written[1..end], hcl) {
            Ok(text) => Ok(text),
            Err(why) => self.wrong(why),
        }
    }

    /// `<<EOT`, or `<<-EOT` for an indented text, up to a line that has only the word again.
    fn heredoc(&mut self) -> Result<String> {
        let Some(opened) = self.rest.strip_prefix("<<") else {
            return self.wrong("`<` is not understood here");
        };
        let Some(end_of_line) = opened.find('\n') else {
            return self.wrong("a text after `<<` is not closed");
        };
        let anchor = opened[..end_of_line].trim_end_matches('\r');
        let word = anchor.strip_prefix('-').unwrap_or(anchor);
        if word.is_empty() || !word.chars().all(|c| is_letter(c) || c.is_ascii_digit()) {
            return self.wrong("expected only a word after `<<`, such as `<<EOT`");
        }
        let mut length = 2 + end_of_line + 1;
        loop {
            let Some(line) = self.rest[length..].find('\n').map(|end| &self.rest[length..length + end])
            else {
                return self.wrong(format!(
                    "a line `{word}` is missing at the end of the text, or the line break after it"
                ));
            };
            length += line.len() + 1;
            // As the server counts, the `-` of `<<-` has to have its place in the last line.
            let long_enough = line.len() >= anchor.len();
            if long_enough
                && line.trim_start_matches([' ', '\t', '\r', '\x0b', '\x0c']).trim_end_matches('\r') == word
            {
                break;
            }
        }
        let written = self.take(length);
        heredoc(written).map_or_else(|| self.wrong("the text after `<<` cannot be taken apart"), Ok)
    }
}

fn is_letter(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

/// A number in Go's notation: `0x1f`, `017` and `1.5e3` are numbers.
fn number(written: &str) -> Option<Number> {
    let (sign, digits) = written.strip_prefix('-').map_or(("", written), |digits| ("-", digits));
    let radix =
        |digits: &str, radix| i64::from_str_radix(&format!("{sign}{digits}"), radix).ok().map(Number::from);
    if let Some(hexadecimal) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return radix(hexadecimal, 16);
    }
    if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return radix(digits, 8);
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return radix(digits, 10);
    }
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    plain.then(|| written.parse::<f64>().ok().and_then(Number::from_f64)).flatten()
}
