//! `--mount`, in both directions.

use crate::docker::fields::Fields;
use engine::container::spec::{MountKind, MountSpec};
use engine::{Error, Result};
use serde_json::{Map, Value, json};

/// Docker's word for a type.
pub fn kind(kind: MountKind) -> &'static str {
    match kind {
        MountKind::Bind => "bind",
        MountKind::Volume => "volume",
        MountKind::Tmpfs => "tmpfs",
        MountKind::Image => "image",
    }
}

/// Reads one element of `HostConfig.Mounts`.
pub fn mount(f: &mut Fields) -> Result<MountSpec> {
    let word = f.text("Type")?;
    let invalid = |what: String| Error::invalid(format!("invalid mount config for type {word:?}: {what}"));
    let mut mount = MountSpec {
        kind: match word.as_str() {
            "bind" => MountKind::Bind,
            "volume" => MountKind::Volume,
            "tmpfs" => MountKind::Tmpfs,
            "image" => MountKind::Image,
            "npipe" | "cluster" => return Err(Error::unsupported(&format!("mount type {word:?}"))),
            _ => return Err(Error::invalid(format!("mount type unknown: {word:?}"))),
        },
        source: f.text("Source")?,
        target: f.text("Target")?,
        read_only: f.flag("ReadOnly")?,
        consistency: f.text("Consistency")?,
        ..MountSpec::default()
    };
    if mount.target.is_empty() {
        return Err(invalid("field Target must not be empty".to_owned()));
    }
    if !mount.target.starts_with('/') {
        return Err(invalid(format!("invalid mount path: '{}' mount path must be absolute", mount.target)));
    }
    match mount.kind {
        MountKind::Bind | MountKind::Image if mount.source.is_empty() => {
            return Err(invalid("field Source must not be empty".to_owned()));
        }
        MountKind::Tmpfs if !mount.source.is_empty() => {
            return Err(invalid("field Source must not be specified".to_owned()));
        }
        _ => {}
    }
    for (key, of) in [
        ("BindOptions", MountKind::Bind),
        ("VolumeOptions", MountKind::Volume),
        ("TmpfsOptions", MountKind::Tmpfs),
        ("ImageOptions", MountKind::Image),
    ] {
        let Some(mut options) = f.object(key)? else { continue };
        if mount.kind != of {
            return Err(invalid(format!("field {key} must not be specified")));
        }
        match of {
            MountKind::Bind => {
                mount.propagation = options.text("Propagation")?;
                mount.non_recursive = options.flag("NonRecursive")?;
                mount.create_mountpoint = options.flag("CreateMountpoint")?;
                mount.read_only_non_recursive = options.flag("ReadOnlyNonRecursive")?;
                mount.read_only_force_recursive = options.flag("ReadOnlyForceRecursive")?;
            }
            MountKind::Volume => {
                mount.no_copy = options.flag("NoCopy")?;
                mount.subpath = options.text("Subpath")?;
                mount.volume_labels = options.map("Labels")?;
                if let Some(mut driver) = options.object("DriverConfig")? {
                    mount.volume_driver = driver.text("Name")?;
                    mount.volume_options = driver.map("Options")?;
                    driver.finish()?;
                }
            }
            MountKind::Tmpfs => {
                mount.tmpfs_size = options.int("SizeBytes")?;
                // 0 is what Go sends for "not asked": then the kernel's 1777 stays.
                mount.tmpfs_mode = Some(options.number("Mode")?).filter(|mode| *mode != 0);
                mount.tmpfs_options = match options.value("Options") {
                    Value::Null => Vec::new(),
                    value => {
                        serde_json::from_value(value).map_err(|e| Error::invalid(format!("invalid JSON: TmpfsOptions.Options: {e}")))?
                    }
                };
            }
            MountKind::Image => mount.subpath = options.text("Subpath")?,
        }
        options.finish()?;
    }
    f.unserved(&["ClusterOptions"])?;
    Ok(mount)
}

/// The same as inspect echoes it: absent where nothing was asked.
pub fn mount_value(m: &MountSpec) -> Value {
    let mut value = Map::new();
    let mut put = |key: &str, v: Value| {
        let empty = match &v {
            Value::Bool(b) => !b,
            Value::String(s) => s.is_empty(),
            Value::Object(o) => o.is_empty(),
            Value::Number(n) => n.as_i64() == Some(0),
            Value::Array(a) => a.is_empty(),
            Value::Null => true,
        };
        if !empty {
            value.insert(key.to_owned(), v);
        }
    };
    put("Type", json!(kind(m.kind)));
    put("Source", json!(m.source));
    put("Target", json!(m.target));
    put("ReadOnly", json!(m.read_only));
    put("Consistency", json!(m.consistency));
    let kept = |pairs: Vec<(&str, Value, bool)>| -> Value {
        Value::Object(pairs.into_iter().filter(|(_, _, keep)| *keep).map(|(k, v, _)| (k.to_owned(), v)).collect())
    };
    match m.kind {
        MountKind::Bind => put(
            "BindOptions",
            kept(vec![
                ("Propagation", json!(m.propagation), !m.propagation.is_empty()),
                ("NonRecursive", json!(true), m.non_recursive),
                ("CreateMountpoint", json!(true), m.create_mountpoint),
                ("ReadOnlyNonRecursive", json!(true), m.read_only_non_recursive),
                ("ReadOnlyForceRecursive", json!(true), m.read_only_force_recursive),
            ]),
        ),
        MountKind::Volume => put(
            "VolumeOptions",
            kept(vec![
                ("NoCopy", json!(true), m.no_copy),
                ("Subpath", json!(m.subpath), !m.subpath.is_empty()),
                ("Labels", json!(m.volume_labels), !m.volume_labels.is_empty()),
                (
                    "DriverConfig",
                    json!({"Name": m.volume_driver, "Options": m.volume_options}),
                    !(m.volume_driver.is_empty() && m.volume_options.is_empty()),
                ),
            ]),
        ),
        MountKind::Tmpfs => put(
            "TmpfsOptions",
            kept(vec![
                ("SizeBytes", json!(m.tmpfs_size), m.tmpfs_size != 0),
                ("Mode", json!(m.tmpfs_mode), m.tmpfs_mode.is_some()),
                ("Options", json!(m.tmpfs_options), !m.tmpfs_options.is_empty()),
            ]),
        ),
        MountKind::Image => put("ImageOptions", kept(vec![("Subpath", json!(m.subpath), !m.subpath.is_empty())])),
    }
    Value::Object(value)
}
