//! Signals by name and number, as Docker takes them: `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3`.
//!
//! The numbers are Linux' on x86_64 and aarch64 (signal(7)), the only architectures we run on.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A signal's number, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(i32);

const NAMES: [(&str, i32); 33] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("RTMIN", 34),
    ("RTMAX", 64),
];

/// Second names.
const ALIASES: [(&str, i32); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];

impl Signal {
    /// Asks to end.
    pub const TERM: Signal = Signal(15);
    /// Ends.
    pub const KILL: Signal = Signal(9);

    /// The number.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl FromStr for Signal {
    type Err = Error;

    /// # Errors
    /// Docker's `invalid signal: X`.
    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::invalid(format!("invalid signal: {text}"));
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return match text.parse() {
                Ok(n @ 1..=64) => Ok(Self(n)),
                _ => Err(invalid()),
            };
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some((_, n)) = NAMES.iter().chain(&ALIASES).find(|(known, _)| *known == name) {
            return Ok(Self(*n));
        }
        let offset = |digits: &str| match digits.parse::<i32>() {
            Ok(n @ 1..=30) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(n),
            _ => None,
        };
        let number = if let Some(digits) = name.strip_prefix("RTMIN+") {
            offset(digits).map(|n| 34 + n)
        } else if let Some(digits) = name.strip_prefix("RTMAX-") {
            offset(digits).map(|n| 64 - n)
        } else {
            None
        };
        number.filter(|n| (34..=64).contains(n)).map(Self).ok_or_else(invalid)
    }
}

impl fmt::Display for Signal {
    /// `SIGTERM`; real-time ones count from `SIGRTMIN`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, n)| *n == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None if self.0 > 34 => write!(f, "SIGRTMIN+{}", self.0 - 34),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_in_every_spelling() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("15", 15),
            ("9", 9),
            ("SIGIOT", 6),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-14", 50),
            ("64", 64),
        ] {
            assert_eq!(text.parse::<Signal>().unwrap().number(), number, "{text}");
        }
    }

    #[test]
    fn others_are_refused_with_dockers_text() {
        for text in ["", "0", "65", "-1", "+9", "SIG", "NOPE", "RTMIN+31", "RTMIN+-1", "99999999999", "TERM\n"] {
            let error = text.parse::<Signal>().unwrap_err();
            assert_eq!(error.to_string(), format!("invalid signal: {text}"));
        }
    }

    #[test]
    fn printing_parses_back() {
        for n in (1..=31).chain(34..=64) {
            assert_eq!(Signal(n).to_string().parse::<Signal>().unwrap(), Signal(n));
        }
    }
}
