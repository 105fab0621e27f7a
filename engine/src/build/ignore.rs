//! `.dockerignore`: patterns from the context's root, later ones over earlier ones, `!` for exceptions, `**` for any depth.
//! Not gitignore: `*.md` is for the root only, and a pattern that matches a folder matches what is in it.

use crate::{Error, Result};
use regex::Regex;

/// More patterns than this are an attack on our patience.
const PATTERNS_MAX: usize = 10_000;

/// Patterns, ready.
#[derive(Debug, Default)]
pub struct Patterns {
    list: Vec<(bool, Regex)>,
}

/// The patterns of a file, cleaned.
pub fn read(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)).into_owned();
    text.lines().filter(|l| !l.starts_with('#')).map(str::trim).filter(|l| !l.is_empty()).filter_map(cleaned).collect()
}

/// `/a/./b/../c` as `a/c`; `None` when nothing is left.
fn cleaned(pattern: &str) -> Option<String> {
    let (not, pattern) = match pattern.strip_prefix('!') {
        Some(rest) => ("!", rest.trim()),
        None => ("", pattern),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    match (parts.is_empty(), pattern) {
        // The root itself: everything.
        (true, "." | "/" | "./") => Some(format!("{not}**")),
        (true, _) => None,
        _ => Some(format!("{not}{}", parts.join("/"))),
    }
}

impl Patterns {
    /// Makes them ready.
    ///
    /// # Errors
    /// `Invalid` for a bad pattern, naming it.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self> {
        if patterns.len() > PATTERNS_MAX {
            return Err(Error::invalid(format!("more than {PATTERNS_MAX} patterns to ignore")));
        }
        let list = patterns
            .iter()
            .filter_map(|p| cleaned(p.as_ref()))
            .map(|pattern| {
                let (except, text) = match pattern.strip_prefix('!') {
                    Some(rest) => (true, rest),
                    None => (false, pattern.as_str()),
                };
                let bad = || Error::invalid(format!("failed to read .dockerignore: syntax error in pattern: {pattern:?}"));
                let text = expression(text).ok_or_else(bad)?;
                let regex = regex::RegexBuilder::new(&text).size_limit(1 << 20).dot_matches_new_line(true).build().map_err(|_| bad())?;
                Ok((except, regex))
            })
            .collect::<Result<_>>()?;
        Ok(Self { list })
    }

    /// Whether there is nothing to match.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether something below an ignored folder may be kept all the same.
    pub fn has_exceptions(&self) -> bool {
        self.list.iter().any(|(except, _)| *except)
    }

    /// Whether a path (no leading slash) is ignored: itself, or by a folder it is in.
    pub fn matches(&self, path: &str) -> bool {
        let mut ignored = false;
        for (except, regex) in &self.list {
            if *except != ignored {
                continue;
            }
            let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
            if regex.is_match(path) || parents.into_iter().any(|p| regex.is_match(p)) {
                ignored = !except;
            }
        }
        ignored
    }
}

/// A pattern as a regular expression; `None` when it has no meaning.
pub fn expression(pattern: &str) -> Option<String> {
    let mut out = String::from("^");
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.peek() == Some(&'*') => {
                chars.next();
                if chars.peek() == Some(&'/') {
                    chars.next();
                    out.push_str("(.*/)?");
                } else {
                    out.push_str(".*");
                }
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '[' => {
                out.push('[');
                if matches!(chars.peek(), Some('^' | '!')) {
                    chars.next();
                    out.push('^');
                }
                let mut any = false;
                loop {
                    match chars.next()? {
                        ']' if any => break,
                        ']' => return None,
                        '\\' => out.push_str(&regex::escape(&chars.next()?.to_string())),
                        '-' => out.push('-'),
                        c => out.push_str(&regex::escape(&c.to_string())),
                    }
                    any = true;
                }
                out.push(']');
            }
            '\\' => out.push_str(&regex::escape(&chars.next()?.to_string())),
            c => out.push_str(&regex::escape(&c.to_string())),
        }
    }
    out.push('$');
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(file: &str, path: &str) -> bool {
        Patterns::new(&read(file.as_bytes())).unwrap().matches(path)
    }

    #[test]
    fn patterns_are_dockers() {
        for (file, path, expected) in [
            ("*.md", "a.md", true),
            ("*.md", "sub/a.md", false),
            ("**/*.md", "sub/deep/a.md", true),
            ("**/*.md", "a.md", true),
            ("node_modules", "node_modules/x/y", true),
            ("node_modules", "sub/node_modules", false),
            ("**/node_modules", "sub/node_modules/x", true),
            ("/a", "a", true),
            ("a/", "a/b", true),
            ("./a/../b", "b", true),
            ("*\n!keep", "keep", false),
            ("*\n!keep", "other", true),
            ("*\n!dir/keep", "dir/keep", false),
            ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
            ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", false),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("# comment\n\n  x  ", "x", true),
            (".", "anything", true),
            ("..", "anything", false),
            ("a.b", "axb", false),
            ("**", "a/b/c", true),
        ] {
            assert_eq!(ignored(file, path), expected, "{file:?} {path}");
        }
        assert!(Patterns::new(&["[a"]).is_err());
        assert!(Patterns::new(&["[]"]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(file in ".{0,60}", path in "[a-z/*]{0,20}") {
            if let Ok(patterns) = Patterns::new(&read(file.as_bytes())) {
                patterns.matches(&path);
            }
        }
    }
}
