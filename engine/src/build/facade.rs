//! What subjects ask of builds: judged, audited, prepared (all that can be wrong with the request is said before the first
//! event), then carried out in a task of the engine's that ends when nobody listens any more.

use super::builds::make_folder;
use super::dockerfile::{self, Dockerfile};
use super::ignore;
use super::plan;
use super::request::{BuildEvent, BuildEvents, BuildRequest};
use super::scope::Given;
use super::work::{Folder, Work};
use crate::audit;
use crate::container::request::ArchiveStream;
use crate::engine::Engine;
use crate::image::{Platform, Reference};
use crate::policy::Action;
use crate::progress::{Progress, ProgressStream};
use crate::sys::inside;
use crate::worker::{TreeJob, UnpackOptions};
use crate::{Doing, Error, Result, Subject};
use futures_util::StreamExt;
use std::os::fd::{AsFd, BorrowedFd};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Events that wait for a slow listener.
const EVENTS: usize = 256;

impl Engine {
    /// Builds an image from a context (a tar, plain or compressed; `None`: an empty one). What is wrong with the request or the Dockerfile is returned; what goes wrong later is in the stream.
    /// Dropping the stream cancels the build.
    ///
    /// # Errors
    /// `Invalid` with the place in the Dockerfile; `Exhausted` at the tenant's quota.
    pub async fn build(&self, who: &Subject, request: BuildRequest, context: Option<ArchiveStream>) -> Result<BuildEvents> {
        self.judge(who, Action::ImageBuild).await?;
        self.room_for_image(who).await?;
        for tag in &request.tags {
            let reference: Reference = tag.parse()?;
            if reference.digest().is_some() {
                return Err(Error::invalid("invalid reference format: a build cannot be given a digest as its name"));
            }
        }
        let name = request.tags.join(" ");
        let intent = self.audit().intent_alone(&audit::Entry::of(who, Action::ImageBuild.as_str(), &name)).await?;
        let (sender, receiver) = mpsc::channel(EVENTS);
        let cancel = self.closing().child_token();
        let stop = cancel.clone().drop_guard();
        let mut work = match self.prepare_build(who, request, context, sender.clone(), cancel).await {
            Ok(work) => work,
            Err(error) => {
                let outcome = Err::<(), _>(error);
                self.audit().outcome(intent, &outcome).await;
                return Err(outcome.err().unwrap_or_else(|| Error::invalid("the build could not be prepared")));
            }
        };
        let engine = self.clone();
        self.spawn(async move {
            let builds = work.engine.clone();
            let registered = builds.builds().register(work.who.tenant, &work.request.id, &work.cancel);
            let outcome = work.run().await;
            engine.audit().outcome(intent, &outcome).await;
            drop(registered);
            // Everything is gone before the last word is said.
            drop(work);
            if let Err(error) = outcome {
                tracing::debug!(?error, "a build failed");
                // Nobody listens: nobody is told.
                let _ = sender.send(BuildEvent::Failed(error)).await;
            }
        });
        let events = tokio_stream::wrappers::ReceiverStream::new(receiver);
        Ok(Box::pin(events.map(move |event| {
            // Lives as long as the stream does.
            let _ = &stop;
            event
        })))
    }

    /// The same as text for people who wait, as operations show it.
    ///
    /// # Errors
    /// As [`Engine::build`].
    pub async fn build_progress(&self, who: &Subject, request: BuildRequest, context: Option<ArchiveStream>) -> Result<ProgressStream> {
        let events = self.build(who, request, context).await?;
        Ok(Box::pin(events.flat_map(|event| futures_util::stream::iter(told(event)))))
    }

    async fn prepare_build(
        &self,
        who: &Subject,
        mut request: BuildRequest,
        body: Option<ArchiveStream>,
        events: mpsc::Sender<BuildEvent>,
        cancel: CancellationToken,
    ) -> Result<Work> {
        let base = self.block(who.tenant)?.base;
        let id = uuid::Uuid::new_v4().simple().to_string();
        let path = self.builds_folder().join(&id);
        std::fs::create_dir(&path).doing(|| format!("making {}", path.display()))?;
        let trash = self.instance().data_root().join("trash").join(format!("build-{id}"));
        let folder = Folder { path: path.clone(), secrets: self.build_secrets().join(&id), trash, engine: self.clone() };
        let context = path.join("context");
        make_folder(&context, base, 0o755)?;
        let root = std::fs::File::open(&context).doing(|| format!("opening {}", context.display()))?;
        let workers = self.images_handle().workers();
        if let Some(body) = body {
            // Whoever sends a context, its files are the image's root's.
            let options = UnpackOptions { no_overwrite_dir_non_dir: false, owner: Some((0, 0)) };
            workers.unpack(base, root.as_fd(), "/", options, body).await?;
        }
        let text = match request.inline.take() {
            Some(text) => text,
            None => read_dockerfile(root.as_fd(), &mut request.dockerfile)?,
        };
        let own = format!("{}.dockerignore", request.dockerfile);
        let mut patterns = read(root.as_fd(), &own)?;
        if patterns.is_empty() {
            patterns = read(root.as_fd(), ".dockerignore")?;
        }
        let patterns = ignore::read(&patterns);
        if !patterns.is_empty() {
            ignore::Patterns::new(&patterns)?;
            workers.tree::<()>(base, root.as_fd(), None, &TreeJob::Thin(patterns)).await?;
        }
        let file = Dockerfile::parse(&text)?;
        let platform = if request.platform.is_empty() { Platform::host() } else { request.platform.parse()? };
        let given = Given::new(&request.args, &platform, &request.target, file.escape);
        let global = given.global(&file)?;
        let names: Vec<String> = file.stages.iter().map(|s| given.expand_from(&global, &s.from, s.line, &s.text)).collect::<Result<_>>()?;
        let plan = plan::plan(&file, &names, &request.target)?;
        Ok(Work::new(self.clone(), who.clone(), request, file, plan, given, global, platform, folder, base, events, cancel))
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
    let default = name.is_empty();
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
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::invalid(format!("the Dockerfile ({name}) cannot be empty")));
    }
    Ok(text)
}

/// An event as progress.
fn told(event: BuildEvent) -> Vec<Progress> {
    match event {
        BuildEvent::Step { number, total, text } => vec![Progress::Text(format!("Step {number}/{total} : {text}\n"))],
        BuildEvent::Pull(fact) => vec![fact],
        BuildEvent::Cached => vec![Progress::Text(" ---> Using cache\n".to_owned())],
        BuildEvent::Running(id) => vec![Progress::Text(format!(" ---> Running in {}\n", id.short()))],
        BuildEvent::Output(_, bytes) => vec![Progress::Text(String::from_utf8_lossy(&bytes).into_owned())],
        BuildEvent::Removed(_) => Vec::new(),
        BuildEvent::Warning(text) => vec![Progress::Text(text)],
        BuildEvent::Done(id) => vec![Progress::Text(format!(" ---> {}\n", &id.hex()[..12]))],
        BuildEvent::Built(id, names) => {
            let mut all =
                vec![Progress::Aux(serde_json::json!({ "ID": id })), Progress::Text(format!("Successfully built {}\n", &id.hex()[..12]))];
            all.extend(names.into_iter().map(|n| Progress::Text(format!("Successfully tagged {n}\n"))));
            all
        }
        BuildEvent::Failed(error) => vec![Progress::Failed(error)],
    }
}
