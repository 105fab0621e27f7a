//! `--mount type=image`: an image's files in another container, to be read. Its layers are chosen when the container is
//! made and kept as the container's own are. They are mounted under an empty layer of their own that nobody writes to.

use super::effective::{EffectiveSpec, Mount, MountSource};
use super::plan::OURS;
use super::record::Entry;
use crate::engine::Engine;
use crate::runtime::rootfs::bind;
use crate::sys::inside;
use crate::sys::mount::Attributes;
use crate::{Digest, Doing, Error, Result, TenantId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::PathBuf;

/// An image that is mounted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MountedImage {
    pub image: Digest,
    /// Its layers' folders, lowest first.
    pub layers: Vec<PathBuf>,
}

impl Engine {
    /// The images of a container's mounts, by target, among what the tenant sees.
    pub(super) async fn mounted_images(&self, tenant: TenantId, effective: &EffectiveSpec) -> Result<BTreeMap<String, MountedImage>> {
        let mut images = BTreeMap::new();
        for mount in &effective.mounts {
            let MountSource::Image { reference, .. } = &mount.source else { continue };
            // Not a 404: clients take that for the container's own image and pull it.
            let absent = |e: Error| if e.is_not_found() { Error::invalid(e.to_string()) } else { e };
            let image = self.images_handle().id_of(tenant, reference).await.map_err(absent)?;
            let layers = self.images_handle().layers(tenant, &image).await?.into_iter().map(|l| l.path).collect();
            images.insert(mount.target.clone(), MountedImage { image, layers });
        }
        Ok(images)
    }

    /// One of them as a detached mount, and whether it is a file.
    pub(super) async fn image_mount(&self, entry: &Entry, mount: &Mount, subpath: &str) -> Result<(OwnedFd, bool)> {
        let doing = || format!("mounting an image at {}", mount.target);
        let mounted = entry.fixed.images.get(&mount.target);
        let mounted = mounted
            .ok_or_else(|| Error::invalid(format!("the image mounted at {} is not known: make the container anew", mount.target)))?;
        let own_ids = entry.fixed.effective.namespaces.user != super::effective::UserNamespace::Host;
        let (namespace, owner) = match own_ids {
            true => (Some(self.block_namespace(entry.tenant).await?), self.block(entry.tenant)?.base),
            false => (None, 0),
        };
        // Named by what is mounted and not by place: mounts are sorted, and may be others in another version of ours.
        let name = crate::Digest::of(mount.target.as_bytes()).to_string().replace(':', "-");
        let folder = self.container_folder(&entry.id).join("images").join(name);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).doing(doing)?;
        for part in ["upper", "work"] {
            let path = folder.join(part);
            match std::fs::create_dir(&path) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => made.doing(doing)?,
            }
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).doing(doing)?;
            chown(&path, Some(owner), Some(owner)).doing(doing)?;
        }
        let whole = self.overlay(mounted.layers.clone(), folder, namespace)?;
        let source = match subpath {
            "" => whole,
            // Links in an image are its maker's word: none leads out of it.
            path => inside::open_beneath(whole.as_fd(), path)
                .map_err(|e| Error::invalid(format!("failed to mount {path:?} of the image at {}: {e}", mount.target)).because(e))?,
        };
        let file = !inside::is_directory(source.as_fd()).doing(doing)?;
        let fd = bind(source.as_fd(), &Attributes { read_only: true, no_suid: true, ..OURS }).doing(doing)?;
        Ok((fd, file))
    }
}
