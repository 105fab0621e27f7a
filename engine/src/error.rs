//! The engine's error: what went wrong, in a kind that a caller can act on, with a message for the person who asked.
//!
//! `Display` is the outside text (Docker's own words where clients match on them); the inside story is `source()`.

use std::fmt;

/// What a caller can do about an error. `server::docker::error` maps each to one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request itself is wrong (400).
    Invalid,
    /// No such object, or one that belongs to somebody else: the two are never told apart (404).
    NotFound,
    /// The object's state or another object's name is in the way (409).
    Conflict,
    /// The policy says no (403).
    Forbidden,
    /// Known to Docker, not to us yet (501).
    Unsupported,
    /// A quota or the disk is full (507).
    Exhausted,
    /// Cannot serve now; the same request may succeed later (503).
    Unavailable,
    /// Our fault or the kernel's (500).
    Internal,
}

/// An error of the engine.
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` whose message is shown to the person who asked.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The request is wrong; the message names what and where.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// Docker's text for an absent object of a noun: `No such container: web`.
    pub fn no_such(noun: &str, name: &str) -> Self {
        Self::new(Kind::NotFound, format!("No such {noun}: {name}"))
    }

    /// The object's state is in the way.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// The policy refuses; the message says which permission would be needed.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, message)
    }

    /// Known to Docker, not built here yet.
    pub fn unsupported(what: &str) -> Self {
        Self::new(Kind::Unsupported, format!("{what} is not supported yet"))
    }

    /// Something failed while `doing`; the cause stays in `source()`.
    pub fn internal(doing: impl Into<String>, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { kind: Kind::Internal, message: doing.into(), source: Some(Box::new(cause)) }
    }

    /// The same error with `cause` as its `source()`.
    #[must_use]
    pub fn because(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(cause));
        self
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the object is absent (or foreign).
    pub fn is_not_found(&self) -> bool {
        self.kind == Kind::NotFound
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)?;
        let mut cause = std::error::Error::source(self);
        while let Some(c) = cause {
            write!(f, ": {c}")?;
            cause = c.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

/// The innermost cause of an error: what libraries wrap again and again.
pub(crate) fn last_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last
}

/// Adds "what we were doing" to a lower error.
pub trait Doing<T> {
    /// Turns the error into an internal one that says what was being done.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: std::error::Error + Send + Sync + 'static> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| {
            let mut what = what();
            what.push_str(&format!(": {e}"));
            Error::internal(what, e)
        })
    }
}
