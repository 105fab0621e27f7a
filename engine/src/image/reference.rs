//! Image references in Docker's grammar (distribution/reference): `[host[:port]/]path[:tag][@digest]`.
//!
//! Names are kept whole (`docker.io/library/alpine`) and shown familiar (`alpine`).

use crate::{Digest, Error, Result};
use std::fmt;
use std::str::FromStr;

/// Docker's limit for host and path together.
const NAME_MAX: usize = 255;
/// Docker's limit for a tag.
const TAG_MAX: usize = 128;

/// A parsed reference. Its name is always whole; `Display` shows it familiar.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses a repository name that may have neither tag nor digest.
    ///
    /// # Errors
    /// `Invalid` with Docker's text.
    pub fn repository_only(text: &str) -> Result<Self> {
        let r: Self = text.parse()?;
        if r.tag.is_some() || r.digest.is_some() {
            return Err(invalid("invalid reference format: a repository name was expected, without tag and digest"));
        }
        Ok(r)
    }

    /// The registry: `docker.io`, `localhost:5000`, `[::1]:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository at that registry: `library/alpine`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if one was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was given.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The whole name without tag and digest: `docker.io/library/alpine`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The name as people write it, without tag and digest: `alpine`.
    pub fn familiar(&self) -> &str {
        familiar_path(&self.domain, &self.path)
    }

    /// The name as people write it, with its registry unless that is Docker Hub.
    pub fn familiar_name(&self) -> String {
        if self.domain == "docker.io" { self.familiar().to_owned() } else { self.repository() }
    }

    /// The whole name, registry first: `docker.io/library/alpine:3`.
    pub fn canonical(&self) -> String {
        let tag = self.tag.as_ref().map(|t| format!(":{t}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|d| format!("@{d}")).unwrap_or_default();
        format!("{}{tag}{digest}", self.repository())
    }

    /// With `latest` if it has neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// The same repository with this tag and no digest.
    ///
    /// # Errors
    /// `Invalid` if it is no tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        if !is_tag(tag) {
            return Err(invalid("invalid tag format"));
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same repository with this digest and no tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }
}

/// The familiar form of a whole repository name as the inventory keeps it.
pub fn familiar(repository: &str) -> &str {
    match repository.split_once('/') {
        Some(("docker.io", path)) => familiar_path("docker.io", path),
        _ => repository,
    }
}

fn familiar_path<'a>(domain: &str, path: &'a str) -> &'a str {
    match path.strip_prefix("library/") {
        // `library/a/b` keeps its prefix: `a/b` would mean another repository.
        Some(short) if domain == "docker.io" && !short.contains('/') => short,
        _ => path,
    }
}

fn invalid(text: &str) -> Error {
    Error::invalid(text)
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let format = || invalid("invalid reference format");
        if text.is_empty() {
            return Err(format());
        }
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(invalid(&format!("invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|_| format())?)),
            None => (text, None),
        };
        // The first component is a registry only if it could not be a path on Docker Hub.
        let (domain, rest) = match rest.split_once('/') {
            Some((first, tail)) if first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase()) => {
                (first, tail)
            }
            _ => ("docker.io", rest),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(invalid(&format!("invalid reference format: repository name ({path}) must be lowercase")));
        }
        if !is_path(path) || !is_domain(domain) || tag.is_some_and(|t| !is_tag(t)) {
            return Err(format());
        }
        let domain = if domain == "index.docker.io" { "docker.io" } else { domain };
        let path = if domain == "docker.io" && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        if domain.len() + 1 + path.len() > NAME_MAX {
            return Err(invalid("repository name must not be more than 255 characters"));
        }
        Ok(Self { domain: domain.to_owned(), path, tag: tag.map(str::to_owned), digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.domain != "docker.io" {
            write!(f, "{}/", self.domain)?;
        }
        f.write_str(self.familiar())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// `[\w][\w.-]{0,127}`
fn is_tag(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=TAG_MAX).contains(&bytes.len())
        && !matches!(bytes[0], b'.' | b'-')
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Components joined by `/`.
fn is_path(text: &str) -> bool {
    text.split('/').all(is_component)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        let start = at;
        while at < bytes.len() && alphanumeric(bytes[at]) {
            at += 1;
        }
        if at == start {
            return false;
        }
        if at == bytes.len() {
            return true;
        }
        let separator = at;
        while at < bytes.len() && !alphanumeric(bytes[at]) {
            at += 1;
        }
        let separator = &text[separator..at];
        if !matches!(separator, "." | "_" | "__") && separator.bytes().any(|b| b != b'-') {
            return false;
        }
    }
}

/// A host name (labels of `[a-zA-Z0-9]` and inner `-`), or an IPv6 address in brackets, and perhaps `:port`.
fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(tail) => {
            let Some((address, port)) = tail.split_once(']') else { return false };
            if address.is_empty() || !address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
                return false;
            }
            match port.strip_prefix(':') {
                Some(port) => (None, Some(port)),
                None if port.is_empty() => (None, None),
                None => return false,
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        },
    };
    let label =
        |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') && !l.starts_with('-') && !l.ends_with('-');
    host.is_none_or(|h| h.split('.').all(label)) && port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn parse(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn familiar_names_are_whole_inside() {
        for (text, whole, shown) in [
            ("busybox", "docker.io/library/busybox", "busybox"),
            ("busybox:1.36", "docker.io/library/busybox", "busybox:1.36"),
            ("user/app", "docker.io/user/app", "user/app"),
            ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
            ("index.docker.io/library/busybox", "docker.io/library/busybox", "busybox"),
            ("localhost/x", "localhost/x", "localhost/x"),
            ("localhost:5000/x:y", "localhost:5000/x", "localhost:5000/x:y"),
            ("[::1]:5000/a/b", "[::1]:5000/a/b", "[::1]:5000/a/b"),
            ("[2001:db8::1]/a", "[2001:db8::1]/a", "[2001:db8::1]/a"),
            ("ghcr.io/a/b/c", "ghcr.io/a/b/c", "ghcr.io/a/b/c"),
            ("a.b/c", "a.b/c", "a.b/c"),
            ("Host/x", "Host/x", "Host/x"),
            ("library/a/b", "docker.io/library/a/b", "library/a/b"),
            ("a__b/c--d.e", "docker.io/a__b/c--d.e", "a__b/c--d.e"),
        ] {
            let r = parse(text);
            assert_eq!((r.repository().as_str(), r.to_string().as_str()), (whole, shown), "{text}");
            assert_eq!(familiar(&r.repository()), r.familiar_name(), "{text}");
        }
    }

    #[test]
    fn tag_and_digest_can_both_be_there() {
        let d = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let r = parse(&format!("localhost:5000/x:1@{d}"));
        assert_eq!((r.tag(), r.digest().map(|d| d.to_string())), (Some("1"), Some(d.clone())));
        assert_eq!(r.to_string(), format!("localhost:5000/x:1@{d}"));
        assert_eq!(parse("x").or_latest().to_string(), "x:latest");
        assert_eq!(parse(&format!("x@{d}")).or_latest().tag(), None);
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        let long = "a/".repeat(130) + "a";
        let hex = "0123456789abcdef".repeat(4);
        for text in [
            "",
            ":x",
            "@x",
            "x:",
            "x@",
            "x@sha256:00",
            "X",
            "user/App",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a-",
            "a..b",
            "a_.b",
            "a___b",
            "_a",
            "x:-t",
            "x:.t",
            "x:t t",
            "x y",
            "x\n",
            "[::1]",
            "[::g]/x",
            "[::1/x",
            "host:/x",
            "host:p/x",
            "-a.b/x",
            "a.b-/x",
            "a:b:c",
            "https://a.b/c",
            "x:tag:tag",
            "ä",
            &long,
            &hex,
            "../x",
            "a/../b",
            "x@sha512:00",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?} was accepted");
        }
        assert!(format!("x:{}", "t".repeat(128)).parse::<Reference>().is_ok());
        assert!(format!("x:{}", "t".repeat(129)).parse::<Reference>().is_err());
        let e = "UPPER/Case".parse::<Reference>().unwrap_err().to_string();
        assert!(e.starts_with("invalid reference format"), "{e}");
    }

    proptest! {
        #[test]
        fn parsing_what_is_shown_gives_the_same(text in r"(([a-z]{1,5}\.[a-z]{2}|localhost)(:[0-9]{1,5})?/)?[a-z0-9]{1,5}((\.|_|__|-{1,3}|/)[a-z0-9]{1,5}){0,4}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,20})?(@sha256:[0-9a-f]{64})?") {
            // A path that begins like a host name is one, and then `_` is wrong in it.
            prop_assume!(!text.split('/').next().is_some_and(|first| first.contains('.') && first.contains('_')));
            let r: Reference = text.parse().unwrap();
            prop_assert_eq!(r.to_string().parse::<Reference>().unwrap(), r);
        }

        #[test]
        fn nothing_panics(text in r"[a-zA-Z0-9:@/._\[\]-]{0,60}|\PC{0,40}") {
            let _ = text.parse::<Reference>();
        }
    }
}
