//! Dockerfiles: text to a tree, with nothing looked up and nothing done.
//!
//! `lines` makes instructions of lines (directives, continuations, comments, heredocs), `parse` gives each its meaning,
//! `words` expands variables, `lint` knows what Docker advises against. All of it is pure and never panics, whatever the text.

mod error;
mod lines;
pub mod lint;
mod parse;
mod suggest;
#[cfg(test)]
mod tests;
pub mod words;

pub use error::SyntaxError;
pub use parse::parse_instruction;

use crate::container::Healthcheck;

/// The longest Dockerfile: generated ones of a few hundred kilobytes exist.
pub const SIZE_MAX: u64 = 4 << 20;

/// A whole file.
#[derive(Debug, Clone, PartialEq)]
pub struct Dockerfile {
    /// The character that continues lines and escapes.
    pub escape: char,
    /// `# check=…` as written.
    pub check: Option<String>,
    /// ARGs before the first FROM.
    pub global: Vec<Located>,
    /// The stages, in order.
    pub stages: Vec<Stage>,
}

/// What a FROM begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// The image or stage below, variables in it not expanded.
    pub from: String,
    /// Its name, in lower case.
    pub name: Option<String>,
    /// `--platform`, variables not expanded.
    pub platform: Option<String>,
    /// The FROM itself, as shown.
    pub text: String,
    /// Its line, from 1.
    pub line: usize,
    /// What follows.
    pub instructions: Vec<Located>,
}

/// An instruction and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Located {
    /// The line it begins at, from 1.
    pub line: usize,
    /// As shown to people: continuations joined.
    pub text: String,
    /// What it says.
    pub instruction: Instruction,
}

/// One instruction. Variables are expanded when it is carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Instruction {
    /// `ADD` and `COPY`.
    Transfer(Transfer),
    /// `ARG`: names with their defaults.
    Arg(Vec<(String, Option<String>)>),
    /// `CMD`.
    Cmd(Command),
    /// `ENTRYPOINT`.
    Entrypoint(Command),
    /// `ENV`: names and values.
    Env(Vec<(String, String)>),
    /// `EXPOSE`.
    Expose(Vec<String>),
    /// `HEALTHCHECK`.
    Healthcheck(Healthcheck),
    /// `LABEL`.
    Label(Vec<(String, String)>),
    /// `MAINTAINER`.
    Maintainer(String),
    /// `ONBUILD`: the instruction it keeps, as text.
    Onbuild(String),
    /// `RUN`.
    Run(Run),
    /// `SHELL`.
    Shell(Vec<String>),
    /// `STOPSIGNAL`.
    Stopsignal(String),
    /// `USER`.
    User(String),
    /// `VOLUME`.
    Volume(Vec<String>),
    /// `WORKDIR`.
    Workdir(String),
}

/// A command in one of its two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// For the shell.
    Shell(String),
    /// A JSON list: run as it is.
    Exec(Vec<String>),
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it, without quotes.
    pub name: String,
    /// As written after `<<`, quotes included.
    pub word: String,
    /// What stands between, tabs taken off if `<<-` said so.
    pub content: String,
    /// Whether variables in it are expanded.
    pub expand: bool,
}

/// What `RUN` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What runs.
    pub command: Command,
    /// Its here-documents.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`s as written.
    pub mounts: Vec<String>,
    /// `--network`.
    pub network: Option<String>,
    /// `--security`.
    pub security: Option<String>,
    /// `--device`s.
    pub devices: Vec<String>,
}

/// What `ADD` and `COPY` say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transfer {
    /// ADD: archives are unpacked, URLs fetched.
    pub add: bool,
    /// Sources that are paths or URLs.
    pub sources: Vec<String>,
    /// Sources that are here-documents.
    pub heredocs: Vec<Heredoc>,
    /// Where to.
    pub dest: String,
    /// `--from`.
    pub from: Option<String>,
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`s.
    pub exclude: Vec<String>,
    /// `--checksum`.
    pub checksum: Option<String>,
    /// `--keep-git-dir`.
    pub keep_git_dir: bool,
    /// `--unpack`.
    pub unpack: Option<bool>,
}

impl Dockerfile {
    /// Reads a whole file.
    ///
    /// # Errors
    /// What is wrong, at which line and column.
    pub fn parse(text: &[u8]) -> Result<Self, SyntaxError> {
        parse::parse(text)
    }
}
