//! What subjects ask of builds: judged, audited, prepared (all that can be wrong with the request is said before the first
//! event), then carried out in a task of the engine's that ends when nobody listens any more.

use super::dockerfile::lint::{self, Finding, Heed, Outline};
use super::dockerfile::{Dockerfile, SyntaxError};
use super::ignore::Patterns;
use super::plan::{self, Base};
use super::request::{BuildEvent, BuildEvents, BuildRequest};
use super::scope::{Given, PROXIES};
use super::tell::Teller;
use super::work::{Folder, Work};
use crate::audit;
use crate::container::request::ArchiveStream;
use crate::engine::Engine;
use crate::image::{Platform, Reference};
use crate::policy::Action;
use crate::progress::{Progress, ProgressStream};
use crate::{Doing, Error, Result, Subject};
use futures_util::StreamExt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

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
        let tell = Teller::new(sender.clone(), cancel.clone());
        let id = request.id.clone();
        let engine = self.clone();
        // A client that stays connected is told of the preparation too: its context may be on its way for minutes.
        let prepared = if request.client.is_some() {
            let (engine, who) = (engine.clone(), who.clone());
            Err(async move { engine.prepare_build(&who, request, context, tell).await })
        } else {
            match self.prepare_build(who, request, context, tell).await {
                Ok(work) => Ok(work),
                Err(error) => {
                    let outcome = Err::<(), _>(error);
                    self.audit().outcome(intent, &outcome).await;
                    return Err(outcome.err().unwrap_or_else(|| Error::invalid("the build could not be prepared")));
                }
            }
        };
        let tenant = who.tenant;
        self.spawn(async move {
            let registered = engine.builds().register(tenant, &id, &cancel);
            let prepared = match prepared {
                Ok(work) => Ok(work),
                // What it waits for may never come: it ends with the build.
                Err(preparing) => tokio::select! {
                    prepared = preparing => prepared,
                    () = cancel.cancelled() => Err(super::tell::cancelled()),
                },
            };
            let outcome = match prepared {
                // Everything is gone before the last word is said: `work` ends here.
                Ok(mut work) => work.run().await,
                Err(error) => Err(error),
            };
            engine.audit().outcome(intent, &outcome).await;
            drop(registered);
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

    async fn prepare_build(&self, who: &Subject, mut request: BuildRequest, body: Option<ArchiveStream>, tell: Teller) -> Result<Work> {
        let base = self.block(who.tenant)?.base;
        let folder = Folder::new(self)?;
        let definition = self.build_definition(who, &folder.path, &mut request, body, &tell).await?;
        let file = Dockerfile::parse(&definition.text)?;
        let platform = if request.platform.is_empty() { Platform::host() } else { request.platform.parse()? };
        let given = Given::new(&request.args, &platform, &request.target, file.escape);
        let global = given.global(&file)?;
        let names: Vec<String> = file.stages.iter().map(|s| given.expand_from(&global, &s.from, s.line, &s.text)).collect::<Result<_>>()?;
        let plan = plan::plan(&file, &names, &request.target, &request.contexts)?;
        let mut work = Work::new(self.clone(), who.clone(), request, file, plan, given, global, platform, folder, base, tell);
        work.findings = self.findings(who, &definition.text, &definition.ignored, &work).await?;
        work.ignored = definition.ignored;
        Ok(work)
    }

    /// What Docker's build checks say of a build, of those that its author wants to hear.
    async fn findings(&self, who: &Subject, text: &[u8], ignored: &[String], work: &Work) -> Result<Vec<Finding>> {
        let (file, given) = (&work.file, &work.given);
        let wanted = given.args.get("BUILDKIT_DOCKERFILE_CHECK").or(file.check.as_ref()).cloned().unwrap_or_default();
        let heed = Heed::read(&wanted).map_err(|e| Error::from(SyntaxError::new(0, e)))?;
        let platform: Vec<&str> = given.platform.keys().map(String::as_str).collect();
        let mut all = lint::findings(text, file, &Patterns::new(ignored)?, &platform)?;
        // What a stage's variables are is known where its base is: an image that is still to be pulled is not.
        let mut names: HashMap<usize, Option<Vec<String>>> = HashMap::new();
        for here in work.plan.order.iter().copied() {
            let below = match &work.plan.bases[here] {
                Base::Scratch | Base::Folder(_) => Some(vec!["PATH=".to_owned()]),
                Base::Stage(below) => names.get(below).cloned().flatten(),
                Base::Image(name) => self.images_handle().resolve(who.tenant, name).await.ok().map(|image| image.config.env),
            };
            if let Some(env) = &below {
                all.extend(lint::undefined(file, here, env, &PROXIES));
            }
            names.insert(here, below.map(|env| env.into_iter().chain(lint::declared(&file.stages[here])).collect()));
        }
        let found = heed.of(all);
        if heed.error && !found.is_empty() {
            let mut rules: Vec<&str> = found.iter().map(|f| f.rule.name).collect();
            rules.sort_unstable();
            rules.dedup();
            let text = format!("lint violation found for rules: {}", rules.join(", "));
            return Err(Error::invalid(text));
        }
        Ok(found)
    }

    /// What a Dockerfile says of itself, without a build: its checks, its targets, what it takes from outside.
    ///
    /// # Errors
    /// As [`Engine::build`]'s preparation.
    pub async fn examine_build(&self, who: &Subject, request: BuildRequest) -> Result<Examined> {
        self.judge(who, Action::ImageBuild).await?;
        let intent = self.audit().intent_alone(&audit::Entry::of(who, Action::ImageBuild.as_str(), "check")).await?;
        let (sender, mut receiver) = mpsc::channel(EVENTS);
        let tell = Teller::new(sender, self.closing().child_token());
        let text = Arc::new(Mutex::new((String::new(), Vec::new())));
        let kept = text.clone();
        // Ends with the last sender, which the preparation has.
        let listening = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(event) = receiver.recv().await {
                if let BuildEvent::Definition(name, text) = event {
                    *kept.lock().unwrap_or_else(|e| e.into_inner()) = (name, text);
                }
            }
        }));
        let prepared = self.prepare_build(who, request, None, tell).await;
        self.audit().outcome(intent, &prepared).await;
        let Work { file, plan, findings, tell, folder, .. } = prepared?;
        drop((tell, folder));
        listening.await.doing(|| "reading a Dockerfile".to_owned())?;
        let (name, text) = std::mem::take(&mut *text.lock().unwrap_or_else(|e| e.into_inner()));
        let target = plan.order.last().copied().unwrap_or_default();
        Ok(Examined { name, text, outline: lint::outline(&file, &plan.order), file, findings, target })
    }
}

/// A Dockerfile, looked at.
#[derive(Debug)]
pub struct Examined {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: Vec<u8>,
    /// What it says.
    pub file: Dockerfile,
    /// What Docker's checks say of it.
    pub findings: Vec<Finding>,
    /// What the target takes from outside.
    pub outline: Outline,
    /// The stage that would be built.
    pub target: usize,
}

/// An event as progress.
fn told(event: BuildEvent) -> Vec<Progress> {
    match event {
        BuildEvent::Step { number, total, text } => vec![Progress::Text(format!("Step {number}/{total} : {text}\n"))],
        BuildEvent::Pull(_, fact) => vec![fact],
        BuildEvent::Cached => vec![Progress::Text(" ---> Using cache\n".to_owned())],
        BuildEvent::Running(id) => vec![Progress::Text(format!(" ---> Running in {}\n", id.short()))],
        BuildEvent::Output(_, _, bytes) => vec![Progress::Text(String::from_utf8_lossy(&bytes).into_owned())],
        BuildEvent::Advice(_)
        | BuildEvent::Removed(_)
        | BuildEvent::Definition(..)
        | BuildEvent::Begin(_)
        | BuildEvent::Transfer { .. }
        | BuildEvent::End(..) => Vec::new(),
        BuildEvent::Warning(text) => vec![Progress::Text(text)],
        BuildEvent::Done(id) => vec![Progress::Text(format!(" ---> {}\n", &id.hex()[..12]))],
        BuildEvent::Built(id, names, _) => {
            let mut all =
                vec![Progress::Aux(serde_json::json!({ "ID": id })), Progress::Text(format!("Successfully built {}\n", &id.hex()[..12]))];
            all.extend(names.into_iter().map(|n| Progress::Text(format!("Successfully tagged {n}\n"))));
            all
        }
        BuildEvent::Failed(error) => vec![Progress::Failed(error)],
    }
}
