//! Mounts: `-v`, `--mount`, `--tmpfs` and the image's VOLUMEs become one list in which each target stands once.

use super::text::{clean_path, clean_subpath, parse_size};
use super::{Mount, MountSource, Propagation, ReadOnlyBelow, volume};
use crate::container::spec::{ContainerSpec, MountKind, MountSpec};
use crate::image::ImageConfig;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All mounts of a container, parents first.
pub(super) fn mounts(spec: &ContainerSpec, image: &ImageConfig, run_dir: &Path) -> Result<Vec<Mount>> {
    let host = &spec.host;
    let mut mounts: Vec<Mount> = Vec::new();
    let mut add = |mount: Mount| {
        if mounts.iter().any(|m| m.target == mount.target) {
            return Err(Error::invalid(format!("Duplicate mount point: {}", mount.target)));
        }
        mounts.push(mount);
        Ok(())
    };
    for text in &host.binds {
        add(bind(text, &host.volume_driver, run_dir)?)?;
    }
    for mount in &host.mounts {
        add(explicit(mount, run_dir)?)?;
    }
    for (target, options) in &host.tmpfs {
        let mut source = Tmpfs::default();
        let read_only = source.options(options.split(',').filter(|o| !o.is_empty()))?;
        add(Mount { target: target_path(target, "tmpfs")?, read_only, mode: String::new(), implied: false, source: source.into() })?;
    }
    for target in spec.volumes.iter().chain(&image.volumes) {
        let target = target_path(target, "volume")?;
        // Whoever mounts something there on purpose wins; the image's and the client's VOLUME are often the same.
        if mounts.iter().all(|m| m.target != target) {
            let driver = if host.volume_driver.is_empty() { "local" } else { &host.volume_driver };
            check_driver(driver)?;
            let source = MountSource::Volume {
                name: None,
                driver: driver.to_owned(),
                options: BTreeMap::new(),
                labels: BTreeMap::new(),
                copy: true,
                subpath: String::new(),
            };
            mounts.push(Mount { target, read_only: false, mode: String::new(), implied: true, source });
        }
    }
    Ok(mounts)
}

/// `source:target[:options]`.
fn bind(text: &str, volume_driver: &str, run_dir: &Path) -> Result<Mount> {
    let invalid = || Error::invalid(format!("invalid volume specification: '{text}'"));
    let within = |e: Error| Error::invalid(format!("invalid volume specification: '{text}': {e}"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts[..] {
        [target] if !target.is_empty() => ("", target, ""),
        // `/x:ro` has a mode where its target should be.
        [_, second] if Mode::parse(second).is_some() => return Err(invalid()),
        [source, target] if !source.is_empty() => (source, target, ""),
        [source, target, mode] if !source.is_empty() => (source, target, mode),
        _ => return Err(invalid()),
    };
    let options = Mode::parse(mode).ok_or_else(|| Error::invalid(format!("invalid mode: {mode}")))?;
    let is_path = source.starts_with('/');
    let kind = if is_path { "bind" } else { "volume" };
    let target = target_path(target, kind).map_err(within)?;
    let source = if is_path {
        if options.no_copy {
            return Err(Error::invalid(format!("invalid mode: {mode}")));
        }
        let path = clean_path(source).ok_or_else(invalid)?;
        host_path(path, true, true, ReadOnlyBelow::IfPossible, options.propagation.unwrap_or(Propagation::RPrivate), run_dir)
    } else {
        if options.propagation.is_some() {
            return Err(Error::invalid(format!("invalid mode: {mode}")));
        }
        if !source.is_empty() {
            crate::volume::check_name(source)?;
        }
        let driver = if volume_driver.is_empty() { "local" } else { volume_driver };
        check_driver(driver)?;
        MountSource::Volume {
            name: (!source.is_empty()).then(|| source.to_owned()),
            driver: driver.to_owned(),
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
            copy: !options.no_copy,
            subpath: String::new(),
        }
    };
    Ok(Mount { target, read_only: options.read_only, mode: mode.to_owned(), implied: false, source })
}

/// The third part of `-v`.
#[derive(Default)]
struct Mode {
    read_only: bool,
    no_copy: bool,
    propagation: Option<Propagation>,
}

impl Mode {
    /// `None` when it is no mode: an unknown word, or two of a kind.
    fn parse(text: &str) -> Option<Self> {
        let mut mode = Self::default();
        let (mut access, mut label, mut consistency) = (0, 0, 0);
        for word in text.split(',').filter(|_| !text.is_empty()) {
            match word {
                "ro" | "rw" => {
                    access += 1;
                    mode.read_only = word == "ro";
                }
                // SELinux relabelling and macOS's hints have nothing to act on here.
                "z" | "Z" => label += 1,
                "consistent" | "cached" | "delegated" => consistency += 1,
                "nocopy" if !mode.no_copy => mode.no_copy = true,
                word => {
                    let propagation = propagation(word)?;
                    if mode.propagation.replace(propagation).is_some() {
                        return None;
                    }
                }
            }
        }
        (access <= 1 && label <= 1 && consistency <= 1).then_some(mode)
    }
}

fn propagation(word: &str) -> Option<Propagation> {
    Some(match word {
        "private" => Propagation::Private,
        "rprivate" => Propagation::RPrivate,
        "slave" => Propagation::Slave,
        "rslave" => Propagation::RSlave,
        "shared" => Propagation::Shared,
        "rshared" => Propagation::RShared,
        _ => return None,
    })
}

/// A `--mount`.
fn explicit(m: &MountSpec, run_dir: &Path) -> Result<Mount> {
    let MountSpec {
        kind,
        source,
        target,
        read_only,
        // Only macOS acts on it.
        consistency: _,
        propagation: propagation_text,
        non_recursive,
        create_mountpoint,
        read_only_non_recursive,
        read_only_force_recursive,
        no_copy,
        subpath,
        volume_labels,
        volume_driver,
        volume_options,
        tmpfs_size,
        tmpfs_mode,
        tmpfs_options,
    } = m;
    let word = match kind {
        MountKind::Bind => "bind",
        MountKind::Volume => "volume",
        MountKind::Tmpfs => "tmpfs",
        MountKind::Image => "image",
    };
    let invalid = |why: String| Error::invalid(format!("invalid mount config for type {word:?}: {why}"));
    let extra = |field: &str| Err(invalid(format!("field {field} must not be specified")));
    let bind_options =
        !propagation_text.is_empty() || *non_recursive || *create_mountpoint || *read_only_non_recursive || *read_only_force_recursive;
    let volume_options_set = *no_copy
        || !volume_labels.is_empty()
        || !volume_driver.is_empty()
        || !volume_options.is_empty()
        || *kind != MountKind::Image && !subpath.is_empty();
    let tmpfs_options_set = *tmpfs_size != 0 || tmpfs_mode.is_some() || !tmpfs_options.is_empty();
    if bind_options && *kind != MountKind::Bind {
        return extra("BindOptions");
    }
    if volume_options_set && *kind != MountKind::Volume {
        return extra("VolumeOptions");
    }
    if tmpfs_options_set && *kind != MountKind::Tmpfs {
        return extra("TmpfsOptions");
    }
    let target = target_path(target, word)?;
    let mut tmpfs_read_only = false;
    let source = match kind {
        MountKind::Bind => {
            if source.is_empty() {
                return Err(invalid("field Source must not be empty".into()));
            }
            let path = clean_path(source).ok_or_else(|| invalid(format!("invalid mount path: '{source}' mount path must be absolute")))?;
            let propagation = match propagation_text.as_str() {
                "" => Propagation::RPrivate,
                text => propagation(text).ok_or_else(|| invalid(format!("invalid propagation mode: {text}")))?,
            };
            let below = match (*read_only_non_recursive, *read_only_force_recursive) {
                (true, true) => return Err(invalid("ReadOnlyNonRecursive and ReadOnlyForceRecursive cannot both be set".into())),
                (true, false) | (false, true) if !read_only => {
                    return Err(invalid("ReadOnlyNonRecursive and ReadOnlyForceRecursive need ReadOnly".into()));
                }
                (true, false) => ReadOnlyBelow::No,
                (false, true) => ReadOnlyBelow::Required,
                (false, false) => ReadOnlyBelow::IfPossible,
            };
            host_path(path, *create_mountpoint, !non_recursive, below, propagation, run_dir)
        }
        MountKind::Volume => {
            if source.is_empty() && *read_only {
                return Err(invalid("must not set ReadOnly mode when using anonymous volumes".into()));
            }
            if source.is_empty() && !subpath.is_empty() {
                return Err(invalid("must not set Subpath when using anonymous volumes".into()));
            }
            if !source.is_empty() {
                crate::volume::check_name(source)?;
            }
            let driver = if volume_driver.is_empty() { "local" } else { volume_driver };
            check_driver(driver)?;
            volume::backing(volume_options)?;
            MountSource::Volume {
                name: (!source.is_empty()).then(|| source.clone()),
                driver: driver.to_owned(),
                options: volume_options.clone(),
                labels: volume_labels.clone(),
                copy: !no_copy,
                subpath: clean_subpath(subpath)?,
            }
        }
        MountKind::Tmpfs => {
            if !source.is_empty() {
                return extra("Source");
            }
            let size = match u64::try_from(*tmpfs_size) {
                Ok(0) => None,
                Ok(bytes) => Some(bytes),
                Err(_) => return Err(invalid("a tmpfs size cannot be negative".into())),
            };
            let mut tmpfs = Tmpfs { size, mode: tmpfs_mode.unwrap_or(0o1777), ..Tmpfs::default() };
            for option in tmpfs_options {
                match &option[..] {
                    [flag] => tmpfs_read_only |= tmpfs.options([flag.as_str()])?,
                    [key, value] => tmpfs_read_only |= tmpfs.options([format!("{key}={value}").as_str()])?,
                    _ => return Err(invalid("invalid option array length".into())),
                }
            }
            tmpfs.into()
        }
        MountKind::Image => {
            if source.is_empty() {
                return Err(invalid("field Source must not be empty".into()));
            }
            MountSource::Image { reference: source.clone(), subpath: clean_subpath(subpath)? }
        }
    };
    let read_only = *read_only || tmpfs_read_only || *kind == MountKind::Image;
    // So dockerd tells of a volume that was asked for this way.
    let mode = if *kind == MountKind::Volume { "z".to_owned() } else { String::new() };
    Ok(Mount { target, read_only, mode, implied: false, source })
}

/// A host path, or the tenant's socket where it is one of the sockets that speak Docker's API.
fn host_path(
    path: String,
    create: bool,
    recursive: bool,
    read_only_below: ReadOnlyBelow,
    propagation: Propagation,
    run_dir: &Path,
) -> MountSource {
    let is_socket = {
        // /var/run is /run on every distribution we know.
        let path = path.strip_prefix("/var").filter(|p| p.starts_with("/run/")).unwrap_or(&path);
        let path = Path::new(path);
        let ours = path.parent().is_some_and(|dir| dir == run_dir || dir == run_dir.join("t"));
        path == Path::new("/run/docker.sock") || ours && path.extension().is_some_and(|e| e == "sock")
    };
    if is_socket {
        return MountSource::TenantSocket;
    }
    MountSource::Bind { path: PathBuf::from(path), create, recursive, read_only_below, propagation }
}

fn target_path(text: &str, kind: &str) -> Result<String> {
    let invalid = |why: String| Error::invalid(format!("invalid mount config for type {kind:?}: {why}"));
    if text.is_empty() {
        return Err(invalid("field Target must not be empty".into()));
    }
    let target = clean_path(text).ok_or_else(|| invalid(format!("invalid mount path: '{text}' mount path must be absolute")))?;
    if target == "/" {
        return Err(invalid("invalid specification: destination can't be '/'".into()));
    }
    // As runc: what the masks there are for must not be hidden by something else.
    if target == "/proc" || target.starts_with("/proc/") {
        return Err(invalid(format!("{target:?} cannot be mounted because it is inside /proc")));
    }
    Ok(target)
}

fn check_driver(driver: &str) -> Result<()> {
    if driver == "local" {
        Ok(())
    } else {
        Err(Error::new(crate::Kind::NotFound, format!("error looking up volume plugin {driver}: plugin {driver:?} not found")))
    }
}

struct Tmpfs {
    size: Option<u64>,
    mode: u32,
    uid: u32,
    gid: u32,
    inodes: Option<u64>,
    noexec: bool,
    nosuid: bool,
    nodev: bool,
}

impl Default for Tmpfs {
    fn default() -> Self {
        Self { size: None, mode: 0o1777, uid: 0, gid: 0, inodes: None, noexec: true, nosuid: true, nodev: true }
    }
}

impl Tmpfs {
    /// mount(8)'s options. Returns whether one of them says read-only.
    fn options<'a>(&mut self, options: impl IntoIterator<Item = &'a str>) -> Result<bool> {
        let mut read_only = false;
        for option in options {
            let invalid = || Error::invalid(format!("invalid tmpfs option {option:?}"));
            let (key, value) = match option.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (option, None),
            };
            let id = |v: Option<&str>| v.and_then(|v| v.parse::<u32>().ok()).filter(|id| *id < 65_536).ok_or_else(invalid);
            match (key, value) {
                ("ro", None) => read_only = true,
                ("rw", None) => read_only = false,
                ("exec", None) => self.noexec = false,
                ("noexec", None) => self.noexec = true,
                ("suid", None) => self.nosuid = false,
                ("nosuid", None) => self.nosuid = true,
                ("dev", None) => self.nodev = false,
                ("nodev", None) => self.nodev = true,
                // Hints without a meaning for memory, or the default.
                ("async" | "sync" | "atime" | "noatime" | "relatime" | "diratime" | "nodiratime" | "private" | "rprivate", None) => {}
                ("size", Some(value)) => self.size = Some(parse_size(value)?),
                ("mode", Some(value)) => self.mode = u32::from_str_radix(value, 8).ok().filter(|m| *m <= 0o7777).ok_or_else(invalid)?,
                ("uid", value) => self.uid = id(value)?,
                ("gid", value) => self.gid = id(value)?,
                ("nr_inodes", Some(value)) => self.inodes = Some(parse_size(value).map_err(|_| invalid())?),
                _ => return Err(invalid()),
            }
        }
        Ok(read_only)
    }
}

impl From<Tmpfs> for MountSource {
    fn from(t: Tmpfs) -> Self {
        let Tmpfs { size, mode, uid, gid, inodes, noexec, nosuid, nodev } = t;
        MountSource::Tmpfs { size, mode, uid, gid, inodes, noexec, nosuid, nodev }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "/run/wharf";

    fn parse(text: &str) -> Result<Mount> {
        bind(text, "", Path::new(RUN))
    }

    #[test]
    fn binds_of_every_form() {
        let m = parse("/a/../b:/c/:ro,z,rslave").unwrap();
        assert_eq!((m.target.as_str(), m.read_only, m.mode.as_str()), ("/c", true, "ro,z,rslave"));
        assert!(
            matches!(m.source, MountSource::Bind { ref path, create: true, propagation: Propagation::RSlave, .. } if path == Path::new("/b"))
        );
        let m = parse("data:/var/lib/x:nocopy").unwrap();
        assert!(matches!(m.source, MountSource::Volume { name: Some(ref n), copy: false, .. } if n == "data"));
        assert!(matches!(parse("/anon").unwrap().source, MountSource::Volume { name: None, .. }));
    }

    #[test]
    fn dockers_errors() {
        for (text, error) in [
            ("", "invalid volume specification: ''"),
            (":/a", "invalid volume specification: ':/a'"),
            ("/a:", "invalid volume specification: '/a:'"),
            ("/a:ro", "invalid volume specification: '/a:ro'"),
            ("/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'"),
            ("/a:/b:foo", "invalid mode: foo"),
            ("/a:/b:ro,rw", "invalid mode: ro,rw"),
            ("/a:/b:nocopy", "invalid mode: nocopy"),
            ("vol:/b:rshared", "invalid mode: rshared"),
            (
                "/a:b",
                "invalid volume specification: '/a:b': invalid mount config for type \"bind\": invalid mount path: 'b' mount path must be absolute",
            ),
            (
                "/a:/",
                "invalid volume specification: '/a:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), error, "{text}");
        }
        assert!(parse("./rel:/x").unwrap_err().to_string().contains("use absolute path"));
        assert!(parse("/a:/proc/sys").is_err());
    }

    #[test]
    fn the_docker_socket_becomes_the_tenants() {
        for text in [
            "/var/run/docker.sock:/var/run/docker.sock",
            "/run/docker.sock:/x",
            "/run/wharf/wharf.sock:/x:ro",
            "/var/run/wharf/t/other.sock:/x",
            "/var/run/../run/docker.sock:/x",
        ] {
            assert_eq!(parse(text).unwrap().source, MountSource::TenantSocket, "{text}");
        }
        for text in ["/run:/x", "/run/wharf:/x", "/run/wharf/t:/x", "/run/wharf/c/abc/shim.sock:/x", "/run/other.sock:/x"] {
            assert!(matches!(parse(text).unwrap().source, MountSource::Bind { .. }), "{text}");
        }
    }

    #[test]
    fn mounts_refuse_fields_of_other_kinds() {
        let run = Path::new(RUN);
        let m = |kind, source: &str| MountSpec { kind, source: source.into(), target: "/t".into(), ..MountSpec::default() };
        assert!(explicit(&m(MountKind::Bind, "/src"), run).is_ok());
        for (mount, error) in [
            (m(MountKind::Bind, ""), "invalid mount config for type \"bind\": field Source must not be empty"),
            (m(MountKind::Bind, "rel"), "invalid mount config for type \"bind\": invalid mount path: 'rel' mount path must be absolute"),
            (m(MountKind::Tmpfs, "/x"), "invalid mount config for type \"tmpfs\": field Source must not be specified"),
            (
                MountSpec { no_copy: true, ..m(MountKind::Bind, "/x") },
                "invalid mount config for type \"bind\": field VolumeOptions must not be specified",
            ),
            (
                MountSpec { create_mountpoint: true, ..m(MountKind::Volume, "vv") },
                "invalid mount config for type \"volume\": field BindOptions must not be specified",
            ),
            (
                MountSpec { read_only: true, ..m(MountKind::Volume, "") },
                "invalid mount config for type \"volume\": must not set ReadOnly mode when using anonymous volumes",
            ),
            (
                MountSpec { target: String::new(), ..m(MountKind::Volume, "vv") },
                "invalid mount config for type \"volume\": field Target must not be empty",
            ),
        ] {
            assert_eq!(explicit(&mount, run).unwrap_err().to_string(), error);
        }
        assert!(explicit(&MountSpec { subpath: "../x".into(), ..m(MountKind::Volume, "vv") }, run).is_err());
    }

    #[test]
    fn tmpfs_options() {
        let mut t = Tmpfs::default();
        assert!(t.options(["size=64m", "mode=700", "exec", "uid=5", "ro"]).unwrap());
        assert_eq!((t.size, t.mode, t.noexec, t.uid), (Some(64 << 20), 0o700, false, 5));
        for bad in ["foo", "size=x", "mode=99999", "uid=-1", "uid=70000", "context=x", "bind"] {
            assert!(Tmpfs::default().options([bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_explicit_mount_wins_over_a_volume_of_the_image() {
        let spec = ContainerSpec {
            volumes: vec!["/data".into(), "/more".into()],
            host: crate::container::spec::HostSpec { binds: vec!["db:/data".into()], ..Default::default() },
            ..Default::default()
        };
        let image = ImageConfig { volumes: vec!["/data/".into(), "/img/../x".into()], ..Default::default() };
        let all = mounts(&spec, &image, Path::new(RUN)).unwrap();
        let targets: Vec<(&str, bool)> = all.iter().map(|m| (m.target.as_str(), m.implied)).collect();
        assert_eq!(targets, [("/data", false), ("/more", true), ("/x", true)]);
        let twice = ContainerSpec {
            host: crate::container::spec::HostSpec { binds: vec!["/a:/x".into(), "/b:/x/".into()], ..Default::default() },
            ..spec
        };
        assert_eq!(mounts(&twice, &image, Path::new(RUN)).unwrap_err().to_string(), "Duplicate mount point: /x");
    }
}
