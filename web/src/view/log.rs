//! Pages about logs, of containers that are gone as well.

use super::container::LogRow;
use super::page::{Choice, Page};
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
    /// 100, 500, 2000.
    pub tails: Vec<Choice>,
    /// Said when the log cannot be read further; empty: it can.
    pub unreadable: String,
}
