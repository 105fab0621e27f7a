//! The history of a subject's builds through this door (`buildx history`), as long as the server runs.

use super::Door;
use super::grpc::Status;
use super::jobs::Job;
use super::session::Owner;
use super::told::timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{
    BuildHistoryEvent, BuildHistoryEventType, BuildHistoryRecord, BuildHistoryRequest, UpdateBuildHistoryRequest,
    UpdateBuildHistoryResponse,
};
use futures_util::Stream;
use std::sync::Arc;

fn record(job: &Job) -> BuildHistoryEvent {
    let ended = job.ended();
    let counts = job.told.counts();
    let kind = if ended.is_some() { BuildHistoryEventType::Complete } else { BuildHistoryEventType::Started };
    let record = BuildHistoryRecord {
        r#ref: job.id.clone(),
        frontend: "dockerfile.v0".to_owned(),
        frontend_attrs: job.options(),
        exporters: job.request.exporters.clone(),
        created_at: Some(timestamp(job.began)),
        completed_at: ended.as_ref().map(|e| timestamp(e.at)),
        error: ended.as_ref().and_then(|e| e.error.clone()),
        exporter_response: ended.map(|e| e.response).unwrap_or_default(),
        pinned: job.pinned(),
        num_cached_steps: counts.cached,
        num_total_steps: counts.total,
        num_completed_steps: counts.completed,
        num_warnings: counts.warnings,
        ..BuildHistoryRecord::default()
    };
    BuildHistoryEvent { r#type: kind as i32, record: Some(record) }
}

/// The builds there are, and then, if the caller waits, how those that run end.
pub fn listen(
    door: &Door,
    owner: &Owner,
    question: BuildHistoryRequest,
) -> impl Stream<Item = Result<BuildHistoryEvent, Status>> + Send + use<> {
    // What clients do to find out what an engine can do is nobody's build.
    let shown = |job: &Arc<Job>| {
        let real = !job.request.internal && !job.options().is_empty();
        real && (question.r#ref.is_empty() || job.id == question.r#ref) && !(question.active_only && job.ended().is_some())
    };
    let mut jobs: Vec<Arc<Job>> = door.jobs.of(owner).into_iter().filter(shown).collect();
    if let Some(limit) = usize::try_from(question.limit).ok().filter(|n| *n > 0 && *n < jobs.len()) {
        jobs.drain(..jobs.len() - limit);
    }
    let now: Vec<_> = jobs.iter().map(|job| Ok(record(job))).collect();
    let running: Vec<Arc<Job>> = if question.early_exit { Vec::new() } else { jobs.into_iter().filter(|j| j.ended().is_none()).collect() };
    let later = futures_util::stream::unfold(running, |mut running| async move {
        let job = running.pop()?;
        job.over.cancelled().await;
        Some((Ok(record(&job)), running))
    });
    futures_util::StreamExt::chain(futures_util::stream::iter(now), later)
}

/// Pins, or forgets.
///
/// # Errors
/// `NotFound`
pub fn update(door: &Door, owner: &Owner, request: &UpdateBuildHistoryRequest) -> Result<UpdateBuildHistoryResponse, Status> {
    if request.delete {
        door.jobs.forget(owner, &request.r#ref)?;
    } else if let Some(job) = door.jobs.get(owner, &request.r#ref) {
        if !request.finalize {
            job.pin(request.pinned);
        }
    } else {
        return Err(Status::new(super::grpc::Code::NotFound, format!("no such build {}", request.r#ref)));
    }
    Ok(UpdateBuildHistoryResponse {})
}
