//! From instructions as written to instructions with a meaning.

use super::error::SyntaxError;
use super::lines::{self, Written};
use super::suggest::did_you_mean;
use super::{Command, Dockerfile, Heredoc, Instruction, Located, Run, Stage, Transfer, words};
use crate::container::Healthcheck;
use std::time::Duration;

const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// More instructions than this are no Dockerfile.
const INSTRUCTIONS_MAX: usize = 10_000;

/// Reads a whole file.
pub fn parse(text: &[u8]) -> Result<Dockerfile, SyntaxError> {
    let text = lines::read(text)?;
    let mut file = Dockerfile { escape: text.escape, check: text.check, global: Vec::new(), stages: Vec::new() };
    if text.instructions.is_empty() {
        return Err(SyntaxError::new(0, "file with no instructions"));
    }
    if text.instructions.len() > INSTRUCTIONS_MAX {
        return Err(SyntaxError::new(0, format!("the file has more than {INSTRUCTIONS_MAX} instructions")));
    }
    for written in text.instructions {
        let reader = Reader { written: &written, escape: file.escape };
        if written.name == "FROM" {
            let stage = reader.from()?;
            if let Some(name) = &stage.name
                && file.stages.iter().any(|s| s.name.as_ref() == Some(name))
            {
                return Err(reader.error(format!("duplicate name {name}"), name));
            }
            file.stages.push(stage);
            continue;
        }
        let located = Located { line: written.line, text: reader.shown(), instruction: reader.instruction()? };
        match file.stages.last_mut() {
            Some(stage) => stage.instructions.push(located),
            None if matches!(located.instruction, Instruction::Arg(_)) => file.global.push(located),
            None => return Err(reader.error("no build stage in current context", &written.name)),
        }
    }
    if file.stages.is_empty() {
        return Err(SyntaxError::new(0, "no build stage in current context: the file has no FROM"));
    }
    Ok(file)
}

/// Reads one instruction: what ONBUILD kept, a label that the client adds.
///
/// # Errors
/// What is wrong with it.
pub fn parse_instruction(text: &str, escape: char) -> Result<Located, SyntaxError> {
    let source = text.lines().next().unwrap_or_default().to_owned();
    // Kept text has its here-documents with it.
    let with_escape = format!("# escape={escape}\n{text}");
    let mut read = lines::read(with_escape.as_bytes())?;
    if read.instructions.len() != 1 {
        return Err(SyntaxError::new(1, "expected one instruction").at(&source, ""));
    }
    let mut written = read.instructions.remove(0);
    written.line = 1;
    let reader = Reader { written: &written, escape };
    Ok(Located { line: 1, text: reader.shown(), instruction: reader.instruction()? })
}

/// Flags before an instruction's arguments.
struct Flags {
    /// Name and value as written; `None`: no `=`.
    given: Vec<(String, Option<String>)>,
}

struct Reader<'a> {
    written: &'a Written,
    escape: char,
}

impl Reader<'_> {
    fn error(&self, message: impl Into<String>, word: &str) -> SyntaxError {
        SyntaxError::new(self.written.line, message).at(&self.written.source, word)
    }

    fn name(&self) -> &str {
        &self.written.name
    }

    fn shown(&self) -> String {
        if self.written.rest.is_empty() { self.name().to_owned() } else { format!("{} {}", self.name(), self.written.rest) }
    }

    /// Takes the flags off; what is left are the arguments.
    fn flags<'t>(&self, text: &'t str, known: &[&str]) -> Result<(Flags, &'t str), SyntaxError> {
        let mut given: Vec<(String, Option<String>)> = Vec::new();
        let mut rest = text;
        while let Some(flag) = rest.strip_prefix("--") {
            let end = word_end(flag, self.escape);
            let (flag, after) = flag.split_at(end);
            rest = after.trim_start();
            if flag.is_empty() {
                break;
            }
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            if !known.contains(&name) {
                let text = format!("unknown flag: --{name}{}", did_you_mean(name, known));
                return Err(self.error(text, &format!("--{name}")));
            }
            if given.iter().any(|(n, _)| n == name) && !matches!(name, "mount" | "exclude" | "device") {
                return Err(self.error(format!("duplicate flag specified: {name}"), &format!("--{name}")));
            }
            given.push((name.to_owned(), value));
        }
        Ok((Flags { given }, rest))
    }

    fn text_flag(&self, flags: &Flags, name: &str) -> Result<Option<String>, SyntaxError> {
        match flags.given.iter().find(|(n, _)| n == name) {
            None => Ok(None),
            Some((_, Some(value))) => Ok(Some(value.clone())),
            Some((_, None)) => Err(self.error(format!("missing a value on flag: {name}"), &format!("--{name}"))),
        }
    }

    fn text_flags(&self, flags: &Flags, name: &str) -> Result<Vec<String>, SyntaxError> {
        flags
            .given
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, value)| value.clone().ok_or_else(|| self.error(format!("missing a value on flag: {name}"), &format!("--{name}"))))
            .collect()
    }

    fn bool_flag(&self, flags: &Flags, name: &str) -> Result<Option<bool>, SyntaxError> {
        match flags.given.iter().find(|(n, _)| n == name) {
            None => Ok(None),
            Some((_, None)) => Ok(Some(true)),
            Some((_, Some(value))) => match value.to_ascii_lowercase().as_str() {
                "true" => Ok(Some(true)),
                "false" => Ok(Some(false)),
                _ => Err(self.error(format!("expecting boolean value for flag {name}, not: {value}"), value)),
            },
        }
    }

    /// A JSON list of texts, if the arguments are one.
    fn json(&self, text: &str) -> Result<Option<Vec<String>>, SyntaxError> {
        if !text.starts_with('[') {
            return Ok(None);
        }
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(serde_json::Value::Array(list)) => list
                .into_iter()
                .map(|item| match item {
                    serde_json::Value::String(s) => Ok(s),
                    _ => Err(self.error("when using JSON array syntax, arrays must be comprised of strings only", "[")),
                })
                .collect::<Result<_, _>>()
                .map(Some),
            _ => Ok(None),
        }
    }

    fn command(&self, text: &str) -> Result<Command, SyntaxError> {
        Ok(match self.json(text)? {
            Some(list) => Command::Exec(list),
            None => Command::Shell(text.to_owned()),
        })
    }

    fn needs<'t>(&self, text: &'t str) -> Result<&'t str, SyntaxError> {
        if text.is_empty() {
            return Err(self.error(format!("{} requires at least one argument", self.name()), self.name()));
        }
        Ok(text)
    }

    fn from(&self) -> Result<Stage, SyntaxError> {
        let (flags, rest) = self.flags(&self.written.rest, &["platform"])?;
        let platform = self.text_flag(&flags, "platform")?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        let (from, name) = match words[..] {
            [from] => (from, None),
            [from, word, name] if word.eq_ignore_ascii_case("as") => (from, Some(name)),
            _ => return Err(self.error("FROM requires either one or three arguments", "FROM")),
        };
        let name = match name {
            None => None,
            Some(name) => {
                let lower = name.to_ascii_lowercase();
                let mut chars = lower.chars();
                let good = chars.next().is_some_and(|c| c.is_ascii_lowercase())
                    && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'));
                if !good {
                    return Err(self.error(
                        format!("invalid name for build stage: \"{name}\", name can't start with a number or contain symbols"),
                        name,
                    ));
                }
                Some(lower)
            }
        };
        Ok(Stage { from: unquoted(from).to_owned(), name, platform, text: self.shown(), line: self.written.line, instructions: Vec::new() })
    }

    fn instruction(&self) -> Result<Instruction, SyntaxError> {
        let rest = self.written.rest.as_str();
        let name = self.name().to_owned();
        let (flags, rest) = match name.as_str() {
            "ADD" => {
                self.flags(rest, &["chown", "chmod", "link", "exclude", "checksum", "keep-git-dir", "unpack", "parents"]).and_then(|f| {
                    if f.0.given.iter().any(|(n, _)| n == "parents") {
                        return Err(self.error("unknown flag: --parents", "--parents"));
                    }
                    Ok(f)
                })?
            }
            "COPY" => self.flags(rest, &["from", "chown", "chmod", "link", "parents", "exclude"])?,
            "RUN" => self.flags(rest, &["mount", "network", "security", "device"])?,
            "HEALTHCHECK" => self.flags(rest, &["interval", "timeout", "start-period", "start-interval", "retries"])?,
            // Arguments of these may begin with dashes.
            "CMD" | "ENTRYPOINT" | "ONBUILD" | "SHELL" => (Flags { given: Vec::new() }, rest),
            _ => self.flags(rest, &[])?,
        };
        Ok(match name.as_str() {
            "ADD" | "COPY" => Instruction::Transfer(self.transfer(&flags, rest)?),
            "ARG" => Instruction::Arg(self.args(rest)?),
            "CMD" => Instruction::Cmd(self.command(rest)?),
            "ENTRYPOINT" => Instruction::Entrypoint(self.command(self.needs(rest)?)?),
            "ENV" => Instruction::Env(self.pairs(rest)?),
            "LABEL" => Instruction::Label(self.pairs(rest)?),
            "EXPOSE" => Instruction::Expose(self.needs(rest)?.split_whitespace().map(str::to_owned).collect()),
            "HEALTHCHECK" => Instruction::Healthcheck(self.healthcheck(&flags, rest)?),
            "MAINTAINER" => Instruction::Maintainer(self.needs(rest)?.to_owned()),
            "ONBUILD" => Instruction::Onbuild(self.onbuild(rest)?),
            "RUN" => Instruction::Run(Run {
                command: self.command(self.needs(rest)?)?,
                heredocs: self.written.heredocs.clone(),
                mounts: self.text_flags(&flags, "mount")?,
                network: self.text_flag(&flags, "network")?,
                security: self.text_flag(&flags, "security")?,
                devices: self.text_flags(&flags, "device")?,
            }),
            "SHELL" => match self.json(rest)? {
                Some(list) if !list.is_empty() => Instruction::Shell(list),
                Some(_) => return Err(self.error("SHELL requires at least one argument", "SHELL")),
                None => return Err(self.error(format!("SHELL requires the arguments to be in JSON form: {rest}"), rest)),
            },
            "STOPSIGNAL" => Instruction::Stopsignal(self.one(rest)?.to_owned()),
            "USER" => Instruction::User(self.one(rest)?.to_owned()),
            "VOLUME" => {
                let list = match self.json(self.needs(rest)?)? {
                    Some(list) => list,
                    None => rest.split_whitespace().map(str::to_owned).collect(),
                };
                if list.is_empty() || list.iter().any(|v| v.trim().is_empty()) {
                    return Err(self.error("VOLUME specified can not be an empty string", rest));
                }
                Instruction::Volume(list)
            }
            "WORKDIR" => Instruction::Workdir(self.needs(rest)?.to_owned()),
            other => {
                return Err(self.error(format!("unknown instruction: {other}{}", did_you_mean(other, &NAMES)), first(&self.written.source)));
            }
        })
    }

    fn one<'t>(&self, rest: &'t str) -> Result<&'t str, SyntaxError> {
        if rest.is_empty() {
            return Err(self.error(format!("{} requires exactly one argument", self.name()), self.name()));
        }
        Ok(rest)
    }

    fn transfer(&self, flags: &Flags, rest: &str) -> Result<Transfer, SyntaxError> {
        let mut paths = match self.json(rest)? {
            Some(list) => list,
            None => rest.split_whitespace().map(str::to_owned).collect(),
        };
        let missing = || {
            self.error(
                format!("{0} requires at least two arguments, but only one was provided. Destination could not be determined", self.name()),
                self.name(),
            )
        };
        if paths.len() < 2 {
            return Err(if paths.is_empty() {
                self.error(format!("{} requires at least two arguments", self.name()), self.name())
            } else {
                missing()
            });
        }
        let dest = paths.pop().unwrap_or_default();
        let is_document =
            |path: &str, h: &Heredoc| path.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<") == Some(&h.word);
        let heredocs = self.written.heredocs.clone();
        if heredocs.iter().any(|h| is_document(&dest, h)) {
            return Err(self.error(format!("{} cannot accept a heredoc as a destination", self.name()), &dest));
        }
        paths.retain(|p| !heredocs.iter().any(|h| is_document(p, h)));
        Ok(Transfer {
            add: self.name() == "ADD",
            sources: paths,
            heredocs,
            dest,
            from: self.text_flag(flags, "from")?,
            chown: self.text_flag(flags, "chown")?,
            chmod: self.text_flag(flags, "chmod")?,
            link: self.bool_flag(flags, "link")?.unwrap_or(false),
            parents: self.bool_flag(flags, "parents")?.unwrap_or(false),
            exclude: self.text_flags(flags, "exclude")?,
            checksum: self.text_flag(flags, "checksum")?,
            keep_git_dir: self.bool_flag(flags, "keep-git-dir")?.unwrap_or(false),
            unpack: self.bool_flag(flags, "unpack")?,
        })
    }

    fn args(&self, rest: &str) -> Result<Vec<(String, Option<String>)>, SyntaxError> {
        words::split(self.needs(rest)?, self.escape)
            .into_iter()
            .map(|word| {
                let (name, default) = match word.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (word.clone(), None),
                };
                if name.is_empty() {
                    return Err(self.error("ARG names can not be blank", &word));
                }
                Ok((name, default))
            })
            .collect()
    }

    /// `a=1 b="two words"`, or the old `name the value`.
    fn pairs(&self, rest: &str) -> Result<Vec<(String, String)>, SyntaxError> {
        let words = words::split(self.needs(rest)?, self.escape);
        let Some(head) = words.first() else { return Ok(Vec::new()) };
        if !head.contains('=') {
            let (name, value) =
                rest.split_once(char::is_whitespace).ok_or_else(|| self.error(format!("{} must have two arguments", self.name()), rest))?;
            return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
        }
        words
            .iter()
            .map(|word| {
                let (name, value) = word.split_once('=').ok_or_else(|| {
                    let text = format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value");
                    self.error(text, word)
                })?;
                if name.is_empty() {
                    return Err(self.error(format!("{} names can not be blank", self.name()), word));
                }
                Ok((name.to_owned(), value.to_owned()))
            })
            .collect()
    }

    fn onbuild(&self, rest: &str) -> Result<String, SyntaxError> {
        let trigger = first(self.needs(rest)?).to_ascii_uppercase();
        match trigger.as_str() {
            "ONBUILD" => return Err(self.error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", "ONBUILD")),
            "FROM" | "MAINTAINER" => return Err(self.error(format!("{trigger} isn't allowed as an ONBUILD trigger"), first(rest))),
            _ => {}
        }
        let mut kept = rest.to_owned();
        for document in &self.written.heredocs {
            kept.push('\n');
            kept.push_str(&document.content);
            kept.push_str(&document.name);
        }
        // What is wrong with it is said now, not when somebody builds on it.
        let inner = Written {
            name: trigger,
            rest: rest.split_once(char::is_whitespace).map_or("", |(_, r)| r.trim()).to_owned(),
            ..self.written.clone()
        };
        Reader { written: &inner, escape: self.escape }.instruction()?;
        Ok(kept)
    }

    fn healthcheck(&self, flags: &Flags, rest: &str) -> Result<Healthcheck, SyntaxError> {
        let mut check = Healthcheck::default();
        let (kind, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let rest = rest.trim();
        match kind.to_ascii_uppercase().as_str() {
            "" => return Err(self.error("HEALTHCHECK requires at least one argument", "HEALTHCHECK")),
            "NONE" => {
                if !rest.is_empty() {
                    return Err(self.error("HEALTHCHECK NONE takes no arguments", rest));
                }
                check.test = vec!["NONE".to_owned()];
                return Ok(check);
            }
            "CMD" => {
                if rest.is_empty() {
                    return Err(self.error("Missing command after HEALTHCHECK CMD", kind));
                }
                check.test = match self.command(rest)? {
                    Command::Exec(list) => std::iter::once("CMD".to_owned()).chain(list).collect(),
                    Command::Shell(text) => vec!["CMD-SHELL".to_owned(), text],
                };
            }
            _ => return Err(self.error(format!("Unknown type \"{kind}\" in HEALTHCHECK (try CMD)"), kind)),
        }
        let time = |name: &str| -> Result<Duration, SyntaxError> {
            match self.text_flag(flags, name)? {
                None => Ok(Duration::ZERO),
                Some(text) => {
                    let time = duration(&text).ok_or_else(|| self.error(format!("invalid duration {text:?} for --{name}"), &text))?;
                    if !time.is_zero() && time < Duration::from_millis(1) {
                        return Err(self.error(format!("Interval \"--{name}\" cannot be less than 1ms"), &text));
                    }
                    Ok(time)
                }
            }
        };
        check.interval = time("interval")?;
        check.timeout = time("timeout")?;
        check.start_period = time("start-period")?;
        check.start_interval = time("start-interval")?;
        if let Some(text) = self.text_flag(flags, "retries")? {
            check.retries = text.parse().map_err(|_| self.error(format!("--retries must be a number, not {text}"), &text))?;
        }
        Ok(check)
    }
}

/// A duration as Go writes it: `1h2m3.5s`, `100ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut total = 0f64;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += number * unit;
        rest = &rest[end..];
    }
    Duration::try_from_secs_f64(total).ok()
}

/// Where a word ends: at whitespace that is not quoted.
fn word_end(text: &str, escape: char) -> usize {
    let mut quote: Option<char> = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return at,
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(q) if q == c => quote = None,
            _ => {}
        }
        if c == escape {
            chars.next();
        }
    }
    text.len()
}

fn first(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or("")
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text)
}
