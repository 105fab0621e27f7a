//! `Control/Solve`: one build from its first word to its exports. With an empty frontend the client runs the frontend's part
//! itself and asks `LLBBridge/Solve` (`gateway`); `build` here is what both come to.

use super::Door;
use super::client::SessionClient;
use super::export::{self, Export};
use super::grpc::{Code, Status};
use super::jobs::{Built, Job, Running, returned};
use super::options::{self, Asked};
use super::session::Session;
use super::told::{Definition as Dockerfile, range};
use crate::App;
use bollard_buildkit_proto::google::{protobuf::Any, rpc};
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{Ref, Result as FrontendResult, result};
use bollard_buildkit_proto::moby::buildkit::v1::{SolveRequest, SolveResponse};
use bollard_buildkit_proto::pb::{Definition, Input, Op, OpMetadata, SourceOp, op};
use engine::build::{BuildEvent, NamedContext};
use engine::{Digest, Error, Subject};
use futures_util::StreamExt;
use prost::Message;
use std::collections::HashMap;
use std::sync::Arc;

/// How a result of a build names itself to the client's other builds.
const RESULT: &str = "wharf-build://";

/// One build.
///
/// # Errors
/// Why it failed, with the place in the Dockerfile as details.
pub async fn solve(app: App, who: Arc<Subject>, request: SolveRequest) -> Result<SolveResponse, Status> {
    let door = app.buildkit.clone();
    if request.definition.as_ref().is_some_and(|d| !d.def.is_empty()) {
        return Err(Status::unimplemented("building from LLB"));
    }
    if request.source_policy.as_ref().is_some_and(|p| !p.rules.is_empty()) || !request.source_policy_session.is_empty() {
        return Err(Status::unimplemented("a source policy"));
    }
    let exports = export::read(&request).map_err(|e| Status::of(&e))?;
    cache_exports(&request)?;
    for entitlement in &request.entitlements {
        // What they would allow is the policy's to allow: grants, as for any container.
        let name = entitlement.split('=').next().unwrap_or_default();
        if !matches!(name, "network.host" | "security.insecure") {
            return Err(Status::unimplemented(&format!("the entitlement {entitlement}")));
        }
    }
    let (frontend, attributes, inputs) = (request.frontend.clone(), request.frontend_attrs.clone(), request.frontend_inputs.clone());
    let (running, returning) = door.jobs.begin(who, request)?;
    let job = running.0.clone();
    let outcome = async {
        let result = match frontend.as_str() {
            "" => {
                let gone = |_| Status::new(Code::Cancelled, "context canceled");
                returned(returning.await.map_err(gone)?)?
            }
            name => Some(build(&app, &job, name, &attributes, &inputs).await?),
        };
        match result.and_then(|r| r.result) {
            None => Ok(HashMap::new()),
            Some(result::Result::Ref(Ref { id, .. }) | result::Result::RefDeprecated(id)) => {
                if id.is_empty() {
                    return Ok(HashMap::new());
                }
                let built = job.result(&id)?;
                export::all(&app, &job, &built, &exports).await
            }
            Some(_) => Err(Status::unimplemented("a result of several platforms")),
        }
    }
    .await;
    finish(&app, &running, &exports, &outcome).await;
    outcome.map(|exporter_response| SolveResponse { exporter_response })
}

/// Ends the build: what it made and nobody keeps goes, the history learns the outcome.
async fn finish(app: &App, running: &Running, exports: &[Export], outcome: &Result<HashMap<String, String>, Status>) {
    let job = &running.0;
    let stored = outcome.is_ok() && exports.iter().any(Export::stores);
    for built in job.results() {
        if built.fresh
            && !stored
            && let Err(error) = app.engine.forget_unnamed(&job.who, &built.image).await
        {
            tracing::warn!(?error, "a build's image that nobody asked for stays");
        }
    }
    match outcome {
        Ok(response) => job.end(None, response.clone()),
        Err(status) => {
            job.end(Some(rpc::Status { code: status.code, message: status.message.clone(), details: Vec::new() }), HashMap::new())
        }
    }
}

/// `--cache-to`: inline is done with the build, the rest is not here.
fn cache_exports(request: &SolveRequest) -> Result<(), Status> {
    let Some(cache) = &request.cache else { return Ok(()) };
    if !cache.export_ref_deprecated.is_empty() {
        return Err(Status::unimplemented("exporting the build cache to a registry of its own"));
    }
    match cache.exports.iter().find(|e| e.r#type != "inline") {
        Some(other) => Err(Status::unimplemented(&format!("exporting the build cache as {}: use type=inline", other.r#type))),
        None => Ok(()),
    }
}

/// Whether the image is to carry its cache.
fn wants_inline_cache(request: &SolveRequest) -> bool {
    request.cache.as_ref().is_some_and(|c| c.exports.iter().any(|e| e.r#type == "inline"))
}

/// The session of a build.
pub async fn session(door: &Door, job: &Job) -> Result<Arc<Session>, Status> {
    door.sessions.find(&job.owner, &job.request.session).await
}

/// Carries a Dockerfile out. The answer names the result.
///
/// # Errors
/// Why it failed.
pub async fn build(
    app: &App,
    job: &Arc<Job>,
    frontend: &str,
    attributes: &HashMap<String, String>,
    inputs: &HashMap<String, Definition>,
) -> Result<FrontendResult, Status> {
    if !matches!(frontend, "dockerfile.v0" | "gateway.v0") {
        return Err(Status::unimplemented(&format!("the frontend {frontend:?}")));
    }
    job.set_options(attributes);
    let Asked { mut request, question, inputs: named } = options::read(attributes).map_err(|e| Status::of(&e))?;
    for (name, input) in named {
        let image = inputs.get(&input).and_then(result_of).ok_or_else(|| {
            Status::new(Code::Unknown, format!("the build context {name} is the result of something that was not built here"))
        })?;
        let built = app.buildkit.jobs.built(&job.owner, &image);
        let built =
            built.ok_or_else(|| Status::new(Code::Unknown, format!("the build context {name} is no result of this client's builds")))?;
        request.contexts.insert(name, NamedContext::Image(built.image.to_string()));
    }
    request.inline_cache |= wants_inline_cache(&job.request);
    for import in job.request.cache.iter().flat_map(|c| &c.imports) {
        let name = options::imported(&import.r#type, &import.attrs).map_err(|e| Status::of(&e))?;
        // Clients of some ages say it both ways.
        if !request.cache_from.contains(&name) {
            request.cache_from.push(name);
        }
    }
    let session = session(&app.buildkit, job).await?;
    request.client = Some(Arc::new(SessionClient { session }));
    if !question.is_empty() {
        return super::question::answer(app, job, &question, request).await;
    }
    let mut events = app.engine.build(&job.who, request, None).await.map_err(|e| failed(job, &e))?;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = job.over.cancelled() => return Err(Status::new(Code::Cancelled, "context canceled")),
        };
        let event = event.ok_or_else(|| Status::new(Code::Internal, "the build ended without a word"))?;
        job.told.event(&event);
        match event {
            BuildEvent::Built(image, _, fresh) => {
                let id = job.keep(Built { image, fresh });
                return Ok(FrontendResult {
                    result: Some(result::Result::Ref(Ref { id, def: Some(definition(&image)) })),
                    ..FrontendResult::default()
                });
            }
            BuildEvent::Failed(error) => return Err(failed(job, &error)),
            _ => {}
        }
    }
}

/// A result as LLB, so that a client can hand it to another of its builds; it means something here only.
fn definition(image: &Digest) -> Definition {
    let source =
        Op { op: Some(op::Op::Source(SourceOp { identifier: format!("{RESULT}{image}"), ..SourceOp::default() })), ..Op::default() };
    let source = source.encode_to_vec();
    let input = Input { digest: Digest::of(&source).to_string(), index: 0 };
    let end = Op { inputs: vec![input], ..Op::default() }.encode_to_vec();
    // To a client a definition without metadata for each of its parts is none.
    let metadata = [&source, &end].map(|op| (Digest::of(op).to_string(), OpMetadata::default())).into();
    Definition { def: vec![source, end], metadata, ..Definition::default() }
}

/// The image that such a definition names; whether it may be had is for others to say.
fn result_of(definition: &Definition) -> Option<String> {
    definition.def.iter().find_map(|op| match Op::decode(op.as_slice()).ok()?.op? {
        op::Op::Source(source) => source.identifier.strip_prefix(RESULT).map(str::to_owned),
        _ => None,
    })
}

/// A failed build as BuildKit tells it: one sentence, and the place in the Dockerfile for the client to show.
pub(super) fn failed(job: &Job, error: &Error) -> Status {
    let (message, line) = engine::build::failure(error);
    if error.kind() == engine::Kind::Internal {
        tracing::error!(?error, "a build failed");
    }
    let (file, failed_line) = job.told.place();
    let mut status = Status::new(Code::Unknown, message);
    if let Some(line) = line.or((failed_line > 0).then_some(failed_line)).filter(|_| !file.text.is_empty()) {
        let details = vec![place(&file, line)];
        status.details = Some(rpc::Status { code: status.code, message: status.message.clone(), details }.encode_to_vec().into());
    }
    status
}

/// BuildKit's `errdefs.Source`, which travels as JSON.
fn place(file: &Dockerfile, line: usize) -> Any {
    use base64::Engine as _;
    let range = range(line);
    let position = |p: Option<bollard_buildkit_proto::pb::Position>| serde_json::json!({ "line": p.map_or(0, |p| p.line) });
    let value = serde_json::json!({
        "info": {
            "filename": file.name,
            "data": base64::engine::general_purpose::STANDARD.encode(&file.text),
            "language": "Dockerfile",
        },
        "ranges": [{ "start": position(range.start), "end": position(range.end) }],
    });
    Any { type_url: "github.com/moby/buildkit/errdefs.Source+json".to_owned(), value: value.to_string().into_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_travel_as_definitions() {
        let image = Digest::of(b"x");
        assert_eq!(result_of(&definition(&image)), Some(image.to_string()));
        let foreign =
            Op { op: Some(op::Op::Source(SourceOp { identifier: "docker-image://a".into(), ..SourceOp::default() })), ..Op::default() };
        assert_eq!(result_of(&Definition { def: vec![foreign.encode_to_vec(), b"\xff".to_vec()], ..Definition::default() }), None);
    }
}
