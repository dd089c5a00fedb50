//! The pages of the guide: their blocks, headings and links.

use std::path::{Path, PathBuf};

/// The folder of the pages.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide/src")
}

/// A page of the guide.
pub struct Page {
    /// Its path below [`folder`].
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A fenced block.
#[derive(Debug, PartialEq)]
pub struct Block {
    /// The line of its opening fence.
    pub line: usize,
    /// What it is.
    pub role: Role,
    /// The lines between the fences.
    pub body: Vec<String>,
}

/// What a reader does with a block.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// Types its commands, and sees the lines below them: `console`.
    Commands,
    /// Writes it to a file: `yaml file=plan.yaml`.
    File(String),
    /// Adds it to the end of a file: `yaml append=plan.yaml`.
    Append(String),
    /// Edits a file: `diff file=plan.yaml`.
    Edit(String),
    /// Only reads it: any other block.
    Prose(String),
}

/// Every page, the table of contents aside.
pub fn all() -> Vec<Page> {
    let mut names: Vec<PathBuf> = crate::support::files(&folder());
    names.retain(|path| path.extension().is_some_and(|end| end == "md") && !path.ends_with("SUMMARY.md"));
    names.sort();
    names.iter().map(|path| Page::read(path)).collect()
}

impl Page {
    /// The page of this name, without `.md`.
    pub fn of(name: &str) -> Self {
        Self::read(&folder().join(name).with_extension("md"))
    }

    fn read(path: &Path) -> Self {
        let name = path.strip_prefix(folder()).unwrap_or(path).to_string_lossy().into_owned();
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { name, text }
    }

    /// Its blocks, in order.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut open = false;
        for (index, line) in self.text.lines().enumerate() {
            match (open, line.strip_prefix("```")) {
                (false, Some(info)) => {
                    blocks.push(Block { line: index + 1, role: role(info), body: Vec::new() });
                    open = true;
                }
                (true, Some("")) => open = false,
                (true, _) => blocks.last_mut().expect("it is open").body.push(line.to_owned()),
                (false, None) => {}
            }
        }
        assert!(!open, "{}: a block is not closed", self.name);
        blocks
    }

    /// The names by which links reach its headings, as mdBook makes them.
    pub fn anchors(&self) -> Vec<String> {
        let headings = self.prose().filter(|line| line.starts_with('#')).map(str::to_owned);
        let anchor = |heading: String| {
            let text = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = text.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        };
        headings.map(anchor).collect()
    }

    /// The targets of its links that are not addresses of the web.
    pub fn links(&self) -> Vec<String> {
        let mut links = Vec::new();
        for line in self.prose() {
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            links.extend(targets.map(|(target, _)| target.to_owned()));
        }
        links.retain(|target| !target.starts_with("https://"));
        links
    }

    /// Its lines outside of blocks.
    fn prose(&self) -> impl Iterator<Item = &str> {
        let mut inside = false;
        self.text.lines().filter(move |line| {
            let fence = line.starts_with("```");
            inside ^= fence;
            !inside && !fence
        })
    }
}

fn role(info: &str) -> Role {
    let (language, rest) = info.split_once(' ').unwrap_or((info, ""));
    match (language, rest.split_once('=')) {
        ("console", None) => Role::Commands,
        ("diff", Some(("file", name))) => Role::Edit(name.to_owned()),
        (_, Some(("file", name))) => Role::File(name.to_owned()),
        (_, Some(("append", name))) => Role::Append(name.to_owned()),
        _ => Role::Prose(info.to_owned()),
    }
}
