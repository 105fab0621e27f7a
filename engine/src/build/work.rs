//! A build at work: stages in order, each instruction carried out or found remembered.

use super::builds::{key, make_folder};
use super::dockerfile::{Dockerfile, Instruction, Located, parse_instruction};
use super::plan::{Base, Plan};
use super::request::{BuildEvent, BuildRequest};
use super::scope::{Given, at};
use super::stage::State;
use crate::engine::Engine;
use crate::image::build::{Assembly, BuiltLayer};
use crate::image::{Image, Platform, PullRequest, Reference};
use crate::inventory::builds as rows;
use crate::progress::Progress;
use crate::{Digest, Doing, Error, Result, Subject};
use futures_util::StreamExt;
use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Everything one build has.
pub(super) struct Work {
    pub engine: Engine,
    pub who: Subject,
    pub request: BuildRequest,
    pub file: Dockerfile,
    pub plan: Plan,
    pub given: Given,
    pub global: BTreeMap<String, String>,
    pub platform: Platform,
    /// The build's own folder; gone when this is dropped.
    pub folder: Folder,
    /// First id of the tenant's block.
    pub base: u32,
    pub events: mpsc::Sender<BuildEvent>,
    pub cancel: CancellationToken,
    pub stages: HashMap<usize, State>,
    images: HashMap<(String, String), Image>,
    used: Vec<String>,
    step: usize,
    total: usize,
    scratch: usize,
    /// SOURCE_DATE_EPOCH: when everything is said to have been made.
    epoch: Option<jiff::Timestamp>,
}

/// A build's folders, removed when it is over, however it ends.
pub(super) struct Folder {
    pub path: PathBuf,
    pub secrets: PathBuf,
    pub trash: PathBuf,
    pub engine: Engine,
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Moved first: a build's id may come again, and removing thousands of files takes a while.
        if let Err(error) = std::fs::rename(&self.path, &self.trash) {
            tracing::warn!(%error, "a build's folder stays until the next start");
        }
        if self.secrets.exists()
            && let Err(error) = std::fs::remove_dir_all(&self.secrets)
        {
            tracing::warn!(%error, "a build's secrets stay in memory until the next start");
        }
        self.engine.sweep_trash();
    }
}

impl Work {
    #[allow(clippy::too_many_arguments)] // Each is a part of the build that its preparation found.
    pub fn new(
        engine: Engine,
        who: Subject,
        request: BuildRequest,
        file: Dockerfile,
        plan: Plan,
        given: Given,
        global: BTreeMap<String, String>,
        platform: Platform,
        folder: Folder,
        base: u32,
        events: mpsc::Sender<BuildEvent>,
        cancel: CancellationToken,
    ) -> Self {
        let steps = plan.order.iter().map(|i| file.stages[*i].instructions.len() + 1).sum::<usize>();
        let total = steps + file.global.len() + usize::from(!request.labels.is_empty());
        let epoch = given.args.get("SOURCE_DATE_EPOCH").and_then(|v| v.parse().ok()).and_then(|s| jiff::Timestamp::from_second(s).ok());
        Self {
            engine,
            who,
            request,
            file,
            plan,
            given,
            global,
            platform,
            folder,
            base,
            events,
            cancel,
            stages: HashMap::new(),
            images: HashMap::new(),
            used: Vec::new(),
            step: 0,
            total,
            scratch: 0,
            epoch,
        }
    }

    /// Tells something. Nobody listens any more: then the build is over.
    pub async fn tell(&self, event: BuildEvent) -> Result<()> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Error::conflict("the build was cancelled")),
            sent = self.events.send(event) => sent.map_err(|_| Error::conflict("the build was cancelled")),
        }
    }

    async fn begin(&mut self, text: &str) -> Result<()> {
        self.step += 1;
        self.tell(BuildEvent::Step { number: self.step, total: self.total, text: text.to_owned() }).await
    }

    /// The whole build. Returns the image.
    pub async fn run(&mut self) -> Result<Digest> {
        // Nothing is collected while layers are here that no image names yet.
        let _hold = self.engine.images_handle().hold().await;
        for located in self.file.global.clone() {
            self.begin(&located.text).await?;
        }
        let order = self.plan.order.clone();
        let last = *order.last().ok_or_else(|| Error::invalid("there is no stage to build"))?;
        for here in order {
            let stage = self.file.stages[here].clone();
            self.begin(&stage.text).await?;
            let mut state = self.base_of(here, &stage.platform, stage.line, &stage.text).await?;
            self.tell(BuildEvent::Done(state.id())).await?;
            let triggers = std::mem::take(&mut state.config.on_build);
            if !triggers.is_empty() {
                let s = if triggers.len() == 1 { "" } else { "s" };
                self.tell(BuildEvent::Warning(format!("# Executing {} build trigger{s}\n", triggers.len()))).await?;
            }
            for trigger in triggers {
                let mut located = parse_instruction(&trigger, '\\')?;
                located.line = stage.line;
                self.instruction(here, &mut state, &located).await?;
                self.tell(BuildEvent::Done(state.id())).await?;
            }
            for located in &stage.instructions {
                self.begin(&located.text).await?;
                self.instruction(here, &mut state, located).await?;
                self.tell(BuildEvent::Done(state.id())).await?;
            }
            self.stages.insert(here, state);
        }
        let mut state = self.stages.remove(&last).ok_or_else(|| Error::invalid("there is no stage to build"))?;
        if !self.request.labels.is_empty() {
            let text: Vec<String> = self.request.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let text = format!("LABEL {}", text.join(" "));
            self.begin(&text).await?;
            state.config.labels.extend(self.request.labels.clone());
            state.remember(self.epoch, format!("/bin/sh -c #(nop)  {text}"), false);
            self.tell(BuildEvent::Done(state.id())).await?;
        }
        self.finish(state).await
    }

    async fn finish(&mut self, state: State) -> Result<Digest> {
        let names: Vec<Reference> = self.request.tags.iter().map(|t| Ok(t.parse::<Reference>()?.or_latest())).collect::<Result<_>>()?;
        let familiar: Vec<String> = names.iter().map(|n| format!("{}:{}", n.familiar_name(), n.tag().unwrap_or("latest"))).collect();
        // When the newest of its files were made: the same steps give the same image, whenever they are asked for.
        let created = self.epoch.or(state.created).unwrap_or_else(jiff::Timestamp::now);
        let assembly = Assembly {
            layers: state.layers,
            config: state.config,
            history: state.history,
            author: state.author,
            platform: state.platform,
            created,
            names,
        };
        let image = self.engine.images_handle().assemble(self.who.tenant, assembly).await?;
        if !self.used.is_empty() {
            let mut tx = self.engine.inventory().begin().await?;
            rows::used(&mut tx, self.who.tenant, &self.used).await?;
            crate::inventory::commit(tx).await?;
        }
        for name in &familiar {
            self.engine.tell_named(self.who.tenant, "tag", name).await;
        }
        self.tell(BuildEvent::Built(image, familiar)).await?;
        Ok(image)
    }

    /// What a stage begins with.
    async fn base_of(&mut self, here: usize, platform: &Option<String>, line: usize, text: &str) -> Result<State> {
        let platform = match platform {
            Some(word) => {
                let word = self.given.expand_from(&self.global, word, line, text)?;
                if word.is_empty() { self.platform.clone() } else { word.parse()? }
            }
            None => self.platform.clone(),
        };
        match self.plan.bases[here].clone() {
            Base::Scratch => Ok(State::scratch(platform)),
            Base::Stage(stage) => {
                let mut state = self.stages.get(&stage).cloned().ok_or_else(|| Error::invalid("a stage is not built yet"))?;
                state.cmd_set = false;
                Ok(state)
            }
            Base::Image(name) => {
                let image = self.image(&name, &platform).await.map_err(|e| self.in_line(line, text, e))?;
                let layers = self.engine.images_handle().layers_to_build_on(self.who.tenant, &image.id).await?;
                let mut state = State::scratch(Platform {
                    os: image.os.clone(),
                    architecture: image.architecture.clone(),
                    variant: image.variant.clone(),
                });
                if !image.config.env.is_empty() || !layers.is_empty() {
                    state.config = image.config.clone();
                }
                if super::scope::env_value(&state.config.env, "PATH").is_none() {
                    super::scope::set_env(&mut state.config.env, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
                }
                state.layers = layers;
                state.history = image.history.clone();
                state.author = image.author.clone();
                state.image = image.id;
                state.created = image.created;
                Ok(state)
            }
        }
    }

    /// An image by name: here already, else pulled.
    pub async fn image(&mut self, name: &str, platform: &Platform) -> Result<Image> {
        if name.is_empty() {
            return Err(Error::invalid("base name is empty: an ARG in FROM has no value"));
        }
        let known = (name.to_owned(), platform.to_string());
        if let Some(image) = self.images.get(&known) {
            return Ok(image.clone());
        }
        let tenant = self.who.tenant;
        let here = match self.engine.images_handle().resolve(tenant, name).await {
            Ok(image) => Some(image),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let suits = |image: &Image| {
            let has = Platform { os: image.os.clone(), architecture: image.architecture.clone(), variant: image.variant.clone() };
            // Images without a platform are made by hand; they are taken as they are.
            image.architecture.is_empty() || has.suits(platform)
        };
        let image = match here {
            Some(image) if !self.request.pull && suits(&image) => image,
            _ => {
                let reference = name.parse::<Reference>()?.or_latest();
                let auth = self.request.auths.get(reference.domain()).cloned();
                let full = reference.to_string();
                let request = PullRequest { image: full.clone(), tag: String::new(), platform: Some(platform.to_string()), auth };
                let mut progress = self.engine.pull(&self.who, request).await?;
                while let Some(fact) = tokio::select! {
                    fact = progress.next() => fact,
                    () = self.cancel.cancelled() => return Err(Error::conflict("the build was cancelled")),
                } {
                    if let Progress::Failed(error) = fact {
                        return Err(error);
                    }
                    self.tell(BuildEvent::Pull(fact)).await?;
                }
                self.engine.images_handle().resolve(tenant, &full).await?
            }
        };
        self.images.insert(known, image.clone());
        Ok(image)
    }

    /// One instruction.
    async fn instruction(&mut self, here: usize, state: &mut State, located: &Located) -> Result<()> {
        let mut warnings = Vec::new();
        if let Some(outcome) = state.declare(&located.instruction, &self.given, &self.global, &mut warnings) {
            outcome.map_err(|e| at(located.line, &located.text, &e))?;
            for warning in warnings {
                self.tell(BuildEvent::Warning(format!(" ---> [Warning] {warning}\n"))).await?;
            }
            state.remember(self.epoch, format!("/bin/sh -c #(nop)  {}", located.text), false);
            return Ok(());
        }
        match &located.instruction {
            Instruction::Workdir(path) => self.workdir(state, path, located).await,
            Instruction::Transfer(transfer) => self.transfer(here, state, transfer, located).await,
            Instruction::Run(run) => self.run_command(here, state, run, located).await,
            _ => Ok(()),
        }
    }

    async fn workdir(&mut self, state: &mut State, path: &str, located: &Located) -> Result<()> {
        let path = state.expand(path, self.given.escape).map_err(|e| at(located.line, &located.text, &e))?;
        state.config.working_dir = state.absolute(&path);
        let folder = state.config.working_dir.clone();
        let created_by = format!("/bin/sh -c #(nop) WORKDIR {folder}");
        let key = key(&[b"workdir", state.chain().as_bytes(), state.config.user.as_bytes(), folder.as_bytes()]);
        if self.recall(state, std::slice::from_ref(&key), &created_by).await? {
            return Ok(());
        }
        let (root, scratch) = self.root(&state.layers).await?;
        let owner = self.owner(&root, &state.config.user)?;
        let job = crate::worker::TreeJob::Folder { path: folder, owner };
        self.engine.images_handle().workers().tree::<()>(self.base, root.as_fd(), None, &job).await?;
        drop(root);
        let layer = self.pack(&scratch.join("upper")).await?;
        self.keep(state, &[key], layer, created_by).await
    }

    /// Looks for a remembered step; takes it over if there is one.
    pub async fn recall(&mut self, state: &mut State, keys: &[String], created_by: &str) -> Result<bool> {
        if self.request.no_cache {
            return Ok(false);
        }
        for key in keys {
            let Some((layer, made)) = self.engine.remembered_step(self.who.tenant, key).await? else { continue };
            let has_layer = layer.is_some();
            state.layers.extend(layer);
            state.created = Some(made);
            state.remember(self.epoch, created_by.to_owned(), has_layer);
            self.used.push(key.clone());
            self.tell(BuildEvent::Cached).await?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Keeps what a step made, under all of its keys.
    pub async fn keep(&mut self, state: &mut State, keys: &[String], layer: Option<BuiltLayer>, created_by: String) -> Result<()> {
        let now = jiff::Timestamp::now();
        let mut tx = self.engine.inventory().begin().await?;
        for key in keys {
            let row = layer.as_ref().map(|l| (l.row, &l.blob));
            let description: String = created_by.chars().take(300).collect();
            rows::put(&mut tx, self.who.tenant, key, row, &description, now).await?;
        }
        crate::inventory::commit(tx).await?;
        let has_layer = layer.is_some();
        state.layers.extend(layer);
        // As the database has it, so that a later build finds the same.
        state.created = Some(jiff::Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now));
        state.remember(self.epoch, created_by, has_layer);
        Ok(())
    }

    /// A new folder with `upper` and `work`, the tenant's.
    pub fn scratch(&mut self) -> Result<PathBuf> {
        self.scratch += 1;
        let path = self.folder.path.join(format!("s{}", self.scratch));
        make_folder(&path, self.base, 0o755)?;
        make_folder(&path.join("upper"), self.base, 0o755)?;
        make_folder(&path.join("work"), self.base, 0o755)?;
        Ok(path)
    }

    /// The root file system of some layers, writable; what is written lands in the scratch folder.
    pub async fn root(&mut self, layers: &[BuiltLayer]) -> Result<(OwnedFd, PathBuf)> {
        let scratch = self.scratch()?;
        let namespace = self.engine.block_namespace(self.who.tenant).await?;
        let layers = layers.iter().map(|l| l.path.clone()).collect();
        let root = self.engine.overlay(layers, scratch.clone(), Some(namespace))?;
        Ok((root, scratch))
    }

    /// A layer of an overlay's upper folder; `None` when there is nothing in it.
    pub async fn pack(&self, upper: &Path) -> Result<Option<BuiltLayer>> {
        let doing = || format!("reading {}", upper.display());
        if std::fs::read_dir(upper).doing(doing)?.next().is_none() {
            return Ok(None);
        }
        let folder = std::fs::File::open(upper).doing(doing)?;
        let tar = self.engine.images_handle().workers().pack_layer(self.base, folder.as_fd()).await?;
        self.engine.images_handle().add_built_layer(self.who.tenant, tar).await.map(Some)
    }

    /// Whose a `user[:group]` is, by the files of a stage.
    pub fn owner(&self, root: &OwnedFd, user: &str) -> Result<(u32, u32)> {
        if user.is_empty() {
            return Ok((0, 0));
        }
        let who = crate::container::credentials(root.as_fd(), user)?;
        Ok((who.uid, who.gid))
    }

    /// An error with its instruction.
    pub fn in_line(&self, line: usize, text: &str, error: Error) -> Error {
        let first: String = text.lines().next().unwrap_or_default().chars().take(200).collect();
        Error::new(error.kind(), format!("{error}\n{line} | {first}")).because(error)
    }

    /// The context's folder.
    pub fn context(&self) -> PathBuf {
        self.folder.path.join("context")
    }
}
