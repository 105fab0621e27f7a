//! Pages about operations: long-running work that outlives the page that began it.

use super::page::Page;
use super::piece::{Badge, When};
use askama::Template;

/// The list.
#[derive(Template)]
#[template(path = "operations.html")]
#[allow(missing_docs)]
pub struct OperationList {
    pub page: Page,
    pub rows: Vec<OperationRow>,
}

/// One row.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct OperationRow {
    pub href: String,
    pub id: String,
    /// `Pull nginx:alpine`.
    pub title: String,
    pub badge: Badge,
    /// 0–100 where known.
    pub percent: Option<u8>,
    pub owner: String,
    pub started: When,
    /// `12 s`.
    pub took: String,
    pub running: bool,
    pub error: String,
}

/// One operation.
#[derive(Template)]
#[template(path = "operation.html")]
#[allow(missing_docs)]
pub struct OperationDetail {
    pub page: Page,
    pub row: OperationRow,
    pub parts: Vec<PartRow>,
    pub log: Vec<String>,
    /// Where to go when it has succeeded: address, words.
    pub next: Option<(String, String)>,
}

/// One part of it, a layer for instance.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct PartRow {
    pub id: String,
    pub status: String,
    /// `3.1 MB of 29 MB`.
    pub bytes: String,
    pub percent: Option<u8>,
    pub done: bool,
}
