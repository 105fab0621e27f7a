//! What a worker is told, what it answers, and how far it may go.

use serde::{Deserialize, Serialize};

/// Longest path in an archive, as the kernel's PATH_MAX.
pub const PATH_MAX: usize = 4096;

/// One job, as it goes over the control socket together with its descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub enum Job {
    /// Make a user namespace and stay in it until the socket closes. Descriptors: none.
    Namespace,
    /// Unpack one layer, whiteouts as overlayfs wants them. Descriptors: user namespace, empty root, input.
    Layer(Limits),
    /// Unpack an archive into a tree in use. Descriptors: user namespace, root, input.
    Unpack {
        /// The folder under the root.
        path: String,
        /// How.
        options: super::UnpackOptions,
        /// How far.
        limits: Limits,
    },
    /// Pack a tree. Descriptors: user namespace, root, output, and for a layer the list of its opaque folders.
    Pack {
        /// Where it begins under the root.
        path: String,
        /// How.
        options: super::PackOptions,
        /// The root is an overlay's upper folder and the tar is a layer.
        layer: bool,
    },
    /// Look at a path. Descriptors: user namespace, root.
    Stat {
        /// Under the root.
        path: String,
    },
    /// Take a docker-archive or OCI layout apart: small files come back, others are written to the root by number.
    /// Descriptors: user namespace, empty root, input.
    Split(Limits),
    /// One thing done to a volume's files. Descriptors: user namespace, root, and what a content comes from or goes to.
    Browse(super::BrowseJob),
    /// What a build asks of a tree. Descriptors: user namespace, root, the job as JSON, and for a copy its source.
    Tree,
}

/// Where unpacking stops, whatever the archive says.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of all files.
    pub bytes: u64,
    /// Files, folders, links.
    pub entries: u64,
    /// Unpacked bytes per packed byte, once a gigabyte is there: an honest layer stays below.
    pub ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        // A million entries is four times the largest public image we know; gzip itself cannot exceed 1032:1.
        Self { bytes: 256 << 30, entries: 1_000_000, ratio: 500 }
    }
}

/// Below this many bytes no ratio is a bomb.
pub const RATIO_FROM: u64 = 1 << 30;

/// What came of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerReport {
    /// SHA-256 of the uncompressed tar.
    pub diff_id: crate::Digest,
    /// Bytes of the uncompressed tar.
    pub tar_size: u64,
    /// Bytes of its files.
    pub size: u64,
    /// How many entries.
    pub entries: u64,
    /// Folders that hide what is below them; the caller marks them, for a user namespace may not write trusted.* attributes.
    pub opaque: Vec<String>,
    /// Device nodes left out: in a user namespace there are none, and the mounts are nodev.
    pub devices: u64,
}

/// A file of a split archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SplitFile {
    /// Its name in the archive, `./` removed.
    pub name: String,
    /// For a link in the archive: what it points to, as a name in the archive.
    pub link: Option<String>,
    /// The file in the root that has its content.
    pub number: u64,
    /// SHA-256 of the content.
    pub digest: crate::Digest,
    /// Bytes.
    pub size: u64,
}

/// What lies at a path.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stat {
    pub name: String,
    pub size: i64,
    pub mode: u32,
    pub mtime_s: i64,
    pub mtime_ns: i32,
    pub link_target: String,
}

/// Why a job failed, in the worker's words.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
}

/// What the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The archive or request is wrong.
    Invalid,
    /// No such path.
    NotFound,
    /// Read-only, or ids outside the namespace.
    Forbidden,
    /// A limit, the quota or the disk.
    Exhausted,
    /// The kernel or we.
    Internal,
}

impl Failure {
    /// A wrong archive.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Invalid, message: message.into() }
    }

    /// A limit.
    pub fn exhausted(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Exhausted, message: message.into() }
    }

    /// A failed system call on a path.
    pub fn errno(doing: &str, path: &[u8], error: rustix::io::Errno) -> Self {
        use rustix::io::Errno;
        let kind = match error {
            Errno::NOENT => FailureKind::NotFound,
            Errno::NOTDIR | Errno::ISDIR | Errno::NAMETOOLONG | Errno::LOOP | Errno::XDEV => FailureKind::Invalid,
            Errno::ROFS | Errno::ACCESS | Errno::PERM => FailureKind::Forbidden,
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => FailureKind::Exhausted,
            _ => FailureKind::Internal,
        };
        // strerror's text as Go writes it, for clients that look for `not a directory`.
        let text = std::io::Error::from(error).to_string();
        let text = text.split(" (os error ").next().unwrap_or_default();
        let text = match text.split_at_checked(1) {
            Some((first, rest)) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{}{rest}", first.to_ascii_lowercase()),
            _ => text.to_owned(),
        };
        Self { kind, message: format!("{doing} {:?}: {text}", String::from_utf8_lossy(path)) }
    }
}

impl From<std::io::Error> for Failure {
    /// Errors of the stream being read: the archive is cut short or damaged, unless the kernel says otherwise.
    fn from(e: std::io::Error) -> Self {
        match e.downcast::<Stopped>() {
            Ok(stopped) => stopped.0,
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT)) => Failure::exhausted(e.to_string()),
            Err(e) if e.raw_os_error().is_some() => Failure { kind: FailureKind::Internal, message: e.to_string() },
            Err(e) => Failure::invalid(format!("the archive is damaged: {e}")),
        }
    }
}

/// A failure on its way through `std::io`.
#[derive(Debug)]
pub struct Stopped(pub Failure);

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Stopped {}

impl From<Failure> for std::io::Error {
    fn from(f: Failure) -> Self {
        std::io::Error::other(Stopped(f))
    }
}

impl From<Failure> for crate::Error {
    fn from(f: Failure) -> Self {
        let kind = match f.kind {
            FailureKind::Invalid => crate::Kind::Invalid,
            FailureKind::NotFound => crate::Kind::NotFound,
            FailureKind::Forbidden => crate::Kind::Forbidden,
            FailureKind::Exhausted => crate::Kind::Exhausted,
            FailureKind::Internal => crate::Kind::Internal,
        };
        crate::Error::new(kind, f.message)
    }
}
