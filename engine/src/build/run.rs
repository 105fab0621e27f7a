//! RUN: a container of what the stage has so far, with the mounts that the instruction asks for.

use super::builds::{key, make_folder};
use super::dockerfile::{Command, Located, Run};
use super::mounts::{self, Kind, Sharing};
use super::request::{BuildEvent, StepFailed};
use super::scope::{PROXIES, at, env_value};
use super::stage::State;
use super::tell::cancelled;
use super::transfer::Source;
use super::work::Work;
use crate::container::ContainerSpec;
use crate::container::step::{Step, StepMount, StepRun, StepSource};
use crate::inventory::builds as rows;
use crate::worker::{CopyPlan, Selection, TreeJob};
use crate::{Doing, Error, Kind as ErrorKind, Result};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::sync::Arc;

/// What a RUN's mounts come to.
#[derive(Default)]
struct Prepared {
    mounts: Vec<StepMount>,
    tmpfs: Vec<(String, String)>,
    /// Environment that is in no specification: secrets, and where the agent is.
    env: Vec<(String, PathBuf)>,
    agent: Option<String>,
    /// Locks of cache folders, held as long as it runs.
    locks: Vec<Arc<tokio::sync::Mutex<()>>>,
    guards: Vec<tokio::sync::OwnedMutexGuard<()>>,
}

impl Work {
    /// One RUN.
    pub(super) async fn run_command(&mut self, here: usize, state: &mut State, run: &Run, located: &Located) -> Result<()> {
        let escape = self.given.escape;
        let wrong = |what: &str| at(located.line, &located.text, what);
        let asked = run
            .mounts
            .iter()
            .map(|text| mounts::read(text, escape, &|n: &str| state.variable(n)).map_err(|e| wrong(&e.to_string())))
            .collect::<Result<Vec<_>>>()?;
        let network = match run.network.as_deref() {
            None | Some("default") => self.request.network.clone(),
            Some(mode @ ("none" | "host")) => mode.to_owned(),
            Some(other) => return Err(wrong(&format!("invalid network mode {other:?}: expected default, none or host"))),
        };
        let insecure = match run.security.as_deref() {
            None | Some("sandbox") => false,
            Some("insecure") => true,
            Some(other) => return Err(wrong(&format!("security {other:?} is not valid: expected sandbox or insecure"))),
        };
        if !run.devices.is_empty() {
            return Err(self.in_line(located.line, &located.text, Error::unsupported("RUN --device")));
        }
        let (argv, script) = argv(state, run);

        let args = state.arg_env();
        let proxies: Vec<(String, String)> =
            PROXIES.iter().filter_map(|name| self.given.args.get(*name).map(|v| ((*name).to_owned(), v.clone()))).collect();
        // A proxy that the file declares is the author's wish, and shown like any other.
        let shown_args: Vec<String> = args.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let shown_command = argv.join(" ");
        let created_by = if shown_args.is_empty() {
            shown_command.clone()
        } else {
            format!("|{} {} {shown_command}", shown_args.len(), shown_args.join(" "))
        };

        // Everything the command can see, apart from caches, secrets and proxies.
        let mut reads = Vec::new();
        for mount in &asked {
            let from = match mount.kind {
                Kind::Bind => self.source(here, mount.from.as_deref()).await.map_err(|e| self.in_line(located.line, &located.text, e))?,
                _ => {
                    reads.push(format!("{:?} {} {} {}", mount.kind, mount.target, mount.id, mount.read_only));
                    continue;
                }
            };
            let content = match &from {
                Source::Layers(_, id) => id.clone(),
                Source::Folder(_) => {
                    let root = self.source_root(&from).await?;
                    let source = if mount.source.is_empty() { ".".to_owned() } else { mount.source.clone() };
                    let selection = Selection { sources: vec![source], strict: true, ..Selection::default() };
                    self.digest(&root, &selection).await.map_err(|e| self.in_line(located.line, &located.text, e))?
                }
            };
            reads.push(format!("bind {} {} {} {content}", mount.target, mount.source, mount.read_only));
        }
        let config = &state.config;
        let what = (&argv, &script, &config.env, &shown_args, &config.user, &config.working_dir, &network, insecure, &reads);
        let what = serde_json::to_vec(&what).doing(|| "naming a step".to_owned())?;
        let key = key(&[b"run", state.chain().as_bytes(), &what]);
        if self.recall(state, std::slice::from_ref(&key), &created_by).await? {
            return Ok(());
        }

        let mut prepared = Prepared::default();
        for mount in &asked {
            self.mount(here, state, mount, &mut prepared).await.map_err(|e| self.in_line(located.line, &located.text, e))?;
        }
        if let Some((path, content)) = &script {
            let file = self.folder.path.join(format!("script-{}", located.line));
            std::fs::write(&file, content).doing(|| "writing a here-document".to_owned())?;
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).doing(|| "writing a here-document".to_owned())?;
            chown(&file, Some(self.base), Some(self.base)).doing(|| "writing a here-document".to_owned())?;
            prepared.mounts.push(StepMount {
                source: StepSource::Path(file),
                subpath: String::new(),
                target: path.clone(),
                read_only: true,
            });
        }
        let mut env = state.config.env.clone();
        let more = args.into_iter().chain(proxies).filter(|(name, _)| env_value(&state.config.env, name).is_none());
        env.extend(more.map(|(name, value)| format!("{name}={value}")));
        if let Some(socket) = &prepared.agent {
            env.push(format!("SSH_AUTH_SOCK={socket}"));
        }
        let mut spec = ContainerSpec {
            image: state.image.hex()[..12].to_owned(),
            user: state.config.user.clone(),
            env,
            cmd: Some(argv.clone()),
            entrypoint: Some(Vec::new()),
            working_dir: if state.config.working_dir.is_empty() { "/".to_owned() } else { state.config.working_dir.clone() },
            ..ContainerSpec::default()
        };
        spec.hostname = self.request.hostname.clone();
        spec.host.network_mode = network;
        spec.host.extra_hosts = self.request.extra_hosts.clone();
        spec.host.shm_size = self.request.shm_size;
        spec.host.resources = self.request.resources.clone();
        spec.host.security_opt = self.request.security_opt.clone();
        spec.host.privileged = insecure;
        spec.host.log.driver = "none".to_owned();
        spec.host.tmpfs = prepared.tmpfs.iter().cloned().collect();
        let step = StepRun {
            spec,
            image: state.image,
            platform: state.platform.os.clone(),
            layers: state.layers.iter().map(|l| l.path.clone()).collect(),
            step: Step { mounts: prepared.mounts, secret_env: prepared.env },
        };
        let engine = self.engine.clone();
        let (code, entry) = engine.run_step(&self.who, step, &self.tell.cancel, &self.tell.events, self.vertex).await?;
        let layer = if code == 0 { self.pack(&engine.step_upper(&entry)).await } else { Ok(None) };
        let id = entry.id.clone();
        engine.drop_step(&entry).await;
        drop((prepared.guards, prepared.locks));
        self.tell(BuildEvent::Removed(id)).await?;
        if code != 0 {
            let text = format!("The command '{shown_command}' returned a non-zero code: {code}");
            return Err(Error::new(ErrorKind::Invalid, text).because(StepFailed { code, command: shown_command }));
        }
        self.keep(state, &[key], layer?, created_by).await
    }

    /// One `--mount`.
    async fn mount(&mut self, here: usize, state: &State, mount: &mounts::Mount, prepared: &mut Prepared) -> Result<()> {
        let target = state.absolute(&mount.target);
        let put =
            |source, subpath: &str| StepMount { source, subpath: subpath.to_owned(), target: target.clone(), read_only: mount.read_only };
        match mount.kind {
            Kind::Tmpfs => {
                let size = mount.size.as_ref().map(|s| format!(",size={s}")).unwrap_or_default();
                prepared.tmpfs.push((target, format!("rw,exec,mode=1777{size}")));
            }
            Kind::Ssh => {
                let id = if mount.id.is_empty() { "default" } else { &mount.id };
                let target =
                    if mount.target.is_empty() { format!("/run/buildkit/ssh_agent.{}", prepared.mounts.len()) } else { target.clone() };
                match self.agent(id, mount.mode.unwrap_or(0o600), (mount.uid, mount.gid)).await? {
                    Some(socket) => {
                        // The first is what programs find; others are named by their targets.
                        prepared.agent.get_or_insert(target.clone());
                        prepared.mounts.push(StepMount { target, ..put(StepSource::Path(socket), "") });
                    }
                    None if mount.required => {
                        return Err(Error::invalid(format!("ssh agent {id} is required, and the client forwards none of that id (--ssh)")));
                    }
                    None => {}
                }
            }
            Kind::Secret => match self.secret(&mount.id).await? {
                None if mount.required => return Err(Error::invalid(format!("secret {}: not found", mount.id))),
                None => {}
                Some(content) => {
                    let folder = &self.folder.secrets;
                    let doing = || "giving a step its secret".to_owned();
                    if !folder.exists() {
                        std::fs::create_dir(folder).doing(doing)?;
                    }
                    let file = folder.join(uuid::Uuid::new_v4().simple().to_string());
                    std::fs::write(&file, content).doing(doing)?;
                    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mount.mode.unwrap_or(0o400))).doing(doing)?;
                    if let Some(name) = &mount.env {
                        prepared.env.push((name.clone(), file.clone()));
                        if mount.target.is_empty() {
                            return Ok(());
                        }
                    }
                    let id =
                        |n: u32| self.base.checked_add(n).filter(|_| n < 65_536).ok_or_else(|| Error::invalid(format!("invalid id {n}")));
                    chown(&file, Some(id(mount.uid)?), Some(id(mount.gid)?)).doing(doing)?;
                    prepared.mounts.push(StepMount { read_only: true, ..put(StepSource::Path(file), "") });
                }
            },
            Kind::Bind => {
                let source = self.source(here, mount.from.as_deref()).await?;
                let writable = !mount.read_only;
                let source = match source {
                    Source::Folder(path) if !writable => StepSource::Path(path),
                    Source::Folder(path) => StepSource::Layers { layers: vec![path], scratch: self.scratch()?, idmapped: false },
                    Source::Layers(layers, _) => StepSource::Layers {
                        layers: layers.into_iter().map(|l| l.path).collect(),
                        scratch: self.scratch()?,
                        idmapped: true,
                    },
                };
                prepared.mounts.push(put(source, &mount.source));
            }
            Kind::Cache => {
                let folder = self.cache_folder(here, mount, prepared).await?;
                prepared.mounts.push(put(StepSource::Path(folder), ""));
            }
        }
        Ok(())
    }

    /// A secret: of the request, else of the client.
    async fn secret(&self, id: &str) -> Result<Option<Vec<u8>>> {
        if let Some(content) = self.request.secrets.get(id) {
            return Ok(Some(content.clone()));
        }
        let Some(client) = &self.request.client else { return Ok(None) };
        let secret = client.secret(id).await?;
        if secret.as_ref().is_some_and(|s| s.len() > super::client::SECRET_MAX) {
            return Err(Error::invalid(format!("secret {id} is larger than {} bytes", super::client::SECRET_MAX)));
        }
        Ok(secret)
    }

    /// The folder of a cache mount: the tenant's own by its id, or a passing one where it is private and taken.
    async fn cache_folder(&mut self, here: usize, mount: &mounts::Mount, prepared: &mut Prepared) -> Result<PathBuf> {
        let engine = self.engine.clone();
        let tenant = self.who.tenant;
        // Where it begins is part of what it is; no id of a Dockerfile is ever a path (CVE-2026-33747).
        let name = key(&[mount.id.as_bytes(), mount.from.as_deref().unwrap_or_default().as_bytes(), mount.source.as_bytes()]);
        let mut tx = engine.inventory().begin().await?;
        let fresh = uuid::Uuid::new_v4().simple().to_string();
        let folder = rows::put_mount(&mut tx, tenant, &name, &fresh, &format!("cache mount {}", mount.id)).await?;
        crate::inventory::commit(tx).await?;
        let lock = engine.builds().folder(&folder);
        let mut path = engine.build_caches().join(&folder);
        match mount.sharing {
            Sharing::Shared => {}
            Sharing::Locked => {
                let guard = tokio::select! {
                    guard = lock.clone().lock_owned() => guard,
                    () = self.tell.cancel.cancelled() => return Err(cancelled()),
                };
                prepared.guards.push(guard);
            }
            Sharing::Private => match lock.clone().try_lock_owned() {
                Ok(guard) => prepared.guards.push(guard),
                Err(_) => path = self.folder.path.join(format!("cache-{fresh}")),
            },
        }
        prepared.locks.push(lock);
        if path.exists() {
            return Ok(path);
        }
        match make_folder(&path, self.base, mount.mode.unwrap_or(0o755)) {
            Ok(()) => {}
            // Another build was first.
            Err(_) if path.is_dir() => return Ok(path),
            Err(error) => return Err(error),
        }
        let id = |n: u32| self.base.checked_add(n).filter(|_| n < 65_536).ok_or_else(|| Error::invalid(format!("invalid id {n}")));
        chown(&path, Some(id(mount.uid)?), Some(id(mount.gid)?)).doing(|| format!("making {}", path.display()))?;
        if let Some(from) = &mount.from {
            let source = self.source(here, Some(from)).await?;
            let root = self.source_root(&source).await?;
            let into = std::fs::File::open(&path).doing(|| format!("opening {}", path.display()))?;
            let what = if mount.source.is_empty() { ".".to_owned() } else { mount.source.clone() };
            let plan = CopyPlan {
                selection: Selection { sources: vec![what], ..Selection::default() },
                dest: "/".to_owned(),
                ..CopyPlan::default()
            };
            let workers = engine.images_handle().workers();
            workers.tree::<()>(self.base, into.as_fd(), Some(root.as_fd()), &TreeJob::Copy(plan)).await?;
        }
        Ok(path)
    }
}

/// What is run, and a script that is mounted for it (path, content).
fn argv(state: &State, run: &Run) -> (Vec<String>, Option<(String, String)>) {
    let text = match &run.command {
        // Nothing to run is what the image runs, as any container without a command has it.
        Command::Exec(list) if list.is_empty() => return (state.config.cmd.clone().unwrap_or_default(), None),
        Command::Exec(list) => return (list.clone(), None),
        Command::Shell(text) => text,
    };
    let shell = |text: String| state.shell().into_iter().chain([text]).collect::<Vec<_>>();
    match run.heredocs.as_slice() {
        [] => (shell(text.clone()), None),
        [one] if *text == format!("<<{}", one.word) => {
            if one.content.starts_with("#!") {
                let name: String = one.name.chars().map(|c| if c == '/' { '_' } else { c }).collect();
                let path = format!("/dev/pipes/{name}");
                (vec![path.clone()], Some((path, one.content.clone())))
            } else {
                (shell(one.content.clone()), None)
            }
        }
        many => {
            let mut whole = text.clone();
            for one in many {
                whole.push('\n');
                whole.push_str(&one.content);
                whole.push_str(&one.name);
            }
            (shell(whole), None)
        }
    }
}
