//! `/api/v1/audit` and `/api/v1/doctor`.

use super::admin::{Desk, time};
use crate::auth::Refusal;
use axum::Json;
use axum::extract::{Query, State};
use engine::audit::{Filter, Outcome, Record, Verified};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The query of `GET /api/v1/audit`. Newest first; the next page begins `before` the last one's number.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Which {
    before: Option<i64>,
    tenant: Option<String>,
    actor: Option<String>,
    action: Option<String>,
    object: Option<String>,
    denied: Option<bool>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    limit: u32,
}

/// A record on the wire.
#[derive(Debug, Serialize)]
pub(super) struct RecordView {
    seq: i64,
    time: String,
    actor: String,
    via: String,
    ip: Option<String>,
    tenant: String,
    action: String,
    object: String,
    spec_hash: Option<String>,
    allowed: bool,
    rule: String,
    /// done, failed, denied or unknown.
    outcome: &'static str,
    error: Option<String>,
}

fn view(record: Record) -> RecordView {
    let (outcome, error) = match record.outcome {
        Outcome::Unknown => ("unknown", None),
        Outcome::Done(_) => ("done", None),
        Outcome::Denied(text) => ("denied", Some(text)),
        Outcome::Failed(_, text) => ("failed", Some(text)),
    };
    RecordView {
        seq: record.seq,
        time: time(record.time),
        actor: record.actor,
        via: record.via,
        ip: record.ip,
        tenant: record.tenant_name,
        action: record.action,
        object: record.object,
        spec_hash: record.spec_hash.map(|h| h.hex()),
        allowed: record.allowed,
        rule: record.rule,
        outcome,
        error,
    }
}

pub(super) async fn list(State(desk): State<Desk>, Query(which): Query<Which>) -> Result<Json<Vec<RecordView>>, Refusal> {
    let tenant = match &which.tenant {
        None => None,
        Some(name) => {
            let absent = || engine::Error::no_such("tenant", name);
            Some(desk.accounts.tenants().by_name(name).ok_or_else(absent)?.id)
        }
    };
    let Which { before, tenant: _, actor, action, object, denied, since, until, limit } = which;
    let filter = Filter { before, tenant, actor, action, object, denied, since, until, limit };
    Ok(Json(desk.accounts.audit().list(&filter).await?.into_iter().map(view).collect()))
}

/// What `verify` found, on the wire.
#[derive(Debug, Serialize)]
pub(super) struct VerifiedView {
    whole: bool,
    rows: Option<u64>,
    broken_at: Option<i64>,
}

pub(super) async fn verify(State(desk): State<Desk>) -> Result<Json<VerifiedView>, Refusal> {
    Ok(Json(match desk.accounts.audit().verify().await? {
        Verified::Whole { rows } => VerifiedView { whole: true, rows: Some(rows), broken_at: None },
        Verified::Broken { seq } => VerifiedView { whole: false, rows: None, broken_at: Some(seq) },
    }))
}

/// What the host offers and lacks, as the running server found it at its start.
pub(super) async fn doctor(State(desk): State<Desk>) -> Result<Json<serde_json::Value>, Refusal> {
    let engine = desk.engine.as_ref().ok_or_else(|| engine::Error::conflict("no server runs: ask `wharf doctor`"))?;
    let report = serde_json::to_value(engine.host()).map_err(|e| engine::Error::internal("writing the report", e))?;
    Ok(Json(report))
}

/// What of this instance in the kernel nobody owns.
pub(super) async fn orphans(State(desk): State<Desk>) -> Result<Json<serde_json::Value>, Refusal> {
    let engine = desk.engine.as_ref().ok_or_else(|| engine::Error::conflict("no server runs: orphans are told by a running one"))?;
    let found = engine.orphans().await?;
    let report = serde_json::to_value(found).map_err(|e| engine::Error::internal("writing the report", e))?;
    Ok(Json(report))
}
