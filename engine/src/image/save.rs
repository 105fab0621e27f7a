//! Saving: one tar that is a docker-archive and an OCI layout at once, packed layers as they are.

use super::manifest::{Descriptor, Document, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, write};
use super::store::{FoundBy, Images, Inner, Known, find};
use crate::container::request::ArchiveStream;
use crate::image::reference::{Reference, familiar};
use crate::{Digest, Doing, Error, Result, TenantId};
use bytes::Bytes;
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;

/// One file of the archive.
enum Part {
    Text(String),
    File(PathBuf),
}

/// Adds an image with the names it is saved under.
fn choose<'a>(chosen: &mut Vec<(&'a Known, Vec<(String, String)>)>, known: &'a Known, tags: Vec<(String, String)>) {
    match chosen.iter_mut().find(|(k, _)| k.row.id == known.row.id) {
        Some((_, there)) => there.extend(tags),
        None => chosen.push((known, tags)),
    }
}

impl Images {
    /// Images as one archive that is both docker-archive and OCI layout. A name saves that name, a repository all of its tags, an id no name.
    pub async fn save(&self, tenant: TenantId, names: &[String]) -> Result<ArchiveStream> {
        let images = self.inner.images(tenant).await?;
        let mut chosen: Vec<(&Known, Vec<(String, String)>)> = Vec::new();
        for name in names {
            // A repository alone is all of its tags.
            if let Some(repository) = name.parse::<Reference>().ok().filter(|r| r.tag().is_none() && r.digest().is_none()) {
                let repository = repository.repository();
                let tags = |known: &Known| known.row.names.iter().filter(|(r, _)| *r == repository).cloned().collect::<Vec<_>>();
                let tagged: Vec<_> = images.iter().map(|known| (known, tags(known))).filter(|(_, tags)| !tags.is_empty()).collect();
                if !tagged.is_empty() {
                    tagged.into_iter().for_each(|(known, tags)| choose(&mut chosen, known, tags));
                    continue;
                }
            }
            let (known, by) = find(&images, name)?;
            let tags = match by {
                FoundBy::Reference(r) if r.digest().is_none() => {
                    vec![(r.repository(), r.tag().unwrap_or("latest").to_owned())]
                }
                FoundBy::Reference(_) => Vec::new(),
                FoundBy::Id => Vec::new(),
            };
            choose(&mut chosen, known, tags);
        }
        if chosen.is_empty() {
            return Err(Error::invalid("no image was named"));
        }
        self.packed(&chosen)
    }

    /// One image under these names, whatever it is called here.
    pub(crate) async fn save_as(&self, tenant: TenantId, image: &str, names: &[String]) -> Result<ArchiveStream> {
        let images = self.inner.images(tenant).await?;
        let (known, _) = find(&images, image)?;
        let names = names
            .iter()
            .map(|name| {
                let reference = name.parse::<Reference>()?.or_latest();
                Ok((reference.repository(), reference.tag().unwrap_or("latest").to_owned()))
            })
            .collect::<Result<_>>()?;
        self.packed(&[(known, names)])
    }

    fn packed(&self, chosen: &[(&Known, Vec<(String, String)>)]) -> Result<ArchiveStream> {
        let parts = self.inner.parts(chosen)?;
        let (sender, receiver) = mpsc::channel(16);
        tokio::task::spawn_blocking(move || {
            let outcome = archive(parts, Chunks { sender: sender.clone() });
            if let Err(e) = outcome {
                // The reader must see that it is not whole; if it has gone, nobody needs to.
                let _ = sender.blocking_send(Err(std::io::Error::other(e)));
            }
        });
        Ok(Box::pin(tokio_util::io::StreamReader::new(tokio_stream::wrappers::ReceiverStream::new(receiver))))
    }
}

/// Hands written bytes to an async reader.
struct Chunks {
    sender: mpsc::Sender<std::io::Result<Bytes>>,
}

impl Write for Chunks {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.sender.blocking_send(Ok(Bytes::copy_from_slice(buf))).map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe))?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn archive(parts: Vec<(String, Part)>, out: Chunks) -> Result<()> {
    let doing = || "writing an image archive".to_owned();
    let mut tar = tar::Builder::new(BufWriter::with_capacity(256 * 1024, out));
    for (name, part) in parts {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(0);
        match part {
            Part::Text(text) => {
                header.set_size(text.len() as u64);
                tar.append_data(&mut header, name, text.as_bytes()).doing(doing)?;
            }
            Part::File(path) => {
                let file = File::open(&path).doing(|| format!("opening {}", path.display()))?;
                header.set_size(file.metadata().doing(doing)?.len());
                tar.append_data(&mut header, name, file).doing(doing)?;
            }
        }
    }
    tar.into_inner().doing(doing)?.flush().doing(doing)
}

impl Inner {
    /// The manifest an image goes out with: the one it came with if its packed layers are those, else one of ours.
    pub(super) fn manifest_of(self: &Arc<Self>, known: &Known) -> Result<(String, String)> {
        if let Some(text) = &known.row.manifest
            && let Ok(Document::Manifest(manifest)) = Document::parse(text.as_bytes(), None)
            && manifest.layers.iter().map(|l| l.digest).eq(known.row.layers.iter().map(|l| l.blob))
        {
            return Ok((text.clone(), manifest.media_type));
        }
        let descriptor =
            |media_type: String, digest, size| Descriptor { media_type, digest, size, urls: vec![], platform: None, annotations: None };
        let mut layers = Vec::new();
        for layer in &known.row.layers {
            let suffix = compression(&self.content.blob(&layer.blob))?;
            layers.push(descriptor(format!("{OCI_LAYER}{suffix}"), layer.blob, layer.blob_size));
        }
        let config = descriptor(OCI_CONFIG.to_owned(), known.row.id, known.row.config.len() as u64);
        Ok((write(&config, &layers), OCI_MANIFEST.to_owned()))
    }

    fn parts(self: &Arc<Self>, chosen: &[(&Known, Vec<(String, String)>)]) -> Result<Vec<(String, Part)>> {
        let blob = |d: &Digest| format!("blobs/sha256/{}", d.hex());
        let mut parts = vec![("oci-layout".to_owned(), Part::Text(r#"{"imageLayoutVersion":"1.0.0"}"#.to_owned()))];
        let mut seen = HashSet::new();
        let (mut entries, mut index) = (Vec::new(), Vec::new());
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (known, tags) in chosen {
            let (manifest, media_type) = self.manifest_of(known)?;
            let digest = Digest::of(manifest.as_bytes());
            for layer in &known.row.layers {
                if seen.insert(layer.blob) {
                    parts.push((blob(&layer.blob), Part::File(self.content.blob(&layer.blob))));
                }
            }
            if seen.insert(known.row.id) {
                parts.push((blob(&known.row.id), Part::Text(known.row.config.clone())));
            }
            let size = manifest.len();
            if seen.insert(digest) {
                parts.push((blob(&digest), Part::Text(manifest)));
            }
            let platform = json!({"architecture": known.file.architecture, "os": known.file.os});
            let mut entry = json!({"mediaType": media_type, "digest": digest, "size": size, "platform": platform});
            if tags.is_empty() {
                index.push(entry.clone());
            }
            for (repository, tag) in tags {
                entry["annotations"] =
                    json!({"io.containerd.image.name": format!("{repository}:{tag}"), "org.opencontainers.image.ref.name": tag});
                index.push(entry.clone());
                let top = known.row.layers.last().map_or_else(String::new, |l| l.diff_id.hex());
                repositories.entry(familiar(repository).to_owned()).or_default().insert(tag.clone(), top);
            }
            entries.push(json!({
                "Config": blob(&known.row.id),
                "RepoTags": tags.iter().map(|(r, t)| format!("{}:{t}", familiar(r))).collect::<Vec<_>>(),
                "Layers": known.row.layers.iter().map(|l| blob(&l.blob)).collect::<Vec<_>>(),
            }));
        }
        let index = json!({"schemaVersion": 2, "mediaType": super::manifest::OCI_INDEX, "manifests": index});
        parts.push(("index.json".to_owned(), Part::Text(index.to_string())));
        parts.push(("manifest.json".to_owned(), Part::Text(serde_json::Value::Array(entries).to_string())));
        if !repositories.is_empty() {
            parts.push(("repositories".to_owned(), Part::Text(json!(repositories).to_string())));
        }
        Ok(parts)
    }
}

/// The media type's ending for a packed layer: by its first bytes.
pub(super) fn compression(path: &std::path::Path) -> Result<&'static str> {
    let mut magic = Vec::with_capacity(4);
    let doing = || format!("reading {}", path.display());
    File::open(path).doing(doing)?.take(4).read_to_end(&mut magic).doing(doing)?;
    Ok(match &magic[..] {
        [0x1f, 0x8b, ..] => "+gzip",
        [0x28, 0xb5, 0x2f, 0xfd] => "+zstd",
        _ => "",
    })
}
