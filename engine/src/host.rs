//! The host as we found it: what its kernel offers, what it lacks, and what Wharf does about each gap.

use crate::{Error, Instance, Result};
use serde::Serialize;

/// Something the host lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// What is missing.
    pub what: String,
    /// What that means for containers.
    pub consequence: String,
    /// What the administrator can do.
    pub remedy: String,
    /// Whether the server cannot work without it.
    pub fatal: bool,
}

/// Facts about this host, found once.
#[derive(Debug, Clone, Serialize)]
pub struct Host {
    /// `uname -r`.
    pub kernel: String,
    /// What is missing.
    pub gaps: Vec<Gap>,
}

impl Host {
    /// Looks at everything once. Blocks for some milliseconds.
    ///
    /// # Errors
    /// `Internal` when /proc cannot be read.
    pub fn probe(instance: &Instance) -> Result<Self> {
        let _ = instance;
        Err(Error::unsupported("probing the host"))
    }
}
