//! `RUN --mount=type=ssh`: a socket of the build's own in the step, each connection to it a conversation with the client's
//! agent. The keys never leave the client, and nothing but this build's steps can reach the socket.

use super::work::Work;
use crate::{Doing, Error, Result};
use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use tokio::net::UnixListener;
use tokio_util::task::AbortOnDropHandle;

/// Conversations of one agent at the same time: git and ssh open one each.
const CONVERSATIONS: usize = 32;

/// The agents of a build: their sockets, each with the task that listens, which ends with the build.
#[derive(Default)]
pub(super) struct Agents {
    sockets: HashMap<Wanted, (PathBuf, AbortOnDropHandle<()>)>,
}

/// An agent's id, and the socket's mode and owner.
type Wanted = (String, u32, (u32, u32));

impl Work {
    /// A socket that leads to the client's agent `id`; `None`: the client forwards none.
    pub(super) async fn agent(&mut self, id: &str, mode: u32, (uid, gid): (u32, u32)) -> Result<Option<PathBuf>> {
        let key = (id.to_owned(), mode, (uid, gid));
        if let Some((path, _)) = self.agents.sockets.get(&key) {
            return Ok(Some(path.clone()));
        }
        let Some(client) = self.request.client.clone() else { return Ok(None) };
        if !client.has_agent(id).await? {
            return Ok(None);
        }
        let name = format!("agent-{}", self.agents.sockets.len());
        let path = self.folder.path.join(&name);
        let doing = || "making a socket for an SSH agent".to_owned();
        // A socket's address is short; the folder's descriptor makes any path so.
        let folder = std::fs::File::open(&self.folder.path).doing(doing)?;
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd())).doing(doing)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).doing(doing)?;
        let own = |n: u32| self.base.checked_add(n).filter(|_| n < 65_536).ok_or_else(|| Error::invalid(format!("invalid id {n}")));
        chown(&path, Some(own(uid)?), Some(own(gid)?)).doing(doing)?;
        let id = id.to_owned();
        let listening = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                while open.try_join_next().is_some() {}
                if open.len() >= CONVERSATIONS {
                    continue;
                }
                let (client, id) = (client.clone(), id.clone());
                open.spawn(async move {
                    let outcome = async {
                        let mut agent = client.agent(&id).await?;
                        tokio::io::copy_bidirectional(&mut stream, &mut agent).await.doing(|| "speaking with an SSH agent".to_owned())
                    };
                    if let Err(error) = outcome.await {
                        tracing::debug!(?error, "a conversation with an SSH agent broke off");
                    }
                });
            }
        });
        self.agents.sockets.insert(key, (path.clone(), AbortOnDropHandle::new(listening)));
        Ok(Some(path))
    }
}
