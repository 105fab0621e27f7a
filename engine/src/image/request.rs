//! What callers ask of images.

use crate::id::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Credentials for a registry, as `X-Registry-Auth` carries them. Never logged.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegistryAuth {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// OAuth refresh token.
    pub identity_token: String,
    /// Bearer token.
    pub registry_token: String,
    /// The registry they are for.
    pub server_address: String,
}

impl std::fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryAuth").field("server_address", &self.server_address).finish_non_exhaustive()
    }
}

/// What to pull.
#[derive(Debug, Clone, Default)]
pub struct PullRequest {
    /// `fromImage`: a name, possibly with tag or digest.
    pub image: String,
    /// `tag`: a tag or digest; empty: all tags (if `image` has none).
    pub tag: String,
    /// `os/arch[/variant]`.
    pub platform: Option<String>,
    /// Credentials.
    pub auth: Option<RegistryAuth>,
}

/// Which images a list shows.
#[derive(Debug, Clone, Default)]
pub struct ImageFilter {
    /// Also intermediate ones.
    pub all: bool,
    /// Docker's filters: key → values. Unknown keys are an error.
    pub filters: BTreeMap<String, Vec<String>>,
}

/// What became of a name or an image on removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// A name no longer points to it.
    Untagged(String),
    /// The image or a layer is gone.
    Deleted(Digest),
}
