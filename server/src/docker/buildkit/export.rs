//! What becomes of a result: a name in the image store, an archive or a folder sent to the client, a push.

use super::fsutil;
use super::grpc::{Code, Incoming, Metadata, Status};
use super::jobs::{Built, Job};
use super::session::Session;
use super::solve;
use super::told::Own;
use crate::App;
use bollard_buildkit_proto::fsutil::types::Packet;
use bollard_buildkit_proto::moby::buildkit::v1::SolveRequest;
use bollard_buildkit_proto::moby::filesync::v1::BytesMessage;
use engine::build::BuildClient;
use engine::container::request::ArchiveStream;
use engine::image::Reference;
use engine::progress::Progress;
use engine::{Error, Result};
use futures_util::StreamExt;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

const SEND: &str = "/moby.filesync.v1.FileSend/DiffCopy";
/// Bytes of one message of an archive.
const PIECE: usize = 256 * 1024;
/// Bytes between two reports.
const REPORT: u64 = 1 << 20;

/// One thing to become of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Export {
    /// Into the image store, under these names.
    Store {
        /// Names, as written.
        names: Vec<String>,
        /// And to their registries, by us: dockerd's own exporter leaves that to the client.
        push: bool,
    },
    /// An archive of the image for the client, under these names.
    Archive {
        /// Names, as written.
        names: Vec<String>,
        /// `docker` or `oci`.
        format: &'static str,
    },
    /// Its files as a tar.
    Tar,
    /// Its files as a folder.
    Folder,
}

impl Export {
    /// Whether the image stays in the store.
    pub fn stores(&self) -> bool {
        matches!(self, Export::Store { .. })
    }
}

/// What a request wants exported.
///
/// # Errors
/// Naming the exporter or the attribute that is not there.
pub fn read(request: &SolveRequest) -> Result<Vec<Export>> {
    let mut wanted: Vec<(&str, &HashMap<String, String>)> = request.exporters.iter().map(|e| (e.r#type.as_str(), &e.attrs)).collect();
    if wanted.is_empty() && !request.exporter_deprecated.is_empty() {
        wanted.push((&request.exporter_deprecated, &request.exporter_attrs_deprecated));
    }
    wanted.into_iter().map(|(kind, attributes)| one(kind, attributes)).collect()
}

fn one(kind: &str, attributes: &HashMap<String, String>) -> Result<Export> {
    let flag = |key: &str| attributes.get(key).is_some_and(|v| matches!(v.as_str(), "1" | "t" | "true" | "True" | "TRUE"));
    let names = || -> Result<Vec<String>> {
        let list = attributes.get("name").map(|n| n.split(',').map(str::trim).filter(|n| !n.is_empty()).map(str::to_owned).collect());
        let list: Vec<String> = list.unwrap_or_default();
        for name in &list {
            if name.parse::<Reference>()?.digest().is_some() {
                return Err(Error::invalid(format!("invalid reference format: {name}: a build cannot be given a digest as its name")));
            }
        }
        Ok(list)
    };
    for (key, value) in attributes {
        let known = match key.as_str() {
            "name"
            | "push"
            | "load"
            | "dest"
            | "context"
            | "store"
            | "unpack"
            | "prefer-image-digest"
            | "oci-mediatypes"
            | "oci-artifact" => true,
            "name-canonical" | "dangling-name-prefix" | "buildinfo-attrs" | "attestation-prefix" | "compression-level" => true,
            "registry.insecure" | "push-by-digest" | "rewrite-timestamp" | "force-compression" | "platform-split" => !flag(key),
            "tar" => kind != "oci" || value != "false",
            "compression" => matches!(value.as_str(), "" | "gzip"),
            _ => false,
        };
        if !known {
            return Err(Error::unsupported(&format!("the attribute {key}={value} of the exporter {kind}")));
        }
    }
    match kind {
        "moby" => Ok(Export::Store { names: names()?, push: false }),
        "image" => Ok(Export::Store { names: names()?, push: flag("push") }),
        "docker" => Ok(Export::Archive { names: names()?, format: "docker" }),
        "oci" => Ok(Export::Archive { names: names()?, format: "oci" }),
        "tar" => Ok(Export::Tar),
        "local" => Ok(Export::Folder),
        other => Err(Error::unsupported(&format!("the exporter {other:?}"))),
    }
}

/// Carries all exports out. The answer is what clients read: digests and names.
///
/// # Errors
/// The first that failed.
pub async fn all(app: &App, job: &Arc<Job>, built: &Built, exports: &[Export]) -> Result<HashMap<String, String>, Status> {
    let image = built.image.to_string();
    let mut response = HashMap::new();
    for (number, export) in exports.iter().enumerate() {
        let shown = match export {
            Export::Store { .. } => "exporting to image",
            Export::Archive { format: "oci", .. } => "exporting to oci image format",
            Export::Archive { .. } => "exporting to docker image format",
            Export::Tar | Export::Folder => "exporting to client",
        };
        let own = job.told.begin(shown);
        let outcome = async {
            match export {
                Export::Store { names, push } => store(app, job, &image, names, *push, &own).await,
                Export::Archive { names, .. } => {
                    let archive = app.engine.save_as(&job.who, &image, names).await.map_err(|e| Status::of(&e))?;
                    own.did("exporting layers");
                    archived(app, job, number, archive, &image, names, "sending tarball", &own).await
                }
                Export::Tar => {
                    let tree = app.engine.image_tree(&job.who, &image).await.map_err(|e| Status::of(&e))?;
                    let (_, tar) = tree.tar("/").await.map_err(|e| Status::of(&e))?;
                    archived(app, job, number, tar, &image, &[], "sending tarball", &own).await
                }
                Export::Folder => folder(app, job, number, &image, &own).await,
            }
        }
        .await;
        own.end(&outcome, |status| status.message.clone());
        outcome?;
        if let Export::Store { names, .. } | Export::Archive { names, .. } = export {
            response.insert("containerimage.digest".to_owned(), image.clone());
            response.insert("containerimage.config.digest".to_owned(), image.clone());
            if !names.is_empty() {
                let whole: Result<Vec<String>> = names.iter().map(|n| Ok(n.parse::<Reference>()?.or_latest().canonical())).collect();
                response.insert("image.name".to_owned(), whole.map_err(|e| Status::of(&e))?.join(","));
            }
        }
    }
    Ok(response)
}

async fn store(app: &App, job: &Arc<Job>, image: &str, names: &[String], push: bool, own: &Own<'_>) -> Result<(), Status> {
    own.did("exporting layers");
    own.did(format!("writing image {image}"));
    for name in names {
        let reference = name.parse::<Reference>().map_err(|e| Status::of(&e))?.or_latest();
        let tag = reference.tag().unwrap_or("latest").to_owned();
        app.engine.tag(&job.who, image, &reference.familiar_name(), &tag).await.map_err(|e| Status::of(&e))?;
        own.did(format!("naming to {}", reference.canonical()));
    }
    if !push {
        return Ok(());
    }
    let session = solve::session(&app.buildkit, job).await?;
    let client = super::client::SessionClient { session };
    for name in names {
        let reference = name.parse::<Reference>().map_err(|e| Status::of(&e))?.or_latest();
        let auth = client.credentials(reference.domain()).await.map_err(|e| Status::of(&e))?;
        let tag = reference.tag().unwrap_or("latest").to_owned();
        let mut progress = app.engine.push(&job.who, &reference.familiar_name(), &tag, auth).await.map_err(|e| Status::of(&e))?;
        while let Some(fact) = progress.next().await {
            match fact {
                Progress::Failed(error) => return Err(Status::of(&error)),
                Progress::Status { id: Some(id), bytes, status } => {
                    own.part(format!("pushing {id}"), bytes.map_or(0, |b| b.0), status.contains("Pushed") || status.contains("exists"));
                }
                _ => {}
            }
        }
        own.did(format!("pushing {}", reference.canonical()));
    }
    Ok(())
}

/// The call by which the client takes something, for its n-th export.
async fn sending(app: &App, job: &Arc<Job>) -> Result<Arc<Session>, Status> {
    let session = solve::session(&app.buildkit, job).await?;
    match session.serves(SEND) {
        true => Ok(session),
        false => Err(Status::new(Code::Unknown, "the client of this build takes no files")),
    }
}

#[allow(clippy::too_many_arguments)] // What is sent, where to, and how it is shown.
async fn archived(
    app: &App,
    job: &Arc<Job>,
    number: usize,
    mut archive: ArchiveStream,
    image: &str,
    names: &[String],
    shown: &str,
    own: &Own<'_>,
) -> Result<(), Status> {
    let session = sending(app, job).await?;
    let mut metadata: Metadata = vec![
        ("buildkit-attachable-exporter-id", number.to_string()),
        ("exporter-md-containerimage.digest", image.to_owned()),
        ("exporter-md-containerimage.config.digest", image.to_owned()),
    ];
    if !names.is_empty() {
        metadata.push(("exporter-md-image.name", names.join(",")));
    }
    let (sender, outgoing) = mpsc::channel::<BytesMessage>(4);
    let questions = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let mut answers: Incoming<BytesMessage> = session.peer.duplex(SEND, &metadata, questions).await?;
    let mut sent = 0u64;
    let mut reported = 0u64;
    loop {
        let mut data = vec![0; PIECE];
        let n = archive.read(&mut data).await.map_err(|e| Status::new(Code::Unknown, format!("reading the image: {e}")))?;
        if n == 0 {
            break;
        }
        data.truncate(n);
        sent += n as u64;
        if sender.send(BytesMessage { data }).await.is_err() {
            break;
        }
        if sent - reported >= REPORT {
            reported = sent;
            own.part(shown.to_owned(), sent, false);
        }
    }
    drop(sender);
    // The client's word that it has all of it, or why not.
    while answers.next().await?.is_some() {}
    own.part(shown.to_owned(), sent, true);
    Ok(())
}

async fn folder(app: &App, job: &Arc<Job>, number: usize, image: &str, own: &Own<'_>) -> Result<(), Status> {
    let session = sending(app, job).await?;
    let tree = app.engine.image_tree(&job.who, image).await.map_err(|e| Status::of(&e))?;
    let (_, tar) = tree.tar("/").await.map_err(|e| Status::of(&e))?;
    let metadata: Metadata = vec![("buildkit-attachable-exporter-id", number.to_string())];
    let (packets, outgoing) = mpsc::channel::<Packet>(16);
    let answers = session.peer.duplex::<Packet, Packet>(SEND, &metadata, fsutil::outgoing(outgoing)).await?;
    let (mut reported, mut last) = (0, 0);
    let report = |sent: u64| {
        last = sent;
        if sent - reported >= REPORT {
            reported = sent;
            own.part("copying files".to_owned(), sent, false);
        }
    };
    fsutil::send_folder(tar, |path| tree.open(path), answers, packets, report).await?;
    own.part("copying files".to_owned(), last, true);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Kind;

    fn asked(kind: &str, pairs: &[(&str, &str)]) -> Result<Export> {
        one(kind, &pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn exporters_are_taken_or_refused() {
        let names = vec!["a:1".to_owned(), "b".to_owned()];
        assert_eq!(asked("moby", &[("name", "a:1,b"), ("push", "true")]).unwrap(), Export::Store { names: names.clone(), push: false });
        assert_eq!(asked("image", &[("name", "a:1,b"), ("push", "true")]).unwrap(), Export::Store { names, push: true });
        assert_eq!(asked("docker", &[]).unwrap(), Export::Archive { names: vec![], format: "docker" });
        assert_eq!(asked("local", &[("dest", "x")]).unwrap(), Export::Folder);
        for (kind, pairs, expected) in [
            ("floppy", vec![], Kind::Unsupported),
            ("image", vec![("compression", "zstd")], Kind::Unsupported),
            ("image", vec![("annotation.x", "y")], Kind::Unsupported),
            ("oci", vec![("tar", "false")], Kind::Unsupported),
            ("image", vec![("name", "UPPER")], Kind::Invalid),
        ] {
            assert_eq!(asked(kind, &pairs).err().map(|e| e.kind()), Some(expected), "{kind} {pairs:?}");
        }
    }
}
