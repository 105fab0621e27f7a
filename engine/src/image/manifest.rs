//! Manifests and indexes (image-spec manifest.md, image-index.md; Docker's schema 2 and manifest list), read strictly:
//! a document that could be taken for two kinds is refused (GHSA-xmmx-7jpf-fx42).

use super::config::{CONFIG_MAX, LAYERS_MAX, Platform};
use crate::{Digest, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Largest manifest or index we read.
pub const MANIFEST_MAX: u64 = 4 << 20;

/// What we ask registries for, best first.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A pointer to content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it points to.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Where else it is said to be: never followed (CVE-2020-15157).
    #[serde(default, skip_serializing)]
    pub urls: Vec<String>,
    /// In an index: for what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<DescriptorPlatform>,
    /// Notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<std::collections::BTreeMap<String, String>>,
}

/// For what an index's entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescriptorPlatform {
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// `v8`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// An image manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its own media type.
    pub media_type: String,
    /// The configuration.
    pub config: Descriptor,
    /// Packed layers, lowest first.
    pub layers: Vec<Descriptor>,
}

/// What a registry or layout has under a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // One at a time is ever alive.
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Several.
    Index(Vec<Descriptor>),
}

fn invalid(what: impl std::fmt::Display) -> Error {
    Error::invalid(format!("invalid manifest: {what}"))
}

impl Document {
    /// Parses raw bytes. `content_type`: what the transport called it, if it did.
    ///
    /// # Errors
    /// `Invalid` for schema 1, ambiguous or malformed documents, and layers of kinds that cannot be unpacked.
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self> {
        let value: Value = serde_json::from_slice(bytes).map_err(|e| invalid(&e).because(e))?;
        let Value::Object(mut map) = value else { return Err(invalid("not an object")) };
        let said = content_type.map(|t| t.split(';').next().unwrap_or("").trim()).filter(|t| is_known(t) || t.contains("manifest.v1"));
        let own = match map.get("mediaType") {
            None | Some(Value::Null) => None,
            Some(Value::String(s)) => Some(s.clone()),
            Some(_) => return Err(invalid("mediaType is not a string")),
        };
        if map.get("schemaVersion").and_then(Value::as_u64) == Some(1)
            || said.is_some_and(|t| t.contains("manifest.v1")) && own.is_none() && map.contains_key("fsLayers")
        {
            return Err(Error::invalid(
                "the image is in Docker's schema 1, which was retired in 2017 and is not supported: push it again with a current docker",
            ));
        }
        if map.get("schemaVersion").and_then(Value::as_u64) != Some(2) {
            return Err(invalid("schemaVersion is not 2"));
        }
        if let (Some(said), Some(own)) = (said, own.as_deref())
            && said != own
        {
            return Err(invalid(format_args!("it calls itself {own} but was sent as {said}")));
        }
        let (has_index, has_image) = (map.contains_key("manifests"), map.contains_key("layers") || map.contains_key("config"));
        let kind = own.as_deref().or(said);
        let index = match (has_index, has_image) {
            (true, true) => return Err(invalid("it has both manifests and layers")),
            (true, false) => true,
            (false, true) => false,
            (false, false) => return Err(invalid("it has neither manifests nor layers")),
        };
        if let Some(kind) = kind
            && matches!(kind, OCI_INDEX | DOCKER_LIST) != index
        {
            return Err(invalid(format_args!("it calls itself {kind} but is something else")));
        }
        let descriptors = |value: Option<Value>, what: &str, most: usize| -> Result<Vec<Descriptor>> {
            let list: Vec<Descriptor> = serde_json::from_value(value.unwrap_or(Value::Array(Vec::new())))
                .map_err(|e| invalid(format_args!("{what}: {e}")).because(e))?;
            if list.len() > most {
                return Err(invalid(format_args!("{} {what}, {most} is the limit", list.len())));
            }
            Ok(list)
        };
        if index {
            return Ok(Document::Index(descriptors(map.remove("manifests"), "manifests", 10_000)?));
        }
        let config: Descriptor = serde_json::from_value(map.remove("config").unwrap_or(Value::Null))
            .map_err(|e| invalid(format_args!("config: {e}")).because(e))?;
        if config.size > CONFIG_MAX {
            return Err(invalid(format_args!("a configuration of {} bytes", config.size)));
        }
        let layers = descriptors(map.remove("layers"), "layers", LAYERS_MAX)?;
        if !(config.media_type.contains("image.config") || config.media_type.contains("container.image.v1")) {
            return Err(Error::invalid(format!(
                "this is not an image: unsupported media type {} (an artifact such as a chart or plugin?)",
                config.media_type
            )));
        }
        for layer in &layers {
            if layer.media_type.contains("foreign") || layer.media_type.contains("nondistributable") || !layer.urls.is_empty() {
                return Err(Error::invalid(format!(
                    "layer {} must be fetched from elsewhere ({}), which is not supported",
                    layer.digest, layer.media_type
                )));
            }
            if !(layer.media_type.starts_with(OCI_LAYER) || layer.media_type.starts_with("application/vnd.docker.image.rootfs.diff.tar")) {
                return Err(Error::invalid(format!("layer {} has the unsupported media type {}", layer.digest, layer.media_type)));
            }
        }
        Ok(Document::Manifest(Manifest { media_type: kind.unwrap_or(OCI_MANIFEST).to_owned(), config, layers }))
    }
}

fn is_known(media_type: &str) -> bool {
    matches!(media_type, OCI_MANIFEST | OCI_INDEX | DOCKER_MANIFEST | DOCKER_LIST)
}

/// The entry of an index for a platform: the first that suits, one with the exact variant before others.
///
/// # Errors
/// `NotFound` with Docker's text.
pub fn choose<'a>(entries: &'a [Descriptor], wanted: &Platform) -> Result<&'a Descriptor> {
    let platform = |d: &Descriptor| {
        let p = d.platform.as_ref()?;
        Some(Platform { os: p.os.clone(), architecture: p.architecture.clone(), variant: p.variant.clone() })
    };
    let mut suitable: Vec<&Descriptor> = entries.iter().filter(|d| platform(d).is_some_and(|p| p.suits(wanted))).collect();
    suitable.sort_by_key(|d| d.platform.as_ref().is_none_or(|p| p.variant != wanted.variant));
    // An index of one image that does not say for what.
    let single = || match entries {
        [one] if one.platform.is_none() => Some(one),
        _ => None,
    };
    suitable
        .first()
        .copied()
        .or_else(single)
        .ok_or_else(|| Error::new(crate::Kind::NotFound, format!("no matching manifest for {wanted} in the manifest list entries")))
}

/// The bytes of a manifest of ours: OCI.
pub fn write(config: &Descriptor, layers: &[Descriptor]) -> String {
    serde_json::json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(extra: &str) -> String {
        let d = Digest::of(b"x");
        format!(
            r#"{{"schemaVersion":2,{extra}"config":{{"mediaType":"{OCI_CONFIG}","digest":"{d}","size":2}},"layers":[{{"mediaType":"{OCI_LAYER}+gzip","digest":"{d}","size":3}}]}}"#
        )
    }

    #[track_caller]
    fn refused(text: &str, content_type: Option<&str>, why: &str) {
        let e = Document::parse(text.as_bytes(), content_type).unwrap_err().to_string();
        assert!(e.contains(why), "{e}");
    }

    #[test]
    fn sec_h1_ambiguous_documents_are_refused() {
        assert!(Document::parse(manifest("").as_bytes(), Some(OCI_MANIFEST)).is_ok());
        refused(&manifest(r#""manifests":[],"#), None, "both manifests and layers");
        refused(&manifest(&format!(r#""mediaType":"{OCI_INDEX}","#)), None, "something else");
        refused(&manifest(""), Some(OCI_INDEX), "something else");
        refused(&manifest(&format!(r#""mediaType":"{DOCKER_MANIFEST}","#)), Some(OCI_MANIFEST), "sent as");
        refused(r#"{"schemaVersion":2}"#, None, "neither");
    }

    #[test]
    fn sec_b11_a_digest_is_64_hex_characters_and_nothing_else() {
        for bad in ["../../etc/passwd", "sha256:../../../etc/passwd", "sha256:ABC", ""] {
            refused(&manifest("").replace(&Digest::of(b"x").to_string(), bad), None, "invalid digest");
        }
    }

    #[test]
    fn sec_r18_hostile_documents_end_quickly() {
        let d = Digest::of(b"x");
        let layer = format!(r#"{{"mediaType":"{OCI_LAYER}","digest":"{d}","size":3}}"#);
        let many = manifest("").replace(r#""layers":["#, &format!(r#""layers":[{}"#, format!("{layer},").repeat(10_000)));
        refused(&many, None, "10001 layers");
        refused(&"[".repeat(1 << 20), None, "recursion limit");
        refused(r#"{"schemaVersion":1,"fsLayers":[]}"#, None, "schema 1");
        refused("{", None, "invalid manifest");
        refused("null", None, "not an object");
    }

    #[test]
    fn sec_h3_foreign_layers_are_not_fetched() {
        refused(&manifest("").replace(r#""size":3"#, r#""size":3,"urls":["http://evil/"]"#), None, "elsewhere");
        refused(
            &manifest("").replace("vnd.oci.image.layer.v1.tar+gzip", "vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
            None,
            "elsewhere",
        );
        refused(&manifest("").replace("vnd.oci.image.config.v1+json", "vnd.cncf.helm.config.v1+json"), None, "not an image");
    }

    #[test]
    fn an_index_gives_the_platform_asked_for() {
        let entry = |os: &str, arch: &str, variant: &str| Descriptor {
            media_type: OCI_MANIFEST.into(),
            digest: Digest::of(format!("{os}{arch}{variant}").as_bytes()),
            size: 1,
            urls: vec![],
            platform: Some(DescriptorPlatform { os: os.into(), architecture: arch.into(), variant: variant.into() }),
            annotations: None,
        };
        let all = [entry("unknown", "unknown", ""), entry("linux", "arm", "v6"), entry("linux", "arm", "v7"), entry("linux", "amd64", "")];
        let chosen = |p: &str| choose(&all, &p.parse().unwrap()).unwrap().digest;
        assert_eq!(chosen("linux/amd64"), all[3].digest);
        assert_eq!(chosen("linux/arm/v7"), all[2].digest);
        let e = choose(&all, &"linux/s390x".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(e, "no matching manifest for linux/s390x in the manifest list entries");
    }
}
