//! Colours: one meaning each, everywhere.

use anstyle::{AnsiColor, Style};

/// Something comes into being, or went well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Something changes, or needs attention.
pub const CHANGE: Style = AnsiColor::Yellow.on_default();
/// Something goes away, or went wrong.
pub const BAD: Style = AnsiColor::Red.on_default();
/// The most important part of a line.
pub const STRONG: Style = Style::new().bold();
/// Text that a reader can skip.
pub const FAINT: Style = Style::new().dimmed();

/// `text` in a style; [`crate::console`] strips it where colours are not wanted.
pub fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}
