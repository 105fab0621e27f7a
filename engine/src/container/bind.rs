//! Bind mounts: a host path becomes a descriptor once, with the rights of whoever asked, and the descriptor is mounted.
//! Nobody resolves the path again, so nothing can be put in its place between judgement and mount.
//!
//! In the own home of the requesting Unix account the path is opened *as that account*, without following links, and what
//! the container's user writes there belongs to that person. Under a grant it is opened by the engine, and ids in the
//! container are the same ids on disk.

use super::effective::{Propagation, ReadOnlyBelow, UserNamespace, user};
use super::record::Entry;
use crate::engine::Engine;
use crate::policy::BindAccess;
use crate::runtime::rootfs;
use crate::sys::account::as_account;
use crate::sys::inside::{is_directory, open_path, open_path_without_links};
use crate::sys::mount::{self, Attributes};
use crate::{Doing, Error, Result};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// One bind, as judged.
pub(super) struct Bind<'a> {
    pub target: &'a str,
    pub path: &'a Path,
    pub create: bool,
    pub recursive: bool,
    pub read_only: bool,
    pub read_only_below: ReadOnlyBelow,
    pub propagation: Propagation,
}

impl Engine {
    /// The detached mount of a bind, and whether it is a file.
    pub(super) async fn bind_mount(&self, entry: &Entry, bind: &Bind<'_>, who: &user::Credentials) -> Result<(OwnedFd, bool)> {
        let path = bind.path.to_owned();
        let account = match entry.fixed.binds.get(bind.target) {
            Some(BindAccess::HomeBind { account, .. }) => Some((account.uid, account.gid)),
            Some(BindAccess::Granted { .. } | BindAccess::Administrator) => None,
            None => return Err(Error::new(crate::Kind::Internal, format!("nobody judged the bind of {}", path.display()))),
        };
        self.bind_as(entry, bind, who, account).await
    }

    /// The same with the rights of an account (`None`: the engine's), for what was judged otherwise.
    pub(super) async fn bind_as(
        &self,
        entry: &Entry,
        bind: &Bind<'_>,
        who: &user::Credentials,
        account: Option<(u32, u32)>,
    ) -> Result<(OwnedFd, bool)> {
        let path = bind.path.to_owned();
        let create = bind.create;
        let source =
            tokio::task::spawn_blocking(move || open(&path, account, create)).await.doing(|| "opening a bind source".to_owned())??;
        let doing = || format!("mounting {}", bind.path.display());
        let file = !is_directory(source.as_fd()).doing(doing)?;
        let idmap = match (entry.fixed.effective.namespaces.user, account) {
            (UserNamespace::Host, _) => None,
            (_, Some(person)) => Some(self.person_namespace(entry.tenant, (who.uid, who.gid), person).await?),
            (_, None) => Some(self.block_namespace(entry.tenant).await?),
        };
        let propagation = match bind.propagation {
            Propagation::Shared | Propagation::RShared => libc::MS_SHARED,
            Propagation::Slave | Propagation::RSlave => libc::MS_SLAVE,
            Propagation::Private | Propagation::RPrivate => libc::MS_PRIVATE,
        };
        let attributes = Attributes {
            read_only: bind.read_only && bind.read_only_below == ReadOnlyBelow::No,
            // A setuid file or a device node that somebody puts on the host's disk must not work in the container either:
            // it would with the ids of the host's disk. /dev/null and its like are bound over files to empty them.
            no_suid: true,
            no_dev: !super::device::is_harmless(source.as_fd()).doing(doing)?,
            no_exec: false,
            idmap: idmap.as_ref().map(|fd| fd.as_fd()),
            propagation,
            recursive: bind.recursive,
        };
        let failed = |e: std::io::Error| {
            let text = format!("mounting {}: {e}: its file system must allow id-mapped mounts", bind.path.display());
            Error::new(crate::Kind::Internal, text).because(e)
        };
        let mount = match rootfs::bind(source.as_fd(), &attributes) {
            // devtmpfs, mqueue, proc and the like cannot be mapped. Unmapped their files belong to nobody in the container,
            // which gives less than a map would, never more. A home is not mounted that way: its ids are the point.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) && attributes.idmap.is_some() && account.is_none() => {
                rootfs::bind(source.as_fd(), &Attributes { idmap: None, ..attributes })
            }
            mounted => mounted,
        }
        .map_err(failed)?;
        if bind.read_only && bind.read_only_below != ReadOnlyBelow::No {
            let below = Attributes { read_only: true, recursive: bind.recursive, ..Attributes::default() };
            mount::set_attributes(mount.as_fd(), &below).map_err(failed)?;
        }
        Ok((mount, file))
    }
}

/// Whether a source is there, for whoever it was judged.
///
/// # Errors
/// `Invalid` with Docker's text when it is not.
pub(super) async fn is_there(path: &Path, access: Option<&BindAccess>) -> Result<()> {
    let path = path.to_owned();
    let account = match access {
        Some(BindAccess::HomeBind { account, .. }) => Some((account.uid, account.gid)),
        _ => None,
    };
    tokio::task::spawn_blocking(move || open(&path, account, false)).await.doing(|| "looking for a bind source".to_owned())?.map(drop)
}

/// Opens a path (O_PATH); makes the folder if it is missing and may be made.
fn open(path: &Path, account: Option<(u32, u32)>, create: bool) -> Result<OwnedFd> {
    let attempt = || match account {
        // Links are not followed: a link in a home may point anywhere.
        Some((uid, gid)) => as_account(uid, gid, || open_path_without_links(path)),
        None => open_path(path),
    };
    match attempt() {
        Ok(fd) => Ok(fd),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && create => {
            let make = || std::fs::create_dir_all(path);
            let made = match account {
                Some((uid, gid)) => as_account(uid, gid, make),
                None => make(),
            };
            made.map_err(|e| cannot(path, "making", &e))?;
            attempt().map_err(|e| cannot(path, "opening", &e))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::invalid(format!("invalid mount config for type \"bind\": bind source path does not exist: {}", path.display())))
        }
        Err(error) => Err(cannot(path, "opening", &error)),
    }
}

fn cannot(path: &Path, doing: &str, error: &std::io::Error) -> Error {
    let hint = match error.raw_os_error() {
        Some(libc::ELOOP) => ": symbolic links are not followed in a home, give the real path",
        Some(libc::EACCES) => ": your account may not go there",
        _ => "",
    };
    Error::invalid(format!("invalid mount config for type \"bind\": {doing} {}: {error}{hint}", path.display()))
}
