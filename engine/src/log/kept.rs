//! Logs that outlive their containers. A removal moves the files into `logs/<id>` below the data root and records them under the
//! container's name and generation (the how manieth of that name); there they stay until the retention ends or somebody removes
//! them. Logs of containers that are there are found by the same names, so that a name's history reads as one.
//!
//! The row is committed with the container's removal, then the files are moved: the next start finishes what a crash left between.

use super::{Source, Span};
use crate::container::record::Entry;
use crate::container::request::{LogOptions, Logs};
use crate::engine::Engine;
use crate::inventory::{self, logs as rows};
use crate::policy::Action;
use crate::{ContainerId, Doing, Error, Result, Subject, TenantId};
use jiff::{SignedDuration, Timestamp};
use rows::LogRow;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// How long logs of removed containers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// From the removal on; zero: they go with their container.
    pub age: SignedDuration,
    /// Of one tenant; what is beyond goes, the oldest first.
    pub bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: SignedDuration::from_hours(7 * 24), bytes: 1 << 30 }
    }
}

/// A log of a container that is there or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogView {
    /// The container's id.
    pub id: ContainerId,
    /// Its name, at the end if it is gone.
    pub name: String,
    /// The how manieth container of that name, counted while logs of earlier ones are kept.
    pub generation: u32,
    /// The image as it was asked for.
    pub image: String,
    /// Time of the first line; `None`: nothing was ever written.
    pub from: Option<Timestamp>,
    /// When it was last written to.
    pub to: Option<Timestamp>,
    /// On disk.
    pub bytes: u64,
    /// When the container was removed; `None`: it is there.
    pub removed: Option<Timestamp>,
    /// When it goes at the latest; `None`: not while the container is there.
    pub expires: Option<Timestamp>,
}

/// A log that can be read.
pub(super) struct Found {
    pub view: LogView,
    pub source: Source,
    pub tty: bool,
    /// Whether a process may still write to it.
    pub writing: watch::Receiver<bool>,
}

/// A file's time of writing may be so much before that of a line in it: the kernel takes it from a clock that ticks (a jiffy,
/// 10 ms at most).
pub(super) const COARSE: SignedDuration = SignedDuration::from_millis(20);

/// How often the retention is looked after.
const ENDING: std::time::Duration = std::time::Duration::from_secs(60);

impl Engine {
    /// The logs of a tenant, of containers that are there and that were; the last written to first.
    ///
    /// # Errors
    /// When the database or a folder cannot be read.
    pub async fn kept_logs(&self, who: &Subject) -> Result<Vec<LogView>> {
        Ok(self.found_logs(who).await?.into_iter().map(|found| found.view).collect())
    }

    /// One log, by its container's id, a unique beginning of it, or a name: that of a container, else of the newest generation.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn kept_log(&self, who: &Subject, wanted: &str) -> Result<LogView> {
        Ok(self.find_log(who, wanted).await?.view)
    }

    /// Logs of containers that are gone and had this name, the newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn earlier_logs(&self, who: &Subject, name: &str) -> Result<Vec<LogView>> {
        self.judge(who, Action::ContainerLogs).await?;
        let kept = rows::of(self.inventory(), who.tenant).await?;
        Ok(kept.into_iter().filter(|row| row.name == name).map(|row| self.found_kept(row).view).collect())
    }

    /// The lines of one log.
    ///
    /// # Errors
    /// As `logs`.
    pub async fn read_log(&self, who: &Subject, wanted: &str, options: LogOptions) -> Result<(LogView, Logs)> {
        let found = self.find_log(who, wanted).await?;
        let logs = super::read(found.source, options, found.tty, found.writing)?;
        Ok((found.view, logs))
    }

    /// Removes the log of a container that is gone.
    ///
    /// # Errors
    /// `NotFound` when there is none; `Conflict` while its container is there.
    pub async fn remove_log(&self, who: &Subject, wanted: &str) -> Result<()> {
        let view = self.find_log(who, wanted).await?.view;
        if view.removed.is_none() {
            return Err(Error::conflict(format!("the log of {} is being kept for its container: remove that first", view.name)));
        }
        let object = format!("{} (generation {})", view.name, view.generation);
        self.uncancelled(who, move |engine, who| async move {
            engine.audited(&who, Action::LogRemove, &object, engine.drop_log(&view.id)).await?;
            engine.measured().forget(who.tenant);
            Ok(())
        })
        .await
    }

    /// Every log of the subject's tenant that can be read.
    pub(super) async fn found_logs(&self, who: &Subject) -> Result<Vec<Found>> {
        self.judge(who, Action::ContainerLogs).await?;
        let kept = rows::of(self.inventory(), who.tenant).await?;
        let newest = |name: &str| kept.iter().filter(|row| row.name == name).map(|row| row.generation).max().unwrap_or(0);
        let mut found = Vec::new();
        for entry in self.registry().of(who.tenant) {
            if entry.fixed.step.is_none() && self.log_source(&entry).is_ok() {
                let name = entry.name();
                let earlier = newest(&name);
                found.push(self.found(&entry, name, earlier).await?);
            }
        }
        found.extend(kept.into_iter().map(|row| self.found_kept(row)));
        found.sort_by_key(|f| std::cmp::Reverse((f.view.to, f.view.generation)));
        Ok(found)
    }

    pub(super) async fn find_log(&self, who: &Subject, wanted: &str) -> Result<Found> {
        self.judge(who, Action::ContainerLogs).await?;
        match self.registry().find(who.tenant, wanted) {
            Ok(entry) => {
                let name = entry.name();
                let earlier = rows::newest_generation(self.inventory(), who.tenant, &name).await?;
                return self.found(&entry, name, earlier).await;
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        let absent = || Error::no_such("log", wanted);
        let mut kept = rows::of(self.inventory(), who.tenant).await?;
        // Newest first: the first of a name is its newest generation.
        let named = kept.iter().position(|row| row.container.as_str() == wanted || row.name == wanted);
        let index = match named {
            Some(index) => index,
            None if wanted.is_empty() => return Err(absent()),
            None => {
                let mut matching = kept.iter().enumerate().filter(|(_, row)| row.container.as_str().starts_with(wanted));
                match (matching.next(), matching.next()) {
                    (Some((index, _)), None) => index,
                    (Some(_), Some(_)) => return Err(Error::invalid(format!("several logs begin with {wanted}"))),
                    (None, _) => return Err(absent()),
                }
            }
        };
        Ok(self.found_kept(kept.swap_remove(index)))
    }

    async fn found(&self, entry: &Arc<Entry>, name: String, earlier: i64) -> Result<Found> {
        let source = self.log_source(entry)?;
        let span = span_of(source.clone()).await?;
        let view = LogView {
            id: entry.id.clone(),
            name,
            generation: u32::try_from(earlier + 1).unwrap_or(u32::MAX),
            image: entry.fixed.spec.image.clone(),
            from: span.map(|s| s.from),
            to: span.map(|s| s.to),
            bytes: span.map_or(0, |s| s.bytes),
            removed: None,
            expires: None,
        };
        Ok(Found { view, source, tty: entry.fixed.effective.process.tty, writing: entry.writing.subscribe() })
    }

    fn found_kept(&self, row: LogRow) -> Found {
        let folder = self.kept_folder(&row.container);
        let source = match row.format.as_str() {
            "json-file" => Source::JsonFile(folder.join(format!("{}-json.log", row.container))),
            _ => Source::Local(folder),
        };
        let time = |ms: i64| Timestamp::from_millisecond(ms).unwrap_or_default();
        let view = LogView {
            id: row.container,
            name: row.name,
            generation: u32::try_from(row.generation).unwrap_or(u32::MAX),
            image: row.image,
            from: Some(time(row.began)),
            to: Some(time(row.ended)),
            bytes: u64::try_from(row.bytes).unwrap_or(0),
            removed: Some(time(row.removed)),
            expires: time(row.removed).checked_add(self.retention().age).ok(),
        };
        Found { view, source, tty: row.tty, writing: watch::channel(false).1 }
    }

    /// What is to be kept of a container's log when it is removed; `None`: nothing.
    pub(crate) async fn log_to_keep(&self, entry: &Entry) -> Option<LogRow> {
        if self.retention().age.is_zero() || entry.fixed.step.is_some() {
            return None;
        }
        let source = self.log_source(entry).ok()?;
        let format = if matches!(source, Source::JsonFile(_)) { "json-file" } else { "local" };
        let span = match span_of(source).await {
            Ok(span) => span?,
            Err(error) => {
                // It must not keep a container from being removed.
                tracing::warn!(container.id = entry.id.short(), ?error, "a log cannot be kept");
                return None;
            }
        };
        Some(LogRow {
            container: entry.id.clone(),
            tenant: entry.tenant,
            name: entry.name(),
            generation: 0,
            image: entry.fixed.spec.image.clone(),
            format: format.to_owned(),
            tty: entry.fixed.effective.process.tty,
            began: span.from.as_millisecond(),
            // Rounded up: nothing was written after it.
            ended: span.to.as_millisecond() + 1,
            removed: Timestamp::now().as_millisecond(),
            bytes: i64::try_from(span.bytes).unwrap_or(i64::MAX),
        })
    }

    /// Moves a removed container's log to where it is kept.
    pub(crate) fn move_kept_log(&self, id: &ContainerId) {
        let (from, to) = (self.log_folder(id), self.kept_folder(id));
        if let Err(error) = std::fs::create_dir_all(self.kept_root()).and_then(|()| std::fs::rename(&from, &to)) {
            tracing::error!(container.id = id.short(), %error, "the log of a removed container is lost");
        }
    }

    /// After a start: finishes the moves that a crash interrupted, forgets what has no files, and removes files that no row names.
    pub(crate) async fn settle_kept_logs(&self) -> Result<()> {
        let root = self.kept_root();
        std::fs::create_dir_all(&root).doing(|| format!("making {}", root.display()))?;
        let known: Vec<ContainerId> = rows::all(self.inventory()).await?.into_iter().map(|row| row.container).collect();
        let trash = self.instance().data_root().join("trash");
        let lost = settle(&root, &self.instance().data_root().join("containers"), &trash, &known)
            .doing(|| format!("looking through {}", root.display()))?;
        if lost.is_empty() {
            return Ok(());
        }
        let mut tx = self.inventory().begin().await?;
        for id in &lost {
            tracing::warn!(container.id = id.short(), "a kept log has no files any more");
            rows::delete(&mut tx, id).await?;
        }
        inventory::commit(tx).await
    }

    /// Ends what is older than the retention, or beyond a tenant's bytes, every now and then.
    pub(crate) async fn end_kept_logs(&self) {
        loop {
            if let Err(error) = self.end_old_logs(Timestamp::now()).await {
                tracing::warn!(?error, "logs whose retention ended could not be removed; trying again");
            }
            tokio::select! {
                () = tokio::time::sleep(ENDING) => {}
                () = self.closing().cancelled() => return,
            }
        }
    }

    async fn end_old_logs(&self, now: Timestamp) -> Result<()> {
        let tenants: HashSet<TenantId> = self.tenants().list().iter().map(|t| t.id).collect();
        for id in over(&rows::all(self.inventory()).await?, self.retention(), now, &tenants) {
            self.drop_log(&id).await?;
            tracing::debug!(container.id = id.short(), "a log's retention ended");
        }
        Ok(())
    }

    async fn drop_log(&self, id: &ContainerId) -> Result<()> {
        let mut tx = self.inventory().begin().await?;
        rows::delete(&mut tx, id).await?;
        inventory::commit(tx).await?;
        bury(&self.kept_folder(id), &self.instance().data_root().join("trash"), id.as_str())
            .doing(|| format!("moving the log of {} away", id.short()))?;
        self.sweep_trash();
        Ok(())
    }

    fn kept_root(&self) -> PathBuf {
        self.instance().data_root().join("logs")
    }

    fn kept_folder(&self, id: &ContainerId) -> PathBuf {
        self.kept_root().join(id.as_str())
    }
}

async fn span_of(source: Source) -> Result<Option<Span>> {
    crate::blocking(move || super::span(&source).doing(|| format!("looking at the log {}", source.base().display()))).await
}

/// Moves a log into the trash, under a name that no container's folder has there.
fn bury(folder: &Path, trash: &Path, name: &str) -> std::io::Result<()> {
    match std::fs::rename(folder, trash.join(format!("log-{name}"))) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Brings folders in line with the rows; which of the rows have no files.
fn settle(root: &Path, containers: &Path, trash: &Path, known: &[ContainerId]) -> std::io::Result<Vec<ContainerId>> {
    let mut lost = Vec::new();
    for id in known {
        let (kept, left) = (root.join(id.as_str()), containers.join(id.as_str()).join("log"));
        if kept.is_dir() {
            continue;
        }
        match std::fs::rename(&left, &kept) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => lost.push(id.clone()),
            Err(e) => return Err(e),
        }
    }
    for entry in std::fs::read_dir(root)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !known.iter().any(|id| id.as_str() == name) {
            bury(&root.join(&name), trash, &name)?;
        }
    }
    Ok(lost)
}

/// Which logs go: too old, of a tenant that is gone, or beyond what a tenant may keep. `rows` come newest first within a tenant.
fn over(rows: &[LogRow], retention: Retention, now: Timestamp, tenants: &HashSet<TenantId>) -> Vec<ContainerId> {
    let mut going = Vec::new();
    let (mut tenant, mut bytes) = (None, 0u64);
    for row in rows {
        if tenant.replace(row.tenant) != Some(row.tenant) {
            bytes = 0;
        }
        bytes = bytes.saturating_add(u64::try_from(row.bytes).unwrap_or(0));
        let age = now.as_millisecond().saturating_sub(row.removed);
        if !tenants.contains(&row.tenant) || i128::from(age) >= retention.age.as_millis() || bytes > retention.bytes {
            going.push(row.container.clone());
        }
    }
    going
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(tenant: i64, removed: i64, bytes: i64) -> LogRow {
        LogRow {
            container: ContainerId::random(),
            tenant: TenantId(tenant),
            name: "web".to_owned(),
            generation: 1,
            image: "busybox".to_owned(),
            format: "local".to_owned(),
            tty: false,
            began: 0,
            ended: 0,
            removed,
            bytes,
        }
    }

    #[test]
    fn what_is_old_or_too_much_goes() {
        let retention = Retention { age: SignedDuration::from_secs(100), bytes: 1000 };
        let now = Timestamp::from_second(1000).unwrap();
        let tenants = HashSet::from([TenantId(1), TenantId(2)]);
        let rows = [
            row(1, 990_000, 600),
            row(1, 980_000, 600), // beyond the bytes
            row(2, 990_000, 600),
            row(2, 901_000, 300),
            row(2, 900_000, 1), // too old
            row(3, 990_000, 1), // nobody's any more
        ];
        let going = over(&rows, retention, now, &tenants);
        assert_eq!(going, [1, 4, 5].map(|n: usize| rows[n].container.clone()));
    }

    #[test]
    fn a_crash_between_row_and_move_is_finished_and_one_before_the_row_undone() {
        let dir = tempfile::tempdir().unwrap();
        let (root, containers, trash) = (dir.path().join("logs"), dir.path().join("containers"), dir.path().join("trash"));
        let [moved, unmoved, lost, unknown] = std::array::from_fn(|_| ContainerId::random());
        for folder in [root.join(moved.as_str()), containers.join(unmoved.as_str()).join("log"), root.join(unknown.as_str()), trash.clone()]
        {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("container.log"), "x").unwrap();
        }
        let known = [moved.clone(), unmoved.clone(), lost.clone()];
        assert_eq!(settle(&root, &containers, &trash, &known).unwrap(), [lost]);
        for id in [&moved, &unmoved] {
            assert!(root.join(id.as_str()).join("container.log").is_file());
        }
        assert!(!root.join(unknown.as_str()).exists() && trash.join(format!("log-{unknown}")).is_dir());
        assert_eq!(settle(&root, &containers, &trash, &known[..2]).unwrap(), []);
    }
}
