//! Volumes, in both directions.

use crate::docker::fields::Fields;
use engine::Result;
use engine::volume::{Volume, VolumeSpec};
use serde_json::{Value, json};

/// Reads `POST /volumes/create`.
pub fn create(body: Value) -> Result<VolumeSpec> {
    let mut f = Fields::of("", body)?;
    let spec = VolumeSpec { name: f.text("Name")?, driver: f.text("Driver")?, options: f.map("DriverOpts")?, labels: f.map("Labels")? };
    f.unserved(&["ClusterVolumeSpec"])?;
    f.finish()?;
    Ok(spec)
}

/// A volume as inspect and list show it.
pub fn volume(v: &Volume) -> Value {
    let or_null = |map: &std::collections::BTreeMap<String, String>| if map.is_empty() { Value::Null } else { json!(map) };
    json!({
        "CreatedAt": super::time::rfc3339_seconds(v.created),
        "Driver": v.driver,
        "Labels": or_null(&v.labels),
        "Mountpoint": v.mountpoint,
        "Name": v.name,
        "Options": or_null(&v.options),
        "Scope": "local",
    })
}

/// A volume as `system df` shows it. Its size is not measured (−1), which costs a walk over all its files.
pub fn volume_usage(v: &Volume, size: u64) -> Value {
    let mut value = volume(v);
    if let Value::Object(map) = &mut value {
        map.insert("UsageData".to_owned(), json!({"Size": size, "RefCount": v.users}));
    }
    value
}
