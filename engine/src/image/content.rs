//! The content store: packed layers under their digests. A file appears there only after its digest was verified and it was
//! synced; until then it lies in the ingest folder, where a broken download is taken up again.

use crate::{Digest, Doing, Error, Result};
use bytes::Bytes;
use sha2::Digest as _;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Where blobs lie.
#[derive(Debug, Clone)]
pub struct Content {
    root: PathBuf,
}

impl Content {
    /// Makes the folders.
    pub fn open(data_root: &Path) -> Result<Self> {
        let root = data_root.join("content");
        for dir in [root.join("sha256"), root.join("ingest")] {
            std::fs::create_dir_all(&dir).doing(|| format!("making {}", dir.display()))?;
        }
        Ok(Self { root })
    }

    /// Where a blob lies if it is here.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("sha256").join(digest.hex())
    }

    /// Where a download for a scope lies until it is whole.
    pub fn partial(&self, scope: i64, digest: &Digest) -> PathBuf {
        self.root.join("ingest").join(format!("{scope}-{}", digest.hex()))
    }

    /// A place for content whose digest is not known yet.
    pub fn unnamed(&self) -> PathBuf {
        self.root.join("ingest").join(format!("new-{}", uuid::Uuid::new_v4().simple()))
    }

    /// The folder of unfinished things.
    pub fn ingest(&self) -> PathBuf {
        self.root.join("ingest")
    }

    /// The folder of whole ones.
    pub fn blobs(&self) -> PathBuf {
        self.root.join("sha256")
    }

    /// Makes a verified, synced file visible under its digest.
    pub fn adopt(&self, file: &Path, digest: &Digest) -> Result<()> {
        let to = self.blob(digest);
        std::fs::rename(file, &to).doing(|| format!("moving {} into the content store", file.display()))?;
        sync_folder(&self.blobs())
    }
}

/// fsync of a folder: a rename is lasting only then.
pub fn sync_folder(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).doing(|| format!("syncing {}", dir.display()))
}

/// How far a growing file has got, for those who read behind the writer.
#[derive(Debug, Default)]
pub struct Growth {
    state: Mutex<(u64, End)>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    #[default]
    Growing,
    Whole,
    Broken,
}

impl Growth {
    /// Of a file that is whole already.
    pub fn whole(size: u64) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new((size, End::Whole)), changed: Condvar::new() })
    }

    fn set(&self, change: impl FnOnce(&mut (u64, End))) {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        change(&mut state);
        self.changed.notify_all();
    }

    /// Nothing more will come, and what came is not whole.
    pub fn break_off(&self) {
        self.set(|s| {
            if s.1 == End::Growing {
                s.1 = End::Broken;
            }
        });
    }

    /// Bytes there beyond `at`, waiting until there are some; `None` at the end.
    fn beyond(&self, at: u64) -> std::result::Result<Option<u64>, ()> {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        loop {
            match *state {
                (_, End::Broken) => return Err(()),
                (size, _) if size > at => return Ok(Some(size - at)),
                (_, End::Whole) => return Ok(None),
                _ => state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner()),
            }
        }
    }
}

/// Sends a growing file into a pipe as it grows (sendfile(2)), on a thread that may block. Ends early when the reader goes.
pub fn feed(file: &File, growth: &Growth, pipe: OwnedFd, sent: &std::sync::atomic::AtomicU64) -> std::io::Result<()> {
    let mut at = 0u64;
    while let Ok(Some(more)) = growth.beyond(at) {
        let count = usize::try_from(more.min(1 << 20)).unwrap_or(1 << 20);
        match rustix::fs::sendfile(&pipe, file, Some(&mut at), count) {
            Ok(0) => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
            Ok(_) => sent.store(at, std::sync::atomic::Ordering::Relaxed),
            Err(rustix::io::Errno::PIPE) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// A file being written and hashed by a thread of its own. Dropping it leaves a partial file.
pub struct Ingest {
    sender: Option<mpsc::Sender<Bytes>>,
    writer: Option<JoinHandle<Result<(Digest, u64)>>>,
    growth: Arc<Growth>,
    /// Bytes taken so far, those of an earlier attempt too.
    pub taken: u64,
}

impl Ingest {
    /// Opens `path`; `resume`: what lies there already counts, up to `size`.
    pub fn open(path: &Path, resume: bool, size: u64) -> Result<Self> {
        let doing = || format!("opening {}", path.display());
        let mut file = File::options().create(true).truncate(!resume).read(true).write(true).open(path).doing(doing)?;
        let mut taken = file.metadata().doing(doing)?.len();
        if taken > size {
            file.set_len(0).doing(doing)?;
            taken = 0;
        }
        let growth = Arc::new(Growth::default());
        let (sender, mut chunks) = mpsc::channel::<Bytes>(64);
        let (shown, grown) = (path.to_owned(), growth.clone());
        let writer = tokio::task::spawn_blocking(move || {
            let doing = || format!("writing {}", shown.display());
            let mut hash = sha2::Sha256::new();
            let mut size = 0u64;
            let mut buffer = vec![0; 256 * 1024];
            // Of an earlier attempt; the position is where new bytes go.
            loop {
                let n = file.read(&mut buffer).doing(doing)?;
                if n == 0 {
                    break;
                }
                hash.update(&buffer[..n]);
                size += n as u64;
                grown.set(|s| s.0 = size);
            }
            while let Some(chunk) = chunks.blocking_recv() {
                file.write_all(&chunk).map_err(|e| out_of_space(e, &shown))?;
                hash.update(&chunk);
                size += chunk.len() as u64;
                grown.set(|s| s.0 = size);
            }
            file.sync_data().doing(doing)?;
            Ok((Digest::from_bytes(hash.finalize().into()), size))
        });
        Ok(Self { sender: Some(sender), writer: Some(writer), growth, taken })
    }

    /// For those who read behind.
    pub fn growth(&self) -> Arc<Growth> {
        self.growth.clone()
    }

    /// Takes a chunk; waits when the disk is slower than the source.
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.taken += chunk.len() as u64;
        let Some(sender) = &self.sender else { return Err(Error::new(crate::Kind::Internal, "writing after the end")) };
        if sender.send(chunk).await.is_err() {
            // The writer has failed and says why.
            self.sender = None;
            return Err(match self.join().await {
                Err(e) => e,
                Ok(_) => Error::new(crate::Kind::Internal, "the writer ended early"),
            });
        }
        Ok(())
    }

    async fn join(&mut self) -> Result<(Digest, u64)> {
        match self.writer.take() {
            Some(writer) => writer.await.doing(|| "waiting for a writer".to_owned())?,
            None => Err(Error::new(crate::Kind::Internal, "the writer has ended")),
        }
    }

    /// All is there: syncs, and tells digest and size. `verify` decides whether readers behind may take it for whole.
    pub async fn finish(mut self, verify: impl FnOnce(&Digest, u64) -> Result<()>) -> Result<(Digest, u64)> {
        self.sender = None;
        let (digest, size) = self.join().await?;
        verify(&digest, size)?;
        self.growth.set(|s| s.1 = End::Whole);
        Ok((digest, size))
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        self.growth.break_off();
    }
}

fn out_of_space(e: std::io::Error, path: &Path) -> Error {
    if matches!(e.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT)) {
        return Error::new(crate::Kind::Exhausted, format!("no space left on device: writing {}", path.display())).because(e);
    }
    Error::internal(format!("writing {}: {e}", path.display()), e)
}
