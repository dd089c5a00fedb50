//! Quoted texts and texts of several lines, as `hcl/strconv` and `hcl/token` read them.

use std::iter::Peekable;
use std::str::Chars;

/// The value of what stands between two quotes. In HCL, what stands between `${` and `}` is kept as it is.
///
/// # Errors
/// Why it has no value.
pub(super) fn unquoted(written: &str, hcl: bool) -> Result<String, String> {
    let mut text = String::with_capacity(written.len());
    let mut rest = written.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => text.push(escaped(&mut rest, hcl)?),
            '$' if hcl && rest.peek() == Some(&'{') => {
                text.push(c);
                inserted(&mut rest, &mut text);
            }
            c => text.push(c),
        }
    }
    Ok(text)
}

/// Copies from `{` up to its `}`.
fn inserted(rest: &mut Peekable<Chars<'_>>, text: &mut String) {
    let mut braces = 0_usize;
    for c in rest.by_ref() {
        text.push(c);
        match c {
            '{' => braces += 1,
            '}' => braces = braces.saturating_sub(1),
            _ => {}
        }
        if braces == 0 {
            return;
        }
    }
}

fn escaped(rest: &mut Peekable<Chars<'_>>, hcl: bool) -> Result<char, String> {
    let kind = rest.next().unwrap_or(' ');
    let mut digits = |count: usize, radix: u32| -> Result<u32, String> {
        let digits: String = std::iter::from_fn(|| rest.next_if(|c| c.is_digit(radix))).take(count).collect();
        match digits.len() == count {
            true => u32::from_str_radix(&digits, radix).map_err(|error| error.to_string()),
            false => Err(format!("`\\{kind}{digits}` in a text is not complete")),
        }
    };
    let code = match kind {
        'n' => return Ok('\n'),
        't' => return Ok('\t'),
        'r' => return Ok('\r'),
        'a' => return Ok('\x07'),
        'b' => return Ok('\x08'),
        'f' => return Ok('\x0c'),
        'v' => return Ok('\x0b'),
        '"' | '\\' => return Ok(kind),
        'u' => digits(4, 16)?,
        'U' => digits(8, 16)?,
        // These two are bytes, and a single byte is a character only up to here.
        'x' => Some(digits(2, 16)?)
            .filter(|byte| *byte < 0x80)
            .ok_or("`\\x` in a text stands for no character")?,
        first @ '0'..='7' => {
            let code = first.to_digit(8).unwrap_or_default() * 64 + digits(2, 8)?;
            Some(code)
                .filter(|byte| *byte < 0x80)
                .ok_or("an octal number in a text stands for no character")?
        }
        other => {
            return Err(format!("`\\{other}` in a text is not understood; a backslash itself is `\\\\`"));
        }
    };
    match char::from_u32(code) {
        Some(c) => Ok(c),
        // Half of a pair: HCL's own reader replaces it, that of JSON does not take it.
        None if hcl && code < 0x1_0000 => Ok(char::REPLACEMENT_CHARACTER),
        None => Err(format!("`\\{kind}` followed by {code:x} is not a character")),
    }
}

/// The value of a text from `<<WORD` to the line break behind the last `WORD`. An indentation of the last line is
/// taken off every line after `<<-`; otherwise, it stays behind the text. `None` where that cuts a character.
pub(super) fn heredoc(written: &str) -> Option<String> {
    let first = written.find('\n')?;
    // As long as the first line without `<<`, which the last line is as well.
    let end = (written.len() + 1).checked_sub(first)?;
    if !written.starts_with("<<-") {
        return written.get(first + 1..end).map(str::to_owned);
    }
    let lines: Vec<&str> = written.get(first + 1..end + 1)?.split('\n').collect();
    let (indent, above) = lines.split_last()?;
    match above.iter().all(|line| line.starts_with(indent)) {
        true => Some(above.iter().map(|line| format!("{}\n", &line[indent.len()..])).collect()),
        false => Some(written.get(first + 1..end)?.trim_end_matches([' ', '\t']).to_owned()),
    }
}
