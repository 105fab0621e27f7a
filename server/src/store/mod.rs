//! SQL of people, sessions, tokens, certificates and settings, in the engine's one database. One file per table; each
//! function is one statement. What is asked on every request is answered from memory by `auth::accounts`, which writes
//! through to here.

pub mod certificates;
pub mod sessions;
pub mod settings;
pub mod tokens;
pub mod users;

use engine::{Error, Result, Scope};
use jiff::Timestamp;

/// Milliseconds since the epoch as a time.
///
/// # Errors
/// When the row holds a time outside of what is representable: the database is damaged.
pub(crate) fn time(ms: i64) -> Result<Timestamp> {
    Timestamp::from_millisecond(ms).map_err(|e| Error::internal(format!("reading the time {ms} from the database"), e))
}

/// The word of a scope in SQL, flags and JSON.
pub fn scope_word(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "read",
        Scope::Write => "write",
        Scope::Admin => "admin",
    }
}

/// A scope by its word.
///
/// # Errors
/// `Invalid` for another word.
pub fn scope(word: &str) -> Result<Scope> {
    match word {
        "read" => Ok(Scope::Read),
        "write" => Ok(Scope::Write),
        "admin" => Ok(Scope::Admin),
        _ => Err(Error::invalid(format!("{word:?} is no scope: use read, write or admin"))),
    }
}
