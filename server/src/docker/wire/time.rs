//! Times as Docker writes and reads them.

use engine::{Error, Kind, Result};
use jiff::Timestamp;

/// Go's zero time: "never".
pub const NEVER: &str = "0001-01-01T00:00:00Z";

/// RFC 3339 with as many digits as needed; absent: Go's zero time.
pub fn rfc3339(time: Option<Timestamp>) -> String {
    time.map_or_else(|| NEVER.to_owned(), |t| t.to_string())
}

/// RFC 3339 with whole seconds.
pub fn rfc3339_seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}

/// RFC 3339 with always nine digits, so that log lines line up.
pub fn rfc3339_fixed(time: Timestamp) -> String {
    format!("{time:.9}")
}

/// Reads `since` and `until`: Unix seconds with an optional fraction, or RFC 3339. Empty and `0` ask for nothing.
///
/// # Errors
/// `Internal`: dockerd answers 500 here, and the recordings hold us to it.
pub fn parse(text: &str) -> Result<Option<Timestamp>> {
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    let invalid = || Error::new(Kind::Internal, format!("invalid time {text:?}: expected Unix seconds (1136073600.000000001) or RFC 3339"));
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if let Ok(seconds) = seconds.parse::<i64>() {
        // Nine digits at most: what Go's clients send.
        if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        let nanos: i32 = format!("{fraction:0<9}").parse().map_err(|_| invalid())?;
        let time = Timestamp::new(seconds, if seconds < 0 { -nanos } else { nanos }).map_err(|_| invalid())?;
        return Ok((time != Timestamp::UNIX_EPOCH).then_some(time));
    }
    text.parse().map(Some).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        let at = |s, n| Timestamp::new(s, n).unwrap();
        assert_eq!(rfc3339(Some(at(1_700_000_000, 120_000_000))), "2023-11-14T22:13:20.12Z");
        assert_eq!(rfc3339(Some(at(1_700_000_000, 0))), "2023-11-14T22:13:20Z");
        assert_eq!(rfc3339(None), NEVER);
        assert_eq!(rfc3339_fixed(at(1_700_000_000, 120_000_000)), "2023-11-14T22:13:20.120000000Z");
        assert_eq!(rfc3339_seconds(at(1_700_000_000, 120_000_000)), "2023-11-14T22:13:20Z");
    }

    #[test]
    fn since_and_until() {
        let at = |s, n| Some(Timestamp::new(s, n).unwrap());
        for (text, time) in [
            ("", None),
            ("0", None),
            ("0.000000000", None),
            ("1700000000", at(1_700_000_000, 0)),
            ("1700000000.000000005", at(1_700_000_000, 5)),
            ("1700000000.5", at(1_700_000_000, 500_000_000)),
            ("2023-11-14T22:13:20Z", at(1_700_000_000, 0)),
        ] {
            assert_eq!(parse(text).unwrap(), time, "{text}");
        }
        for bad in ["xx", "1.x", "1.0000000001", "yesterday"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
