//! The runbook as a page for a browser, which prints well on A4 in black and white.

use std::fmt::Write;

use minijinja::HtmlEscape;

use super::page::policy;

const STYLE: &str = "\
@page{size:A4;margin:16mm 14mm}\
body{font:10.5pt/1.4 system-ui,sans-serif;color:#000;background:#fff;max-width:46rem;margin:1.5rem auto;padding:0 1rem}\
h1{font-size:18pt;margin:0 0 .4rem;border-bottom:2px solid #000}\
h2{font-size:13pt;margin:0 0 .3rem;border-bottom:1px solid #000;break-after:avoid}\
section{margin:1.2rem 0 0}p,ul,ol{margin:.35rem 0}ul,ol{padding-left:1.4rem}\
code{font:9.5pt/1.35 ui-monospace,monospace;overflow-wrap:anywhere}\
pre{margin:.4rem 0;padding:.45rem .6rem;border:1px solid #000;border-left-width:4px;white-space:pre-wrap;break-inside:avoid}\
table{border-collapse:collapse;width:100%;margin:.4rem 0}\
th,td{border:1px solid #000;padding:.2rem .45rem;text-align:left;vertical-align:top}tr{break-inside:avoid}\
@media print{body{margin:0;padding:0;max-width:none}section{break-inside:avoid-page}}";

/// The page of this Markdown, of which it understands what the templates use: headings, paragraphs, lists, tables,
/// fences, `code`, **strong** and *emphasis*.
pub fn html(markdown: &str) -> String {
    let title = markdown.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or("Runbook");
    let mut body = String::new();
    let mut open = Block::Nothing;
    let mut in_section = false;
    for line in unfolded(markdown).iter().map(String::as_str) {
        let next = open.next(line);
        if next != open || line.is_empty() && next != Block::Fence {
            body.push_str(open.end());
            open = Block::Nothing;
        }
        if let Some(heading) = line.strip_prefix("## ").filter(|_| next == Block::Nothing) {
            let end = if in_section { "</section>\n" } else { "" };
            let _ = writeln!(body, "{end}<section><h2>{}</h2>", inline(heading));
            in_section = true;
            continue;
        }
        if let Some(heading) = line.strip_prefix("# ").filter(|_| next == Block::Nothing) {
            let _ = writeln!(body, "<h1>{}</h1>", inline(heading));
            continue;
        }
        if next != open {
            body.push_str(next.begin());
        }
        next.line(&mut body, line, next == open);
        open = next;
        if open == Block::Fence && line == "```" {
            body.push_str(open.end());
            open = Block::Nothing;
        }
    }
    body.push_str(open.end());
    if in_section {
        body.push_str("</section>\n");
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{}</title><style>{STYLE}</style></head>\n\
         <body>\n{body}</body></html>\n",
        policy("", STYLE),
        escape(&title.replace('\\', ""))
    )
}

/// The lines, each item of a list in one.
fn unfolded(markdown: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut fenced = false;
    for line in markdown.lines() {
        fenced ^= line.starts_with("```");
        match lines.last_mut() {
            Some(last) if line.starts_with("  ") && !fenced && !last.is_empty() => {
                last.push(' ');
                last.push_str(line.trim_start());
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

fn escape(text: &str) -> String {
    HtmlEscape(text).to_string()
}

/// A part of the page that consists of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Nothing,
    Paragraph,
    Fence,
    Items,
    Steps,
    Table,
}

impl Block {
    /// The block of a line that follows one of this block.
    fn next(self, line: &str) -> Self {
        let is_step = line.split_once(". ").is_some_and(|(number, _)| number.parse::<u8>().is_ok());
        match line {
            _ if self == Self::Fence => Self::Fence,
            _ if line.starts_with("```") => Self::Fence,
            "" => Self::Nothing,
            _ if line.starts_with('#') => Self::Nothing,
            _ if line.starts_with("- ") => Self::Items,
            _ if is_step => Self::Steps,
            _ if line.starts_with('|') => Self::Table,
            _ => Self::Paragraph,
        }
    }

    const fn begin(self) -> &'static str {
        match self {
            Self::Nothing | Self::Steps => "",
            Self::Paragraph => "<p>",
            Self::Fence => "<pre><code>",
            Self::Items => "<ul>\n",
            Self::Table => "<table>\n",
        }
    }

    const fn end(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Paragraph => "</p>\n",
            Self::Fence => "</code></pre>\n",
            Self::Items => "</ul>\n",
            Self::Steps => "</ol>\n",
            Self::Table => "</table>\n",
        }
    }

    /// Adds a line; `goes_on` says that it is not the first one of its block.
    fn line(self, body: &mut String, line: &str, goes_on: bool) {
        let _ = match self {
            Self::Nothing => Ok(()),
            Self::Paragraph => {
                write!(body, "{}{}", if goes_on { "\n" } else { "" }, inline(line))
            }
            Self::Fence if line.starts_with("```") => Ok(()),
            Self::Fence => writeln!(body, "{}", escape(line)),
            Self::Items => writeln!(body, "<li>{}</li>", inline(line.trim_start_matches("- "))),
            // A command between two steps ends the list, which goes on with the next number.
            Self::Steps => {
                let (number, item) = line.split_once(". ").unwrap_or_default();
                let begin = if goes_on { String::new() } else { format!("<ol start=\"{number}\">\n") };
                writeln!(body, "{begin}<li>{}</li>", inline(item))
            }
            Self::Table if line.starts_with("|--") => Ok(()),
            Self::Table => {
                let cell = if goes_on { "td" } else { "th" };
                let cells = line.trim_matches('|').split(" | ");
                let cells = cells.map(|text| format!("<{cell}>{}</{cell}>", inline(text.trim())));
                writeln!(body, "<tr>{}</tr>", cells.collect::<String>())
            }
        };
    }
}

/// Marks within a line.
fn inline(line: &str) -> String {
    let (mut text, mut rest) = (String::new(), line);
    while let Some(at) = rest.find(['`', '*', '\\']) {
        text.push_str(&escape(&rest[..at]));
        rest = &rest[at..];
        let (mark, element) = match rest {
            _ if rest.starts_with('\\') => {
                let mut chars = rest[1..].chars();
                text.push_str(&escape(&chars.next().map(String::from).unwrap_or_default()));
                rest = chars.as_str();
                continue;
            }
            _ if rest.starts_with("`` ") => ("``", "code"),
            _ if rest.starts_with('`') => ("`", "code"),
            _ if rest.starts_with("**") => ("**", "strong"),
            _ => ("*", "em"),
        };
        let inside = &rest[mark.len()..];
        match inside.find(mark) {
            Some(end) => {
                let content = &inside[..end];
                let content = if element == "code" { escape(content.trim()) } else { inline(content) };
                let _ = write!(text, "<{element}>{content}</{element}>");
                rest = &inside[end + mark.len()..];
            }
            None => {
                text.push_str(mark);
                rest = inside;
            }
        }
    }
    text + &escape(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_become_elements_and_names_stay_text() {
        assert_eq!(inline("a `b<c>` **d *e***"), "a <code>b&lt;c&gt;</code> <strong>d *e</strong>*");
        assert_eq!(inline(r"\*no\* *yes* `x\y` 2 * 3"), r"*no* <em>yes</em> <code>x\y</code> 2 * 3");
        assert_eq!(inline("`` a `b` ``"), "<code>a `b`</code>");
    }

    #[test]
    fn blocks_are_opened_and_closed_in_order() {
        let page = html(
            "# T\n\none\ntwo\n\n## S\n\n1. a\n   more\n\n```sh\nx < y\n\n# z\n```\n\n2. b\n\n- c\n- d\n\n| A | B |\n|---|---|\n| 1 | 2 |\n",
        );
        let body = page.split_once("<body>\n").expect("a body").1;
        assert_eq!(
            body,
            "<h1>T</h1>\n<p>one\ntwo</p>\n<section><h2>S</h2>\n<ol start=\"1\">\n<li>a more</li>\n</ol>\n\
             <pre><code>x &lt; y\n\n# z\n</code></pre>\n<ol start=\"2\">\n<li>b</li>\n</ol>\n\
             <ul>\n<li>c</li>\n<li>d</li>\n</ul>\n\
             <table>\n<tr><th>A</th><th>B</th></tr>\n<tr><td>1</td><td>2</td></tr>\n</table>\n</section>\n\
             </body></html>\n"
        );
    }
}
