//! BuildKit's door: the gRPC services by which buildx, Compose and the docker CLI build, over the engine's own builder.
//!
//! A client speaks HTTP/2 on a connection it took over with `POST /grpc`, or at once on the socket (h2c), and serves its
//! folders, secrets, agents and credentials on another one (`POST /session`, or `Control/Session`). No LLB is carried out:
//! a Dockerfile is the engine's to read, and the vertexes that clients show are the builder's own events (`told`).
//!
//! `grpc` carries calls both ways, `session` keeps who serves us, `client` is such a session as the builder asks it, `fsutil`
//! brings folders, `options` reads what is asked, `question` answers what is asked of a Dockerfile alone, `solve`, `gateway`, `jobs` are the life of a build, `export` what becomes of
//! it, `worker` what the door says of itself. All of it acts for the subject of the connection, and looks things up among
//! that subject's only.

mod client;
mod export;
mod fsutil;
mod gateway;
mod grpc;
mod history;
mod jobs;
mod options;
mod question;
mod session;
mod solve;
mod told;
mod worker;

use super::error::{Answer, Failure};
use crate::{App, Who};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bollard_buildkit_proto::health::{HealthCheckResponse, health_check_response::ServingStatus};
use bollard_buildkit_proto::moby::buildkit::v1::frontend as bridge;
use bollard_buildkit_proto::moby::buildkit::v1::{
    BuildHistoryRequest, DiskUsageRequest, InfoResponse, ListWorkersResponse, PruneRequest, SolveRequest, StatusRequest,
    UpdateBuildHistoryRequest,
};
use engine::Subject;
use futures_util::{StreamExt, TryStreamExt};
use grpc::{Code, Incoming, Status, streaming, unary};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use prost::Message;
use session::{Opening, Owner};
use std::future::ready;
use std::sync::Arc;

const CONTROL: &str = "moby.buildkit.v1.Control";
const BRIDGE: &str = "moby.buildkit.v1.frontend.LLBBridge";
const HEALTH: &str = "grpc.health.v1.Health";
const TRACES: &str = "opentelemetry.proto.collector.trace.v1.TraceService";

/// The services, each a prefix of paths of its own.
pub const SERVICES: [&str; 4] = [CONTROL, BRIDGE, HEALTH, TRACES];

/// The metadata that says which build a call of the bridge belongs to.
const BUILD_ID: &str = "buildkit-controlapi-buildid";
/// Bytes of a call that is dropped unread.
const DROPPED_MAX: usize = 16 << 20;

/// What the door keeps between calls. Cheap to clone.
#[derive(Clone, Default)]
pub struct Door {
    sessions: session::Sessions,
    jobs: jobs::Jobs,
}

/// The connection, if the client asks for it as `h2c`.
fn upgrade(request: &mut Request) -> Result<OnUpgrade, Failure> {
    let asked = request.headers().get(header::UPGRADE).and_then(|v| v.to_str().ok()).is_some_and(|u| u.eq_ignore_ascii_case("h2c"));
    if let Some(other) = request.headers().get(header::UPGRADE).filter(|_| !asked) {
        let text = format!("protocol {} not supported", String::from_utf8_lossy(other.as_bytes()));
        return Err(Failure::Http(StatusCode::BAD_REQUEST, text));
    }
    match asked && request.version() <= http::Version::HTTP_11 {
        true => Ok(hyper::upgrade::on(request)),
        false => Err(Failure::Http(StatusCode::BAD_REQUEST, "no upgrade proto in request: h2c is expected".to_owned())),
    }
}

fn switching() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("h2c"));
    response
}

/// `POST /grpc`: the services on a connection of their own.
pub async fn grpc(State(app): State<App>, Who(who): Who, mut request: Request) -> Answer {
    let connection = upgrade(&mut request)?;
    tokio::spawn(async move {
        match connection.await {
            Ok(io) => grpc::serve(io, move |request| ready(dispatch(app.clone(), who.clone(), request))).await,
            Err(error) => tracing::debug!(%error, "a client went before its connection was handed over"),
        }
    });
    Ok(switching())
}

/// `POST /session`: the client serves us on its connection.
pub async fn session(State(app): State<App>, Who(who): Who, mut request: Request) -> Answer {
    let connection = upgrade(&mut request)?;
    let refused = |status: Status| Failure::Http(StatusCode::BAD_REQUEST, status.message);
    let opening = Opening::read(request.headers()).map_err(refused)?;
    let owner = Owner::of(&who);
    app.buildkit.sessions.room(&owner, &opening).map_err(refused)?;
    tokio::spawn(async move {
        match connection.await {
            Ok(io) => app.buildkit.sessions.serve(owner, opening, io).await,
            Err(error) => tracing::debug!(%error, "a client went before its connection was handed over"),
        }
    });
    Ok(switching())
}

/// A call on a connection that spoke HTTP/2 from its first byte.
pub async fn call(State(app): State<App>, Who(who): Who, request: Request) -> Response {
    dispatch(app, who, request)
}

/// A call with one message each way.
fn one<Q, A, F>(body: Body, work: impl FnOnce(Q) -> F + Send + 'static) -> Response
where
    Q: Message + Default + 'static,
    A: Message + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    unary(async move { work(Incoming::<Q>::new(body).one().await?).await })
}

/// One call to its method. What it does happens while its answer is read, and ends with the caller.
fn dispatch(app: App, who: Arc<Subject>, request: http::Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let door = app.buildkit.clone();
    let owner = Owner::of(&who);
    match path.trim_start_matches('/').split_once('/') {
        Some((CONTROL, method)) => match method {
            "Solve" => one(body, move |q: SolveRequest| solve::solve(app, who, q)),
            "Status" => streaming(
                futures_util::stream::once(async move {
                    let question: StatusRequest = Incoming::new(body).one().await?;
                    let job = door.jobs.find(&owner, &question.r#ref).await?;
                    Ok::<_, Status>(job.told.listen().map(|piece| Ok((*piece).clone())))
                })
                .try_flatten(),
            ),
            "ListWorkers" => one(body, |()| ready(Ok(ListWorkersResponse { record: vec![worker::record()] }))),
            "Info" => one(body, |()| ready(Ok(InfoResponse { buildkit_version: Some(worker::version()) }))),
            "DiskUsage" => one(body, move |q: DiskUsageRequest| async move { worker::disk_usage(app, &who, q).await }),
            "Prune" => streaming(
                futures_util::stream::once(async move {
                    let question: PruneRequest = Incoming::new(body).one().await?;
                    let removed = worker::prune(app, &who, question).await?;
                    Ok::<_, Status>(futures_util::stream::iter(removed.into_iter().map(Ok)))
                })
                .try_flatten(),
            ),
            "ListenBuildHistory" => streaming(
                futures_util::stream::once(async move {
                    let question: BuildHistoryRequest = Incoming::new(body).one().await?;
                    Ok::<_, Status>(history::listen(&door, &owner, question))
                })
                .try_flatten(),
            ),
            "UpdateBuildHistory" => one(body, move |q: UpdateBuildHistoryRequest| async move { history::update(&door, &owner, &q) }),
            "Session" => match Opening::read(&parts.headers).and_then(|o| door.sessions.room(&owner, &o).map(|()| o)) {
                Err(status) => unary::<()>(ready(Err(status))),
                Ok(opening) => {
                    let (io, outward) = client::tunnel(body);
                    tokio::spawn(async move { door.sessions.serve(owner, opening, hyper_util::rt::TokioIo::new(io)).await });
                    streaming(outward)
                }
            },
            _ => unary::<()>(ready(Err(Status::unimplemented(&path)))),
        },
        Some((BRIDGE, method)) => bridged(app, owner, method, &path, &parts.headers, body),
        Some((HEALTH, "Check")) => one(body, |()| ready(Ok(HealthCheckResponse { status: ServingStatus::Serving as i32 }))),
        // Clients' own traces of themselves: nobody here looks at them.
        Some((TRACES, "Export")) => unary(async move {
            let mut body = http_body_util::Limited::new(body, DROPPED_MAX);
            while let Some(frame) = body.frame().await {
                frame.map_err(|e| Status::new(Code::ResourceExhausted, e.to_string()))?;
            }
            Ok(())
        }),
        _ => unary::<()>(ready(Err(Status::unimplemented(&path)))),
    }
}

/// A call of a frontend, for the build that its metadata names.
fn bridged(app: App, owner: Owner, method: &str, path: &str, headers: &HeaderMap, body: Body) -> Response {
    let id = headers.get(BUILD_ID).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let door = app.buildkit.clone();
    let job = async move {
        match door.jobs.find(&owner, &id).await {
            Ok(job) if job.over.is_cancelled() => Err(Status::new(Code::NotFound, format!("no such job {id}"))),
            found => found,
        }
    };
    match method {
        "Ping" => one(body, |()| async move { job.await.map(|_| gateway::ping()) }),
        "Solve" => one(body, |q: bridge::SolveRequest| async move { gateway::solve(app, job.await?, q).await }),
        "Return" => one(body, |q: bridge::ReturnRequest| async move { gateway::returns(&*job.await?, q) }),
        "Evaluate" => one(body, |q: bridge::EvaluateRequest| async move { gateway::evaluate(&*job.await?, &q) }),
        "Inputs" => one(body, |()| async move { job.await.map(|job| gateway::inputs(&job)) }),
        "Warn" => one(body, |q: bridge::WarnRequest| async move { job.await.map(|job| gateway::warn(&job, q)) }),
        "ReadFile" => one(body, |q: bridge::ReadFileRequest| async move { gateway::read_file(app, job.await?, q).await }),
        "StatFile" => one(body, |q: bridge::StatFileRequest| async move { gateway::stat_file(app, job.await?, q).await }),
        _ => unary::<()>(ready(Err(Status::unimplemented(path)))),
    }
}
