//! From text to [`Definition`].

use std::fmt;

use super::Definition;

/// One mistake in a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// A stable code.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {} {} ({})", self.line, self.column, self.code, self.message, self.remedy)
    }
}

/// Compiles a definition.
///
/// # Errors
/// Every mistake in it.
pub fn load(_text: &str) -> Result<Definition, Vec<Diagnostic>> {
    Err(Vec::new())
}
