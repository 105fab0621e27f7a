//! From text to instructions as written: directives, continuations, comments and here-documents are dealt with here.

use super::Heredoc;
use super::error::SyntaxError;
use super::words;

/// An instruction as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its first line, from 1.
    pub line: usize,
    /// That line as it stands in the file.
    pub source: String,
    /// The first word, in upper case.
    pub name: String,
    /// The first word as written.
    pub word: String,
    /// The rest, continuations joined, trimmed.
    pub rest: String,
    /// Here-documents that follow.
    pub heredocs: Vec<Heredoc>,
}

/// A file as written.
pub struct Text {
    pub escape: char,
    pub check: Option<String>,
    /// Lines with nothing on them in the middle of an instruction.
    pub empty: Vec<usize>,
    pub instructions: Vec<Written>,
}

/// The longest line, continuations joined.
const LINE_MAX: usize = 1 << 20;

/// Reads a file.
pub fn read(text: &[u8]) -> Result<Text, SyntaxError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let text = std::str::from_utf8(text).map_err(|e| {
        let line = text[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        SyntaxError::new(line, "the file is not UTF-8")
    })?;
    if let Some(at) = text.find('\0') {
        return Err(SyntaxError::new(text[..at].matches('\n').count() + 1, "the file has a NUL byte"));
    }
    let lines: Vec<&str> = text.split('\n').map(|l| l.strip_suffix('\r').unwrap_or(l)).collect();
    let (escape, check, first) = directives(&lines)?;
    let mut instructions = Vec::new();
    let mut empty = Vec::new();
    let mut at = first;
    while at < lines.len() {
        let line = lines[at];
        if line.trim().is_empty() || is_comment(line) {
            at += 1;
            continue;
        }
        let begin = at;
        let mut joined = String::new();
        let mut part = line.trim_start();
        loop {
            at += 1;
            let (kept, goes_on) = continued(part, escape);
            joined.push_str(kept);
            if joined.len() > LINE_MAX {
                return Err(SyntaxError::new(begin + 1, "the instruction is longer than a megabyte"));
            }
            if !goes_on {
                break;
            }
            while at < lines.len() && (is_comment(lines[at]) || lines[at].trim().is_empty()) {
                if lines[at].trim().is_empty() && lines[at + 1..].iter().any(|line| !line.trim().is_empty()) {
                    empty.push(at + 1);
                }
                at += 1;
            }
            let Some(next) = lines.get(at) else { break };
            part = next;
        }
        let joined = joined.trim();
        let (name, rest) = joined.split_once(char::is_whitespace).unwrap_or((joined, ""));
        let mut written = Written {
            line: begin + 1,
            source: line.to_owned(),
            name: name.to_ascii_uppercase(),
            word: name.to_owned(),
            rest: rest.trim().to_owned(),
            heredocs: Vec::new(),
        };
        let (kept_name, kept_rest) = match written.name.as_str() {
            "ONBUILD" => {
                let (n, r) = written.rest.split_once(char::is_whitespace).unwrap_or((&written.rest, ""));
                (n.to_ascii_uppercase(), r)
            }
            name => (name.to_owned(), written.rest.as_str()),
        };
        if matches!(kept_name.as_str(), "RUN" | "COPY" | "ADD") && !kept_rest.trim_start().starts_with('[') {
            for (fd_and_name, strip) in opened(kept_rest, escape) {
                let (heredoc, after) = body(&lines, at, &fd_and_name, strip)
                    .ok_or_else(|| SyntaxError::new(begin + 1, "unterminated heredoc").at(line, &format!("<<{fd_and_name}")))?;
                written.heredocs.push(heredoc);
                at = after;
            }
        }
        instructions.push(written);
    }
    Ok(Text { escape, check, empty, instructions })
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// `# name=value` lines before anything else. Returns the escape character, `check`, and the first line after them.
fn directives(lines: &[&str]) -> Result<(char, Option<String>, usize), SyntaxError> {
    let mut escape = None;
    let mut check = None;
    let mut syntax = None;
    let mut at = 0;
    // A script's first line may tell which program reads it.
    if lines.first().is_some_and(|l| l.starts_with("#!")) {
        at = 1;
    }
    while let Some(line) = lines.get(at) {
        let Some((name, value)) = line.trim().strip_prefix('#').and_then(|l| l.split_once('=')) else { break };
        let name = name.trim().to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
            break;
        }
        let value = value.trim();
        let twice = |set: bool| {
            if set {
                Err(SyntaxError::new(at + 1, format!("only one {name} parser directive can be used")).at(line, &name))
            } else {
                Ok(())
            }
        };
        match name.as_str() {
            "escape" => {
                twice(escape.is_some())?;
                escape = Some(match value {
                    "\\" => '\\',
                    "`" => '`',
                    _ => {
                        let text = format!("invalid escape token '{value}' does not match ` or \\");
                        return Err(SyntaxError::new(at + 1, text).at(line, value));
                    }
                });
            }
            "syntax" => {
                twice(syntax.is_some())?;
                syntax = Some(());
                check_frontend(value).map_err(|text| SyntaxError::new(at + 1, text).at(line, value))?;
            }
            "check" => {
                twice(check.is_some())?;
                check = Some(value.to_owned());
            }
            // Anything else is a comment, and directives end there.
            _ => break,
        }
        at += 1;
    }
    Ok((escape.unwrap_or('\\'), check, at))
}

/// `docker/dockerfile` in any version is what this builder is; nothing else is run.
fn check_frontend(value: &str) -> Result<(), String> {
    let image = value.split_whitespace().next().unwrap_or("");
    let name = image.split('@').next().unwrap_or("");
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let name = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name);
    match name {
        "docker/dockerfile" | "docker/dockerfile-upstream" | "dockerfile" => Ok(()),
        _ => Err(format!("unknown frontend {image:?}: only docker/dockerfile is built in, and others are not run")),
    }
}

/// The line without its continuation mark, and whether it had one.
fn continued(line: &str, escape: char) -> (&str, bool) {
    let trimmed = line.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix(escape) {
        // An escaped escape is itself.
        Some(kept) if !kept.ends_with(escape) => (kept, true),
        _ => (line, false),
    }
}

/// Here-documents that a line opens: the word after `<<`, and whether tabs are taken off.
fn opened(rest: &str, escape: char) -> Vec<(String, bool)> {
    words::split(rest, escape)
        .into_iter()
        .filter_map(|word| {
            let digits = word.trim_start_matches(|c: char| c.is_ascii_digit());
            let word = digits.strip_prefix("<<")?;
            let (strip, word) = match word.strip_prefix('-') {
                Some(word) => (true, word),
                None => (false, word),
            };
            (!word.is_empty() && !word.contains('<') && !unquoted(word).is_empty()).then(|| (word.to_owned(), strip))
        })
        .collect()
}

fn unquoted(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '"' | '\'' | '\\')).collect()
}

/// The document that begins at line `at`; `None` when its end is missing. Also the line after it.
fn body(lines: &[&str], mut at: usize, word: &str, strip: bool) -> Option<(Heredoc, usize)> {
    let name = unquoted(word);
    let mut content = String::new();
    while let Some(line) = lines.get(at) {
        at += 1;
        let line = if strip { line.trim_start_matches('\t') } else { line };
        if line == name {
            let expand = name == word;
            let word = if strip { format!("-{word}") } else { word.to_owned() };
            return Some((Heredoc { name, word, content, expand }, at));
        }
        content.push_str(line);
        content.push('\n');
    }
    None
}
