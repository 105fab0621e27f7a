//! Names given and taken, images removed, and the collector that frees the disk. Rules and texts are dockerd's.

use super::layer::discard;
use super::list::Filters;
use super::reference::{Reference, familiar};
use super::store::{FoundBy, ImageUse, Images, Inner, Known, find};
use crate::image::Removal;
use crate::inventory::Tx;
use crate::inventory::images as rows;
use crate::{Digest, Doing, Error, Result, TenantId};
use std::collections::BTreeMap;

impl Images {
    /// Gives an image another name.
    pub async fn tag(&self, tenant: TenantId, image: &str, repository: &str, tag: &str) -> Result<()> {
        let reference: Reference = repository.parse()?;
        let reference = if tag.is_empty() { reference.or_latest() } else { reference.with_tag(tag)? };
        if reference.digest().is_some() {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        if reference.familiar_name() == "sha256" {
            return Err(Error::invalid("refusing to create an ambiguous tag using digest algorithm as name"));
        }
        let images = self.inner.images(tenant).await?;
        let id = find(&images, image)?.0.row.id;
        let mut tx = self.inner.inventory.begin().await?;
        rows::put_name(&mut tx, tenant, &reference.repository(), reference.tag().unwrap_or("latest"), &id).await?;
        tx.commit().await.doing(|| "writing a name to the database".to_owned())?;
        self.inner.changed(tenant);
        Ok(())
    }

    /// Removes a name, and the image with its last one. `uses`: the tenant's containers. What it freed is on disk until
    /// [`Images::collect`].
    ///
    /// # Errors
    /// `NotFound`, or `Conflict` with dockerd's words.
    pub async fn remove(&self, tenant: TenantId, name: &str, force: bool, no_prune: bool, uses: &[ImageUse]) -> Result<Vec<Removal>> {
        let images = self.inner.images(tenant).await?;
        let (known, by) = find(&images, name)?;
        let mut tx = self.inner.inventory.begin().await?;
        let removals = remove(&mut tx, tenant, &images, known, &by, name, force, no_prune, uses).await?;
        tx.commit().await.doing(|| "removing an image from the database".to_owned())?;
        self.inner.changed(tenant);
        self.inner.free().await?;
        Ok(removals)
    }

    /// Removes images that no container uses and, unless `dangling=false` is given, that have no name. Returns the bytes freed.
    pub async fn prune(&self, tenant: TenantId, filters: &BTreeMap<String, Vec<String>>, in_use: &[Digest]) -> Result<(Vec<Removal>, u64)> {
        let images = self.inner.images(tenant).await?;
        let mut filters = Filters::parse(&images, filters, &["dangling", "label", "label!", "until"])?;
        let all = filters.dangling.take() == Some(false);
        let mut removals = Vec::new();
        let mut tx = self.inner.inventory.begin().await?;
        let mut gone: Vec<Digest> = Vec::new();
        // Children go before their parents, which then have none.
        loop {
            let before = gone.len();
            for known in images.iter().filter(|i| !i.row.hidden) {
                let id = known.row.id;
                let has_child = images.iter().any(|i| i.row.parent == Some(id) && !i.row.hidden && !gone.contains(&i.row.id));
                let kept =
                    gone.contains(&id) || in_use.contains(&id) || has_child || !(all || known.row.names.is_empty()) || !filters.take(known);
                if kept {
                    continue;
                }
                removals.extend(untagged(known));
                removals.push(Removal::Deleted(id));
                rows::drop_image(&mut tx, tenant, &id, false).await?;
                gone.push(id);
            }
            if gone.len() == before {
                break;
            }
        }
        tx.commit().await.doing(|| "removing images from the database".to_owned())?;
        self.inner.changed(tenant);
        let freed = self.inner.free().await?;
        Ok((removals, freed))
    }

    /// Removes an image if it has no name and no container uses it: what a build left that was wanted elsewhere.
    pub(crate) async fn remove_unnamed(&self, tenant: TenantId, id: &Digest, in_use: bool) -> Result<bool> {
        let mut tx = self.inner.inventory.begin().await?;
        // Read again under the writer's lock: a name may have come since.
        self.inner.changed(tenant);
        let images = self.inner.images(tenant).await?;
        let unnamed = images.iter().any(|i| i.row.id == *id && i.row.names.is_empty() && i.row.digests.is_empty());
        if in_use || !unnamed || images.iter().any(|i| i.row.parent == Some(*id)) {
            return Ok(false);
        }
        rows::drop_image(&mut tx, tenant, id, false).await?;
        tx.commit().await.doing(|| "removing an image from the database".to_owned())?;
        self.inner.changed(tenant);
        Ok(true)
    }

    /// Removes from disk what no image of any tenant needs. `in_use`: images of all tenants' containers, which stay even
    /// if their image was removed by force. Returns the bytes freed; zero also while images are coming in.
    pub async fn collect(&self, in_use: &[(TenantId, Digest)]) -> Result<u64> {
        let mut tx = self.inner.inventory.begin().await?;
        for (tenant, image) in rows::hidden_images(&mut tx).await? {
            if !in_use.contains(&(tenant, image)) {
                rows::drop_image(&mut tx, tenant, &image, false).await?;
                self.inner.changed(tenant);
            }
        }
        tx.commit().await.doing(|| "removing images from the database".to_owned())?;
        self.inner.free().await
    }
}

impl Inner {
    /// Frees layers and blobs without an image. Does nothing while a pull or load runs: its layers have no image yet; the
    /// next removal or collection sees to it.
    pub(super) async fn free(&self) -> Result<u64> {
        let Ok(_alone) = self.busy.try_write() else { return Ok(0) };
        let mut tx = self.inventory.begin().await?;
        let (folders, blobs, bytes) = rows::drop_unused(&mut tx).await?;
        tx.commit().await.doing(|| "removing layers from the database".to_owned())?;
        // Out of the way first, so that a path found again cannot be half gone.
        for folder in folders {
            let (from, to) = (self.layers.join(&folder), self.layers.join(format!("gone-{folder}")));
            match std::fs::rename(&from, &to) {
                Ok(()) => discard(to),
                Err(e) => tracing::warn!(path = %from.display(), error = %e, "a layer that is not needed stays until the next start"),
            }
        }
        for blob in blobs {
            let path = self.content.blob(&blob);
            if let Err(e) = std::fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), error = %e, "a blob that is not needed stays until the next start");
            }
        }
        Ok(bytes)
    }
}

fn untagged(known: &Known) -> Vec<Removal> {
    let tags = known.row.names.iter().map(|(r, t)| Removal::Untagged(format!("{}:{t}", familiar(r))));
    tags.chain(known.row.digests.iter().map(|(r, d)| Removal::Untagged(format!("{}@{d}", familiar(r))))).collect()
}

/// What is in the way of a removal: (whether force does not help, why).
fn conflict(images: &[Known], known: &Known, force: bool, many_names: bool, uses: &[ImageUse]) -> Option<(bool, String)> {
    let id = known.row.id;
    if images.iter().any(|i| i.row.parent == Some(id) && !i.row.hidden) {
        return Some((true, "image has dependent child images".to_owned()));
    }
    let user = |running: bool| uses.iter().find(|u| u.image == id && u.running == running);
    if let Some(u) = user(true) {
        return Some((true, format!("image is being used by running container {}", u.container.short())));
    }
    if force {
        return None;
    }
    if many_names {
        return Some((false, "image is referenced in multiple repositories".to_owned()));
    }
    user(false).map(|u| (false, format!("image is being used by stopped container {}", u.container.short())))
}

#[allow(clippy::too_many_arguments)]
async fn remove(
    tx: &mut Tx,
    tenant: TenantId,
    images: &[Known],
    known: &Known,
    by: &FoundBy,
    asked: &str,
    force: bool,
    no_prune: bool,
    uses: &[ImageUse],
) -> Result<Vec<Removal>> {
    let id = known.row.id;
    let short = &id.hex()[..12];
    let refused = |(hard, why): (bool, String)| {
        let how = if hard { "cannot be forced" } else { "must be forced" };
        Error::conflict(format!("conflict: unable to delete {short} ({how}) - {why}"))
    };
    // One tag at most, and everything within one repository: then an id stands for the image itself.
    let repositories: std::collections::BTreeSet<&String> =
        known.row.names.iter().map(|(r, _)| r).chain(known.row.digests.iter().map(|(r, _)| r)).collect();
    let single = known.row.names.len() <= 1 && repositories.len() <= 1;
    let mut removals = Vec::new();
    let user = uses.iter().find(|u| u.image == id);
    match by {
        FoundBy::Reference(reference) => {
            let last = known.row.names.len() + known.row.digests.len() == 1 || single;
            if let Some(user) = user.filter(|_| !force && last) {
                return Err(Error::conflict(format!(
                    "conflict: unable to remove repository reference \"{asked}\" (must force) - container {} is using its referenced image {short}",
                    user.container.short()
                )));
            }
            let repository = reference.repository();
            let mut tags = known.row.names.clone();
            let mut digests = known.row.digests.clone();
            match reference.digest() {
                Some(digest) => {
                    rows::drop_digest(tx, tenant, &repository, &digest).await?;
                    digests.retain(|d| *d != (repository.clone(), digest));
                    removals.push(Removal::Untagged(format!("{}@{digest}", familiar(&repository))));
                }
                None => {
                    let tag = reference.tag().unwrap_or("latest").to_owned();
                    rows::drop_name(tx, tenant, &repository, &tag).await?;
                    removals.push(Removal::Untagged(format!("{}:{tag}", familiar(&repository))));
                    tags.retain(|t| *t != (repository.clone(), tag.clone()));
                    // Digests of a repository without tags would keep the image for nobody.
                    if !tags.iter().any(|(r, _)| *r == repository) {
                        for (_, digest) in digests.extract_if(.., |(r, _)| *r == repository) {
                            rows::drop_digest(tx, tenant, &repository, &digest).await?;
                            removals.push(Removal::Untagged(format!("{}@{digest}", familiar(&repository))));
                        }
                    }
                }
            }
            if !tags.is_empty() || !digests.is_empty() {
                return Ok(removals);
            }
            // The name is gone, which was asked for; what still uses the image only keeps it.
            if conflict(images, known, force, false, uses).is_some() {
                return Ok(removals);
            }
        }
        FoundBy::Id => {
            if let Some(c) = conflict(images, known, force, !single, uses) {
                return Err(refused(c));
            }
            removals.extend(untagged(known));
        }
    }
    rows::drop_image(tx, tenant, &id, user.is_some()).await?;
    removals.push(Removal::Deleted(id));
    // Nameless parents that were kept only for this one.
    let mut parent = known.row.parent.filter(|_| !no_prune);
    let mut gone = vec![id];
    while let Some(next) = parent.take() {
        let Some(known) = images.iter().find(|i| i.row.id == next && !i.row.hidden) else { break };
        let has_child = images.iter().any(|i| i.row.parent == Some(next) && !i.row.hidden && !gone.contains(&i.row.id));
        if has_child || !known.row.names.is_empty() || !known.row.digests.is_empty() || uses.iter().any(|u| u.image == next) {
            break;
        }
        rows::drop_image(tx, tenant, &next, false).await?;
        removals.push(Removal::Deleted(next));
        gone.push(next);
        parent = known.row.parent;
    }
    Ok(removals)
}
