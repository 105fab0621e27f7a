//! A build at work: stages in order, each instruction carried out or found remembered.

use super::agent::Agents;
use super::builds::{key, make_folder};
use super::dockerfile::lint::Finding;
use super::dockerfile::{Dockerfile, Instruction, Located, parse_instruction};
use super::plan::{Base, Plan};
use super::request::{BuildEvent, BuildRequest};
use super::scope::{Given, at};
use super::stage::State;
use super::tell::{Teller, cancelled};
use crate::engine::Engine;
use crate::image::build::{Assembly, BuiltLayer};
use crate::image::{CachedStep, Image, Platform, PullRequest, Reference};
use crate::inventory::builds as rows;
use crate::progress::Progress;
use crate::{Digest, Doing, Error, Result, Subject};
use futures_util::StreamExt;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

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
    pub tell: Teller,
    /// Patterns of what the context leaves out.
    pub ignored: Vec<String>,
    /// What Docker's build checks say of the Dockerfile.
    pub findings: Vec<Finding>,
    /// Whether the client's context is here.
    pub context_here: bool,
    /// Folders of named contexts that are here.
    pub named: HashMap<String, PathBuf>,
    /// SSH agents that this build's RUNs can reach.
    pub agents: Agents,
    /// The vertex at work; 0: none.
    pub vertex: u32,
    /// Whether it turned out to be remembered.
    remembered: bool,
    /// Whether a base image had to be pulled for it.
    pulled: bool,
    /// Steps of the images that are this build's cache (`--cache-from`). They are no more than that: nothing of them is
    /// remembered for builds that do not name the image.
    imported: HashMap<String, (Option<BuiltLayer>, jiff::Timestamp)>,
    /// Whether the stage at work may not use what is remembered.
    uncached_stage: bool,
    /// How many ONBUILD triggers of the stage at work are shown with a progress of their own.
    triggers: usize,
    /// The last vertex of each stage.
    tips: HashMap<usize, u32>,
    pub stages: HashMap<usize, State>,
    images: HashMap<(String, String), Image>,
    used: Vec<String>,
    /// Keys of what this build carried out itself.
    made: HashSet<String>,
    step: usize,
    total: usize,
    scratch: usize,
    /// How many files were fetched from the web.
    pub fetches: usize,
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

impl Folder {
    /// A new one. What a build keeps in memory has its place beside it, not yet made.
    pub fn new(engine: &Engine) -> Result<Self> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let path = engine.builds_folder().join(&id);
        std::fs::create_dir(&path).doing(|| format!("making {}", path.display()))?;
        let trash = engine.instance().data_root().join("trash").join(format!("build-{id}"));
        Ok(Self { path, secrets: engine.build_secrets().join(&id), trash, engine: engine.clone() })
    }
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
        tell: Teller,
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
            tell,
            ignored: Vec::new(),
            findings: Vec::new(),
            context_here: false,
            named: HashMap::new(),
            agents: Agents::default(),
            vertex: 0,
            remembered: false,
            pulled: false,
            imported: HashMap::new(),
            uncached_stage: false,
            triggers: 0,
            tips: HashMap::new(),
            stages: HashMap::new(),
            images: HashMap::new(),
            used: Vec::new(),
            made: HashSet::new(),
            step: 0,
            total,
            scratch: 0,
            fetches: 0,
            epoch,
        }
    }

    /// Tells something. Nobody listens any more: then the build is over.
    pub async fn tell(&self, event: BuildEvent) -> Result<()> {
        self.tell.tell(event).await
    }

    /// Begins the vertex of an instruction, after what its stage did so far and what it copies from.
    async fn open(&mut self, here: usize, name: String, line: usize, froms: &[usize]) -> Result<()> {
        let inputs = std::iter::once(&here).chain(froms).filter_map(|stage| self.tips.get(stage).copied()).collect();
        self.remembered = false;
        self.vertex = self.tell.begin(name, line, inputs).await?;
        self.tips.insert(here, self.vertex);
        Ok(())
    }

    /// Ends it.
    async fn close<T>(&mut self, outcome: &Result<T>) -> Result<()> {
        let vertex = std::mem::take(&mut self.vertex);
        // A cancelled build tells nothing; its outcome says so already.
        match self.tell.end(vertex, outcome, self.remembered).await {
            Err(error) if outcome.is_ok() => Err(error),
            _ => Ok(()),
        }
    }

    /// `[build 2/5] `: the stage where there are several, and how far it is among the instructions that have a vertex.
    fn counted(&self, here: usize, done: usize) -> String {
        let own = |located: &Located| has_vertex(&located.instruction);
        let stage = &self.file.stages[here];
        let first = usize::from(matches!(self.plan.bases[here], Base::Image(_) | Base::Folder(_)));
        let total = first + self.triggers + stage.instructions.iter().filter(|l| own(l)).count();
        let width = total.max(done).to_string().len();
        match (&stage.name, self.file.stages.len()) {
            (_, 1) => format!("[{done:width$}/{total}] "),
            (Some(name), _) => format!("[{name} {done:width$}/{total}] "),
            (None, _) => format!("[stage-{here} {done:width$}/{total}] "),
        }
    }

    /// One instruction, with its vertex if it has one.
    async fn step(&mut self, here: usize, state: &mut State, located: &Located, done: &mut usize) -> Result<()> {
        if !has_vertex(&located.instruction) {
            return self.instruction(here, state, located).await;
        }
        *done += 1;
        let froms: Vec<usize> = super::plan::froms(&located.instruction)
            .iter()
            .filter_map(|text| match super::plan::from(&self.file, here, text, &self.request.contexts) {
                Ok(super::plan::From::Stage(stage)) => Some(stage),
                _ => None,
            })
            .collect();
        let name = format!("{}{}", self.counted(here, *done), located.text);
        self.open(here, name, located.line, &froms).await?;
        let outcome = self.instruction(here, state, located).await;
        self.close(&outcome).await?;
        outcome
    }

    async fn begin(&mut self, text: &str) -> Result<()> {
        self.step += 1;
        self.tell(BuildEvent::Step { number: self.step, total: self.total, text: text.to_owned() }).await
    }

    /// The whole build. Returns the image.
    pub async fn run(&mut self) -> Result<Digest> {
        // Nothing is collected while layers are here that no image names yet.
        let _hold = self.engine.images_handle().hold().await;
        for finding in std::mem::take(&mut self.findings) {
            self.tell(BuildEvent::Advice(finding)).await?;
        }
        self.import_caches().await?;
        for located in self.file.global.clone() {
            self.begin(&located.text).await?;
        }
        let order = self.plan.order.clone();
        let last = *order.last().ok_or_else(|| Error::invalid("there is no stage to build"))?;
        for here in order {
            let stage = self.file.stages[here].clone();
            self.begin(&stage.text).await?;
            let is = |wanted: &String| stage.name.as_ref().is_some_and(|name| wanted.eq_ignore_ascii_case(name));
            self.uncached_stage = self.request.no_cache_stages.iter().any(is);
            let mut done = 0;
            self.triggers = 0;
            if let Base::Image(name) = self.plan.bases[here].clone() {
                done = 1;
                let name = name.parse::<Reference>().map_or(name, |r| r.or_latest().canonical());
                let shown = format!("{}FROM {name}", self.counted(here, 1));
                self.open(here, shown, stage.line, &[]).await?;
            }
            let outcome = self.base_of(here, &stage.platform, stage.line, &stage.text).await;
            if self.vertex != 0 {
                // What is here already costs nothing, and is shown so.
                self.remembered = !std::mem::take(&mut self.pulled);
                self.close(&outcome).await?;
            }
            let mut state = outcome?;
            if let Base::Stage(below) = self.plan.bases[here]
                && let Some(tip) = self.tips.get(&below).copied()
            {
                self.tips.insert(here, tip);
            }
            self.tell(BuildEvent::Done(state.id())).await?;
            let triggers = std::mem::take(&mut state.config.on_build);
            if !triggers.is_empty() {
                let s = if triggers.len() == 1 { "" } else { "s" };
                self.tell(BuildEvent::Warning(format!("# Executing {} build trigger{s}\n", triggers.len()))).await?;
            }
            let triggers: Vec<Located> = triggers.iter().map(|text| parse_instruction(text, '\\')).collect::<Result<_, _>>()?;
            self.triggers = triggers.iter().filter(|t| has_vertex(&t.instruction)).count();
            for mut located in triggers {
                located.line = stage.line;
                self.step(here, &mut state, &located, &mut done).await?;
                self.tell(BuildEvent::Done(state.id())).await?;
            }
            for located in &stage.instructions {
                self.begin(&located.text).await?;
                self.step(here, &mut state, located, &mut done).await?;
                self.tell(BuildEvent::Done(state.id())).await?;
            }
            self.stages.insert(here, state);
        }
        let mut state = self.stages.remove(&last).ok_or_else(|| Error::invalid("there is no stage to build"))?;
        if !self.request.labels.is_empty() {
            let text: Vec<String> = self.request.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let text = format!("LABEL {}", text.join(" "));
            self.begin(&text).await?;
            let before = (state.id(), state.chain());
            state.config.labels.extend(self.request.labels.clone());
            self.declare_step(&mut state, &before, &text).await?;
            self.tell(BuildEvent::Done(state.id())).await?;
        }
        if self.request.client.is_none() {
            let unused = self.given.unused(&self.file, &self.plan.order);
            if !unused.is_empty() {
                self.tell(BuildEvent::Warning(format!("[Warning] One or more build-args [{}] were not consumed\n", unused.join(" "))))
                    .await?;
            }
            if state.layers.is_empty() && state.history.is_empty() {
                return Err(Error::invalid("No image was generated. Is your Dockerfile empty?"));
            }
        }
        self.finish(state).await
    }

    /// Reads what the images of `--cache-from` carry. One that cannot be had is no reason to fail.
    async fn import_caches(&mut self) -> Result<()> {
        if self.request.no_cache {
            return Ok(());
        }
        let platform = self.platform.clone();
        for name in self.request.cache_from.clone() {
            self.vertex = self.tell.begin(format!("importing cache manifest from {name}"), 0, Vec::new()).await?;
            let outcome = async {
                // The classic builder takes images that are here, and pulls none for it.
                let image = match self.request.client {
                    Some(_) => self.image(&name, &platform).await?,
                    None => self.engine.images_handle().resolve(self.who.tenant, &name).await?,
                };
                self.engine.images_handle().build_cache_of(self.who.tenant, &image.id).await
            }
            .await;
            self.remembered = false;
            self.close(&outcome).await?;
            match outcome {
                Ok(steps) => {
                    for (keys, layer, made) in steps {
                        self.imported.extend(keys.into_iter().map(|key| (key, (layer.clone(), made))));
                    }
                }
                Err(error) if self.tell.cancel.is_cancelled() => return Err(error),
                Err(error) => tracing::debug!(?error, "a build's cache image cannot be had"),
            }
        }
        self.pulled = false;
        Ok(())
    }

    /// When an image was made that has no files of a time: at the first build of just this configuration, so that the next one
    /// gives the same image.
    async fn declared(&mut self, state: &mut State) -> Result<()> {
        if state.created.is_some() || self.epoch.is_some() {
            return Ok(());
        }
        let says = serde_json::to_vec(&(&state.config, &state.author, state.platform.to_string())).doing(|| "naming a step".to_owned())?;
        let steps: Vec<&str> = state.history.iter().map(|h| h.created_by.as_str()).collect();
        let key = key(&[b"declared", state.chain().as_bytes(), &says, steps.join("\n").as_bytes()]);
        let (tenant, now) = (self.who.tenant, jiff::Timestamp::now());
        let remembered = if self.request.no_cache { None } else { self.engine.remembered_step(tenant, &key).await? };
        let made = match remembered {
            Some((_, made)) => made,
            None => {
                let mut tx = self.engine.inventory().begin().await?;
                rows::put(&mut tx, tenant, &key, None, steps.last().copied().unwrap_or("scratch"), now).await?;
                crate::inventory::commit(tx).await?;
                self.made.insert(key.clone());
                // As the database has it.
                jiff::Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
            }
        };
        self.used.push(key.clone());
        state.cache.push(CachedStep { keys: vec![key], layer: None, made: made.as_millisecond() });
        state.created = Some(made);
        for step in &mut state.history {
            step.created = step.created.or(state.created);
        }
        Ok(())
    }

    async fn finish(&mut self, mut state: State) -> Result<Digest> {
        self.declared(&mut state).await?;
        let names: Vec<Reference> = self.request.tags.iter().map(|t| Ok(t.parse::<Reference>()?.or_latest())).collect::<Result<_>>()?;
        let familiar: Vec<String> = names.iter().map(|n| format!("{}:{}", n.familiar_name(), n.tag().unwrap_or("latest"))).collect();
        // When the newest of its files were made: the same steps give the same image, whenever they are asked for.
        let created = self.epoch.or(state.created).unwrap_or_else(jiff::Timestamp::now);
        let keys: Vec<String> = state.cache.iter().flat_map(|step| step.keys.iter().cloned()).collect();
        let assembly = Assembly {
            layers: state.layers,
            config: state.config,
            history: state.history,
            author: state.author,
            platform: state.platform,
            created,
            names,
            build_cache: if self.request.inline_cache { state.cache } else { Vec::new() },
        };
        let (image, fresh) = self.engine.images_handle().assemble(self.who.tenant, assembly).await?;
        let mut tx = self.engine.inventory().begin().await?;
        rows::used(&mut tx, self.who.tenant, &self.used).await?;
        // The classic builder's steps go with their images, as dockerd's do; those of BuildKit's door stay.
        match self.request.client {
            None => rows::tie(&mut tx, self.who.tenant, &image, &keys, &self.made).await?,
            Some(_) => rows::untie(&mut tx, self.who.tenant, &self.used).await?,
        }
        crate::inventory::commit(tx).await?;
        for name in &familiar {
            self.engine.tell_named(self.who.tenant, "tag", name).await;
        }
        self.tell(BuildEvent::Built(image, familiar, fresh)).await?;
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
            Base::Folder(name) => {
                let mut state = State::scratch(platform);
                self.open(here, format!("{}FROM {name}", self.counted(here, 1)), line, &[]).await?;
                self.all_of(&mut state, &name).await.map_err(|e| self.in_line(line, text, e))?;
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
                let auth = match (self.request.auths.get(reference.domain()), &self.request.client) {
                    (Some(auth), _) => Some(auth.clone()),
                    (None, Some(client)) => client.credentials(reference.domain()).await?,
                    (None, None) => None,
                };
                self.pulled = true;
                let full = reference.to_string();
                let request = PullRequest { image: full.clone(), tag: String::new(), platform: Some(platform.to_string()), auth };
                let mut progress = self.engine.pull(&self.who, request).await?;
                while let Some(fact) = tokio::select! {
                    fact = progress.next() => fact,
                    () = self.tell.cancel.cancelled() => return Err(cancelled()),
                } {
                    if let Progress::Failed(error) = fact {
                        return Err(error);
                    }
                    self.tell(BuildEvent::Pull(self.vertex, fact)).await?;
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
        let before = (state.id(), state.chain());
        let text = state.said(located, self.given.escape);
        if let Some(outcome) = state.declare(&located.instruction, &self.given, &self.global, &mut warnings) {
            outcome.map_err(|e| at(located.line, &located.text, &e))?;
            for warning in warnings {
                self.tell(BuildEvent::Warning(format!(" ---> [Warning] {warning}\n"))).await?;
            }
            return self.declare_step(state, &before, &text).await;
        }
        match &located.instruction {
            Instruction::Workdir(path) => self.workdir(state, path, located).await,
            Instruction::Transfer(transfer) => self.transfer(here, state, transfer, located).await,
            Instruction::Run(run) => self.run_command(here, state, run, located).await,
            _ => Ok(()),
        }
    }

    /// The end of an instruction that changed no file. The classic builder remembers these too, as dockerd does: the same
    /// steps are the same image, and without the cache they are another one, made now.
    async fn declare_step(&mut self, state: &mut State, before: &(Digest, String), text: &str) -> Result<()> {
        let created_by = format!("{} #(nop)  {text}", state.shell().join(" "));
        if self.request.client.is_some() || self.epoch.is_some() {
            state.remember(self.epoch, created_by, false);
            return Ok(());
        }
        let after = (&state.config, &state.author, &state.args, &created_by);
        let after = serde_json::to_vec(&after).doing(|| "naming a step".to_owned())?;
        let key = key(&[b"declare", before.0.to_string().as_bytes(), before.1.as_bytes(), &after]);
        if self.recall(state, std::slice::from_ref(&key), &created_by).await? {
            return Ok(());
        }
        self.keep(state, &[key], None, created_by).await
    }

    async fn workdir(&mut self, state: &mut State, path: &str, located: &Located) -> Result<()> {
        let path = state.expand(path, self.given.escape).map_err(|e| at(located.line, &located.text, &e))?;
        let folder = state.absolute(&path);
        // The classic builder keeps an absolute path as it was written.
        state.config.working_dir = if self.request.client.is_none() && path.starts_with('/') { path } else { folder.clone() };
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
        if self.request.no_cache || self.uncached_stage {
            return Ok(false);
        }
        for key in keys {
            let found = match self.engine.remembered_step(self.who.tenant, key).await? {
                Some(found) => found,
                None => match self.imported.get(key) {
                    Some(found) => found.clone(),
                    None => continue,
                },
            };
            let (layer, made) = found;
            let has_layer = layer.is_some();
            let diff_id = layer.as_ref().map(|l| l.diff_id);
            state.cache.push(CachedStep { keys: keys.to_vec(), layer: diff_id, made: made.as_millisecond() });
            state.layers.extend(layer);
            state.created = Some(made);
            state.remember(self.epoch, created_by.to_owned(), has_layer);
            self.used.push(key.clone());
            self.remembered = true;
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
        self.made.extend(keys.iter().cloned());
        crate::inventory::commit(tx).await?;
        let has_layer = layer.is_some();
        let diff_id = layer.as_ref().map(|l| l.diff_id);
        state.cache.push(CachedStep { keys: keys.to_vec(), layer: diff_id, made: now.as_millisecond() });
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
}

/// Whether an instruction is shown with a progress of its own: those that touch files are.
fn has_vertex(instruction: &Instruction) -> bool {
    matches!(instruction, Instruction::Run(_) | Instruction::Transfer(_) | Instruction::Workdir(_))
}
