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

/// A folder of a volume.
#[derive(Template)]
#[template(path = "volume_files.html")]
#[allow(missing_docs)]
pub struct VolumeFiles {
    pub page: Page,
    /// The folder's name; of the volume itself, the volume's.
    pub title: String,
    /// The volume's page, and its name.
    pub volume: (String, String),
    /// The folders down to this one: address and name, the volume itself first.
    pub crumbs: Vec<(String, String)>,
    pub path: String,
    pub rows: Vec<FileRow>,
    /// How many more there are than rows.
    pub left_out: usize,
    pub download: String,
    pub upload: String,
    pub make_folder: String,
}

/// Something in a folder. An address is empty where there is nothing to open, download or remove.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct FileRow {
    pub name: String,
    pub folder: bool,
    pub open: String,
    pub download: String,
    pub remove: String,
    pub size: String,
    pub mode: String,
    pub owner: String,
    pub modified: When,
    pub target: String,
}
