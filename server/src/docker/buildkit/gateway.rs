//! `LLBBridge`: what a frontend asks for while its build runs. The frontend is the client itself (buildx, Compose), and all it
//! asks is to have a Dockerfile built and to look at the result.

use super::grpc::{Code, Status};
use super::jobs::Job;
use super::solve;
use super::worker;
use crate::App;
use bollard_buildkit_proto::fsutil::types::Stat;
use bollard_buildkit_proto::moby::buildkit::v1::apicaps::ApiCap;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    EvaluateRequest, EvaluateResponse, InputsResponse, PongResponse, ReadFileRequest, ReadFileResponse, ReturnRequest, ReturnResponse,
    SolveRequest, SolveResponse, StatFileRequest, StatFileResponse, WarnRequest, WarnResponse,
};
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, VertexWarning};
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

/// Bytes that one `ReadFile` returns.
const READ_MAX: u64 = 8 << 20;

/// What the bridge can do (BuildKit, `frontend/gateway/pb/caps.go`).
const FRONTEND_CAPS: [&str; 13] = [
    "solve.base",
    "solve.inlinereturn",
    "readfile",
    "return",
    "returnmap",
    "statfile",
    "importcaches",
    "proto.refarray",
    "reference.output",
    "frontend.inputs",
    "gateway.solve.metadata",
    "gateway.solve.evaluate",
    "gateway.warnings",
];

/// What the solver can do, as far as clients look (`solver/pb/caps.go`).
const SOLVER_CAPS: [&str; 2] = ["exporter.multiple", "frontend.caps"];

fn caps(ids: &[&str]) -> Vec<ApiCap> {
    ids.iter().map(|id| ApiCap { id: (*id).to_owned(), enabled: true, ..ApiCap::default() }).collect()
}

/// `Ping`
pub fn ping() -> PongResponse {
    PongResponse { frontend_api_caps: caps(&FRONTEND_CAPS), llb_caps: caps(&SOLVER_CAPS), workers: vec![worker::record()] }
}

/// `Solve`
///
/// # Errors
/// Why the build failed.
pub async fn solve(app: App, job: Arc<Job>, request: SolveRequest) -> Result<SolveResponse, Status> {
    if request.definition.as_ref().is_some_and(|d| !d.def.is_empty()) {
        return Err(Status::unimplemented("building from LLB"));
    }
    if !request.source_policies.is_empty() {
        return Err(Status::unimplemented("a source policy"));
    }
    let mut options = request.frontend_opt;
    // They come either way, by the client's age.
    if !request.cache_imports.is_empty() && !options.contains_key("cache-imports") {
        let entries: Vec<_> = request.cache_imports.iter().map(|i| serde_json::json!({ "Type": i.r#type, "Attrs": i.attrs })).collect();
        options.insert("cache-imports".to_owned(), serde_json::Value::Array(entries).to_string());
    }
    if request.frontend.is_empty() {
        return Ok(SolveResponse::default());
    }
    let result = solve::build(&app, &job, &request.frontend, &options, &request.frontend_inputs).await?;
    Ok(SolveResponse { r#ref: String::new(), result: Some(result) })
}

/// `Return`
///
/// # Errors
/// When it was said before.
pub fn returns(job: &Job, request: ReturnRequest) -> Result<ReturnResponse, Status> {
    job.returns(request).map(|()| ReturnResponse {})
}

/// `Evaluate`: what was built is there already.
///
/// # Errors
/// For a result of somebody else's.
pub fn evaluate(job: &Job, request: &EvaluateRequest) -> Result<EvaluateResponse, Status> {
    job.result(&request.r#ref).map(|_| EvaluateResponse {})
}

/// `Inputs`
pub fn inputs(job: &Job) -> InputsResponse {
    InputsResponse { definitions: job.request.frontend_inputs.clone() }
}

/// `Warn`: the client's frontend has something to say.
pub fn warn(job: &Job, request: WarnRequest) -> WarnResponse {
    let WarnRequest { digest, level, short, detail, url, info, ranges } = request;
    let warning = VertexWarning { vertex: digest, level, short, detail, url, info, ranges };
    job.told.tell(StatusResponse { warnings: vec![warning], ..StatusResponse::default() });
    WarnResponse {}
}

/// `ReadFile`
///
/// # Errors
/// When it is no file of the result.
pub async fn read_file(app: App, job: Arc<Job>, request: ReadFileRequest) -> Result<ReadFileResponse, Status> {
    let built = job.result(&request.r#ref)?;
    let tree = app.engine.image_tree(&job.who, &built.image.to_string()).await.map_err(|e| Status::of(&e))?;
    let file = tree.open(&request.file_path).map_err(|e| Status::of(&e))?;
    let (offset, length) = request.range.map_or((0, 0), |r| (r.offset, r.length));
    let number = |n: i64| u64::try_from(n).map_err(|_| Status::new(Code::InvalidArgument, "a negative range"));
    let (offset, length) = (number(offset)?, number(length)?);
    let most = if length == 0 { READ_MAX + 1 } else { length.min(READ_MAX + 1) };
    let reading = tokio::task::spawn_blocking(move || {
        let mut file = file;
        let mut data = Vec::new();
        file.seek(SeekFrom::Start(offset))?;
        file.take(most).read_to_end(&mut data)?;
        Ok::<_, std::io::Error>(data)
    });
    let failed = |e: String| Status::new(Code::Unknown, format!("reading {}: {e}", request.file_path));
    let data = reading.await.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
    if data.len() as u64 > READ_MAX {
        return Err(Status::new(Code::ResourceExhausted, format!("{} is larger than {READ_MAX} bytes", request.file_path)));
    }
    Ok(ReadFileResponse { data })
}

/// `StatFile`
///
/// # Errors
/// When nothing lies there.
pub async fn stat_file(app: App, job: Arc<Job>, request: StatFileRequest) -> Result<StatFileResponse, Status> {
    let built = job.result(&request.r#ref)?;
    let tree = app.engine.image_tree(&job.who, &built.image.to_string()).await.map_err(|e| Status::of(&e))?;
    let stat = tree.stat(&request.path).await.map_err(|e| Status::of(&e))?;
    let stat = Stat {
        path: stat.name,
        mode: super::fsutil::go_mode(stat.mode),
        size: stat.size,
        mod_time: i64::try_from(stat.mtime.as_nanosecond()).unwrap_or(0),
        linkname: stat.link_target,
        ..Stat::default()
    };
    Ok(StatFileResponse { stat: Some(stat) })
}
