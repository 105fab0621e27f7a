//! Pages about logs, of containers that are gone as well.

use super::container::LogRow;
use super::page::Page;
use super::piece::When;
use askama::Template;

/// The list.
#[derive(Template)]
#[template(path = "logs.html")]
#[allow(missing_docs)]
pub struct LogList {
    pub page: Page,
    pub rows: Vec<LogInfo>,
    /// What becomes of logs of removed containers.
    pub retention: String,
}

/// What a log is.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct LogInfo {
    pub href: String,
    /// Its container's name.
    pub name: String,
    /// The first twelve characters.
    pub id: String,
    /// All of its container's id.
    pub full: String,
    pub generation: u32,
    /// Its container's page; empty: it is gone.
    pub container: String,
    pub image: String,
    pub from: When,
    pub to: When,
    pub size: String,
    pub removed: Option<When>,
    pub expires: Option<When>,
}

/// One log.
#[derive(Template)]
#[template(path = "log.html")]
#[allow(missing_docs)]
pub struct Log {
    pub page: Page,
    pub info: LogInfo,
    pub lines: Vec<LogRow>,
    /// Where earlier and later lines are; empty: there are none.
    pub older: String,
    pub newer: String,
}

/// The search, with or without an answer.
#[derive(Template)]
#[template(path = "log_search.html")]
#[allow(missing_docs)]
pub struct LogSearch {
    pub page: Page,
    pub query: String,
    pub regex: bool,
    pub ignore_case: bool,
    /// A container's name or id; empty: all.
    pub log: String,
    /// Names that can be chosen.
    pub logs: Vec<String>,
    pub since: String,
    pub until: String,
    pub stream: String,
    /// Lines around each hit.
    pub context: usize,
    pub oldest: bool,
    /// Whether there is an answer.
    pub asked: bool,
    pub hits: Vec<LogHit>,
    /// Where the search goes on (`?…`); empty: it is complete.
    pub more: String,
    pub notes: Vec<String>,
    /// What is wrong with what was asked; empty: nothing.
    pub error: String,
}

/// A line that was found, with those around it.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct LogHit {
    /// Its place in the log.
    pub href: String,
    pub name: String,
    pub lines: Vec<LogRow>,
}
