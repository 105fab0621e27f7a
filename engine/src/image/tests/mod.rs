//! Images in a store of their own, with a registry on loopback. They need root (user namespaces, idmapped mounts).

mod archives;
mod fake;
mod pulling;
mod removing;

use super::*;
use crate::inventory::Inventory;
use crate::progress::{Progress, ProgressStream};
use crate::{Digest, Instance, TenantId};
use futures_util::StreamExt;
use std::io::Write;

const A: TenantId = TenantId(1);
const B: TenantId = TenantId(2);

struct Store {
    images: Images,
    inventory: Inventory,
    instance: Instance,
    _dir: tempfile::TempDir,
}

async fn store_with(config: ImagesConfig) -> Store {
    let dir = tempfile::tempdir().unwrap();
    let instance = Instance::open(&dir.path().join("data"), &dir.path().join("run")).unwrap();
    let inventory = Inventory::open(&instance.data_root().join("wharf.db")).await.unwrap();
    let mut tx = inventory.begin().await.unwrap();
    for statement in [
        "insert into tenants (id, name, kind, created) values (1, 'a', 'team', 0), (2, 'b', 'team', 0)",
        "insert into uid_blocks (base, purpose, tenant) values (1600000000, 'tenant', 1), (1600065536, 'tenant', 2)",
    ] {
        sqlx::query(statement).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    let images = Images::open(&instance, inventory.clone(), config).await.unwrap();
    Store { images, inventory, instance, _dir: dir }
}

async fn store() -> Store {
    store_with(ImagesConfig::default()).await
}

impl Store {
    async fn pull(&self, tenant: TenantId, name: &str) -> crate::Result<Vec<String>> {
        self.pull_as(tenant, name, None).await
    }

    async fn pull_as(&self, tenant: TenantId, name: &str, auth: Option<RegistryAuth>) -> crate::Result<Vec<String>> {
        let reference: Reference = name.parse().unwrap();
        let tag = if reference.tag().is_none() && reference.digest().is_none() { "latest".to_owned() } else { String::new() };
        let request = PullRequest { image: name.to_owned(), tag, auth, ..PullRequest::default() };
        told(self.images.pull(tenant, request).await?).await
    }

    /// Files of unfinished or finished content, to show that nothing is left.
    fn leftovers(&self) -> Vec<String> {
        let mut names = Vec::new();
        for dir in ["content/ingest", "content/sha256", "layers"] {
            for entry in std::fs::read_dir(self.instance.data_root().join(dir)).unwrap() {
                names.push(format!("{dir}/{}", entry.unwrap().file_name().to_string_lossy()));
            }
        }
        names
    }

    /// Waits until what is being removed in the background is gone.
    async fn settled(&self, expected: usize) {
        while self.leftovers().len() != expected {
            tokio::task::yield_now().await;
        }
    }
}

/// All lines of a stream, or its failure.
async fn told(mut stream: ProgressStream) -> crate::Result<Vec<String>> {
    let mut lines = Vec::new();
    while let Some(progress) = stream.next().await {
        match progress {
            Progress::Status { id, status, .. } => lines.push(id.map_or(status.clone(), |id| format!("{id}: {status}"))),
            Progress::Text(text) => lines.push(text),
            Progress::Aux(value) => lines.push(value.to_string()),
            Progress::Failed(e) => return Err(e),
        }
    }
    Ok(lines)
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, data) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, name, *data).unwrap();
    }
    tar.into_inner().unwrap()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    e.write_all(data).unwrap();
    e.finish().unwrap()
}

/// A packed layer and what is in it.
fn layer(files: &[(&str, &[u8])]) -> (Vec<u8>, Digest) {
    let tar = tar(files);
    (gzip(&tar), Digest::of(&tar))
}

/// Bytes that do not compress away.
fn noise(n: usize) -> Vec<u8> {
    let mut x = 1u64;
    std::iter::repeat_with(|| {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (x >> 56) as u8
    })
    .take(n)
    .collect()
}

fn body(data: Vec<u8>) -> crate::container::request::ArchiveStream {
    Box::pin(std::io::Cursor::new(data))
}
