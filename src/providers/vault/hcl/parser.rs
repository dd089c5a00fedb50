//! Items, blocks and lists of HCL 1.

use serde_json::Value;

use super::scanner::{Scanner, Token};
use super::{DEEPEST, Item, Node, Result};

/// Parses HCL.
///
/// # Errors
/// The line and the part that is not understood.
pub(super) fn parse(text: &str) -> Result<Vec<Item>> {
    let text = text.replace("\r\n", "\n");
    let mut scanner = Scanner::new(&text)?;
    let ahead = scanner.next()?;
    let mut parser = Parser { scanner, ahead, depth: 0 };
    let items = parser.items(Token::End)?;
    Ok(items)
}

struct Parser<'a> {
    scanner: Scanner<'a>,
    /// The token that comes next.
    ahead: Token,
    /// How many values and blocks are open.
    depth: usize,
}

impl Parser<'_> {
    fn advance(&mut self) -> Result<Token> {
        let next = self.scanner.next()?;
        Ok(std::mem::replace(&mut self.ahead, next))
    }

    /// Runs `read` one level deeper.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == DEEPEST {
            return self.scanner.wrong(format!("more than {DEEPEST} levels are nested"));
        }
        self.depth += 1;
        let found = read(self);
        self.depth -= 1;
        found
    }

    /// Items up to `end`, which is taken as well.
    fn items(&mut self, end: Token) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        while self.ahead != end {
            items.push(self.item()?);
            if self.ahead == Token::Mark(',') {
                self.advance()?;
            }
        }
        self.advance()?;
        Ok(items)
    }

    fn item(&mut self) -> Result<Item> {
        let line = self.scanner.at;
        let mut names = Vec::new();
        loop {
            match self.ahead.clone() {
                Token::Word(name) | Token::Text(name) if names.len() <= DEEPEST => names.push(name),
                Token::Word(_) | Token::Text(_) => {
                    return self.scanner.wrong(format!("a block has more than {DEEPEST} labels"));
                }
                Token::Mark('=') if names.len() == 1 => {
                    self.advance()?;
                    return Ok(Item { names, value: self.value()?, line });
                }
                Token::Mark('{') if !names.is_empty() => {
                    self.advance()?;
                    let body = self.deeper(|parser| parser.items(Token::Mark('}')))?;
                    return Ok(Item { names, value: Node::Object(body), line });
                }
                found => return self.misplaced(&names, &found),
            }
            self.advance()?;
        }
    }

    /// What is wrong when neither a name nor a value follows.
    fn misplaced<T>(&self, names: &[String], found: &Token) -> Result<T> {
        match (names.last(), found) {
            (None, Token::End) => self.scanner.wrong("a `}` is missing"),
            (None, found) => self.scanner.wrong(format!("{} is not understood here", told(found))),
            (Some(_), Token::Mark('=')) => self.scanner.wrong(format!(
                "`{}` is followed by `=`; a block has labels and braces and no `=`",
                names.join(" ")
            )),
            (Some(name), Token::Mark('[')) => {
                self.scanner.wrong(format!("expected `=` between `{name}` and its list"))
            }
            (Some(name), found) => {
                self.scanner.wrong(format!("expected `=` or `{{` after `{name}`, found {}", told(found)))
            }
        }
    }

    fn value(&mut self) -> Result<Node> {
        match self.ahead.clone() {
            Token::Text(text) => self.taken(Node::text(text)),
            Token::Number(number) => self.taken(Node::number(number)),
            Token::Bool(value) => self.taken(Node::Scalar(Value::Bool(value))),
            Token::Mark('[') => self.deeper(Self::list),
            Token::Mark('{') => {
                self.advance()?;
                self.deeper(|parser| parser.items(Token::Mark('}'))).map(Node::Object)
            }
            Token::Word(word) => self.scanner.wrong(format!("`{word}` is not a value; put text in quotes")),
            found => self.scanner.wrong(format!("expected a value, found {}", told(&found))),
        }
    }

    fn taken(&mut self, node: Node) -> Result<Node> {
        self.advance()?;
        Ok(node)
    }

    fn list(&mut self) -> Result<Node> {
        self.advance()?;
        let mut items = Vec::new();
        let mut separated = true;
        loop {
            match &self.ahead {
                Token::Mark(']') => {
                    self.advance()?;
                    return Ok(Node::List(items));
                }
                Token::Mark(',') => {
                    self.advance()?;
                    separated = true;
                }
                Token::End => return self.scanner.wrong("a `]` is missing"),
                found if !separated => {
                    return self
                        .scanner
                        .wrong(format!("expected `,` or `]` in a list, found {}", told(found)));
                }
                _ => {
                    // The server needs no comma behind a list in a list.
                    separated = self.ahead == Token::Mark('[');
                    items.push(self.value()?);
                }
            }
        }
    }
}

/// A token for a reader.
pub(super) fn told(token: &Token) -> String {
    match token {
        Token::Word(word) => format!("`{word}`"),
        Token::Text(text) => format!("the text `{text}`"),
        Token::Number(number) => format!("`{number}`"),
        Token::Bool(value) => format!("`{value}`"),
        Token::Mark(mark) => format!("`{mark}`"),
        Token::End => "the end of the text".to_owned(),
    }
}
