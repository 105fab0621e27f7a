//! How long a token, certificate or grant lasts, as people write it: `90m`, `12h`, `30d`, `8w`, `1y`.

use engine::{Error, Result};
use jiff::SignedDuration;

/// Credentials end after a year at most.
pub const LONGEST: SignedDuration = SignedDuration::from_hours(366 * 24);

/// Reads a lifetime.
///
/// # Errors
/// `Invalid` when it is not a positive number and one of `m h d w y`, or longer than a year.
pub fn parse(text: &str) -> Result<SignedDuration> {
    let wrong = || Error::invalid(format!("{text:?} is no duration: write a number and m, h, d, w or y, such as 30d"));
    let unit = text.chars().last().ok_or_else(wrong)?;
    let minutes: i64 = match unit {
        'm' => 1,
        'h' => 60,
        'd' => 24 * 60,
        'w' => 7 * 24 * 60,
        'y' => 365 * 24 * 60,
        _ => return Err(wrong()),
    };
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: i64 = digits.parse().map_err(|_| wrong())?;
    if number == 0 {
        return Err(wrong());
    }
    let lifetime = SignedDuration::from_mins(number * minutes);
    if lifetime > LONGEST {
        return Err(Error::invalid(format!("{text:?} is longer than a year")));
    }
    Ok(lifetime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes() {
        assert_eq!(parse("30d").unwrap(), SignedDuration::from_hours(720));
        assert_eq!(parse("90m").unwrap(), SignedDuration::from_mins(90));
        assert_eq!(parse("1y").unwrap(), SignedDuration::from_hours(8760));
        for wrong in ["", "d", "0d", "-1d", "1", "1.5h", "30 d", "2y", "999999999d", "1µ", "99999999999999999999d"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
