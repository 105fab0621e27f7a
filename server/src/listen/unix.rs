//! Unix sockets: bound under a new name and renamed into place, so that there is never a moment without a socket; open to
//! every account (0666), because the kernel says who is calling.

use super::bounds::Source;
use super::connection::{HEADERS_LOCAL, Serving};
use crate::auth::Peer;
use engine::{Doing, Error, Result, TenantId};
use std::fs::Permissions;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

/// A bound socket. Its file is removed when dropped, unless another server has put its own there since.
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

/// Whose requests a socket brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// The Unix account's user.
    ForAccount,
    /// The tenant.
    ForTenant(TenantId),
}

impl Socket {
    /// Binds.
    ///
    /// # Errors
    /// `Conflict` when somebody else answers there, or when something that is no socket lies there.
    pub fn bind(path: &Path) -> Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let doing = || format!("binding {}", path.display());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).doing(doing)?;
        }
        if let Ok(there) = std::fs::symlink_metadata(path) {
            if !there.file_type().is_socket() {
                return Err(Error::conflict(format!(
                    "{} exists and is no socket: move it away, or choose another --socket",
                    path.display()
                )));
            }
            // A socket file outlives its server; only one that answers is in use.
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(Error::conflict(format!("another server answers on {}: choose another --socket", path.display())));
            }
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let fresh = path.with_file_name(name);
        match std::fs::remove_file(&fresh) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).doing(doing),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh).doing(doing)?;
        std::fs::set_permissions(&fresh, Permissions::from_mode(0o666)).doing(doing)?;
        let inode = std::fs::symlink_metadata(&fresh).doing(doing)?.ino();
        std::fs::rename(&fresh, path).doing(doing)?;
        Ok(Self { listener, path: path.to_owned(), inode })
    }

    /// Accepts until then.
    pub async fn serve(self, speaks: Speaks, serving: Serving, until: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = until.cancelled() => return,
            };
            let (stream, _) = match accepted {
                Ok(accepted) => accepted,
                Err(e) => {
                    // Out of file descriptors, most likely: wait for some to come back instead of spinning.
                    tracing::warn!(error = %e, "accepting a connection on the Unix socket failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(credentials) = stream.peer_cred() else { continue };
            let (uid, gid) = (credentials.uid(), credentials.gid());
            let peer = match speaks {
                Speaks::ForAccount => Peer::Unix { uid, gid },
                Speaks::ForTenant(tenant) => Peer::Tenant { tenant, uid, gid },
            };
            let Some(place) = serving.bounds.take(Source::Uid(uid)) else {
                tracing::warn!(uid, "too many connections: one more was closed");
                continue;
            };
            let connection = serving.clone().connection(stream, peer, HEADERS_LOCAL);
            serving.connections.spawn(async move {
                connection.await;
                drop(place);
            });
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        use std::os::unix::fs::MetadataExt;
        if std::fs::symlink_metadata(&self.path).is_ok_and(|m| m.ino() == self.inode) {
            // If it stays, the next start takes it for stale and replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
