//! What is wrong with a Dockerfile, shown with its line and a mark under the place.

use std::fmt;

/// An error at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// From 1; 0: the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// The line as it stands in the file.
    pub source: String,
    /// What of it is marked: first character and length. Empty: the whole line.
    pub mark: Option<(usize, usize)>,
}

impl SyntaxError {
    /// An error of a whole line.
    pub fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into(), source: String::new(), mark: None }
    }

    /// Shows the line, with `word` of it marked.
    #[must_use]
    pub fn at(mut self, source: &str, word: &str) -> Self {
        // A line of megabytes helps nobody.
        self.source = source.chars().take(200).collect();
        self.mark = (!word.is_empty())
            .then(|| self.source.find(word))
            .flatten()
            .map(|at| (self.source[..at].chars().count(), word.chars().count()));
        self
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(f, "dockerfile parse error: {}", self.message);
        }
        write!(f, "dockerfile parse error on line {}: {}", self.line, self.message)?;
        if !self.source.is_empty() {
            let number = self.line.to_string();
            write!(f, "\n{number} | {}", self.source)?;
            if let Some((at, length)) = self.mark {
                write!(f, "\n{} | {}{}", " ".repeat(number.len()), " ".repeat(at), "^".repeat(length))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for SyntaxError {}

impl From<SyntaxError> for crate::Error {
    fn from(error: SyntaxError) -> Self {
        crate::Error::invalid(error.to_string()).because(error)
    }
}
