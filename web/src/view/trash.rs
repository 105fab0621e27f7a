//! Pages about what was removed and can be restored.

use super::page::Page;
use super::piece::{Fact, Field, When};
use askama::Template;

/// The list.
#[derive(Template)]
#[template(path = "trash.html")]
#[allow(missing_docs)]
pub struct TrashList {
    pub page: Page,
    /// How many and how much; empty: nothing.
    pub summary: String,
    pub rows: Vec<TrashRow>,
    /// Whether this server keeps nothing.
    pub off: bool,
}

/// One row.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct TrashRow {
    pub href: String,
    pub name: String,
    pub anonymous: bool,
    pub size: String,
    pub removed: When,
    pub until: When,
    pub by: String,
}

/// One removed volume, with the form that restores it.
#[derive(Template)]
#[template(path = "trash_one.html")]
#[allow(missing_docs)]
pub struct TrashDetail {
    pub page: Page,
    pub href: String,
    pub name: String,
    pub facts: Vec<Fact>,
    pub labels: Vec<(String, String)>,
    /// Under which name it is restored.
    pub new_name: Field,
    pub error: String,
}
