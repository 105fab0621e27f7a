//! What subjects ask of builds: judged, audited, prepared (all that can be wrong with the request is said before the first
//! event), then carried out in a task of the engine's that ends when nobody listens any more.

use super::dockerfile::Dockerfile;
use super::plan;
use super::request::{BuildEvent, BuildEvents, BuildRequest};
use super::scope::Given;
use super::tell::Teller;
use super::work::{Folder, Work};
use crate::audit;
use crate::container::request::ArchiveStream;
use crate::engine::Engine;
use crate::image::{Platform, Reference};
use crate::policy::Action;
use crate::progress::{Progress, ProgressStream};
use crate::{Error, Result, Subject};
use futures_util::StreamExt;
use tokio::sync::mpsc;

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
        work.ignored = definition.ignored;
        Ok(work)
    }
}

/// An event as progress.
fn told(event: BuildEvent) -> Vec<Progress> {
    match event {
        BuildEvent::Step { number, total, text } => vec![Progress::Text(format!("Step {number}/{total} : {text}\n"))],
        BuildEvent::Pull(_, fact) => vec![fact],
        BuildEvent::Cached => vec![Progress::Text(" ---> Using cache\n".to_owned())],
        BuildEvent::Running(id) => vec![Progress::Text(format!(" ---> Running in {}\n", id.short()))],
        BuildEvent::Output(_, _, bytes) => vec![Progress::Text(String::from_utf8_lossy(&bytes).into_owned())],
        BuildEvent::Removed(_) | BuildEvent::Definition(..) | BuildEvent::Begin(_) | BuildEvent::Transfer { .. } | BuildEvent::End(..) => {
            Vec::new()
        }
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
