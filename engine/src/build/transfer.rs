//! COPY and ADD: what they would read is known before they are carried out, so that what did not change is not done again.

use super::builds::key;
use super::client::NamedContext;
use super::dockerfile::{Located, Transfer, words};
use super::fetch;
use super::git::{Repository, is_git};
use super::plan::{self, From};
use super::scope::at;
use super::stage::State;
use super::work::Work;
use crate::image::build::BuiltLayer;
use crate::worker::{CopyPlan, Selection, TreeDigest, TreeJob};
use crate::{Doing, Error, Result};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// Where files come from.
pub(super) enum Source {
    /// The context, or a named one.
    Folder(PathBuf),
    /// A stage or an image, and what stands for it in keys.
    Layers(Vec<BuiltLayer>, String),
}

impl Work {
    /// What a `--from` leads to.
    pub(super) async fn source(&mut self, here: usize, from: Option<&str>) -> Result<Source> {
        let Some(from) = from else { return Ok(Source::Folder(self.context().await?)) };
        match plan::from(&self.file, here, from, &self.request.contexts)? {
            From::Folder(name) => Ok(Source::Folder(self.folder_of(&name).await?)),
            From::Stage(stage) => {
                let state = self.stages.get(&stage).ok_or_else(|| Error::invalid(format!("stage {from} is not built yet")))?;
                Ok(Source::Layers(state.layers.clone(), state.chain()))
            }
            From::Image(name) => {
                let platform = self.platform.clone();
                let unknown = |e: Error| Error::new(e.kind(), format!("invalid from flag value {from}: {e}")).because(e);
                let image = self.image(&name, &platform).await.map_err(unknown)?;
                let layers = self.engine.images_handle().layers_to_build_on(self.who.tenant, &image.id).await?;
                Ok(Source::Layers(layers, image.id.to_string()))
            }
        }
    }

    /// Its root folder, ids as the tenant's namespace has them.
    pub(super) async fn source_root(&mut self, source: &Source) -> Result<OwnedFd> {
        match source {
            Source::Folder(path) => Ok(std::fs::File::open(path).doing(|| format!("opening {}", path.display()))?.into()),
            Source::Layers(layers, _) => Ok(self.root(&layers.clone()).await?.0),
        }
    }

    /// The folder of a named context.
    pub(super) async fn folder_of(&mut self, name: &str) -> Result<PathBuf> {
        match plan::named(&self.request.contexts, name) {
            Some((name, NamedContext::Folder(folder))) => {
                let (name, folder) = (name.to_owned(), folder.clone());
                self.named_folder(&name, &folder).await
            }
            Some((name, NamedContext::Remote(url))) => {
                let (name, url) = (name.to_owned(), url.clone());
                self.named_remote(&name, &url).await
            }
            _ => Err(Error::invalid(format!("the named context {name} is no folder"))),
        }
    }

    /// All files of a named context as a stage's: `FROM` of a folder.
    pub(super) async fn all_of(&mut self, state: &mut State, name: &str) -> Result<()> {
        let source = Source::Folder(self.folder_of(name).await?);
        let selection = Selection { sources: vec![".".to_owned()], strict: true, ..Selection::default() };
        let from = self.source_root(&source).await?;
        let digest = self.digest(&from, &selection).await?;
        let key = key(&[b"context", state.chain().as_bytes(), digest.as_bytes()]);
        let created_by = format!("FROM {name}");
        if self.recall(state, std::slice::from_ref(&key), &created_by).await? {
            return Ok(());
        }
        let (root, scratch) = self.root(&state.layers).await?;
        let plan = CopyPlan { selection, dest: "/".to_owned(), ..CopyPlan::default() };
        let workers = self.engine.images_handle().workers();
        workers.tree::<()>(self.base, root.as_fd(), Some(from.as_fd()), &TreeJob::Copy(plan)).await?;
        drop((root, from));
        let layer = self.pack(&scratch.join("upper")).await?;
        self.keep(state, &[key], layer, created_by).await
    }

    /// Digest of what a selection picks.
    pub(super) async fn digest(&self, root: &OwnedFd, selection: &Selection) -> Result<String> {
        let job = TreeJob::Digest(selection.clone());
        let digest: TreeDigest = self.engine.images_handle().workers().tree(self.base, root.as_fd(), None, &job).await?;
        Ok(digest.digest.to_string())
    }

    /// One COPY or ADD.
    pub(super) async fn transfer(&mut self, here: usize, state: &mut State, transfer: &Transfer, located: &Located) -> Result<()> {
        let escape = self.given.escape;
        let expand = |word: &String| state.expand(word, escape).map_err(|e| at(located.line, &located.text, &e));
        let optional = |word: &Option<String>| word.as_ref().map(expand).transpose();
        let sources: Vec<String> = transfer.sources.iter().map(expand).collect::<Result<_>>()?;
        let written = expand(&transfer.dest)?;
        let (chown, chmod) = (optional(&transfer.chown)?, optional(&transfer.chmod)?);
        let exclude: Vec<String> = transfer.exclude.iter().map(expand).collect::<Result<_>>()?;
        let documents = transfer
            .heredocs
            .iter()
            .map(|h| {
                let content = if h.expand {
                    words::expand_document(&h.content, escape, &|n: &str| state.variable(n))
                        .map_err(|e| at(located.line, &located.text, &e))?
                } else {
                    h.content.clone()
                };
                Ok((h.name.clone(), content))
            })
            .collect::<Result<Vec<_>>>()?;
        if written.is_empty() {
            return Err(at(located.line, &located.text, "the destination is empty"));
        }
        let word = if transfer.add { "ADD" } else { "COPY" };
        let (remote, sources): (Vec<String>, Vec<String>) = sources.into_iter().partition(|s| transfer.add && is_remote(s));
        let (repositories, remote): (Vec<String>, Vec<String>) = remote.into_iter().partition(|s| is_git(s));
        let checksum = optional(&transfer.checksum)?;
        let count = repositories.len() + remote.len() + sources.len() + documents.len();
        if checksum.is_some() && remote.is_empty() && repositories.is_empty() {
            return Err(at(located.line, &located.text, "checksum can't be specified for non-HTTP(S) sources"));
        }
        if checksum.is_some() && count > 1 {
            return Err(at(located.line, &located.text, "checksum can't be specified for multiple sources"));
        }
        if transfer.keep_git_dir && repositories.is_empty() {
            return Err(at(located.line, &located.text, "keep-git-dir is for git sources only"));
        }
        if count > 1 && !written.ends_with('/') && written != "." && !transfer.parents {
            let what = format!("when using {word} with more than one source file, the destination must be a directory and end with a /");
            return Err(at(located.line, &located.text, &what));
        }
        let mut dest = state.absolute(&written);
        if (written.ends_with('/') || written == "." || written.ends_with("/.")) && !dest.ends_with('/') {
            dest.push('/');
        }
        let failed = |e: Error| {
            let text = format!("{word} failed: {e}");
            let first: String = located.text.lines().next().unwrap_or_default().chars().take(200).collect();
            Error::new(if e.is_not_found() { crate::Kind::Invalid } else { e.kind() }, format!("{text}\n{} | {first}", located.line))
                .because(e)
        };
        let source = self.source(here, transfer.from.as_deref()).await.map_err(failed)?;
        let selection = Selection { sources, parents: transfer.parents, exclude, strict: matches!(source, Source::Folder(_)) };
        let unpack = if transfer.add { transfer.unpack.unwrap_or(true) } else { false };

        // Fetched each time: only its server knows whether a file is still the same.
        let mut web = Vec::new();
        for url in &remote {
            let file = self.fetched(url, checksum.as_deref()).await.map_err(failed)?;
            web.push(file);
        }
        let mut checkouts = Vec::new();
        for text in &repositories {
            let mut from = Repository::read(text).map_err(failed)?;
            from.keep |= transfer.keep_git_dir;
            if checksum.is_some() {
                from.checksum.clone_from(&checksum);
            }
            let folder = self.folder.path.join(format!("git-{}", self.fetches));
            self.fetches += 1;
            let secrets = self.folder.secrets.clone();
            let found = self.engine.checkout(&self.who, &from, &folder, &secrets, &self.request, &self.tell, self.vertex).await;
            let found = found.map_err(failed)?;
            let digest = found.digest(&from);
            let tree: OwnedFd = std::fs::File::open(&found.tree).doing(|| format!("opening {}", found.tree.display()))?.into();
            let selection =
                Selection { sources: vec![from.source()], exclude: selection.exclude.clone(), strict: true, ..Selection::default() };
            checkouts.push((tree, selection, digest));
        }
        // What is copied is known by its names and content: `f*.txt` that picks one file is the same step as its name.
        let picked = (&selection.parents, &selection.exclude, &selection.strict);
        let mut into = serde_json::to_vec(&(picked, &documents, &dest, &chown, &chmod, unpack)).doing(|| "naming a step".to_owned())?;
        let mut how = serde_json::to_vec(&(&selection, &documents, &dest, &chown, &chmod, unpack)).doing(|| "naming a step".to_owned())?;
        if !web.is_empty() {
            // By name and content: the same file from another server is the same step.
            let names: Vec<&String> = web.iter().flat_map(|(_, file)| &file.sources).collect();
            let fetched = serde_json::to_vec(&(&names, transfer.unpack)).doing(|| "naming a step".to_owned())?;
            how.extend(&fetched);
            into.extend(fetched);
        }
        let chain = state.chain();
        let mut keys = Vec::new();
        if let Source::Layers(_, id) = &source {
            // The same words on the same stage are the same step, without a look at its files.
            keys.push(key(&[b"copy-from", chain.as_bytes(), id.as_bytes(), &how]));
        }
        let shown = |digest: &str| {
            let what = digest.strip_prefix("sha256:").unwrap_or(digest);
            format!("/bin/sh -c #(nop) {word} multi:{what} in {written} ")
        };
        // The history says the same whether the step was carried out or remembered: the same steps are the same image.
        let by_words = keys.first().map(|key| shown(key));
        if let Some(created_by) = &by_words
            && self.recall(state, &keys, created_by).await?
        {
            return Ok(());
        }
        let from_root = self.source_root(&source).await?;
        let mut digest = if selection.sources.is_empty() {
            crate::Digest::of(&how).to_string()
        } else {
            self.digest(&from_root, &selection).await.map_err(failed)?
        };
        for (folder, file) in &web {
            let one = self.digest(folder, file).await?;
            digest = crate::Digest::of(format!("{digest} {one}").as_bytes()).to_string();
        }
        for (.., one) in &checkouts {
            digest = crate::Digest::of(format!("{digest} {one}").as_bytes()).to_string();
        }
        keys.push(key(&[b"copy", chain.as_bytes(), digest.as_bytes(), &into]));
        let created_by = by_words.unwrap_or_else(|| shown(&digest));
        if self.recall(state, &keys[keys.len() - 1..], &created_by).await? {
            return Ok(());
        }
        let (root, scratch) = self.root(&state.layers).await?;
        let owner = chown.as_ref().map(|text| self.chown(&root, text)).transpose().map_err(failed)?;
        let mode = chmod.filter(|m| !m.is_empty());
        let workers = self.engine.images_handle().workers();
        if !selection.sources.is_empty() || !documents.is_empty() {
            let plan = CopyPlan { selection, documents, dest: dest.clone(), owner, mode: mode.clone(), unpack };
            workers.tree::<()>(self.base, root.as_fd(), Some(from_root.as_fd()), &TreeJob::Copy(plan)).await.map_err(failed)?;
        }
        for (folder, selection) in web {
            // An archive from the web stays one unless asked otherwise.
            let unpack = transfer.unpack.unwrap_or(false);
            let plan = CopyPlan { selection, documents: Vec::new(), dest: dest.clone(), owner, mode: mode.clone(), unpack };
            workers.tree::<()>(self.base, root.as_fd(), Some(folder.as_fd()), &TreeJob::Copy(plan)).await.map_err(failed)?;
        }
        for (tree, selection, _) in checkouts {
            // What a repository has is copied as it is, its archives too.
            let mut dest = dest.clone();
            if !dest.ends_with('/') {
                dest.push('/');
            }
            let plan = CopyPlan { selection, documents: Vec::new(), dest, owner, mode: mode.clone(), unpack: false };
            workers.tree::<()>(self.base, root.as_fd(), Some(tree.as_fd()), &TreeJob::Copy(plan)).await.map_err(failed)?;
        }
        drop((root, from_root));
        let layer = self.pack(&scratch.join("upper")).await?;
        self.keep(state, &keys, layer, created_by).await
    }

    /// A file from the web, in a folder of its own, and what selects it there.
    async fn fetched(&mut self, url: &str, checksum: Option<&str>) -> Result<(OwnedFd, Selection)> {
        let path = self.folder.path.join(format!("web-{}", self.fetches));
        self.fetches += 1;
        let file = self.engine.fetch(&self.who, url, &path, &self.tell).await?;
        if let Some(wanted) = checksum {
            let wanted: crate::Digest = wanted.parse()?;
            if wanted != file.digest {
                return Err(Error::invalid(format!("digest mismatch {}: {wanted}", file.digest)));
            }
        }
        let folder = std::fs::File::open(&path).doing(|| format!("opening {}", path.display()))?;
        Ok((folder.into(), Selection { sources: vec![file.name], strict: true, ..Selection::default() }))
    }

    /// `--chown`: a number without a group is the group's too.
    fn chown(&self, root: &OwnedFd, text: &str) -> Result<(u32, u32)> {
        let (uid, gid) = self.owner(root, text)?;
        match text.parse::<u32>() {
            Ok(number) => Ok((number, number)),
            Err(_) => Ok((uid, gid)),
        }
    }
}

fn is_remote(source: &str) -> bool {
    fetch::is_web(source) || is_git(source)
}
