//! Pages about images.

use super::page::{Column, Page};
use super::piece::{Fact, Field, When};
use askama::Template;

/// The list.
#[derive(Template)]
#[template(path = "images.html")]
#[allow(missing_docs)]
pub struct ImageList {
    pub page: Page,
    pub rows: Vec<ImageRow>,
    pub columns: Vec<Column>,
    pub query: String,
    pub sort: String,
    pub total: usize,
    /// `1.2 GB in 7 images`.
    pub summary: String,
}

/// One row.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ImageRow {
    pub href: String,
    pub id: String,
    /// Its names; empty: it has none.
    pub names: Vec<String>,
    pub platform: String,
    pub size: String,
    pub created: When,
    /// Containers made from it.
    pub used_by: usize,
}

/// One image.
#[derive(Template)]
#[template(path = "image.html")]
#[allow(missing_docs)]
pub struct ImageDetail {
    pub page: Page,
    pub name: String,
    pub href: String,
    /// Where a container of it is made.
    pub run: String,
    pub names: Vec<String>,
    pub facts: Vec<Fact>,
    pub config: Vec<Fact>,
    pub env: Vec<String>,
    pub history: Vec<HistoryRow>,
    /// Containers made from it: address, name.
    pub used_by: Vec<(String, String)>,
}

/// One step of how it was made.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct HistoryRow {
    pub step: String,
    pub size: String,
    pub when: When,
}

/// The form that pulls one.
#[derive(Template)]
#[template(path = "image_pull.html")]
#[allow(missing_docs)]
pub struct ImagePull {
    pub page: Page,
    pub image: Field,
    pub platform: Field,
    pub username: Field,
    pub password: Field,
}
