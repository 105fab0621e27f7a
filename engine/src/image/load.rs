//! Loading `docker save` archives (old ones with a folder a layer, new ones with blobs) and OCI layouts.
//!
//! A worker takes the archive apart into numbered files; what is read here are its small JSON files. The digests it
//! claims are computed again. Nothing is listed before all of it is right.

use super::config::{CONFIG_MAX, ConfigFile, Platform};
use super::content::Growth;
use super::layer::Staging;
use super::manifest::{Document, MANIFEST_MAX, choose};
use super::pull::{short, tell};
use super::reference::Reference;
use super::store::{Images, Inner, stream};
use crate::container::request::ArchiveStream;
use crate::inventory::images as rows;
use crate::progress::{Progress, ProgressSender, ProgressStream};
use crate::worker::{Limits, SplitFile};
use crate::{Digest, Doing, Error, Result, TenantId};
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

/// Images in one archive.
const IMAGES_MAX: usize = 10_000;

/// An archive taken apart.
struct Parts {
    staging: Staging,
    files: HashMap<String, SplitFile>,
}

/// One image of it.
struct Loadable {
    config: String,
    /// Names of the layer files.
    layers: Vec<String>,
    names: Vec<Reference>,
    manifest: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl Images {
    /// Loads a docker-archive or OCI layout, plain or compressed. Tells `Loaded image: x` for each name.
    pub async fn load(&self, tenant: TenantId, body: ArchiveStream, quiet: bool) -> Result<ProgressStream> {
        let inner = self.inner.clone();
        Ok(stream(move |progress| async move {
            let _busy = inner.busy.read().await;
            load(&inner, tenant, body, quiet, &progress).await
        }))
    }
}

async fn load(inner: &Arc<Inner>, tenant: TenantId, body: ArchiveStream, quiet: bool, progress: &ProgressSender) -> Result<()> {
    let base = inner.inventory.uid_base(tenant).await?;
    let staging = Staging::new(&inner.content.ingest())?;
    let limits = Limits { entries: 100_000, ..Limits::default() };
    let files = inner.workers.split(base, staging.path(), body, limits).await?;
    let mut parts = Parts { staging, files: HashMap::new() };
    for file in files {
        parts.files.insert(file.name.clone(), file);
    }
    let images = if parts.files.contains_key("manifest.json") {
        docker_archive(&parts)?
    } else if parts.files.contains_key("index.json") {
        oci_layout(&parts)?
    } else {
        return Err(Error::invalid("the archive holds no image: neither manifest.json (docker save) nor index.json (OCI layout) is in it"));
    };
    if images.is_empty() {
        return Err(Error::invalid("the archive holds no image for this platform"));
    }
    let mut ready = Vec::new();
    for image in images {
        let file = ConfigFile::parse(image.config.as_bytes())?;
        if file.diff_ids.len() != image.layers.len() {
            return Err(Error::invalid(format!(
                "invalid archive: {} layers, but {} in the configuration",
                image.layers.len(),
                file.diff_ids.len()
            )));
        }
        let mut layers = Vec::new();
        for (name, diff_id) in image.layers.iter().zip(&file.diff_ids) {
            layers.push(layer(inner, tenant, &parts, name, diff_id, quiet, progress).await?);
        }
        ready.push((image, layers));
    }
    let mut tx = inner.inventory.begin().await?;
    let mut loaded = Vec::new();
    for (image, layers) in &ready {
        let id = Digest::of(image.config.as_bytes());
        // A manifest whose blobs are not those here would be pushed as a lie.
        let manifest = image.manifest.as_deref().filter(|m| match Document::parse(m.as_bytes(), None) {
            Ok(Document::Manifest(m)) => m.layers.iter().map(|l| l.digest).eq(layers.iter().map(|l| l.1)),
            _ => false,
        });
        rows::put_image(&mut tx, tenant, &rows::NewImageRow { id, config: &image.config, manifest, parent: None, layers }).await?;
        for name in &image.names {
            let before = rows::put_loaded_name(&mut tx, tenant, &name.repository(), name.tag().unwrap_or("latest"), &id).await?;
            if let Some(before) = before.filter(|before| *before != id) {
                let name = format!("{}:{}", name.familiar_name(), name.tag().unwrap_or("latest"));
                loaded.push(format!("The image {name} already exists, renaming the old one with ID {before} to empty string\n"));
            }
            loaded.push(format!("Loaded image: {name}\n"));
        }
        if image.names.is_empty() {
            loaded.push(format!("Loaded image ID: {id}\n"));
        }
    }
    tx.commit().await.doing(|| "writing images to the database".to_owned())?;
    inner.changed(tenant);
    for line in loaded {
        tell(progress, Progress::Text(line)).await;
    }
    Ok(())
}

async fn layer(
    inner: &Arc<Inner>,
    tenant: TenantId,
    parts: &Parts,
    name: &str,
    diff_id: &Digest,
    quiet: bool,
    progress: &ProgressSender,
) -> Result<(i64, Digest)> {
    let part = parts.find(name)?;
    let (blob, size) = (part.digest, part.size);
    let _alone = inner.exclusive(format!("{tenant}/{blob}")).await;
    if let Some((found, _)) = inner.inventory.visible_blob(tenant, &blob).await? {
        Inner::check_diff_id(&found, diff_id)?;
        if let Some((row, _)) = inner.inventory.visible_layer(tenant, diff_id).await? {
            return Ok((row, blob));
        }
    }
    let path = parts.staging.path().join(part.number.to_string());
    let file = match parts.open(part) {
        Ok(file) => file,
        // An earlier image of this archive has taken it.
        Err(_) if inner.content.blob(&blob).exists() => File::open(inner.content.blob(&blob)).doing(|| "opening a blob".to_owned())?,
        Err(e) => return Err(e),
    };
    let file = crate::blocking(move || {
        let mut file = file;
        let found = hash(&mut file)?;
        if found != blob {
            return Err(Error::invalid(format!("the archive's {blob} is {found}")));
        }
        // sendfile has its own offset; this only reads as the name says.
        Ok(file)
    })
    .await?;
    if !quiet {
        tell(progress, Progress::Status { id: Some(short(diff_id)), status: "Loading layer".to_owned(), bytes: Some((0, Some(size))) })
            .await;
    }
    let unpacked = inner.unpack(tenant.0, file, Growth::whole(size), Arc::default()).await?;
    Inner::check_diff_id(&unpacked.report.diff_id, diff_id)?;
    let packed = if path.exists() { path } else { inner.content.blob(&blob) };
    let row = inner.commit_layer(tenant.0, unpacked, &packed, &blob, size).await?;
    if !quiet {
        tell(progress, Progress::Status { id: Some(short(diff_id)), status: "Loading layer".to_owned(), bytes: Some((size, Some(size))) })
            .await;
    }
    Ok((row, blob))
}

fn hash(file: &mut File) -> Result<Digest> {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let n = file.read(&mut buffer).doing(|| "reading a layer".to_owned())?;
        if n == 0 {
            return Ok(Digest::from_bytes(hash.finalize().into()));
        }
        hash.update(&buffer[..n]);
    }
}

impl Parts {
    /// A file of the archive, links followed within it.
    fn find(&self, name: &str) -> Result<&SplitFile> {
        let mut name = name.trim_start_matches("./");
        // Longer chains are circles.
        for _hop in 0..10 {
            let file = self.files.get(name).ok_or_else(|| Error::invalid(format!("invalid archive: {name:?} is missing")))?;
            match &file.link {
                None => return Ok(file),
                Some(target) => name = target,
            }
        }
        Err(Error::invalid(format!("invalid archive: {name:?} links in circles")))
    }

    fn open(&self, file: &SplitFile) -> Result<File> {
        let path = self.staging.path().join(file.number.to_string());
        // A worker wrote it; what it wrote is opened as a file or not at all.
        let fd = rustix::fs::open(&path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
            .doing(|| format!("opening {}", file.name))?;
        let file_type = rustix::fs::fstat(&fd).doing(|| format!("looking at {}", file.name))?.st_mode;
        if rustix::fs::FileType::from_raw_mode(file_type) != rustix::fs::FileType::RegularFile {
            return Err(Error::invalid(format!("invalid archive: {} is not a file", file.name)));
        }
        Ok(File::from(fd))
    }

    fn small(&self, name: &str, most: u64) -> Result<String> {
        let part = self.find(name)?;
        if part.size > most {
            return Err(Error::invalid(format!("invalid archive: {name:?} has {} bytes, {most} is the limit", part.size)));
        }
        let mut text = String::new();
        let read = self.open(part)?.take(most).read_to_string(&mut text);
        read.map_err(|e| Error::invalid(format!("invalid archive: {name:?} is not text")).because(e))?;
        Ok(text)
    }

    /// A blob of an OCI layout, its digest checked.
    fn blob(&self, digest: &Digest, most: u64) -> Result<String> {
        let name = format!("blobs/sha256/{}", digest.hex());
        let text = self.small(&name, most)?;
        if Digest::of(text.as_bytes()) != *digest {
            return Err(Error::invalid(format!("invalid archive: {name} holds something else than its name says")));
        }
        Ok(text)
    }
}

fn docker_archive(parts: &Parts) -> Result<Vec<Loadable>> {
    let text = parts.small("manifest.json", MANIFEST_MAX)?;
    let entries: Vec<ManifestEntry> =
        serde_json::from_str(&text).map_err(|e| Error::invalid(format!("invalid archive: manifest.json: {e}")).because(e))?;
    if entries.len() > IMAGES_MAX {
        return Err(Error::invalid(format!("invalid archive: {} images", entries.len())));
    }
    // Where the archive is an OCI layout too, its manifests keep their digests. A layout that is wrong is only not used.
    let manifests: HashMap<Digest, String> = match parts.files.contains_key("index.json") {
        true => layout_manifests(parts).unwrap_or_default().into_iter().map(|(config, text, _)| (config, text)).collect(),
        false => HashMap::new(),
    };
    let mut images = Vec::new();
    for entry in entries {
        let config = parts.small(&entry.config, CONFIG_MAX)?;
        let names = entry.repo_tags.unwrap_or_default().iter().map(|t| tagged(t)).collect::<Result<_>>()?;
        let manifest = manifests.get(&Digest::of(config.as_bytes())).cloned();
        images.push(Loadable { config, layers: entry.layers.unwrap_or_default(), names, manifest });
    }
    Ok(images)
}

fn tagged(name: &str) -> Result<Reference> {
    let reference: Reference = name.parse()?;
    if reference.digest().is_some() {
        return Err(Error::invalid(format!("invalid archive: {name:?} is no tag")));
    }
    Ok(reference.or_latest())
}

/// The manifests for this host in an OCI layout: (configuration's digest, raw manifest, name).
fn layout_manifests(parts: &Parts) -> Result<Vec<(Digest, String, Option<String>)>> {
    let Document::Index(entries) = Document::parse(parts.small("index.json", MANIFEST_MAX)?.as_bytes(), None)? else {
        return Err(Error::invalid("invalid archive: index.json is no index"));
    };
    if entries.len() > IMAGES_MAX {
        return Err(Error::invalid(format!("invalid archive: {} images", entries.len())));
    }
    let mut found = Vec::new();
    for entry in entries {
        let note = |key: &str| entry.annotations.as_ref().and_then(|a| a.get(key)).cloned();
        let name = note("io.containerd.image.name").or_else(|| note("org.opencontainers.image.ref.name"));
        let mut text = parts.blob(&entry.digest, MANIFEST_MAX)?;
        let mut document = Document::parse(text.as_bytes(), None)?;
        if let Document::Index(inner) = &document {
            text = parts.blob(&choose(inner, &Platform::host())?.digest, MANIFEST_MAX)?;
            document = Document::parse(text.as_bytes(), None)?;
        }
        if let Document::Manifest(manifest) = document {
            found.push((manifest.config.digest, text, name));
        }
    }
    Ok(found)
}

fn oci_layout(parts: &Parts) -> Result<Vec<Loadable>> {
    let mut images = Vec::new();
    for (config, text, name) in layout_manifests(parts)? {
        let Document::Manifest(manifest) = Document::parse(text.as_bytes(), None)? else { continue };
        let config = parts.blob(&config, CONFIG_MAX)?;
        let layers = manifest.layers.iter().map(|l| format!("blobs/sha256/{}", l.digest.hex())).collect();
        // A bare tag, as skopeo and umoci write it, names no repository.
        let names = name.filter(|n| n.contains(['/', ':'])).map(|n| tagged(&n)).transpose()?.into_iter().collect();
        images.push(Loadable { config, layers, names, manifest: Some(text) });
    }
    Ok(images)
}
