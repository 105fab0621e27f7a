//! Volumes as mounts name them: names, and what the `local` driver's options (mount(8)'s) make of a volume.

use super::text::clean_path;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a volume's content lies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backing {
    /// A folder of ours.
    Folder,
    /// tmpfs.
    Memory,
    /// A host path (`o=bind`).
    Bind {
        /// Absolute and clean.
        path: PathBuf,
    },
    /// A file system that the host mounts.
    FileSystem {
        /// Its type: `nfs`, `cifs`, `ext4`, ….
        kind: String,
        /// Its device, share or address.
        device: String,
    },
}

/// How large a volume may get, in bytes, where its options say so: `10G`, `512m`, `1048576`; units are powers of 1024, as Docker's.
///
/// # Errors
/// `Invalid` for what is no size.
pub fn size_option(options: &BTreeMap<String, String>) -> Result<Option<u64>> {
    let Some(text) = options.get("size") else { return Ok(None) };
    let lower = text.trim().to_ascii_lowercase();
    let split = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(split);
    let shift = match unit.trim().trim_end_matches('b').trim_end_matches('i') {
        "" => Some(0),
        "k" => Some(10),
        "m" => Some(20),
        "g" => Some(30),
        "t" => Some(40),
        _ => None,
    };
    let bytes = shift.zip(number.parse::<u64>().ok()).and_then(|(shift, n)| n.checked_mul(1 << shift)).filter(|n| *n > 0);
    bytes.map(Some).ok_or_else(|| Error::invalid(format!("invalid size: '{text}'")))
}

/// What these driver options stand for. Every spelling of a host path is a [`Backing::Bind`].
///
/// # Errors
/// Docker's `invalid option: "x"` for unknown ones; `missing device in volume options`.
pub fn backing(options: &BTreeMap<String, String>) -> Result<Backing> {
    for key in options.keys() {
        match key.as_str() {
            "type" | "o" | "device" => {}
            // Whether anything here can hold it is for whoever makes the volume to say.
            "size" => drop(size_option(options)?),
            other => return Err(Error::invalid(format!("invalid option: {other:?}"))),
        }
    }
    let get = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
    let (kind, flags, device) = (get("type"), get("o"), get("device"));
    if kind.is_empty() && flags.is_empty() && device.is_empty() {
        return Ok(Backing::Folder);
    }
    if [kind, flags, device].iter().any(|t| t.chars().any(char::is_control)) {
        return Err(Error::invalid("invalid volume options: control characters are not allowed"));
    }
    let is_bind = flags.split(',').any(|f| matches!(f.trim(), "bind" | "rbind"));
    if device.is_empty() {
        return Err(Error::invalid(if kind.is_empty() {
            "missing device in volume options"
        } else {
            r#"missing required option: "device""#
        }));
    }
    if is_bind || matches!(kind, "none" | "bind" | "rbind") {
        let path = clean_path(device).ok_or_else(|| Error::invalid(format!("invalid device {device:?}: a bind needs an absolute path")))?;
        return Ok(Backing::Bind { path: path.into() });
    }
    match kind {
        "" => Err(Error::invalid(r#"missing required option: "type""#)),
        "tmpfs" => Ok(Backing::Memory),
        kind if kind.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) => {
            Ok(Backing::FileSystem { kind: kind.to_owned(), device: device.to_owned() })
        }
        kind => Err(Error::invalid(format!("invalid volume type {kind:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn sec_a6_every_spelling_of_a_bind_is_a_bind() {
        for pairs in [
            &[("type", "none"), ("o", "bind"), ("device", "/etc")][..],
            &[("o", "bind"), ("device", "/etc")],
            &[("o", "ro,bind"), ("device", "/etc/")],
            &[("o", "rbind,nosuid"), ("device", "/x/../etc")],
            &[("type", "bind"), ("device", "/etc")],
            &[("type", "none"), ("device", "/etc")],
            &[("type", "ext4"), ("o", "bind"), ("device", "/etc")],
            &[("type", "tmpfs"), ("o", " bind"), ("device", "/etc")],
        ] {
            assert_eq!(backing(&options(pairs)).unwrap(), Backing::Bind { path: "/etc".into() }, "{pairs:?}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("10", Some(10)), ("1k", Some(1024)), ("10G", Some(10 << 30)), ("2 MiB", Some(2 << 20)), ("", None), ("0", None)]
        {
            assert_eq!(size_option(&options(&[("size", text)])).ok().flatten(), bytes, "{text}");
        }
        for text in ["-1", "1.5g", "1x", "99999999t", "g"] {
            assert!(size_option(&options(&[("size", text)])).is_err(), "{text}");
        }
        assert_eq!(size_option(&options(&[])).unwrap(), None);
        assert_eq!(backing(&options(&[("size", "1g")])).unwrap(), Backing::Folder);
    }

    #[test]
    fn others() {
        assert_eq!(backing(&options(&[])).unwrap(), Backing::Folder);
        assert_eq!(backing(&options(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=100m")])).unwrap(), Backing::Memory);
        assert_eq!(
            backing(&options(&[("type", "nfs"), ("device", ":/share"), ("o", "addr=10.0.0.1")])).unwrap(),
            Backing::FileSystem { kind: "nfs".into(), device: ":/share".into() }
        );
        assert_eq!(backing(&options(&[("x", "y")])).unwrap_err().to_string(), r#"invalid option: "x""#);
        for pairs in [&[("o", "bind")][..], &[("device", "/etc")], &[("type", "a b"), ("device", "x")], &[("o", "bind"), ("device", "etc")]]
        {
            assert!(backing(&options(pairs)).is_err(), "{pairs:?}");
        }
    }
}
