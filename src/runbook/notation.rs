//! Names of the plan in commands and in Markdown, and the lines of the page.

/// One word of a shell's command line.
pub(super) fn shell(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@,+".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A name as it is, in the letters of a machine. One line, whatever the plan says.
pub(super) fn code(name: &str) -> String {
    let name = one_line(name);
    match name.contains('`') {
        true => format!("`` {name} ``"),
        false => format!("`{name}`"),
    }
}

/// Text of the plan, in which nothing is Markdown.
pub(super) fn text(text: &str) -> String {
    let mut safe = String::new();
    for c in one_line(text).chars() {
        if "\\`*_{}[]<>#|".contains(c) {
            safe.push('\\');
        }
        safe.push(c);
    }
    safe
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The page without the empty lines that parts leave which do not apply.
pub(super) fn tidy(page: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    let mut fenced = false;
    for line in page.lines().map(str::trim_end) {
        fenced ^= line.starts_with("```");
        let is_needless = line.is_empty() && !fenced && lines.last().is_none_or(|last| last.is_empty());
        if !is_needless {
            lines.push(line);
        }
    }
    lines.join("\n").trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_one_word_and_no_markup() {
        assert_eq!(shell("app[blue]"), "'app[blue]'");
        assert_eq!(shell("it's; rm -rf /"), r"'it'\''s; rm -rf /'");
        assert_eq!(shell("a/b-c.yaml"), "a/b-c.yaml");
        assert_eq!(code("a `b`\n# c"), "`` a `b` # c ``");
        assert_eq!(text("**a** <b>\n- c"), r"\*\*a\*\* \<b\> - c");
    }

    #[test]
    fn empty_lines_are_folded_outside_of_commands() {
        assert_eq!(tidy("\n\na\n\n\nb  \n```sh\nx\n\n\ny\n```\n\n"), "a\n\nb\n```sh\nx\n\n\ny\n```\n");
    }
}
