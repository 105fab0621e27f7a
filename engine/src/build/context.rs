//! How a build's files come here: the Dockerfile, what is to be ignored, the context, named contexts. What comes from a
//! client that stays connected is asked for when it is needed, and only what `.dockerignore` leaves. All of it is unpacked by
//! workers into folders of this build.

use super::builds::make_folder;
use super::client::{ContextFrom, Wanted, nobody};
use super::dockerfile;
use super::fetch;
use super::git::{Repository, is_git};
use super::ignore;
use super::request::{BuildEvent, BuildRequest};
use super::tell::{Teller, cancelled};
use super::work::Work;
use crate::container::request::ArchiveStream;
use crate::engine::Engine;
use crate::sys::inside;
use crate::worker::{CopyPlan, Selection, TreeJob, UnpackOptions};
use crate::{Doing, Error, Result, Subject};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncSeekExt, ReadBuf};

/// Between two reports of bytes on their way.
const REPORT: Duration = Duration::from_millis(150);

/// What a build begins with.
pub(super) struct Definition {
    /// The Dockerfile.
    pub text: Vec<u8>,
    /// Patterns of what is left out of the context.
    pub ignored: Vec<String>,
}

/// Counts what goes through.
struct Counted {
    inner: ArchiveStream,
    count: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.inner.as_mut().poll_read(cx, buf))?;
        self.count.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

/// Unpacks an archive into the folder, and tells how far it is.
async fn receive(
    engine: &Engine,
    base: u32,
    folder: &Path,
    body: ArchiveStream,
    tell: &Teller,
    vertex: u32,
    what: &'static str,
) -> Result<()> {
    let root = std::fs::File::open(folder).doing(|| format!("opening {}", folder.display()))?;
    let count = Arc::new(AtomicU64::new(0));
    let body = Box::pin(Counted { inner: body, count: count.clone() });
    // Whoever sends a context, its files are the image's root's.
    let options = UnpackOptions { owner: Some((0, 0)), ..UnpackOptions::default() };
    let workers = engine.images_handle().workers();
    let unpacking = workers.unpack(base, root.as_fd(), "/", options, body);
    tokio::pin!(unpacking);
    let mut reports = tokio::time::interval(REPORT);
    reports.tick().await;
    loop {
        tokio::select! {
            done = &mut unpacking => {
                done?;
                break;
            }
            _ = reports.tick() => {
                tell.tell(BuildEvent::Transfer { vertex, what, bytes: count.load(Ordering::Relaxed), done: false }).await?;
            }
            () = tell.cancel.cancelled() => return Err(cancelled()),
        }
    }
    tell.tell(BuildEvent::Transfer { vertex, what, bytes: count.load(Ordering::Relaxed), done: true }).await
}

impl Engine {
    /// Brings the Dockerfile here, and the context where it comes with the request.
    pub(super) async fn build_definition(
        &self,
        who: &Subject,
        path: &Path,
        request: &mut BuildRequest,
        mut body: Option<ArchiveStream>,
        tell: &Teller,
    ) -> Result<Definition> {
        let base = self.block(who.tenant)?.base;
        let context = path.join("context");
        make_folder(&context, base, 0o755)?;
        if is_git(&request.remote) {
            self.fetch_repository(who, path, &context, request, tell).await?;
        } else if !request.remote.is_empty() {
            body = self.fetch_remote(who, path, request, tell).await?;
        }
        if let Some(body) = body {
            let root = std::fs::File::open(&context).doing(|| format!("opening {}", context.display()))?;
            let most = Some(self.room_left(who.tenant).await?);
            let options = UnpackOptions { owner: Some((0, 0)), most, ..UnpackOptions::default() };
            self.images_handle().workers().unpack(base, root.as_fd(), "/", options, body).await?;
        }
        if let ContextFrom::Upload(id) = &request.context {
            let client = request.client.clone().ok_or_else(|| nobody("an uploaded context"))?;
            let vertex = tell.begin("[internal] load remote build context".to_owned(), 0, Vec::new()).await?;
            let outcome = async {
                let body = client.upload(id).await?;
                receive(self, base, &context, body, tell, vertex, "transferring context").await
            }
            .await;
            tell.end(vertex, &outcome, false).await?;
            outcome?;
        }
        let asked = !request.definition.is_empty();
        let ours = if asked { path.join("definition") } else { context.clone() };
        if asked {
            make_folder(&ours, base, 0o755)?;
            self.fetch_definition(base, &ours, request, tell).await?;
        }
        let root = std::fs::File::open(&ours).doing(|| format!("opening {}", ours.display()))?;
        let text = match request.inline.take() {
            Some(text) => text,
            None => read_dockerfile(root.as_fd(), &mut request.dockerfile)?,
        };
        tell.tell(BuildEvent::Definition(request.dockerfile.clone(), text.clone())).await?;
        let own = format!("{}.dockerignore", request.dockerfile);
        let mut patterns = read(root.as_fd(), &own)?;
        if patterns.is_empty() {
            patterns = match request.context.clone() {
                ContextFrom::Folder(name) => self.fetch_ignore(base, path, &name, request, tell).await?,
                _ => {
                    let root = std::fs::File::open(&context).doing(|| format!("opening {}", context.display()))?;
                    read(root.as_fd(), ".dockerignore")?
                }
            };
        }
        let ignored = ignore::read(&patterns);
        ignore::Patterns::new(&ignored)?;
        if !matches!(request.context, ContextFrom::Folder(_)) {
            self.thin(base, &context, &ignored).await?;
        }
        Ok(Definition { text, ignored })
    }

    /// What is at the request's URL: the context, or, where it is text, the Dockerfile of an empty one.
    async fn fetch_remote(&self, who: &Subject, path: &Path, request: &mut BuildRequest, tell: &Teller) -> Result<Option<ArchiveStream>> {
        let folder = path.join("remote");
        if !fetch::is_web(&request.remote) {
            return Err(Error::invalid(format!(
                "unable to prepare context: {} is no URL of an archive or a git repository",
                request.remote
            )));
        }
        let file = self.fetch(who, &request.remote, &folder, tell).await?;
        let place = folder.join(file.name);
        let doing = || format!("reading {}", place.display());
        let mut archive = tokio::fs::File::open(&place).await.doing(doing)?;
        if archive.metadata().await.doing(doing)?.len() <= dockerfile::SIZE_MAX {
            let bytes = tokio::fs::read(&place).await.doing(doing)?;
            // A tar has NULs, a compressed one is no UTF-8.
            if !bytes.contains(&0) && std::str::from_utf8(&bytes).is_ok() {
                request.inline = Some(bytes);
                "Dockerfile".clone_into(&mut request.dockerfile);
                return Ok(None);
            }
        }
        archive.rewind().await.doing(doing)?;
        Ok(Some(Box::pin(archive)))
    }

    /// A git repository, or a folder of it, as the context.
    async fn fetch_repository(&self, who: &Subject, path: &Path, context: &Path, request: &BuildRequest, tell: &Teller) -> Result<()> {
        let mut from = Repository::read(&request.remote)?;
        // BuildKit's word for it.
        let keep = request.args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR").and_then(Option::as_deref);
        from.keep |= matches!(keep, Some("1" | "true"));
        let vertex = tell.begin(format!("[internal] load git source {}", request.remote), 0, Vec::new()).await?;
        let secrets = self.build_secrets().join(path.file_name().unwrap_or_default());
        let outcome = async {
            let found = self.checkout(who, &from, &path.join("git"), &secrets, request, tell, vertex).await?;
            let tree = std::fs::File::open(&found.tree).doing(|| format!("opening {}", found.tree.display()))?;
            let root = std::fs::File::open(context).doing(|| format!("opening {}", context.display()))?;
            let selection = Selection { sources: vec![from.source()], strict: true, ..Selection::default() };
            let plan = CopyPlan { selection, dest: "/".to_owned(), ..CopyPlan::default() };
            let workers = self.images_handle().workers();
            workers.tree::<()>(self.block(who.tenant)?.base, root.as_fd(), Some(tree.as_fd()), &TreeJob::Copy(plan)).await
        }
        .await;
        tell.end(vertex, &outcome, false).await?;
        outcome
    }

    /// The Dockerfile and its own ignore file, from the client.
    async fn fetch_definition(&self, base: u32, into: &Path, request: &BuildRequest, tell: &Teller) -> Result<()> {
        let client = request.client.clone().ok_or_else(|| nobody("a Dockerfile of the client's"))?;
        let name = if request.dockerfile.is_empty() { "Dockerfile" } else { &request.dockerfile };
        let mut follow = vec![name.to_owned(), format!("{name}.dockerignore")];
        if name == "Dockerfile" {
            follow.push("dockerfile".to_owned());
        }
        let vertex = tell.begin(format!("[internal] load build definition from {name}"), 0, Vec::new()).await?;
        let outcome = async {
            let body = client.folder(&request.definition, Wanted { follow, exclude: Vec::new() }).await?;
            receive(self, base, into, body, tell, vertex, "transferring dockerfile").await
        }
        .await;
        tell.end(vertex, &outcome, false).await?;
        outcome
    }

    /// The context's ignore file, from the client.
    async fn fetch_ignore(&self, base: u32, path: &Path, name: &str, request: &BuildRequest, tell: &Teller) -> Result<Vec<u8>> {
        let client = request.client.clone().ok_or_else(|| nobody("a context of the client's"))?;
        let into = path.join("ignore");
        make_folder(&into, base, 0o755)?;
        let vertex = tell.begin("[internal] load .dockerignore".to_owned(), 0, Vec::new()).await?;
        let outcome = async {
            let wanted = Wanted { follow: vec![".dockerignore".to_owned()], exclude: Vec::new() };
            let body = client.folder(name, wanted).await?;
            receive(self, base, &into, body, tell, vertex, "transferring context").await?;
            let root = std::fs::File::open(&into).doing(|| format!("opening {}", into.display()))?;
            read(root.as_fd(), ".dockerignore")
        }
        .await;
        tell.end(vertex, &outcome, false).await?;
        outcome
    }

    /// Takes out of a context what is ignored, whatever the client did about it.
    async fn thin(&self, base: u32, folder: &Path, ignored: &[String]) -> Result<()> {
        if ignored.is_empty() {
            return Ok(());
        }
        let root = std::fs::File::open(folder).doing(|| format!("opening {}", folder.display()))?;
        self.images_handle().workers().tree::<()>(base, root.as_fd(), None, &TreeJob::Thin(ignored.to_vec())).await
    }
}

impl Work {
    /// The context's folder, its files here.
    pub(super) async fn context(&mut self) -> Result<PathBuf> {
        let path = self.folder.path.join("context");
        let ContextFrom::Folder(name) = self.request.context.clone() else { return Ok(path) };
        if !std::mem::replace(&mut self.context_here, true) {
            let ignored = self.ignored.clone();
            self.fetch_folder(&name, &path, ignored, "[internal] load build context".to_owned()).await?;
        }
        Ok(path)
    }

    /// The folder of a named context, its files here.
    pub(super) async fn named_folder(&mut self, name: &str, folder: &str) -> Result<PathBuf> {
        if let Some(path) = self.named.get(name) {
            return Ok(path.clone());
        }
        let path = self.folder.path.join(format!("named-{}", self.named.len()));
        make_folder(&path, self.base, 0o755)?;
        self.fetch_folder(folder, &path, Vec::new(), format!("[context {name}] load from client")).await?;
        self.named.insert(name.to_owned(), path.clone());
        Ok(path)
    }

    /// The folder of a named context that is a repository or an archive on the web, its files here.
    pub(super) async fn named_remote(&mut self, name: &str, url: &str) -> Result<PathBuf> {
        if let Some(path) = self.named.get(name) {
            return Ok(path.clone());
        }
        let path = self.folder.path.join(format!("named-{}", self.named.len()));
        let mut request = BuildRequest { remote: url.to_owned(), ..self.request.clone() };
        let vertex = self.tell.begin(format!("[context {name}] load {url}"), 0, Vec::new()).await?;
        let outcome = async {
            if is_git(url) {
                let from = Repository::read(url)?;
                let (work, secrets) = (path.with_extension("git"), self.folder.secrets.clone());
                let found = self.engine.checkout(&self.who, &from, &work, &secrets, &request, &self.tell, vertex).await?;
                let tree = std::fs::File::open(&found.tree).doing(|| format!("opening {}", found.tree.display()))?;
                make_folder(&path, self.base, 0o755)?;
                let root = std::fs::File::open(&path).doing(|| format!("opening {}", path.display()))?;
                let selection = Selection { sources: vec![from.source()], strict: true, ..Selection::default() };
                let plan = CopyPlan { selection, dest: "/".to_owned(), ..CopyPlan::default() };
                let workers = self.engine.images_handle().workers();
                return workers.tree::<()>(self.base, root.as_fd(), Some(tree.as_fd()), &TreeJob::Copy(plan)).await;
            }
            make_folder(&path, self.base, 0o755)?;
            let work = path.with_extension("web");
            make_folder(&work, self.base, 0o755)?;
            match self.engine.fetch_remote(&self.who, &work, &mut request, &self.tell).await? {
                Some(body) => receive(&self.engine, self.base, &path, body, &self.tell, vertex, "transferring context").await,
                None => Err(Error::invalid(format!("{url} is no archive"))),
            }
        }
        .await;
        self.tell.end(vertex, &outcome, false).await?;
        outcome?;
        self.named.insert(name.to_owned(), path.clone());
        Ok(path)
    }

    async fn fetch_folder(&mut self, name: &str, into: &Path, exclude: Vec<String>, shown: String) -> Result<()> {
        let client = self.request.client.clone().ok_or_else(|| nobody("a context of the client's"))?;
        let vertex = self.tell.begin(shown, 0, Vec::new()).await?;
        let outcome = async {
            let body = client.folder(name, Wanted { follow: Vec::new(), exclude: exclude.clone() }).await?;
            receive(&self.engine, self.base, into, body, &self.tell, vertex, "transferring context").await?;
            self.engine.thin(self.base, into, &exclude).await
        }
        .await;
        self.tell.end(vertex, &outcome, false).await?;
        outcome
    }
}

fn read(root: BorrowedFd<'_>, path: &str) -> Result<Vec<u8>> {
    inside::read_in_root(root, path, dockerfile::SIZE_MAX).map_err(|e| match e.kind() {
        std::io::ErrorKind::FileTooLarge => Error::invalid(format!("{path} is larger than {} bytes", dockerfile::SIZE_MAX)),
        _ => Error::invalid(format!("reading {path}: {e}")).because(e),
    })
}

/// The Dockerfile of a context. Its name may be left out, and is then tried in lower case too.
fn read_dockerfile(root: BorrowedFd<'_>, name: &mut String) -> Result<Vec<u8>> {
    let default = name.is_empty() || name == "Dockerfile";
    if default {
        "Dockerfile".clone_into(name);
    }
    if name.split('/').any(|part| part == "..") {
        return Err(Error::invalid(format!("forbidden path outside the build context: {name} ()")));
    }
    let there = |name: &str| inside::open_beneath(root, name.trim_start_matches('/')).is_ok();
    if !there(name) && default && there("dockerfile") {
        "dockerfile".clone_into(name);
    }
    if !there(name) {
        return Err(Error::invalid(format!("Cannot locate specified Dockerfile: {name}")));
    }
    let text = read(root, name.trim_start_matches('/'))?;
    if text.is_empty() {
        return Err(Error::invalid(format!("the Dockerfile ({name}) cannot be empty")));
    }
    Ok(text)
}
