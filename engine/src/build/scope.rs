//! Variables: which ARG and ENV a word sees. ENV wins over ARG; a stage sees a global ARG only after it declared it.

use super::dockerfile::{Dockerfile, Instruction, SyntaxError, words};
use crate::image::Platform;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Given with `--build-arg` these reach RUNs without an ARG, and change no cache key.
pub(super) const PROXIES: [&str; 10] =
    ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"];

/// What a build is given.
#[derive(Debug)]
pub(super) struct Given {
    /// `--build-arg`s; unset ones are left out.
    pub args: BTreeMap<String, String>,
    /// Names of all of them.
    pub named: Vec<String>,
    /// The platform's own.
    pub platform: BTreeMap<String, String>,
    pub escape: char,
}

impl Given {
    /// `target_stage`: the name (or number) of what is built.
    pub fn new(args: &BTreeMap<String, Option<String>>, target: &Platform, stage: &str, escape: char) -> Self {
        let build = Platform::host();
        let mut platform = BTreeMap::new();
        for (prefix, p) in [("TARGET", target), ("BUILD", &build)] {
            platform.insert(format!("{prefix}PLATFORM"), p.to_string());
            platform.insert(format!("{prefix}OS"), p.os.clone());
            platform.insert(format!("{prefix}ARCH"), p.architecture.clone());
            platform.insert(format!("{prefix}VARIANT"), p.variant.clone());
        }
        platform.insert("TARGETSTAGE".to_owned(), if stage.is_empty() { "default".to_owned() } else { stage.to_owned() });
        let named = args.keys().cloned().collect();
        let args = args.iter().filter_map(|(k, v)| v.clone().map(|v| (k.clone(), v))).collect();
        Self { args, named, platform, escape }
    }

    /// The value of an ARG: as given, else its default, else the platform's.
    fn value(&self, name: &str, default: Option<String>) -> Option<String> {
        self.args.get(name).cloned().or(default).or_else(|| self.platform.get(name).cloned())
    }

    /// ARGs before the first FROM.
    ///
    /// # Errors
    /// `Invalid` for a bad substitution, with its line.
    pub fn global(&self, file: &Dockerfile) -> Result<BTreeMap<String, String>> {
        let mut global: BTreeMap<String, String> = BTreeMap::new();
        for located in &file.global {
            let Instruction::Arg(args) = &located.instruction else { continue };
            for (name, default) in args {
                let lookup = |n: &str| global.get(n).cloned().or_else(|| self.platform.get(n).cloned());
                let default = default
                    .as_ref()
                    .map(|d| words::expand(d, self.escape, &lookup))
                    .transpose()
                    .map_err(|e| at(located.line, &located.text, &e))?;
                if let Some(value) = self.value(name, default) {
                    global.insert(name.clone(), value);
                }
            }
        }
        Ok(global)
    }

    /// Expands a word of a FROM.
    ///
    /// # Errors
    /// `Invalid` for a bad substitution.
    pub fn expand_from(&self, global: &BTreeMap<String, String>, word: &str, line: usize, text: &str) -> Result<String> {
        let lookup = |n: &str| global.get(n).cloned().or_else(|| self.platform.get(n).cloned());
        words::expand(word, self.escape, &lookup).map_err(|e| at(line, text, &e))
    }

    /// What was given with `--build-arg` and is declared nowhere in these stages, in order. Proxies need no ARG.
    pub fn unused(&self, file: &Dockerfile, stages: &[usize]) -> Vec<String> {
        let own = stages.iter().flat_map(|stage| &file.stages[*stage].instructions);
        let declared: Vec<&String> = own
            .chain(&file.global)
            .filter_map(|located| match &located.instruction {
                Instruction::Arg(args) => Some(args.iter().map(|(name, _)| name)),
                _ => None,
            })
            .flatten()
            .collect();
        self.named.iter().filter(|name| !declared.contains(name) && !PROXIES.contains(&name.as_str())).cloned().collect()
    }

    /// Declares an ARG in a stage.
    pub fn declare(&self, global: &BTreeMap<String, String>, name: &str, default: Option<String>) -> Option<String> {
        match default {
            // A default of its own wins over the global one, but not over what was given.
            Some(default) => self.value(name, Some(default)),
            None => self.args.get(name).cloned().or_else(|| global.get(name).cloned()).or_else(|| self.platform.get(name).cloned()),
        }
    }
}

/// An error at an instruction.
pub(super) fn at(line: usize, text: &str, what: &str) -> Error {
    SyntaxError::new(line, what).at(text.lines().next().unwrap_or_default(), "").into()
}

/// `NAME=value`s as a lookup.
pub(super) fn env_value(env: &[String], name: &str) -> Option<String> {
    env.iter().rev().find_map(|e| e.strip_prefix(name).and_then(|e| e.strip_prefix('='))).map(str::to_owned)
}

/// Sets one of `NAME=value`s, in its place if it has one.
pub(super) fn set_env(env: &mut Vec<String>, name: &str, value: &str) {
    let entry = format!("{name}={value}");
    match env.iter().position(|e| e.split('=').next() == Some(name)) {
        Some(place) => env[place] = entry,
        None => env.push(entry),
    }
}
