//! What subjects ask of images: judged, audited, then handed to [`super::Images`].

use super::{Distribution, Image, ImageFilter, ImageUse, PullRequest, RegistryAuth, Removal};
use crate::container::request::ArchiveStream;
use crate::engine::Engine;
use crate::filter::Filters;
use crate::policy::{Action, Counted};
use crate::progress::ProgressStream;
use crate::{Digest, Result, Subject, TenantId};
use std::collections::{BTreeMap, BTreeSet};

impl Engine {
    /// Pulls from a registry. Errors before the first byte are returned, later ones are in the stream. Dropping the stream
    /// cancels; what was fetched is kept for the next try.
    ///
    /// # Errors
    /// `Invalid` for a bad name, `Exhausted` at the tenant's quota.
    pub async fn pull(&self, who: &Subject, request: PullRequest) -> Result<ProgressStream> {
        let name = named(&request.image, &request.tag);
        self.room_for_image(who).await?;
        let stream = self.audited(who, Action::ImagePull, &name, self.images_handle().pull(who.tenant, request)).await?;
        Ok(self.then_tell(who.tenant, "pull", name, stream))
    }

    /// Pushes to a registry. `tag` empty: all tags.
    ///
    /// # Errors
    /// `NotFound` for an absent image.
    pub async fn push(&self, who: &Subject, name: &str, tag: &str, auth: Option<RegistryAuth>) -> Result<ProgressStream> {
        let stream = self.audited(who, Action::ImagePush, name, self.images_handle().push(who.tenant, name, tag, auth)).await?;
        Ok(self.then_tell(who.tenant, "push", name.to_owned(), stream))
    }

    /// Loads a `docker save` or OCI-layout archive, plain or compressed.
    ///
    /// # Errors
    /// `Exhausted` at the tenant's quota; what is wrong with the archive is in the stream.
    pub async fn load(&self, who: &Subject, body: ArchiveStream, quiet: bool) -> Result<ProgressStream> {
        self.room_for_image(who).await?;
        let stream = self.audited(who, Action::ImageLoad, "", self.images_handle().load(who.tenant, body, quiet)).await?;
        Ok(self.then_tell(who.tenant, "load", String::new(), stream))
    }

    /// Images as one archive that is both docker-archive and OCI layout.
    ///
    /// # Errors
    /// `NotFound` for an absent image.
    pub async fn save(&self, who: &Subject, names: &[String]) -> Result<ArchiveStream> {
        let archive = self.audited(who, Action::ImageSave, &names.join(" "), self.images_handle().save(who.tenant, names)).await?;
        for name in names {
            if let Ok(image) = self.images_handle().resolve(who.tenant, name).await {
                let id = image.id.to_string();
                self.tell_labelled(who.tenant, "save", &id, &id, image.config.labels);
            }
        }
        Ok(archive)
    }

    /// Makes an image of one layer from a tar.
    ///
    /// # Errors
    /// `Invalid` for a bad name or change; what is wrong with the tar is in the stream.
    #[allow(clippy::too_many_arguments)] // Docker's query parameters, one to one.
    pub async fn import(
        &self,
        who: &Subject,
        body: ArchiveStream,
        name: &str,
        tag: &str,
        message: &str,
        changes: &[String],
        platform: Option<String>,
    ) -> Result<ProgressStream> {
        self.room_for_image(who).await?;
        let mut config = super::ImageConfig::default();
        crate::container::apply_changes(&mut config, changes)?;
        let work = self.images_handle().import(who.tenant, body, name, tag, message, config, platform);
        let stream = self.audited(who, Action::ImageImport, name, work).await?;
        Ok(self.then_tell(who.tenant, "import", name.to_owned(), stream))
    }

    /// What a registry says of a name, without pulling it. The registry is asked over the network, as for a pull.
    ///
    /// # Errors
    /// `Invalid` for a bad name, the registry's own when it does not have it.
    pub async fn distribution(&self, who: &Subject, name: &str, auth: Option<&RegistryAuth>) -> Result<Distribution> {
        self.judge(who, Action::ImagePull).await?;
        self.images_handle().distribution(name, auth).await
    }

    /// The subject's images, newest first.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter.
    pub async fn images(&self, who: &Subject, filter: &ImageFilter) -> Result<Vec<Image>> {
        self.judge(who, Action::ImageRead).await?;
        self.images_handle().list(who.tenant, filter).await
    }

    /// What these names stand for now. Those of no image are left out.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn image_ids(&self, who: &Subject, names: BTreeSet<String>) -> Result<BTreeMap<String, Digest>> {
        self.judge(who, Action::ImageRead).await?;
        let mut ids = BTreeMap::new();
        for name in names {
            if let Ok(id) = self.images_handle().id_of(who.tenant, &name).await {
                ids.insert(name, id);
            }
        }
        Ok(ids)
    }

    /// One image, by name, digest, id or unique id prefix.
    ///
    /// # Errors
    /// `NotFound` when it is absent or somebody else's.
    pub async fn image(&self, who: &Subject, name: &str) -> Result<Image> {
        self.judge(who, Action::ImageRead).await?;
        self.images_handle().resolve(who.tenant, name).await
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// `NotFound` for an absent image, `Invalid` for a bad name.
    pub async fn tag(&self, who: &Subject, image: &str, repository: &str, tag: &str) -> Result<()> {
        let name = named(repository, tag);
        self.audited(who, Action::ImageTag, &format!("{image} as {name}"), self.images_handle().tag(who.tenant, image, repository, tag))
            .await?;
        self.tell_named(who.tenant, "tag", &name).await;
        Ok(())
    }

    /// Removes a name, and the image with its last one.
    ///
    /// # Errors
    /// `NotFound`, or `Conflict` while containers use it or it has several names.
    pub async fn remove_image(&self, who: &Subject, name: &str, force: bool, no_prune: bool) -> Result<Vec<Removal>> {
        let name = name.to_owned();
        self.uncancelled(who, move |engine, who| async move {
            let uses = engine.uses_of_images(who.tenant);
            let before = engine.images_handle().resolve(who.tenant, &name).await.ok();
            let work = engine.images_handle().remove(who.tenant, &name, force, no_prune, &uses);
            let removals = engine.audited(&who, Action::ImageRemove, &name, work).await?;
            engine.tell_removals(who.tenant, &removals, before.as_ref()).await;
            engine.collect_layers();
            Ok(removals)
        })
        .await
    }

    /// Removes an image that a build left without a name, unless it got one or a container uses it.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn forget_unnamed(&self, who: &Subject, image: &Digest) -> Result<()> {
        let image = *image;
        self.uncancelled(who, move |engine, who| async move {
            let in_use = engine.uses_of_images(who.tenant).iter().any(|u| u.image == image);
            let work = engine.images_handle().remove_unnamed(who.tenant, &image, in_use);
            if engine.audited(&who, Action::ImageRemove, &image.to_string(), work).await? {
                engine.tell_removals(who.tenant, &[Removal::Deleted(image)], None).await;
                engine.collect_layers();
            }
            Ok(())
        })
        .await
    }

    /// An image under names that it need not have here, as one archive.
    ///
    /// # Errors
    /// `NotFound` for an absent image, `Invalid` for a bad name.
    pub async fn save_as(&self, who: &Subject, image: &str, names: &[String]) -> Result<ArchiveStream> {
        self.audited(who, Action::ImageSave, image, self.images_handle().save_as(who.tenant, image, names)).await
    }

    /// Removes images that no container uses and, unless the filter `dangling=false` is given, that have no name.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter.
    pub async fn prune_images(&self, who: &Subject, filters: &Filters) -> Result<(Vec<Removal>, u64)> {
        let filters = filters.clone();
        self.uncancelled(who, move |engine, who| async move {
            let in_use: Vec<Digest> = engine.uses_of_images(who.tenant).into_iter().map(|u| u.image).collect();
            let work = engine.images_handle().prune(who.tenant, &filters, &in_use);
            let (removals, freed) = engine.audited(&who, Action::ImagePrune, "", work).await?;
            engine.tell_removals(who.tenant, &removals, None).await;
            engine.tell(who.tenant, "image", "prune", "", BTreeMap::from([("reclaimed".to_owned(), freed.to_string())]));
            engine.collect_layers();
            Ok((removals, freed))
        })
        .await
    }

    /// Checks credentials with a registry; the text is shown to the person.
    ///
    /// # Errors
    /// When the registry refuses them or cannot be reached.
    pub async fn registry_login(&self, who: &Subject, auth: &RegistryAuth) -> Result<String> {
        self.audited(who, Action::RegistryLogin, &auth.server_address, self.images_handle().login(auth)).await
    }

    /// Removes from disk, in the background, what no image and no container needs any more.
    fn collect_layers(&self) {
        let engine = self.clone();
        self.spawn(async move {
            let in_use: Vec<(TenantId, Digest)> = engine
                .registry()
                .all()
                .iter()
                .flat_map(|e| e.fixed.images_used().map(|image| (e.tenant, image)).collect::<Vec<_>>())
                .collect();
            match engine.images_handle().collect(&in_use).await {
                Ok(freed) => tracing::debug!(freed, "layers collected"),
                Err(error) => tracing::warn!(?error, "unused layers could not be removed"),
            }
            engine.roots().forget_removed();
        });
    }

    fn uses_of_images(&self, tenant: TenantId) -> Vec<ImageUse> {
        let entries = self.registry().of(tenant);
        let uses = entries.iter().flat_map(|e| e.fixed.images_used().map(move |image| (e, image)));
        uses.map(|(e, image)| ImageUse { image, container: e.id.clone(), running: e.up().is_some() }).collect()
    }

    pub(crate) async fn room_for_image(&self, who: &Subject) -> Result<()> {
        self.room_on_disk(who.tenant).await?;
        // What comes now is to be seen by whoever asks next.
        self.measured().forget(who.tenant);
        let quota = self.tenants().standing(who)?.quota;
        if quota.images.is_none() {
            return Ok(());
        }
        let have = self.images_handle().list(who.tenant, &ImageFilter::default()).await?.len() as u64;
        quota.room(Counted::Images, have, 1)
    }

    /// `before`: the image that was named, as it was. A removed name is told as its image's, whose removal follows it or,
    /// where it has more names, does not come.
    async fn tell_removals(&self, tenant: TenantId, removals: &[Removal], before: Option<&Image>) {
        for (i, removal) in removals.iter().enumerate() {
            let next = removals[i..].iter().find_map(|r| if let Removal::Deleted(id) = r { Some(*id) } else { None });
            let id = next.or(before.map(|image| image.id)).map(|id| id.to_string()).unwrap_or_default();
            let (action, name) = match removal {
                Removal::Untagged(name) => ("untag", name),
                Removal::Deleted(_) => ("delete", &id),
            };
            let labels = before.filter(|image| image.id.to_string() == id).map(|image| image.config.labels.clone());
            self.tell_labelled(tenant, action, &id, name, labels.unwrap_or_default());
        }
    }

    /// Tells an event of the image with this name, by its id.
    pub(crate) async fn tell_named(&self, tenant: TenantId, action: &str, name: &str) {
        let image = self.images_handle().resolve(tenant, name).await.ok();
        let id = image.as_ref().map_or_else(|| name.to_owned(), |image| image.id.to_string());
        self.tell_labelled(tenant, action, &id, name, image.map(|image| image.config.labels).unwrap_or_default());
    }

    /// Tells an event of an image, which goes by `id` there: what dockerd tells by name is told by name.
    async fn tell_image(&self, tenant: TenantId, action: &str, id: &str, name: &str) {
        let labels = self.images_handle().resolve(tenant, id).await.map(|image| image.config.labels).unwrap_or_default();
        self.tell_labelled(tenant, action, id, name, labels);
    }

    fn tell_labelled(&self, tenant: TenantId, action: &str, id: &str, name: &str, mut labels: BTreeMap<String, String>) {
        labels.insert("name".to_owned(), name.to_owned());
        self.tell(tenant, "image", action, id, labels);
    }

    /// The same stream, with an event when it ended well.
    fn then_tell(&self, tenant: TenantId, action: &'static str, name: String, stream: ProgressStream) -> ProgressStream {
        use crate::progress::Progress;
        use futures_util::StreamExt;
        let engine = self.clone();
        let failed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = failed.clone();
        // What came of an archive is known only when it was read.
        let made = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let found = made.clone();
        let watched = stream.inspect(move |fact| {
            let image = match fact {
                Progress::Failed(_) => {
                    seen.store(true, std::sync::atomic::Ordering::Relaxed);
                    None
                }
                Progress::Text(text) if action == "load" => text.strip_prefix("Loaded image").and_then(|t| Some(t.split_once(": ")?.1)),
                Progress::Status { id: None, status, .. } if action == "import" => Some(status.as_str()),
                _ => None,
            };
            found.lock().unwrap_or_else(|e| e.into_inner()).extend(image.map(|image| image.trim().to_owned()));
        });
        let end = futures_util::stream::once(async move {
            if matches!(action, "load" | "import") {
                let made = std::mem::take(&mut *made.lock().unwrap_or_else(|e| e.into_inner()));
                for image in made {
                    if let Ok(image) = engine.images_handle().resolve(tenant, &image).await {
                        let id = image.id.to_string();
                        engine.tell_labelled(tenant, action, &id, &id, image.config.labels);
                    }
                }
            } else if !failed.load(std::sync::atomic::Ordering::Relaxed) {
                // dockerd says which tag it was by the id, and of the name only the repository.
                let repository = name.parse::<super::Reference>().map(|r| r.familiar_name());
                engine.tell_image(tenant, action, &name, repository.as_deref().unwrap_or(&name)).await;
            }
            None
        });
        Box::pin(watched.map(Some).chain(end).filter_map(std::future::ready))
    }
}

/// A repository and a tag or digest as one name.
pub(crate) fn named(name: &str, tag: &str) -> String {
    match tag {
        "" => name.to_owned(),
        digest if digest.starts_with("sha256:") => format!("{name}@{digest}"),
        tag => format!("{name}:{tag}"),
    }
}
