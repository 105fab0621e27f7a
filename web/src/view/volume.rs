//! Pages about volumes.

use super::page::Page;
use super::piece::{Fact, Field, When};
use askama::Template;

/// The list.
#[derive(Template)]
#[template(path = "volumes.html")]
#[allow(missing_docs)]
pub struct VolumeList {
    pub page: Page,
    pub rows: Vec<VolumeRow>,
    /// Said instead of the list when there can be none; empty: there can.
    pub unsupported: String,
}

/// One row.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct VolumeRow {
    pub href: String,
    pub name: String,
    pub anonymous: bool,
    pub users: usize,
    pub created: When,
}

/// One volume.
#[derive(Template)]
#[template(path = "volume.html")]
#[allow(missing_docs)]
pub struct VolumeDetail {
    pub page: Page,
    pub name: String,
    pub href: String,
    pub facts: Vec<Fact>,
    /// Containers that use it: address, name, where it is mounted.
    pub users: Vec<(String, String, String)>,
    pub labels: Vec<(String, String)>,
}

/// The form that makes one.
#[derive(Template)]
#[template(path = "volume_new.html")]
#[allow(missing_docs)]
pub struct VolumeNew {
    pub page: Page,
    pub name: Field,
    pub labels: Field,
    pub error: String,
}
