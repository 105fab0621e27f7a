//! Root file systems and the user namespaces that mounts are seen through.

use super::record::Entry;
use crate::engine::Engine;
use crate::runtime::rootfs::Layers;
use crate::{Doing, Result, TenantId};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Idmapped layers and persons' user namespaces that are kept for the next container.
#[derive(Default)]
pub(crate) struct Roots {
    layers: Layers,
    /// A person's ids on disk as one id of a container: block, ids inside, ids on disk.
    persons: Mutex<HashMap<[u32; 5], Arc<OwnedFd>>>,
}

impl Roots {
    /// Lets go of layers whose folders are gone.
    pub fn forget_removed(&self) {
        self.layers.retain(std::path::Path::exists);
    }
}

impl Engine {
    /// The container's root file system as a detached mount: its image's layers with the tenant's ids, under its writable
    /// layer. Only one may be mounted at a time (overlayfs.rst: a shared upper is undefined).
    pub(super) async fn container_root(&self, entry: &Entry) -> Result<OwnedFd> {
        let folder = self.container_folder(&entry.id);
        let own_ids = entry.fixed.effective.namespaces.user != super::effective::UserNamespace::Host;
        let namespace = if own_ids { Some(self.block_namespace(entry.tenant).await?) } else { None };
        self.overlay(entry.fixed.layers.clone(), folder, namespace)
    }

    /// Layers (lowest first) under `folder/upper`, with `folder/work` beside it, as a detached mount. `namespace`: how the
    /// layers' ids are seen; `None`: as they are on disk.
    pub(crate) fn overlay(&self, mut layers: Vec<PathBuf>, folder: PathBuf, namespace: Option<Arc<OwnedFd>>) -> Result<OwnedFd> {
        if layers.is_empty() {
            layers.push(self.empty_folder()?);
        }
        // One layer may be in an image twice; overlayfs refuses that (ELOOP), and the upper one covers all of the lower.
        let mut seen = std::collections::HashSet::new();
        layers.reverse();
        layers.retain(|layer| seen.insert(layer.clone()));
        layers.reverse();
        // A handful of system calls, 0.15 ms: a thread to block on costs more, and on a busy machine far more.
        let namespace = namespace.as_ref().map(|fd| fd.as_fd());
        let mounted = self.roots().layers.overlay(&layers, &folder.join("upper"), &folder.join("work"), namespace);
        mounted.doing(|| "mounting the root file system".to_owned())
    }

    /// A folder with nothing in it, for images without layers.
    fn empty_folder(&self) -> Result<PathBuf> {
        let path = self.instance().data_root().join("empty");
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error).doing(|| format!("making {}", path.display())),
            _ => Ok(path),
        }
    }

    /// The tenant's user namespace, for idmapped mounts: ids in the container are the same ids on disk.
    pub(crate) async fn block_namespace(&self, tenant: TenantId) -> Result<Arc<OwnedFd>> {
        self.images_handle().workers().user_namespace(self.block(tenant)?.base).await
    }

    /// A user namespace that shows what a person owns on disk as one user of a container.
    pub(super) async fn person_namespace(&self, tenant: TenantId, inside: (u32, u32), person: (u32, u32)) -> Result<Arc<OwnedFd>> {
        let block = self.block(tenant)?;
        let key = [block.base, inside.0, inside.1, person.0, person.1];
        let kept = self.roots().persons.lock().unwrap_or_else(|e| e.into_inner()).get(&key).cloned();
        if let Some(fd) = kept {
            return Ok(fd);
        }
        let [uids, gids] = super::plan::person_map(block, inside, person);
        let fd = Arc::new(self.runtime().user_namespace(&[uids], &[gids]).await?);
        self.roots().persons.lock().unwrap_or_else(|e| e.into_inner()).insert(key, fd.clone());
        Ok(fd)
    }
}
