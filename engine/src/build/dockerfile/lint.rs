//! What Docker advises against: its build checks, by its names and in its words
//! (docs.docker.com/reference/build-checks). Pure; `# check=skip=…;error=true` and BUILDKIT_DOCKERFILE_CHECK are heeded here.

use super::lines::{self, Written};
use super::suggest::nearest;
use super::{Dockerfile, Instruction, SyntaxError, words};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};

/// A rule's name and what it is about. Its page is `https://docs.docker.com/go/dockerfile/rule/NAME/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// `StageNameCasing`.
    pub name: &'static str,
    /// A sentence.
    pub about: &'static str,
}

macro_rules! rules {
    ($($constant:ident $name:literal $about:literal;)*) => {
        $(const $constant: Rule = Rule { name: $name, about: $about };)*
        #[cfg(test)]
        const ALL: &[Rule] = &[$($constant),*];
    };
}

rules! {
    STAGE_CASING "StageNameCasing" "Stage names should be lowercase";
    AS_CASING "FromAsCasing" "The 'as' keyword should match the case of the 'from' keyword";
    CONTINUATION "NoEmptyContinuation" "Empty continuation lines will become errors in a future release";
    CASING "ConsistentInstructionCasing" "All commands within the Dockerfile should use the same casing (either upper or lower)";
    RESERVED "ReservedStageName" "Reserved stage names should not be used to name a stage";
    JSON "JSONArgsRecommended" "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals";
    MAINTAINER "MaintainerDeprecated" "The MAINTAINER instruction is deprecated, use a label instead to define an image author";
    FROM_ARG "UndefinedArgInFrom" "FROM command must use declared ARGs";
    WORKDIR "WorkdirRelativePath" "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes";
    UNDEFINED "UndefinedVar" "Variables should be defined before their use";
    MULTIPLE "MultipleInstructionsDisallowed" "Multiple instructions of the same type should not be used in the same stage";
    LEGACY "LegacyKeyValueFormat" "Legacy key/value format with whitespace separator should not be used";
    REDUNDANT "RedundantTargetPlatform" "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior";
    SECRETS "SecretsUsedInArgOrEnv" "Sensitive data should not be used in the ARG or ENV commands";
    DEFAULT_ARG "InvalidDefaultArgInFrom" "Default value for global ARG results in an empty or invalid base image name";
    CONSTANT "FromPlatformFlagConstDisallowed" "FROM --platform flag should not use a constant value";
    PROTOCOL "ExposeProtoCasing" "Protocol in EXPOSE instruction should be lowercase";
    EXPOSE "ExposeInvalidFormat" "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release";
    IGNORED "CopyIgnoredFile" "Attempting to Copy file that is excluded by .dockerignore";
}

impl Rule {
    /// Where it is explained.
    pub fn url(&self) -> String {
        let mut words = String::new();
        let mut before = ' ';
        for c in self.name.chars() {
            // `JSONArgs` is json-args.
            if c.is_ascii_uppercase() && before.is_ascii_lowercase() || before == 'N' && self.name.starts_with("JSONA") && c == 'A' {
                words.push('-');
            }
            words.push(c.to_ascii_lowercase());
            before = c;
        }
        format!("https://docs.docker.com/go/dockerfile/rule/{words}/")
    }
}

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which rule.
    pub rule: Rule,
    /// What of this file it is about.
    pub message: String,
    /// The line, from 1.
    pub line: usize,
}

impl Finding {
    /// As progress shows it.
    pub fn short(&self) -> String {
        format!("{}: {} (line {})", self.rule.name, self.message, self.line)
    }
}

/// What of the findings is heeded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heed {
    skip: Vec<String>,
    all: bool,
    /// Whether findings fail the build.
    pub error: bool,
}

impl Heed {
    /// Reads `skip=a,b;error=true`.
    ///
    /// # Errors
    /// What of it is no option.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut heed = Self::default();
        for part in text.split(';').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("invalid check option {part:?}"))?;
            match name.trim() {
                "skip" if value.trim() == "all" => heed.all = true,
                "skip" => heed.skip = value.split(',').map(|v| v.trim().to_owned()).collect(),
                // Rules on trial there; we have none of them.
                "experimental" => {}
                "error" => heed.error = value.trim().parse().map_err(|_| format!("failed to parse check option {part:?}"))?,
                other => return Err(format!("invalid check option {other:?}")),
            }
        }
        Ok(heed)
    }

    /// What is left of some findings, in order.
    pub fn of(&self, mut findings: Vec<Finding>) -> Vec<Finding> {
        findings.retain(|f| !self.all && !self.skip.iter().any(|s| s.eq_ignore_ascii_case(f.rule.name)));
        findings.sort_by_key(|f| f.line);
        findings.dedup();
        findings
    }
}

/// Words in names of variables that are no secret's, and words that are.
const SECRET: [&str; 9] = ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret"];
const PUBLIC: [&str; 2] = ["public", "nonce"];

fn secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let parts: Vec<&str> = lower.split('_').collect();
    let token = parts.contains(&"token");
    (token || parts.iter().any(|p| SECRET.contains(p))) && !parts.iter().any(|p| PUBLIC.contains(p))
}

/// What the text itself shows, without looking at any image. `ignored`: the context's patterns; `global`: names of variables
/// that FROM may use without an ARG.
///
/// # Errors
/// When it is no Dockerfile.
pub fn findings(
    text: &[u8],
    file: &Dockerfile,
    ignored: &crate::build::ignore::Patterns,
    global: &[&str],
) -> Result<Vec<Finding>, SyntaxError> {
    let text = lines::read(text)?;
    let mut found = Vec::new();
    let mut say = |rule: Rule, line: usize, message: String| found.push(Finding { rule, message, line });
    for line in &text.empty {
        say(CONTINUATION, *line, "Empty continuation line".to_owned());
    }
    casing(&text.instructions, &mut say);
    for written in &text.instructions {
        one(written, text.escape, &mut say);
    }
    from_arguments(file, global, &mut say);
    for stage in &file.stages {
        // Several of them: all but the last are told.
        let mut last: BTreeMap<&str, usize> = BTreeMap::new();
        let mut absolute = !matches!(stage.from.as_str(), "scratch")
            && file.stages.iter().any(|s| s.name.as_deref() == Some(&stage.from.to_ascii_lowercase()));
        for located in &stage.instructions {
            let name = match &located.instruction {
                Instruction::Cmd(_) => "CMD",
                Instruction::Entrypoint(_) => "ENTRYPOINT",
                Instruction::Healthcheck(_) => "HEALTHCHECK",
                Instruction::Workdir(path) => {
                    let relative = !path.trim_matches('"').starts_with(['/', '$']);
                    if relative && !absolute {
                        say(
                            WORKDIR,
                            located.line,
                            format!("Relative workdir {path:?} can have unexpected results if the base image changes"),
                        );
                    }
                    absolute |= !relative;
                    continue;
                }
                Instruction::Transfer(transfer) if transfer.from.is_none() => {
                    let word = if transfer.add { "Add" } else { "Copy" };
                    for source in &transfer.sources {
                        let clean = source.trim_matches('/').trim_start_matches("./");
                        let special = clean.is_empty() || clean == "." || clean.contains(['*', '?', '[', '$', ':']);
                        if !special && ignored.matches(clean) {
                            say(IGNORED, located.line, format!("Attempting to {word} file {clean:?} that is excluded by .dockerignore"));
                        }
                    }
                    continue;
                }
                _ => continue,
            };
            if let Some(before) = last.insert(name, located.line) {
                say(
                    MULTIPLE,
                    before,
                    format!("Multiple {name} instructions should not be used in the same stage because only the last one will be used"),
                );
            }
        }
    }
    Ok(found)
}

fn casing(instructions: &[Written], say: &mut dyn FnMut(Rule, usize, String)) {
    let upper = instructions.iter().filter(|w| w.word == w.word.to_ascii_uppercase()).count();
    let lower = instructions.iter().filter(|w| w.word == w.word.to_ascii_lowercase()).count();
    let majority = if lower > upper { "lowercase" } else { "uppercase" };
    for written in instructions {
        let wanted = if lower > upper { written.word.to_ascii_lowercase() } else { written.word.to_ascii_uppercase() };
        if written.word != wanted {
            let text = format!("Command '{}' should match the case of the command majority ({majority})", written.word);
            say(CASING, written.line, text);
        }
    }
}

/// What one instruction shows by itself.
fn one(written: &Written, escape: char, say: &mut dyn FnMut(Rule, usize, String)) {
    let rest = written.rest.as_str();
    match written.name.as_str() {
        "FROM" => {
            let words: Vec<&str> = rest.split_whitespace().filter(|w| !w.starts_with("--")).collect();
            if let [_, keyword, name] = words[..] {
                let upper = |word: &str| word == word.to_ascii_uppercase();
                let lower = |word: &str| word == word.to_ascii_lowercase();
                if !(upper(keyword) && upper(&written.word) || lower(keyword) && lower(&written.word)) {
                    say(AS_CASING, written.line, format!("'{keyword}' and '{}' keywords' casing do not match", written.word));
                }
                if name != name.to_ascii_lowercase() {
                    say(STAGE_CASING, written.line, format!("Stage name '{name}' should be lowercase"));
                }
                if matches!(name.to_ascii_lowercase().as_str(), "context" | "scratch") {
                    say(RESERVED, written.line, format!("Stage name should not use the same name as reserved stage {name:?}"));
                }
            }
            if let Some(platform) = rest.split_whitespace().find_map(|w| w.strip_prefix("--platform=")) {
                match platform {
                    "$TARGETPLATFORM" | "${TARGETPLATFORM}" => {
                        let text =
                            format!("Setting platform to predefined {platform} in FROM is redundant as this is the default behavior");
                        say(REDUNDANT, written.line, text);
                    }
                    platform if !platform.contains('$') => {
                        say(CONSTANT, written.line, format!("FROM --platform flag should not use constant value {platform:?}"));
                    }
                    _ => {}
                }
            }
        }
        "CMD" | "ENTRYPOINT" if !rest.starts_with('[') && !rest.is_empty() => {
            say(
                JSON,
                written.line,
                format!("JSON arguments recommended for {} to prevent unintended behavior related to OS signals", written.name),
            );
        }
        "MAINTAINER" => say(MAINTAINER, written.line, "Maintainer instruction is deprecated in favor of using label".to_owned()),
        name @ ("ENV" | "LABEL" | "ARG") => {
            let words = words::split(rest, escape);
            if name != "ARG" && words.first().is_some_and(|w| !w.contains('=')) {
                let text = format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format");
                say(LEGACY, written.line, text);
            }
            let legacy = words.first().is_some_and(|w| !w.contains('='));
            let named = if legacy && name == "ENV" { &words[..words.len().min(1)] } else { &words[..] };
            for key in named.iter().filter(|_| name != "LABEL").map(|w| w.split('=').next().unwrap_or_default()) {
                if secret(key) {
                    say(SECRETS, written.line, format!("Do not use ARG or ENV instructions for sensitive data ({name} {key:?})"));
                }
            }
        }
        "EXPOSE" => {
            for word in rest.split_whitespace().filter(|w| !w.contains('$')) {
                let (ports, protocol) = word.split_once('/').unwrap_or((word, ""));
                if protocol != protocol.to_ascii_lowercase() {
                    say(PROTOCOL, written.line, format!("Defined protocol '{word}' in EXPOSE instruction should be lowercase"));
                }
                if ports.contains(':') {
                    let text = format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'");
                    say(EXPOSE, written.line, text);
                }
            }
        }
        _ => {}
    }
}

/// Variables that were looked for in vain.
struct Names<'a> {
    known: &'a dyn Fn(&str) -> Option<String>,
    missing: RefCell<Vec<String>>,
}

impl words::Variables for Names<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.known)(name)
    }

    fn undefined(&self, name: &str) {
        self.missing.borrow_mut().push(name.to_owned());
    }
}

/// The names without a value in a word.
fn missing(word: &str, escape: char, known: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let names = Names { known, missing: RefCell::default() };
    // What is wrong with a word is said when it is carried out.
    let _ = words::expand(word, escape, &names);
    names.missing.into_inner()
}

fn meant(name: &str, known: &HashSet<String>) -> String {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    nearest(name, &known).map(|n| format!(" (did you mean {n}?)")).unwrap_or_default()
}

fn from_arguments(file: &Dockerfile, global: &[&str], say: &mut dyn FnMut(Rule, usize, String)) {
    let mut known: HashSet<String> = global.iter().map(|name| (*name).to_owned()).collect();
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    for located in &file.global {
        if let Instruction::Arg(args) = &located.instruction {
            for (name, default) in args {
                known.insert(name.clone());
                let lookup = |n: &str| values.get(n).cloned();
                let value = default.as_ref().and_then(|d| words::expand(d, file.escape, &lookup).ok());
                if let Some(value) = value {
                    values.insert(name.clone(), value);
                }
            }
        }
    }
    for stage in &file.stages {
        for word in std::iter::once(&stage.from).chain(&stage.platform) {
            for name in missing(word, file.escape, &|n| known.contains(n).then(|| "x".to_owned())) {
                say(FROM_ARG, stage.line, format!("FROM argument '{name}' is not declared{}", meant(&name, &known)));
            }
        }
        if stage.from.contains('$') {
            let base = words::expand(&stage.from, file.escape, &|n: &str| values.get(n).cloned()).unwrap_or_default();
            if base.is_empty() || base.parse::<crate::image::Reference>().is_err() {
                say(DEFAULT_ARG, stage.line, format!("Default value for ARG {} results in empty or invalid base image name", stage.from));
            }
        }
    }
}

/// Variables that a stage uses and nobody set; `env`: names that are set where it begins, `predefined`: those that an ARG or a
/// RUN has anyway.
pub fn undefined(file: &Dockerfile, stage: usize, env: &[String], predefined: &[&str]) -> Vec<Finding> {
    let mut known: HashSet<String> = env.iter().filter_map(|e| e.split('=').next()).map(str::to_owned).collect();
    let quiet: HashSet<&str> = predefined.iter().copied().collect();
    let mut found = Vec::new();
    for located in &file.stages[stage].instructions {
        let words: Vec<&String> = match &located.instruction {
            Instruction::Transfer(t) => t.sources.iter().chain([&t.dest]).chain(&t.chown).chain(&t.chmod).collect(),
            Instruction::Arg(args) => args.iter().filter_map(|(_, default)| default.as_ref()).collect(),
            Instruction::Env(pairs) | Instruction::Label(pairs) => pairs.iter().map(|(_, value)| value).collect(),
            Instruction::Expose(list) | Instruction::Volume(list) => list.iter().collect(),
            Instruction::Stopsignal(word) | Instruction::User(word) | Instruction::Workdir(word) => vec![word],
            _ => Vec::new(),
        };
        for word in words {
            for name in missing(word, file.escape, &|n| known.contains(n).then(|| "x".to_owned())) {
                if !quiet.contains(name.as_str()) {
                    let meant = meant(&name, &known).replace("mean ", "mean $");
                    found.push(Finding {
                        rule: UNDEFINED,
                        line: located.line,
                        message: format!("Usage of undefined variable '${name}'{meant}"),
                    });
                }
            }
        }
        match &located.instruction {
            Instruction::Arg(args) => known.extend(args.iter().map(|(name, _)| name.clone())),
            Instruction::Env(pairs) => known.extend(pairs.iter().map(|(name, _)| name.clone())),
            _ => {}
        }
    }
    found
}

/// The variables that a stage has at its end beside those it began with, as `NAME=`.
pub fn declared(stage: &super::Stage) -> Vec<String> {
    let names = stage.instructions.iter().flat_map(|located| match &located.instruction {
        Instruction::Arg(args) => args.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        Instruction::Env(pairs) => pairs.iter().map(|(name, _)| name).collect(),
        _ => Vec::new(),
    });
    names.map(|name| format!("{name}=")).collect()
}

/// What a target takes from outside: for `--call=outline`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// ARGs: name, default, line.
    pub args: Vec<(String, Option<String>, usize)>,
    /// Secrets: id, whether required, line.
    pub secrets: Vec<(String, bool, usize)>,
    /// SSH agents: id, whether required, line.
    pub agents: Vec<(String, bool, usize)>,
}

/// The outline of the stages that are built.
pub fn outline(file: &Dockerfile, stages: &[usize]) -> Outline {
    let mut outline = Outline::default();
    let located = file.global.iter().chain(stages.iter().flat_map(|s| &file.stages[*s].instructions));
    for located in located {
        match &located.instruction {
            Instruction::Arg(args) => {
                for (name, default) in args {
                    if !outline.args.iter().any(|(n, ..)| n == name) {
                        outline.args.push((name.clone(), default.clone(), located.line));
                    }
                }
            }
            Instruction::Run(run) => {
                for mount in &run.mounts {
                    let field = |key: &str| mount.split(',').find_map(|f| f.strip_prefix(key)?.strip_prefix('=').map(str::to_owned));
                    let required = mount.split(',').any(|f| f == "required" || f == "required=true");
                    match field("type").as_deref() {
                        Some("secret") => {
                            let base = || field("target").and_then(|t| t.rsplit('/').next().map(str::to_owned));
                            let id = field("id").or_else(base).unwrap_or_default();
                            outline.secrets.push((id, required, located.line));
                        }
                        Some("ssh") => outline.agents.push((field("id").unwrap_or_else(|| "default".to_owned()), required, located.line)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    outline
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::ignore::Patterns;

    fn lint(text: &str) -> Vec<(String, usize)> {
        let file = Dockerfile::parse(text.as_bytes()).unwrap();
        let ignored = Patterns::new(&["*.md", "node_modules"]).unwrap();
        let heed = Heed::read(file.check.as_deref().unwrap_or_default()).unwrap();
        let mut all = findings(text.as_bytes(), &file, &ignored, &["TARGETPLATFORM", "BUILDPLATFORM"]).unwrap();
        for stage in 0..file.stages.len() {
            all.extend(undefined(&file, stage, &["PATH=/bin".to_owned()], &["HTTP_PROXY"]));
        }
        heed.of(all).into_iter().map(|f| (format!("{}: {}", f.rule.name, f.message), f.line)).collect()
    }

    #[test]
    fn rules_speak_dockers_words() {
        for (text, said, line) in [
            ("FROM a AS Build", "StageNameCasing: Stage name 'Build' should be lowercase", 1),
            ("FROM a as build", "FromAsCasing: 'as' and 'FROM' keywords' casing do not match", 1),
            ("FROM a\nRUN x \\\n\n  y", "NoEmptyContinuation: Empty continuation line", 3),
            (
                "FROM a\nrun x\nCMD [\"x\"]",
                "ConsistentInstructionCasing: Command 'run' should match the case of the command majority (uppercase)",
                2,
            ),
            ("FROM a AS scratch", "ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\"", 1),
            (
                "FROM a\nCMD x",
                "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
                2,
            ),
            ("FROM a\nMAINTAINER x", "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label", 2),
            ("ARG VERSION=1\nFROM a:1$VERSIO", "UndefinedArgInFrom: FROM argument 'VERSIO' is not declared (did you mean VERSION?)", 2),
            (
                "ARG TAG\nFROM a:$TAG",
                "InvalidDefaultArgInFrom: Default value for ARG a:$TAG results in empty or invalid base image name",
                2,
            ),
            ("FROM a\nWORKDIR x", "WorkdirRelativePath: Relative workdir \"x\" can have unexpected results if the base image changes", 2),
            ("FROM a\nENV A=$NO", "UndefinedVar: Usage of undefined variable '$NO'", 2),
            ("FROM a\nARG NAME\nLABEL A=$NAMES", "UndefinedVar: Usage of undefined variable '$NAMES' (did you mean $NAME?)", 3),
            (
                "FROM a\nCMD [\"a\"]\nCMD [\"b\"]",
                "MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used",
                2,
            ),
            ("FROM a\nENV a b", "LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format", 2),
            (
                "FROM --platform=$TARGETPLATFORM a",
                "RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
                1,
            ),
            (
                "FROM --platform=linux/amd64 a",
                "FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\"",
                1,
            ),
            (
                "FROM a\nARG DB_PASSWORD",
                "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"DB_PASSWORD\")",
                2,
            ),
            ("FROM a\nEXPOSE 80/TCP", "ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase", 2),
            (
                "FROM a\nEXPOSE 80:80",
                "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '80:80'",
                2,
            ),
            ("FROM a\nCOPY x.md /", "CopyIgnoredFile: Attempting to Copy file \"x.md\" that is excluded by .dockerignore", 2),
        ] {
            assert_eq!(lint(text), [(said.to_owned(), line)], "{text}");
        }
    }

    #[test]
    fn good_files_and_skipped_rules_are_quiet() {
        for text in [
            "ARG V=1\nFROM a:$V AS b\nWORKDIR /x\nWORKDIR y\nENV A=1 B=${C:-d} PUBLIC_KEY=x\nARG D\nCOPY $D /x\nRUN a \\\n # comment\n b\nCMD [\"a\"]\nFROM b\nWORKDIR z\nCMD [\"b\"]",
            "from a as b\nrun x\nentrypoint [\"x\"]",
            "FROM --platform=$BUILDPLATFORM a\nARG TARGETOS\nENV O=$TARGETOS P=$PATH Q=$HTTP_PROXY",
            "# check=skip=all\nFROM a\nMAINTAINER x",
            "# check=skip=MaintainerDeprecated,JSONArgsRecommended\nFROM a\nMAINTAINER x\nCMD y",
        ] {
            assert_eq!(lint(text), [], "{text}");
        }
        assert!(Heed::read("error=true;skip=x").unwrap().error);
        assert!(Heed::read("what=1").is_err());
        assert_eq!(JSON.url(), "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/");
        assert_eq!(ALL.iter().map(|r| r.name).collect::<HashSet<_>>().len(), ALL.len());
    }

    #[test]
    fn outlines_have_what_comes_from_outside() {
        let file = Dockerfile::parse(b"ARG A=1\nFROM x\nARG B\nRUN --mount=type=secret,id=s,required --mount=type=ssh y").unwrap();
        let o = outline(&file, &[0]);
        assert_eq!(o.args, [("A".to_owned(), Some("1".to_owned()), 1), ("B".to_owned(), None, 3)]);
        assert_eq!((o.secrets, o.agents), (vec![("s".to_owned(), true, 4)], vec![("default".to_owned(), false, 4)]));
    }
}
