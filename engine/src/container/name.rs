//! Names for containers that nobody named, and what a name may be.

use crate::{Error, Result};

/// What ships and harbours are like, and what is found there: some 2,500 pairs.
const LEFT: [&str; 50] = [
    "able", "amber", "bold", "brave", "bright", "brisk", "calm", "clear", "clever", "coral", "crisp", "daring", "deft", "eager", "early",
    "fair", "fleet", "fond", "free", "gentle", "glad", "golden", "grand", "happy", "hardy", "jolly", "keen", "kind", "lively", "lucky",
    "merry", "mighty", "neat", "noble", "patient", "placid", "proud", "quick", "quiet", "ready", "serene", "silver", "smart", "steady",
    "sunny", "swift", "tidy", "trusty", "warm", "wise",
];
const RIGHT: [&str; 50] = [
    "albatross",
    "anchor",
    "atoll",
    "barge",
    "bay",
    "beacon",
    "bosun",
    "brig",
    "buoy",
    "canoe",
    "capstan",
    "clipper",
    "compass",
    "cove",
    "crane",
    "crew",
    "current",
    "cutter",
    "dock",
    "dolphin",
    "dory",
    "ferry",
    "fjord",
    "frigate",
    "galley",
    "gull",
    "harbor",
    "heron",
    "islet",
    "jetty",
    "kayak",
    "keel",
    "lagoon",
    "lantern",
    "lock",
    "mast",
    "mooring",
    "osprey",
    "pelican",
    "pilot",
    "quay",
    "rudder",
    "sail",
    "schooner",
    "sextant",
    "skiff",
    "sloop",
    "tern",
    "tide",
    "tug",
];

/// A name made of random words; after a few collisions the caller asks for a number at its end.
pub(crate) fn random(attempt: u32) -> String {
    let mut bytes = [0u8; 4];
    // Without random bytes the first pair comes out, and the number tells containers apart.
    let _ = getrandom::fill(&mut bytes);
    let pair = format!("{}_{}", LEFT[bytes[0] as usize % LEFT.len()], RIGHT[bytes[1] as usize % RIGHT.len()]);
    if attempt < 3 { pair } else { format!("{pair}{}", u16::from_le_bytes([bytes[2], bytes[3]])) }
}

/// Checks a name as Docker does: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, with or without a leading slash, which is dropped.
pub(crate) fn checked(name: &str) -> Result<&str> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let mut bytes = bare.bytes();
    let starts_well = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let goes_on_well = bare.len() >= 2 && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if !starts_well || !goes_on_well || bare.len() > 255 {
        return Err(Error::invalid(format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")));
    }
    Ok(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        for good in ["web", "/web", "a1", "A.b_c-d", "0x"] {
            assert!(checked(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "a", "-ab", "_ab", ".ab", "a b", "a/b", "ä1", "a\nb", "a:b", &"x".repeat(256)] {
            assert!(checked(bad).is_err(), "{bad}");
        }
        assert!(checked(&random(0)).is_ok() && checked(&random(9)).is_ok());
    }
}
