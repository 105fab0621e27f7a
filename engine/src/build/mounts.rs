//! `RUN --mount=…`, read.

use super::dockerfile::words;
use crate::{Error, Result};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub kind: Kind,
    /// Absolute, or relative to the working directory; empty where the kind has a default.
    pub target: String,
    /// What of the source.
    pub source: String,
    /// Stage or image; `None`: the context.
    pub from: Option<String>,
    pub read_only: bool,
    /// Cache, secret, ssh: which.
    pub id: String,
    pub mode: Option<u32>,
    pub uid: u32,
    pub gid: u32,
    pub required: bool,
    /// Secret: the environment variable that has it.
    pub env: Option<String>,
    pub sharing: Sharing,
    /// tmpfs: bytes.
    pub size: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

/// What two builds do that want one cache at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Both write.
    Shared,
    /// Each has its own.
    Private,
    /// One waits.
    Locked,
}

/// What the `from` of a mount says, if it has one; nothing is checked.
pub(super) fn from_of(text: &str) -> Option<String> {
    text.split(',').find_map(|field| field.trim().strip_prefix("from=")).map(str::to_owned)
}

/// Reads one mount, variables expanded.
///
/// # Errors
/// `Invalid`, naming the field.
pub(super) fn read(text: &str, escape: char, variables: &dyn words::Variables) -> Result<Mount> {
    let bad = |what: String| Error::invalid(format!("invalid mount {text:?}: {what}"));
    let mut mount = Mount {
        kind: Kind::Bind,
        target: String::new(),
        source: String::new(),
        from: None,
        read_only: true,
        id: String::new(),
        mode: None,
        uid: 0,
        gid: 0,
        required: false,
        env: None,
        sharing: Sharing::Shared,
        size: None,
    };
    let mut access = None;
    let mut fields = Vec::new();
    for field in text.split(',') {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.trim().to_ascii_lowercase(), Some(words::expand(value, escape, variables).map_err(bad)?)),
            None => (field.trim().to_ascii_lowercase(), None),
        };
        if key == "type" {
            mount.kind = match value.as_deref() {
                Some("bind") => Kind::Bind,
                Some("cache") => Kind::Cache,
                Some("tmpfs") => Kind::Tmpfs,
                Some("secret") => Kind::Secret,
                Some("ssh") => Kind::Ssh,
                other => return Err(bad(format!("unsupported mount type {:?}", other.unwrap_or_default()))),
            };
            continue;
        }
        fields.push((key, value));
    }
    for (key, value) in fields {
        let boolean = || match value.as_deref() {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(bad(format!("invalid value for {key}: {other}"))),
        };
        let text = || value.clone().filter(|v| !v.is_empty()).ok_or_else(|| bad(format!("{key} needs a value")));
        let number = || text()?.parse::<u32>().map_err(|_| bad(format!("invalid value for {key}")));
        let kind = mount.kind;
        let belongs = match key.as_str() {
            "target" | "dst" | "destination" => true,
            "source" | "src" | "from" => matches!(kind, Kind::Bind | Kind::Cache),
            "ro" | "readonly" | "rw" | "readwrite" => matches!(kind, Kind::Bind | Kind::Cache),
            "id" | "mode" | "uid" | "gid" => matches!(kind, Kind::Cache | Kind::Secret | Kind::Ssh),
            "required" => matches!(kind, Kind::Secret | Kind::Ssh),
            "env" => kind == Kind::Secret,
            "sharing" => kind == Kind::Cache,
            "size" => kind == Kind::Tmpfs,
            _ => return Err(bad(format!("unexpected key '{key}'"))),
        };
        // A secret's `source` is another word for its id.
        let secret_id = kind == Kind::Secret && matches!(key.as_str(), "source" | "src");
        if !belongs && !secret_id {
            return Err(bad(format!("unexpected key '{key}' for mount type")));
        }
        match key.as_str() {
            "target" | "dst" | "destination" => mount.target = text()?,
            "source" | "src" if kind == Kind::Secret => mount.id = text()?,
            "source" | "src" => mount.source = text()?,
            "from" => mount.from = Some(text()?),
            "ro" | "readonly" => access = Some(boolean()?),
            "rw" | "readwrite" => access = Some(!boolean()?),
            "id" => mount.id = text()?,
            "mode" => {
                mount.mode =
                    Some(u32::from_str_radix(&text()?, 8).ok().filter(|m| *m <= 0o7777).ok_or_else(|| bad("invalid mode".to_owned()))?)
            }
            "uid" => mount.uid = number()?,
            "gid" => mount.gid = number()?,
            "required" => mount.required = boolean()?,
            "env" => mount.env = Some(text()?),
            "size" => mount.size = Some(text()?),
            _ => {
                mount.sharing = match text()?.as_str() {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    other => return Err(bad(format!("unsupported sharing value {other:?}"))),
                }
            }
        }
    }
    mount.read_only = access.unwrap_or(mount.kind == Kind::Bind);
    match mount.kind {
        Kind::Bind | Kind::Cache | Kind::Tmpfs if mount.target.is_empty() => Err(bad("missing target".to_owned())),
        Kind::Secret if mount.id.is_empty() && mount.target.is_empty() => Err(bad("missing id".to_owned())),
        _ => {
            if mount.id.is_empty() {
                let base = mount.target.rsplit('/').next().unwrap_or_default();
                mount.id = match mount.kind {
                    Kind::Secret => base.to_owned(),
                    Kind::Ssh => "default".to_owned(),
                    _ => mount.target.clone(),
                };
            }
            if mount.kind == Kind::Secret && mount.target.is_empty() && mount.env.is_none() {
                mount.target = format!("/run/secrets/{}", mount.id.rsplit('/').next().unwrap_or_default());
            }
            Ok(mount)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(text: &str) -> Result<Mount> {
        read(text, '\\', &|name: &str| (name == "X").then(|| "value".to_owned()))
    }

    #[test]
    fn mounts_are_read() {
        let m = mount("type=cache,target=/root/.npm,sharing=locked,mode=0755,uid=5").unwrap();
        assert_eq!(
            (m.kind, m.id.as_str(), m.sharing, m.mode, m.uid, m.read_only),
            (Kind::Cache, "/root/.npm", Sharing::Locked, Some(0o755), 5, false)
        );
        let m = mount("target=/x,from=build,source=a/$X,rw").unwrap();
        assert_eq!((m.kind, m.source.as_str(), m.from.as_deref(), m.read_only), (Kind::Bind, "a/value", Some("build"), false));
        let m = mount("type=secret,id=npmrc").unwrap();
        assert_eq!((m.target.as_str(), m.required), ("/run/secrets/npmrc", false));
        let m = mount("type=secret,src=a,env=TOKEN,required").unwrap();
        assert_eq!((m.id.as_str(), m.target.as_str(), m.env.as_deref(), m.required), ("a", "", Some("TOKEN"), true));
        assert_eq!(mount("target=/t,type=tmpfs,size=1m").unwrap().size.as_deref(), Some("1m"));
        for bad in [
            "type=bind",
            "type=floppy,target=/x",
            "type=cache,target=/x,sharing=maybe",
            "type=tmpfs,target=/x,from=a",
            "type=bind,target=/x,bind-propagation=shared",
            "type=cache,target=/x,mode=9",
            "type=secret",
            "target=",
        ] {
            assert!(mount(bad).is_err(), "{bad}");
        }
    }
}
