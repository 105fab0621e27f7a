//! Named volumes: a tenant's folders that outlive containers.

use jiff::Timestamp;
use std::collections::BTreeMap;

/// What to make.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct VolumeSpec {
    /// Its name; empty: a random one (an anonymous volume).
    pub name: String,
    /// `local` or empty.
    pub driver: String,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A volume as its tenant sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// `local`.
    pub driver: String,
    /// The folder on the host (root only).
    pub mountpoint: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
    /// Whether nobody named it.
    pub anonymous: bool,
    /// Containers that use it (running or not).
    pub users: usize,
}
