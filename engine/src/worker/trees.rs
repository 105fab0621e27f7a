//! What a build asks of trees: what a COPY would read (its digest), the COPY itself, a context without what it ignores,
//! folders for WORKDIR, and mount points that were made for a RUN only.
//!
//! Sources are picked by path or pattern under a root that is never left: each step is an `openat2` with RESOLVE_IN_ROOT.
//! Below a picked folder nothing is followed.

use super::job::Failure;
use super::tree::{RESOLVE, Tree, is_folder, names, split};
use super::{UnpackOptions, inflate, unpack};
use crate::build::ignore::{Patterns, expression};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::fs::File;
use std::io::{Read, Seek, Write};

/// Folders deeper than this no path can name.
const DEPTH_MAX: usize = 900;
/// Sources that patterns may pick.
const PICKED_MAX: usize = 100_000;

/// What to do with a tree.
#[derive(Debug, Serialize, Deserialize)]
pub enum TreeJob {
    /// Remove what these patterns of a `.dockerignore` match. Answer: nothing.
    Thin(Vec<String>),
    /// Digest of what is picked from the root. Answer: [`TreeDigest`].
    Digest(Selection),
    /// Copy what is picked from the source to the root. Answer: nothing.
    Copy(CopyPlan),
    /// Make a folder, and those above it. Answer: nothing.
    Folder {
        /// Absolute.
        path: String,
        /// Whose new ones are.
        owner: (u32, u32),
    },
    /// For each absolute path: the first of its folders, or itself, that is not there. Answer: a list of those.
    Missing(Vec<String>),
    /// Remove empty folders and empty files at these paths, where no link is on the way. Answer: nothing.
    Clear(Vec<String>),
}

/// What of a tree is meant.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Selection {
    /// Paths and patterns, as written.
    pub sources: Vec<String>,
    /// Keep the folders above each source.
    pub parents: bool,
    /// What is left out.
    pub exclude: Vec<String>,
    /// Whether a path above the root is an error (a context) or the root (a stage).
    pub strict: bool,
}

/// A COPY or ADD.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CopyPlan {
    /// What.
    pub selection: Selection,
    /// Files given by name and content: here-documents.
    pub documents: Vec<(String, String)>,
    /// Where to, absolute; a slash at its end makes it a folder.
    pub dest: String,
    /// Whose the copies are; `None`: as the source.
    pub owner: Option<(u32, u32)>,
    /// Their mode, octal or in chmod(1)'s words.
    pub mode: Option<String>,
    /// Unpack archives.
    pub unpack: bool,
}

/// What a selection holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TreeDigest {
    /// Of names, kinds, modes, owners, contents and attributes; not of times.
    pub digest: crate::Digest,
}

/// Does the job in the worker; gives the answer.
pub fn run(root: OwnedFd, source: Option<OwnedFd>, job: TreeJob) -> Result<serde_json::Value, Failure> {
    let nothing = serde_json::Value::Null;
    match job {
        TreeJob::Thin(patterns) => {
            let patterns = patterns_of(&patterns)?;
            thin(root.as_fd(), "", &patterns, 0)?;
            Ok(nothing)
        }
        TreeJob::Digest(selection) => Ok(serde_json::json!(TreeDigest { digest: digest(&root, &selection)? })),
        TreeJob::Copy(plan) => {
            let source = source.ok_or_else(|| Failure::invalid("a copy without a source"))?;
            Copying::new(root, &plan)?.run(&source, &plan)?;
            Ok(nothing)
        }
        TreeJob::Folder { path, owner } => {
            let mut tree = Tree::new(root);
            make_folders(&mut tree, &resolved(&path, false)?, owner)?;
            Ok(nothing)
        }
        TreeJob::Missing(paths) => {
            let mut missing = Vec::new();
            for path in paths {
                missing.extend(first_missing(&root, &path)?);
            }
            Ok(serde_json::json!(missing))
        }
        TreeJob::Clear(paths) => {
            for path in paths {
                clear(&root, &path);
            }
            Ok(nothing)
        }
    }
}

fn patterns_of(patterns: &[String]) -> Result<Patterns, Failure> {
    Patterns::new(patterns).map_err(|e| Failure::invalid(e.to_string()))
}

fn thin(folder: BorrowedFd<'_>, at: &str, patterns: &Patterns, depth: usize) -> Result<(), Failure> {
    if depth > DEPTH_MAX {
        return Err(Failure::invalid("folders are nested too deeply"));
    }
    for name in names(folder)? {
        let shown = String::from_utf8_lossy(&name).into_owned();
        let path = if at.is_empty() { shown } else { format!("{at}/{shown}") };
        let failed = |e| Failure::errno("looking at", path.as_bytes(), e);
        let stat = rustix::fs::statat(folder, &*name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let ignored = patterns.matches(&path);
        if !is_folder(&stat) {
            if ignored {
                rustix::fs::unlinkat(folder, &*name, AtFlags::empty()).map_err(failed)?;
            }
            continue;
        }
        let inner = open_folder(folder, &name).map_err(failed)?;
        if ignored && !patterns.has_exceptions() {
            empty(inner.as_fd(), depth + 1)?;
        } else {
            thin(inner.as_fd(), &path, patterns, depth + 1)?;
        }
        if ignored {
            match rustix::fs::unlinkat(folder, &*name, AtFlags::REMOVEDIR) {
                // Something in it is an exception.
                Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(e) => return Err(failed(e)),
            }
        }
    }
    Ok(())
}

fn empty(folder: BorrowedFd<'_>, depth: usize) -> Result<(), Failure> {
    if depth > DEPTH_MAX {
        return Err(Failure::invalid("folders are nested too deeply"));
    }
    for name in names(folder)? {
        let failed = |e| Failure::errno("removing", &name, e);
        let stat = rustix::fs::statat(folder, &*name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        if is_folder(&stat) {
            empty(open_folder(folder, &name).map_err(failed)?.as_fd(), depth + 1)?;
            rustix::fs::unlinkat(folder, &*name, AtFlags::REMOVEDIR).map_err(failed)?;
        } else {
            rustix::fs::unlinkat(folder, &*name, AtFlags::empty()).map_err(failed)?;
        }
    }
    Ok(())
}

fn open_folder(folder: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::empty())
}

/// A path without its first slash, `.` and `..`. Above the root is an error when `strict`, else the root.
fn resolved(path: &str, strict: bool) -> Result<Vec<u8>, Failure> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() && strict {
                    return Err(Failure::invalid(format!("forbidden path outside the build context: {path} ()")));
                }
            }
            part => parts.push(part),
        }
    }
    if path.contains('\0') || path.len() > super::job::PATH_MAX {
        return Err(Failure::invalid(format!("{path:?} is not a path")));
    }
    Ok(parts.join("/").into_bytes())
}

/// A source that was found.
struct Picked {
    /// The folder it is in; for the root itself, the root.
    parent: OwnedFd,
    /// Its name there; empty: `parent` itself.
    name: Vec<u8>,
    stat: Stat,
    /// Its name in a destination folder; with `parents`, its path.
    shown: Vec<u8>,
}

fn is_pattern(path: &[u8]) -> bool {
    path.iter().any(|b| matches!(b, b'*' | b'?' | b'['))
}

fn pick(root: &OwnedFd, selection: &Selection) -> Result<Vec<Picked>, Failure> {
    let mut picked = Vec::new();
    for source in &selection.sources {
        // `a/./b` with `parents`: what is before the dot is not kept.
        let pivot = if selection.parents { source.find("/./").map(|at| resolved(&source[..at], selection.strict)) } else { None };
        let pivot = pivot.transpose()?.unwrap_or_default();
        let path = resolved(source, selection.strict)?;
        let found = if is_pattern(&path) { expand(root, &path, selection.parents)? } else { vec![path.clone()] };
        if found.is_empty() {
            return Err(Failure::invalid(format!("no source files were specified: nothing matches {source:?}")));
        }
        for path in found {
            let missing = |e: Errno| match e {
                Errno::NOENT | Errno::NOTDIR => Failure {
                    kind: super::job::FailureKind::NotFound,
                    message: format!(
                        "file not found in build context or excluded by .dockerignore: stat {}: file does not exist",
                        String::from_utf8_lossy(&path)
                    ),
                },
                e => Failure::errno("opening", &path, e),
            };
            let mut one = locate(root, &path).map_err(missing)?;
            if selection.parents {
                let kept = path.strip_prefix(pivot.as_slice()).unwrap_or(&path);
                one.shown = kept.strip_prefix(b"/").unwrap_or(kept).to_vec();
            } else {
                one.shown = split(&path).1.to_vec();
            }
            picked.push(one);
            if picked.len() > PICKED_MAX {
                return Err(Failure::exhausted(format!("the patterns match more than {PICKED_MAX} files")));
            }
        }
    }
    Ok(picked)
}

/// What lies at a clean path, links followed within the root.
fn locate(root: &OwnedFd, path: &[u8]) -> rustix::io::Result<Picked> {
    let (folder, name) = split(path);
    let open = |path: &[u8], flags| {
        let path = if path.is_empty() { b".".as_slice() } else { path };
        rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), RESOLVE)
    };
    let parent = open(folder, OFlags::RDONLY | OFlags::DIRECTORY)?;
    if !name.is_empty() {
        let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if !is_folder(&stat) && FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Ok(Picked { parent, name: name.to_vec(), stat, shown: Vec::new() });
        }
    }
    // A folder, or a link: what it leads to is what is meant.
    match open(path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(folder) => {
            let stat = rustix::fs::fstat(&folder)?;
            Ok(Picked { parent: folder, name: Vec::new(), stat, shown: Vec::new() })
        }
        Err(Errno::NOTDIR) => {
            // A link to a file: opened through the kernel's own resolution, and copied by that descriptor.
            let file = open(path, OFlags::PATH)?;
            let stat = rustix::fs::fstat(&file)?;
            Ok(Picked {
                parent: open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?,
                name: b"\0".to_vec(),
                stat,
                shown: Vec::new(),
            })
        }
        Err(e) => Err(e),
    }
}

/// Paths that match a pattern, sorted. `*` stays within a name; `**` is for any depth, where `parents` allows it.
fn expand(root: &OwnedFd, pattern: &[u8], deep: bool) -> Result<Vec<Vec<u8>>, Failure> {
    let pattern = std::str::from_utf8(pattern).map_err(|_| Failure::invalid("a pattern is not UTF-8"))?;
    let mut found: Vec<Vec<u8>> = vec![Vec::new()];
    for part in pattern.split('/') {
        let mut next = Vec::new();
        let any_depth = deep && part == "**";
        let text = expression(part).ok_or_else(|| Failure::invalid(format!("syntax error in pattern: {pattern:?}")))?;
        let regex = regex::Regex::new(&text).map_err(|_| Failure::invalid(format!("syntax error in pattern: {pattern:?}")))?;
        for base in found {
            let join = |name: &[u8]| if base.is_empty() { name.to_vec() } else { [&base, b"/".as_slice(), name].concat() };
            if !is_pattern(part.as_bytes()) {
                next.push(join(part.as_bytes()));
                continue;
            }
            let Ok(here) = locate(root, &base) else { continue };
            if !is_folder(&here.stat) {
                continue;
            }
            if any_depth {
                next.push(base.clone());
                below(here.parent.as_fd(), &base, &mut next, 0)?;
                continue;
            }
            for name in names(here.parent.as_fd())? {
                if regex.is_match(&String::from_utf8_lossy(&name)) {
                    next.push(join(&name));
                }
            }
            if next.len() > PICKED_MAX {
                return Err(Failure::exhausted(format!("the patterns match more than {PICKED_MAX} files")));
            }
        }
        found = next;
    }
    // Parts after a pattern may lead nowhere.
    found.retain(|path| locate(root, path).is_ok());
    Ok(found)
}

fn below(folder: BorrowedFd<'_>, at: &[u8], found: &mut Vec<Vec<u8>>, depth: usize) -> Result<(), Failure> {
    if depth > DEPTH_MAX || found.len() > PICKED_MAX {
        return Err(Failure::exhausted("a pattern matches too much"));
    }
    for name in names(folder)? {
        if let Ok(inner) = open_folder(folder, &name) {
            let path = if at.is_empty() { name } else { [at, b"/", &*name].concat() };
            found.push(path.clone());
            below(inner.as_fd(), &path, found, depth + 1)?;
        }
    }
    Ok(())
}

/// Opens a picked or found file for reading; never waits, never follows.
fn open_file(folder: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(folder, name, flags, Mode::empty())?))
}

impl Picked {
    /// A picked file's content.
    fn file(&self) -> Result<File, Failure> {
        if self.name == b"\0" {
            // Once opened already; a second description, so that offsets do not meet.
            let mut file = File::from(self.parent.try_clone()?);
            file.rewind()?;
            return Ok(file);
        }
        open_file(self.parent.as_fd(), &self.name).map_err(|e| Failure::errno("opening", &self.shown, e))
    }
}

/// Attributes that belong to files rather than to their place.
fn xattrs(fd: BorrowedFd<'_>) -> Vec<(String, Vec<u8>)> {
    let mut list = vec![0u8; 64 * 1024];
    let Ok(n) = rustix::fs::flistxattr(fd, &mut list) else { return Vec::new() };
    let mut out = Vec::new();
    for name in list[..n].split(|b| *b == 0) {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if name != "security.capability" && (!name.starts_with("user.") || name.starts_with("user.overlay.")) {
            continue;
        }
        let mut value = vec![0u8; 64 * 1024];
        if let Ok(n) = rustix::fs::fgetxattr(fd, name, &mut value) {
            value.truncate(n);
            out.push((name.to_owned(), value));
        }
    }
    out.sort();
    out
}

/// Walks what is picked in a fixed order and feeds a hash.
struct Hashing {
    hash: sha2::Sha256,
    exclude: Patterns,
    buffer: Vec<u8>,
}

fn digest(root: &OwnedFd, selection: &Selection) -> Result<crate::Digest, Failure> {
    let mut hashing = Hashing { hash: sha2::Sha256::new(), exclude: patterns_of(&selection.exclude)?, buffer: vec![0; 128 * 1024] };
    for one in pick(root, selection)? {
        if is_folder(&one.stat) {
            hashing.head(if selection.parents { &one.shown } else { b"" }, &one.stat, one.parent.as_fd());
            hashing.folder(one.parent.as_fd(), b"", 0)?;
        } else if hashing.exclude.is_empty() || !hashing.exclude.matches(&String::from_utf8_lossy(split(&one.shown).1)) {
            if FileType::from_raw_mode(one.stat.st_mode) == FileType::RegularFile {
                let file = one.file()?;
                hashing.head(&one.shown, &one.stat, file.as_fd());
                hashing.content(file)?;
            } else {
                hashing.other(one.parent.as_fd(), &one.name, &one.shown, &one.stat)?;
            }
        }
    }
    Ok(crate::Digest::from_bytes(hashing.hash.finalize().into()))
}

impl Hashing {
    fn field(&mut self, bytes: &[u8]) {
        self.hash.update((bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
    }

    fn head(&mut self, path: &[u8], stat: &Stat, fd: BorrowedFd<'_>) {
        self.field(path);
        self.field(
            format!("{:o} {} {} {}", stat.st_mode, stat.st_uid, stat.st_gid, if is_folder(stat) { 0 } else { stat.st_size }).as_bytes(),
        );
        for (name, value) in xattrs(fd) {
            self.field(name.as_bytes());
            self.field(&value);
        }
    }

    fn content(&mut self, mut file: File) -> Result<(), Failure> {
        loop {
            let n = file.read(&mut self.buffer)?;
            if n == 0 {
                return Ok(());
            }
            self.hash.update(&self.buffer[..n]);
        }
    }

    fn other(&mut self, folder: BorrowedFd<'_>, name: &[u8], path: &[u8], stat: &Stat) -> Result<(), Failure> {
        self.field(path);
        self.field(format!("{:o} {} {} {}", stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev).as_bytes());
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            let target = rustix::fs::readlinkat(folder, name, Vec::new()).map_err(|e| Failure::errno("reading link", path, e))?;
            self.field(target.as_bytes());
        }
        Ok(())
    }

    fn folder(&mut self, folder: BorrowedFd<'_>, at: &[u8], depth: usize) -> Result<(), Failure> {
        if depth > DEPTH_MAX {
            return Err(Failure::invalid("folders are nested too deeply"));
        }
        for name in names(folder)? {
            let path = if at.is_empty() { name.clone() } else { [at, b"/", &*name].concat() };
            let failed = |e| Failure::errno("looking at", &path, e);
            let stat = rustix::fs::statat(folder, &*name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            let left_out = !self.exclude.is_empty() && self.exclude.matches(&String::from_utf8_lossy(&path));
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let inner = open_folder(folder, &name).map_err(failed)?;
                    if !left_out {
                        self.head(&path, &stat, inner.as_fd());
                    }
                    if !left_out || self.exclude.has_exceptions() {
                        self.folder(inner.as_fd(), &path, depth + 1)?;
                    }
                }
                _ if left_out => {}
                FileType::RegularFile => {
                    let file = open_file(folder, &name).map_err(failed)?;
                    self.head(&path, &stat, file.as_fd());
                    self.content(file)?;
                }
                FileType::Socket => {}
                _ => self.other(folder, &name, &path, &stat)?,
            }
        }
        Ok(())
    }
}

/// A copy at work.
struct Copying {
    root: OwnedFd,
    tree: Tree,
    exclude: Patterns,
    owner: Option<(u32, u32)>,
    mode: Option<ModeChange>,
    /// Who owns folders that are made on the way.
    maker: (u32, u32),
    /// Files with several names, by device and inode: where the first went.
    linked: std::collections::HashMap<(u64, u64), Vec<u8>>,
    folder_times: Vec<(Vec<u8>, Timespec)>,
    buffer: Vec<u8>,
}

impl Copying {
    fn new(root: OwnedFd, plan: &CopyPlan) -> Result<Self, Failure> {
        let again = root.try_clone()?;
        Ok(Self {
            root: again,
            tree: Tree::new(root),
            exclude: patterns_of(&plan.selection.exclude)?,
            owner: plan.owner,
            mode: plan.mode.as_deref().map(ModeChange::parse).transpose()?,
            maker: plan.owner.unwrap_or((0, 0)),
            linked: std::collections::HashMap::new(),
            folder_times: Vec::new(),
            buffer: vec![0; 128 * 1024],
        })
    }

    fn run(mut self, source: &OwnedFd, plan: &CopyPlan) -> Result<(), Failure> {
        let picked = pick(source, &plan.selection)?;
        let dest = resolved(&plan.dest, false)?;
        let count = picked.len() + plan.documents.len();
        let written_as_folder = plan.dest.ends_with('/') || plan.dest.ends_with("/.") || dest.is_empty();
        if count > 1 && !written_as_folder && !plan.selection.parents {
            return Err(Failure::invalid(
                "when using COPY with more than one source file, the destination must be a directory and end with a /",
            ));
        }
        let there = match locate(&self.root, &dest) {
            Ok(found) => Some(found.stat),
            // A file on the way is told when the folders are made.
            Err(Errno::NOENT | Errno::NOTDIR) => None,
            Err(e) => return Err(Failure::errno("looking at", &dest, e)),
        };
        let into = written_as_folder || plan.selection.parents || there.as_ref().is_some_and(is_folder);
        let target = |shown: &[u8]| {
            if !into {
                dest.clone()
            } else if dest.is_empty() {
                shown.to_vec()
            } else {
                [&dest, b"/".as_slice(), shown].concat()
            }
        };
        for one in &picked {
            if is_folder(&one.stat) {
                let to = if plan.selection.parents && !one.shown.is_empty() { target(&one.shown) } else { dest.clone() };
                if there.as_ref().is_some_and(|s| !is_folder(s)) {
                    return Err(Failure::invalid(format!("cannot copy to non-directory: {}", plan.dest)));
                }
                let made = make_folders(&mut self.tree, &to, self.maker)?;
                if made || plan.selection.parents {
                    self.folder_attributes(&to, &one.stat, one.parent.as_fd())?;
                }
                self.folder(one.parent.as_fd(), b"", &to, 0)?;
                continue;
            }
            if !self.exclude.is_empty() && self.exclude.matches(&String::from_utf8_lossy(split(&one.shown).1)) {
                continue;
            }
            if plan.unpack && FileType::from_raw_mode(one.stat.st_mode) == FileType::RegularFile && is_archive(one.file()?) {
                make_folders(&mut self.tree, &dest, self.maker)?;
                let options = UnpackOptions { owner: self.owner, ..UnpackOptions::default() };
                let limits = super::Limits::default();
                let base = dest.clone();
                unpack::archive(self.root.try_clone()?, base, inflate::inflate(one.file()?, limits), &options, limits)?;
                continue;
            }
            let to = target(&one.shown);
            make_folders(&mut self.tree, split(&to).0, self.maker)?;
            if FileType::from_raw_mode(one.stat.st_mode) == FileType::RegularFile {
                self.file(one.file()?, &one.stat, &to)?;
            } else {
                self.other(one.parent.as_fd(), &one.name, &one.stat, &to)?;
            }
        }
        for (name, content) in &plan.documents {
            let to = target(name.as_bytes());
            make_folders(&mut self.tree, split(&to).0, self.maker)?;
            let (folder, file_name) = split(&to);
            let folder = self.tree.folder(folder)?;
            let mut file = self.fresh(folder.as_fd(), file_name, &to)?;
            file.write_all(content.as_bytes())?;
            let (uid, gid) = self.maker;
            own(file.as_fd(), uid, gid, &to)?;
            let mode = self.mode.as_ref().map_or(0o644, |m| m.apply(0o644, false));
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(|e| Failure::errno("setting the mode of", &to, e))?;
        }
        for (path, time) in std::mem::take(&mut self.folder_times).into_iter().rev() {
            let folder = self.tree.folder(&path)?;
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::futimens(&folder, &times).map_err(|e| Failure::errno("setting the time of", &path, e))?;
        }
        Ok(())
    }

    /// A new file; what lies there goes, unless it is a folder.
    fn fresh(&mut self, folder: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<File, Failure> {
        self.replace(folder, name, path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(
            rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o600)).map_err(|e| Failure::errno("making file", path, e))?,
        ))
    }

    fn replace(&mut self, folder: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<(), Failure> {
        match self.tree.kind(folder, name)? {
            None => Ok(()),
            Some(stat) if is_folder(&stat) => {
                Err(Failure::invalid(format!("cannot overwrite directory {:?} with a file", String::from_utf8_lossy(path))))
            }
            Some(_) => self.tree.remove(folder, name),
        }
    }

    fn folder(&mut self, from: BorrowedFd<'_>, at: &[u8], to: &[u8], depth: usize) -> Result<(), Failure> {
        if depth > DEPTH_MAX {
            return Err(Failure::invalid("folders are nested too deeply"));
        }
        for name in names(from)? {
            let path = if at.is_empty() { name.clone() } else { [at, b"/", &*name].concat() };
            let target = if to.is_empty() { name.clone() } else { [to, b"/", &*name].concat() };
            let failed = |e| Failure::errno("looking at", &path, e);
            let stat = rustix::fs::statat(from, &*name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            let left_out = !self.exclude.is_empty() && self.exclude.matches(&String::from_utf8_lossy(&path));
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let inner = open_folder(from, &name).map_err(failed)?;
                    if !left_out {
                        let (parent, _) = split(&target);
                        let parent = self.tree.folder(parent)?;
                        match self.tree.kind(parent.as_fd(), &name)? {
                            Some(there) if !is_folder(&there) && FileType::from_raw_mode(there.st_mode) != FileType::Symlink => {
                                let shown = String::from_utf8_lossy(&target);
                                return Err(Failure::invalid(format!("cannot copy to non-directory: /{shown}")));
                            }
                            _ => {}
                        }
                        self.tree.folder(&target)?;
                        self.folder_attributes(&target, &stat, inner.as_fd())?;
                    }
                    if !left_out || self.exclude.has_exceptions() {
                        self.folder(inner.as_fd(), &path, &target, depth + 1)?;
                    }
                }
                _ if left_out => {}
                FileType::RegularFile => {
                    if stat.st_nlink > 1 {
                        if let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino)).cloned() {
                            self.link(&first, &target)?;
                            continue;
                        }
                        self.linked.insert((stat.st_dev, stat.st_ino), target.clone());
                    }
                    let file = open_file(from, &name).map_err(failed)?;
                    self.file(file, &stat, &target)?;
                }
                FileType::Socket => {}
                _ => self.other(from, &name, &stat, &target)?,
            }
        }
        Ok(())
    }

    fn link(&mut self, first: &[u8], to: &[u8]) -> Result<(), Failure> {
        let (folder, name) = split(to);
        let folder = self.tree.folder(folder)?;
        self.replace(folder.as_fd(), name, to)?;
        let (first_folder, first_name) = split(first);
        let first_folder = self.tree.folder(first_folder)?;
        rustix::fs::linkat(&first_folder, first_name, &folder, name, AtFlags::empty())
            .map_err(|e| Failure::errno("making hard link", to, e))
    }

    fn ids(&self, stat: &Stat) -> (u32, u32) {
        self.owner.unwrap_or((stat.st_uid, stat.st_gid))
    }

    fn mode(&self, stat: &Stat) -> u32 {
        let mode = stat.st_mode & 0o7777;
        self.mode.as_ref().map_or(mode, |m| m.apply(mode, is_folder(stat)))
    }

    fn folder_attributes(&mut self, path: &[u8], stat: &Stat, from: BorrowedFd<'_>) -> Result<(), Failure> {
        let folder = self.tree.folder(path)?;
        let (uid, gid) = self.ids(stat);
        own(folder.as_fd(), uid, gid, path)?;
        rustix::fs::fchmod(&folder, Mode::from_raw_mode(self.mode(stat))).map_err(|e| Failure::errno("setting the mode of", path, e))?;
        set_xattrs(folder.as_fd(), xattrs(from), path)?;
        self.folder_times.push((path.to_vec(), mtime(stat)));
        Ok(())
    }

    fn file(&mut self, mut from: File, stat: &Stat, to: &[u8]) -> Result<(), Failure> {
        let (folder, name) = split(to);
        let folder = self.tree.folder(folder)?;
        let mut file = self.fresh(folder.as_fd(), name, to)?;
        loop {
            let n = from.read(&mut self.buffer)?;
            if n == 0 {
                break;
            }
            file.write_all(&self.buffer[..n])?;
        }
        let (uid, gid) = self.ids(stat);
        own(file.as_fd(), uid, gid, to)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(self.mode(stat))).map_err(|e| Failure::errno("setting the mode of", to, e))?;
        set_xattrs(file.as_fd(), xattrs(from.as_fd()), to)?;
        let times = Timestamps { last_access: mtime(stat), last_modification: mtime(stat) };
        rustix::fs::futimens(&file, &times).map_err(|e| Failure::errno("setting the time of", to, e))
    }

    /// Links and fifos; there are no devices in a user namespace.
    fn other(&mut self, from: BorrowedFd<'_>, from_name: &[u8], stat: &Stat, to: &[u8]) -> Result<(), Failure> {
        let (folder, name) = split(to);
        let folder = self.tree.folder(folder)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, from_name, Vec::new()).map_err(|e| Failure::errno("reading link", to, e))?;
                self.replace(folder.as_fd(), name, to)?;
                rustix::fs::symlinkat(&*target, &folder, name).map_err(|e| Failure::errno("making symlink", to, e))?;
            }
            FileType::Fifo => {
                self.replace(folder.as_fd(), name, to)?;
                rustix::fs::mknodat(&folder, name, FileType::Fifo, Mode::from_raw_mode(self.mode(stat)), 0)
                    .map_err(|e| Failure::errno("making fifo", to, e))?;
            }
            _ => return Ok(()),
        }
        let (uid, gid) = self.ids(stat);
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(&folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| Failure::errno("setting the owner of", to, e))?;
        let times = Timestamps { last_access: mtime(stat), last_modification: mtime(stat) };
        rustix::fs::utimensat(&folder, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| Failure::errno("setting the time of", to, e))
    }
}

fn mtime(stat: &Stat) -> Timespec {
    Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec.try_into().unwrap_or(0) }
}

fn own(fd: BorrowedFd<'_>, uid: u32, gid: u32, path: &[u8]) -> Result<(), Failure> {
    rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(|e| match e {
        Errno::INVAL => Failure::invalid(format!(
            "{:?} would belong to {uid}:{gid}, but containers have the ids 0 to 65535 only",
            String::from_utf8_lossy(path)
        )),
        e => Failure::errno("setting the owner of", path, e),
    })
}

fn set_xattrs(fd: BorrowedFd<'_>, list: Vec<(String, Vec<u8>)>, path: &[u8]) -> Result<(), Failure> {
    for (name, value) in list {
        match rustix::fs::fsetxattr(fd, name.as_str(), &value, XattrFlags::empty()) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::PERM) if name != "security.capability" => {}
            Err(e) => return Err(Failure::errno(&format!("setting {name} of"), path, e)),
        }
    }
    Ok(())
}

/// Makes a folder and those above it that are missing, each of `owner`. Whether the last one is new.
fn make_folders(tree: &mut Tree, path: &[u8], owner: (u32, u32)) -> Result<bool, Failure> {
    let mut made = false;
    let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).chain((!path.is_empty()).then_some(path.len()));
    for end in ends {
        let (parent, name) = split(&path[..end]);
        let parent = tree.folder(parent)?;
        made = tree.kind(parent.as_fd(), name)?.is_none();
        let folder = tree.folder(&path[..end]).map_err(|e| match e.kind {
            super::job::FailureKind::Invalid => {
                Failure::invalid(format!("cannot make directory /{}: a file is in the way", String::from_utf8_lossy(&path[..end])))
            }
            _ => e,
        })?;
        if made {
            own(folder.as_fd(), owner.0, owner.1, path)?;
        }
    }
    Ok(made)
}

/// The first part of a path that is not there; `None`: all of it is.
fn first_missing(root: &OwnedFd, path: &str) -> Result<Option<String>, Failure> {
    let clean = resolved(path, false)?;
    for end in clean.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).chain([clean.len()]) {
        let part = &clean[..end];
        if part.is_empty() {
            continue;
        }
        match rustix::fs::openat2(root, part, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), RESOLVE) {
            Ok(_) => {}
            Err(Errno::NOENT) => return Ok(Some(String::from_utf8_lossy(part).into_owned())),
            // A file or a link in the way: whoever mounts there will say so.
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}

/// Removes an empty folder or file, and nothing else: a link on the way, or something put into it, leaves all as it is
/// (CVE-2024-23652).
fn clear(root: &OwnedFd, path: &str) {
    let Ok(clean) = resolved(path, false) else { return };
    let (folder, name) = split(&clean);
    if name.is_empty() {
        return;
    }
    let folder = if folder.is_empty() { b".".as_slice() } else { folder };
    let resolve = rustix::fs::ResolveFlags::BENEATH | rustix::fs::ResolveFlags::NO_SYMLINKS | rustix::fs::ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(folder) = rustix::fs::openat2(root, folder, flags, Mode::empty(), resolve) else { return };
    let Ok(stat) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else { return };
    let flags = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => AtFlags::REMOVEDIR,
        FileType::RegularFile if stat.st_size == 0 => AtFlags::empty(),
        _ => return,
    };
    // Not empty: then somebody uses it, and it stays.
    let _ = rustix::fs::unlinkat(&folder, name, flags);
}

/// Whether a file is a tar, plain or compressed: its first block must be a header whose sum is right.
fn is_archive(file: File) -> bool {
    let mut first = [0u8; 512];
    if inflate::inflate(file, super::Limits::default()).read_exact(&mut first).is_err() {
        return false;
    }
    let header = tar::Header::from_byte_slice(&first);
    let sum: u32 = first.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) }).sum();
    header.cksum().is_ok_and(|said| said == sum) && first.iter().any(|b| *b != 0)
}

/// A mode as chmod(1) takes it.
#[derive(Debug, PartialEq)]
enum ModeChange {
    Set(u32),
    Clauses(Vec<Clause>),
}

#[derive(Debug, PartialEq)]
struct Clause {
    /// Which of user, group, others, as bits 0o700, 0o070, 0o007.
    who: u32,
    op: char,
    /// `rwx` as 7; special bits apart.
    bits: u32,
    /// `X`: execute where it is a folder or executable already.
    conditional: bool,
    special: u32,
}

impl ModeChange {
    fn parse(text: &str) -> Result<Self, Failure> {
        let bad = || Failure::invalid(format!("invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"));
        if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
            let mode = u32::from_str_radix(text, 8).map_err(|_| bad())?;
            return if mode <= 0o7777 { Ok(Self::Set(mode)) } else { Err(bad()) };
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            let op_at = part.find(['+', '-', '=']).ok_or_else(bad)?;
            let mut who = 0;
            for c in part[..op_at].chars() {
                who |= match c {
                    'u' => 0o700,
                    'g' => 0o070,
                    'o' => 0o007,
                    'a' => 0o777,
                    _ => return Err(bad()),
                };
            }
            if who == 0 {
                who = 0o777;
            }
            let op = part[op_at..].chars().next().ok_or_else(bad)?;
            let mut clause = Clause { who, op, bits: 0, conditional: false, special: 0 };
            for c in part[op_at + 1..].chars() {
                match c {
                    'r' => clause.bits |= 0o444,
                    'w' => clause.bits |= 0o222,
                    'x' => clause.bits |= 0o111,
                    'X' => clause.conditional = true,
                    's' => clause.special |= (if who & 0o700 != 0 { 0o4000 } else { 0 }) | (if who & 0o070 != 0 { 0o2000 } else { 0 }),
                    't' => clause.special |= 0o1000,
                    _ => return Err(bad()),
                }
            }
            clauses.push(clause);
        }
        Ok(Self::Clauses(clauses))
    }

    fn apply(&self, mode: u32, folder: bool) -> u32 {
        match self {
            Self::Set(mode) => *mode,
            Self::Clauses(clauses) => clauses.iter().fold(mode, |mode, c| {
                let mut bits = c.bits;
                if c.conditional && (folder || mode & 0o111 != 0) {
                    bits |= 0o111;
                }
                let bits = bits & c.who | c.special;
                match c.op {
                    '+' => mode | bits,
                    '-' => mode & !bits,
                    _ => mode & !c.who | bits,
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_chmods() {
        for (text, before, folder, after) in [
            ("755", 0o644, false, 0o755),
            ("0644", 0o755, true, 0o644),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("+x", 0o644, false, 0o755),
            ("go-w", 0o666, false, 0o644),
            ("a=r", 0o777, false, 0o444),
            ("u+s", 0o755, false, 0o4755),
            ("g+s,+t", 0o755, true, 0o3755),
        ] {
            assert_eq!(ModeChange::parse(text).unwrap().apply(before, folder), after, "{text}");
        }
        for bad in ["", "8", "99999", "u", "z+x", "u+q", "u=rw,", "-1"] {
            assert!(ModeChange::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_above_a_context_are_errors_and_above_a_stage_its_root() {
        assert!(resolved("../x", true).is_err() && resolved("a/../../x", true).is_err());
        assert_eq!(resolved("../x", false).unwrap(), b"x");
        assert_eq!(resolved("/a/./b/../c/", true).unwrap(), b"a/c");
    }
}
