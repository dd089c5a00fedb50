//! JSON in the place of HCL. An object that contains only objects is a block with labels.

use serde_json::Value;

use super::parser::told;
use super::scanner::{Scanner, Token};
use super::{DEEPEST, Item, Node, Result};

/// Parses JSON.
///
/// # Errors
/// The line and the part that is not understood, or that the server would leave out.
pub(super) fn parse(text: &str) -> Result<Vec<Item>> {
    let mut parser = Parser { scanner: Scanner::new(text)?, depth: 0 };
    parser.expect('{')?;
    let items = parser.object()?;
    match parser.scanner.next_of_json()? {
        Token::End => Ok(flat(items)),
        _ => parser.scanner.wrong("the server leaves out what follows the last `}`"),
    }
}

/// The items as HCL would write them: `{"path": {"a": {…}}}` is the block `path "a" {…}`.
fn flat(items: Vec<Item>) -> Vec<Item> {
    let mut all = Vec::new();
    for item in items {
        flatten(item, &mut all);
    }
    all
}

fn flatten(item: Item, all: &mut Vec<Item>) {
    let Item { names, value, line } = item;
    match value {
        Node::Object(inner) if !inner.is_empty() && inner.iter().all(|item| item.value.is_object()) => {
            for below in inner {
                let names = names.iter().cloned().chain(below.names).collect();
                flatten(Item { names, value: below.value, line: below.line }, all);
            }
        }
        Node::List(inner) if !inner.is_empty() && inner.iter().all(Node::is_object) => {
            for value in inner {
                flatten(Item { names: names.clone(), value, line }, all);
            }
        }
        value => all.push(Item { names, value: flat_within(value), line }),
    }
}

fn flat_within(value: Node) -> Node {
    match value {
        Node::Object(items) => Node::Object(flat(items)),
        Node::List(items) => Node::List(items.into_iter().map(flat_within).collect()),
        scalar @ Node::Scalar(_) => scalar,
    }
}

struct Parser<'a> {
    scanner: Scanner<'a>,
    depth: usize,
}

impl Parser<'_> {
    fn expect(&mut self, mark: char) -> Result<()> {
        match self.scanner.next_of_json()? {
            Token::Mark(found) if found == mark => Ok(()),
            found => self.scanner.wrong(format!("expected `{mark}`, found {}", told(&found))),
        }
    }

    /// Items behind a `{`, up to its `}`.
    fn object(&mut self) -> Result<Vec<Item>> {
        if self.depth == DEEPEST {
            return self.scanner.wrong(format!("more than {DEEPEST} levels are nested"));
        }
        self.depth += 1;
        let mut items = Vec::new();
        loop {
            match self.scanner.next_of_json()? {
                Token::Mark('}') => break,
                Token::Text(name) => {
                    let line = self.scanner.at;
                    self.expect(':')?;
                    let first = self.scanner.next_of_json()?;
                    items.push(Item { names: vec![name], value: self.value(first)?, line });
                }
                found => {
                    return self.scanner.wrong(format!("expected a name in quotes, found {}", told(&found)));
                }
            }
            match self.scanner.next_of_json()? {
                Token::Mark(',') => {}
                Token::Mark('}') => break,
                found => return self.scanner.wrong(format!("expected `,` or `}}`, found {}", told(&found))),
            }
        }
        self.depth -= 1;
        Ok(items)
    }

    fn value(&mut self, first: Token) -> Result<Node> {
        match first {
            Token::Text(text) => Ok(Node::text(text)),
            Token::Number(number) => Ok(Node::number(number)),
            Token::Bool(value) => Ok(Node::Scalar(Value::Bool(value))),
            // The server takes it for an empty text.
            Token::Word(word) if word == "null" => Ok(Node::text("")),
            Token::Mark('{') => self.object().map(Node::Object),
            Token::Mark('[') => self.list(),
            found => self.scanner.wrong(format!("expected a value, found {}", told(&found))),
        }
    }

    fn list(&mut self) -> Result<Node> {
        let mut items = Vec::new();
        loop {
            match self.scanner.next_of_json()? {
                Token::Mark(']') => return Ok(Node::List(items)),
                Token::Mark(',') => {}
                Token::Bool(value) => {
                    return self.scanner.wrong(format!(
                        "the server leaves `{value}` out of a list in JSON; write the policy in HCL"
                    ));
                }
                Token::Mark('[') => {
                    return self
                        .scanner
                        .wrong("the server does not take a list in a list in JSON; write the policy in HCL");
                }
                Token::Word(word) => return self.scanner.wrong(format!("`{word}` is not a value of a list")),
                first => items.push(self.value(first)?),
            }
        }
    }
}
