//! What the engine tells of an image.

use crate::id::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The part of an image's configuration that containers inherit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// `user[:group]`.
    pub user: String,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// The command.
    pub cmd: Option<Vec<String>>,
    /// The entry point.
    pub entrypoint: Option<Vec<String>>,
    /// The working directory.
    pub working_dir: String,
    /// Labels: data, never interpreted.
    pub labels: BTreeMap<String, String>,
    /// Paths that get an anonymous volume.
    pub volumes: Vec<String>,
    /// Ports it listens on.
    pub exposed_ports: Vec<crate::container::spec::ContainerPort>,
    /// The signal `stop` sends.
    pub stop_signal: Option<String>,
    /// The health check.
    pub healthcheck: Option<crate::container::spec::Healthcheck>,
    /// The shell of shell-form instructions.
    pub shell: Option<Vec<String>>,
    /// Instructions for images built on it.
    pub on_build: Vec<String>,
    /// Windows' flag for pre-escaped arguments (only echoed).
    pub args_escaped: bool,
}

/// An image as one tenant sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Digest of its configuration: Docker's image id.
    pub id: Digest,
    /// `repo:tag` names in familiar form (`alpine:latest`), this tenant's only.
    pub tags: Vec<String>,
    /// `repo@sha256:…` names in familiar form.
    pub digests: Vec<String>,
    /// The image it was committed or built from, if it is here.
    pub parent: Option<Digest>,
    /// When it was made, as its configuration says.
    pub created: Option<jiff::Timestamp>,
    /// Author.
    pub author: String,
    /// Comment.
    pub comment: String,
    /// `amd64`, ….
    pub architecture: String,
    /// `v8`, ….
    pub variant: String,
    /// `linux`.
    pub os: String,
    /// What containers inherit.
    pub config: ImageConfig,
    /// Uncompressed digests of the layers, lowest first.
    pub diff_ids: Vec<Digest>,
    /// Bytes of its unpacked layers.
    pub size: u64,
    /// When this tenant last named it.
    pub last_tagged: Option<jiff::Timestamp>,
    /// How it was made, oldest first.
    pub history: Vec<History>,
}

/// One step of how an image was made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When.
    pub created: Option<jiff::Timestamp>,
    /// By what.
    pub created_by: String,
    /// Author.
    pub author: String,
    /// Comment.
    pub comment: String,
    /// Whether it made no layer.
    pub empty_layer: bool,
    /// Bytes of its layer.
    pub size: u64,
}
