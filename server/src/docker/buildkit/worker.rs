//! What the door says of itself: the one worker, its cache, what is pruned.

use super::grpc::Status;
use super::told::timestamp;
use crate::App;
use bollard_buildkit_proto::moby::buildkit::v1::types::{BuildkitVersion, WorkerRecord};
use bollard_buildkit_proto::moby::buildkit::v1::{DiskUsageRequest, DiskUsageResponse, PruneRequest, UsageRecord};
use bollard_buildkit_proto::pb::Platform;
use engine::build::{BuildCacheEntry, PruneBuilds};
use engine::{Error, Subject};
use std::collections::BTreeMap;

/// The version of BuildKit whose calls are served; clients compare it with what they need.
const BUILDKIT: &str = "v0.25.0+wharf";

/// The version.
pub fn version() -> BuildkitVersion {
    BuildkitVersion { package: "wharf".to_owned(), version: BUILDKIT.to_owned(), revision: String::new() }
}

/// The worker. Without the label of a snapshotter clients ask for one platform and the plain exporters, as with a dockerd
/// that keeps its images itself.
pub fn record() -> WorkerRecord {
    let host = engine::image::Platform::host();
    let labels =
        [("org.mobyproject.buildkit.worker.moby.host-gateway-ip", "host-gateway"), ("org.mobyproject.buildkit.worker.executor", "wharf")];
    WorkerRecord {
        id: "wharf".to_owned(),
        labels: labels.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        platforms: vec![Platform { architecture: host.architecture, os: host.os, variant: host.variant, ..Platform::default() }],
        buildkit_version: Some(version()),
        ..WorkerRecord::default()
    }
}

fn usage(entry: BuildCacheEntry) -> UsageRecord {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    UsageRecord {
        id: entry.id,
        mutable: entry.kind != "regular",
        in_use: entry.in_use,
        size: number(entry.size),
        created_at: Some(timestamp(entry.created)),
        last_used_at: Some(timestamp(entry.last_used)),
        usage_count: number(entry.uses),
        description: entry.description,
        record_type: entry.kind.to_owned(),
        ..UsageRecord::default()
    }
}

/// containerd's filters as far as buildx sends them: `key=value`, `key==value`, `key~=value`, joined by commas; one of several
/// must hold.
type Wanted = Vec<Vec<(String, bool, String)>>;

fn wanted(filters: &[String]) -> Result<Wanted, Error> {
    let one = |text: &str| {
        let bad = || Error::invalid(format!("invalid filter {text:?}: expected key=value"));
        let (key, value) = text.split_once('=').ok_or_else(bad)?;
        let (key, part) = match key.strip_suffix('~') {
            Some(key) => (key, true),
            None => (key, false),
        };
        let value = value.trim_start_matches('=').trim_matches('"');
        if !matches!(key, "id" | "type" | "description" | "inuse" | "mutable" | "immutable" | "shared" | "private" | "until" | "unused-for")
        {
            return Err(Error::invalid(format!("invalid filter {text:?}: unknown key {key}")));
        }
        Ok((key.to_owned(), part, value.to_owned()))
    };
    // buildx sends an empty one for none.
    filters.iter().filter(|f| !f.is_empty()).map(|f| f.split(',').map(one).collect()).collect()
}

fn holds(wanted: &Wanted, record: &UsageRecord) -> bool {
    let matches = |(key, part, value): &(String, bool, String)| {
        let flag = |is: bool| (value == "true" || value == "1" || value.is_empty()) == is;
        let text = |has: &str| if *part { has.contains(value.as_str()) } else { has == value };
        match key.as_str() {
            "id" => text(&record.id) || record.id.starts_with(value.as_str()),
            "type" => text(&record.record_type),
            "description" => text(&record.description),
            "inuse" => flag(record.in_use),
            "mutable" => flag(record.mutable),
            "immutable" => flag(!record.mutable),
            "shared" => flag(record.shared),
            "private" => flag(!record.shared),
            _ => true,
        }
    };
    wanted.is_empty() || wanted.iter().any(|all| all.iter().all(matches))
}

/// `DiskUsage`
///
/// # Errors
/// For a filter that is none.
pub async fn disk_usage(app: App, who: &Subject, request: DiskUsageRequest) -> Result<DiskUsageResponse, Status> {
    let wanted = wanted(&request.filter).map_err(|e| Status::of(&e))?;
    let cache = app.engine.build_cache(who).await.map_err(|e| Status::of(&e))?;
    let oldest = age(request.age_limit);
    let record = cache.into_iter().filter(|e| oldest.is_none_or(|t| e.last_used < t)).map(usage).filter(|r| holds(&wanted, r)).collect();
    Ok(DiskUsageResponse { record })
}

/// The time so many nanoseconds ago; 0: none.
fn age(nanoseconds: i64) -> Option<jiff::Timestamp> {
    (nanoseconds > 0).then(|| jiff::Timestamp::now() - jiff::SignedDuration::from_nanos(nanoseconds))
}

/// `Prune`: what it removed.
///
/// # Errors
/// For a filter that is none.
pub async fn prune(app: App, who: &Subject, request: PruneRequest) -> Result<Vec<UsageRecord>, Status> {
    let wanted = wanted(&request.filter).map_err(|e| Status::of(&e))?;
    let before: BTreeMap<String, UsageRecord> =
        app.engine.build_cache(who).await.map_err(|e| Status::of(&e))?.into_iter().map(|e| (e.id.clone(), usage(e))).collect();
    let mut filters = engine::Filters::new();
    if let Some(time) = age(request.keep_duration) {
        filters.insert("until".to_owned(), vec![time.as_second().to_string()]);
    }
    if !wanted.is_empty() {
        let ids: Vec<String> = before.values().filter(|r| holds(&wanted, r)).map(|r| r.id.clone()).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        filters.insert("id".to_owned(), ids);
    }
    let keep_bytes = u64::try_from(request.reserved_space.max(request.max_used_space)).unwrap_or(0);
    let pruned = app.engine.prune_builds(who, &PruneBuilds { keep_bytes, filters }).await.map_err(|e| Status::of(&e))?;
    Ok(pruned.removed.iter().filter_map(|id| before.get(id).cloned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_containerds() {
        let record =
            UsageRecord { id: "abc".into(), record_type: "regular".into(), description: "RUN make".into(), ..UsageRecord::default() };
        for (filter, expected) in [
            ("type==regular", true),
            ("type=exec.cachemount", false),
            ("description~=make,type==regular", true),
            ("description==make", false),
            ("inuse==false", true),
            ("id=ab", true),
        ] {
            assert_eq!(holds(&wanted(&[filter.to_owned()]).unwrap(), &record), expected, "{filter}");
        }
        assert!(wanted(&["nonsense==1".to_owned()]).is_err() && wanted(&["x".to_owned()]).is_err());
    }
}
