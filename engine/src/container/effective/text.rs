//! Small grammars that several nouns share: paths in a container, sizes, names.

use crate::{Error, Result};

/// A container path made clean as Go's `filepath.Clean` does: absolute, no `.` and `..`, no doubled or trailing slashes. `None` when it is not
/// absolute or has a NUL.
pub(crate) fn clean_path(text: &str) -> Option<String> {
    if !text.starts_with('/') || text.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

/// A folder inside a volume or image: relative, staying inside; empty stays empty.
pub(crate) fn clean_subpath(text: &str) -> Result<String> {
    if text.starts_with('/') || text.contains('\0') || text.split('/').any(|p| p == "..") {
        return Err(Error::invalid(format!("invalid subpath {text:?}: it must be a relative path within the volume")));
    }
    Ok(text.split('/').filter(|p| !p.is_empty() && *p != ".").collect::<Vec<_>>().join("/"))
}

/// Bytes, with Docker's binary suffixes (`64m`, `1.5g`, `1024`, `10kb`, `1GiB`).
///
/// # Errors
/// Docker's `invalid size: 'x'`.
pub fn parse_size(text: &str) -> Result<u64> {
    let invalid = || Error::invalid(format!("invalid size: '{text}'"));
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let shift = match suffix.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(invalid()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).filter(|n| i64::try_from(*n).is_ok()).ok_or_else(invalid);
    }
    let number: f64 = number.parse().map_err(|_| invalid())?;
    let bytes = number * (1u64 << shift) as f64;
    // Above 2^53 a float no longer has every byte, which nobody asks for with a fraction.
    if bytes.is_finite() && bytes < (1u64 << 62) as f64 { Ok(bytes as u64) } else { Err(invalid()) }
}

/// Docker's booleans in options: `1`, `t`, `true`, `0`, `f`, `false` in the usual spellings.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Refuses NUL bytes, which no kernel interface can carry.
pub(crate) fn no_nul<'a>(what: &str, texts: impl IntoIterator<Item = &'a String>) -> Result<()> {
    match texts.into_iter().find(|t| t.contains('\0')) {
        Some(text) => Err(Error::invalid(format!("invalid {what} {text:?}: it has a NUL byte"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_like_gos() {
        for (text, clean) in [("/", "/"), ("//a///b/", "/a/b"), ("/a/./b/../c", "/a/c"), ("/../../x", "/x"), ("/a/..", "/")] {
            assert_eq!(clean_path(text).as_deref(), Some(clean), "{text}");
        }
        for text in ["", "a", "./a", "/a\0b"] {
            assert_eq!(clean_path(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_as_docker_writes_them() {
        for (text, bytes) in
            [("1024", 1024), ("64m", 64 << 20), ("1.5g", 3 << 29), ("10KB", 10 << 10), ("2GiB", 2 << 30), ("0", 0), ("5 m", 5 << 20)]
        {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "m", "-1", "1x", "1.2.3k", "99999999999999999999", "16384p", "1e3"] {
            assert_eq!(parse_size(text).unwrap_err().to_string(), format!("invalid size: '{text}'"));
        }
    }

    #[test]
    fn subpaths_stay_inside() {
        assert_eq!(clean_subpath("a//./b/").unwrap(), "a/b");
        assert_eq!(clean_subpath("").unwrap(), "");
        for text in ["/a", "..", "a/../../b", "a/.."] {
            assert!(clean_subpath(text).is_err(), "{text}");
        }
    }
}
