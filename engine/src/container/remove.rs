//! `rm` and prune: a container goes with its writable layer and, if asked, its anonymous volumes. Its log is kept (`log::kept`).

use super::record::Entry;
use super::request::RemoveOptions;
use super::spec::MountKind;
use super::view::State;
use crate::audit;
use crate::engine::{Engine, Pruned};
use crate::filter::{self, Filters};
use crate::policy::Action;
use crate::{Doing, Error, Result, Subject};
use std::sync::Arc;

impl Engine {
    /// Removes it.
    ///
    /// # Errors
    /// `Conflict` while it runs, unless `force`.
    pub async fn remove_container(&self, who: &Subject, name: &str, options: RemoveOptions) -> Result<()> {
        let name = name.to_owned();
        self.uncancelled(who, move |engine, who| async move {
            let entry = engine.registry().find(who.tenant, &name)?;
            if !options.force {
                let record = entry.record();
                let word = record.life.state.word();
                if record.life.state.is_up() || matches!(record.life.state, State::Restarting(_)) {
                    return Err(Error::conflict(format!(
                        "cannot remove container \"/{}\": container is {word}: stop the container before removing or force remove",
                        record.name
                    )));
                }
            }
            engine.judge(&who, Action::ContainerRemove).await?;
            let row = audit::Entry::of(&who, Action::ContainerRemove.as_str(), entry.name());
            engine.forget(&entry, options, Some(&row)).await
        })
        .await
    }

    /// Removes a container that nobody judges any more (its owner asked, or `--rm` did). Idempotent. `asked` is the audit row of
    /// who asked: it shares the removal's transaction, or comes before the first effect where there is one before that.
    pub(crate) async fn forget(&self, entry: &Arc<Entry>, options: RemoveOptions, asked: Option<&audit::Entry>) -> Result<()> {
        let mut intent = None;
        if options.force {
            let up = entry.up();
            if let (Some(row), Some(_)) = (asked, &up) {
                intent = Some(self.audit().intent_alone(row).await?);
            }
            entry.record().life.stopped_by_hand = true;
            // Before the lock: a stop that waits for its timeout holds it.
            if let Some(up) = up {
                up.kill();
            }
        }
        let _one = entry.lifecycle.lock().await;
        let removed = self.forget_intended(entry, options, asked, &mut intent).await;
        if let Some(intent) = intent {
            self.audit().outcome(intent, &removed).await;
        }
        removed
    }

    /// As `forget`, for a container whose lifecycle lock is held and that nobody asked to remove.
    pub(super) async fn forget_locked(&self, entry: &Arc<Entry>, options: RemoveOptions) -> Result<()> {
        self.forget_intended(entry, options, None, &mut None).await
    }

    async fn forget_intended(
        &self,
        entry: &Arc<Entry>,
        options: RemoveOptions,
        asked: Option<&audit::Entry>,
        intent: &mut Option<audit::AuditId>,
    ) -> Result<()> {
        if entry.turns.borrow().removed {
            return Ok(());
        }
        if entry.up().is_some() {
            if !options.force {
                return Err(Error::conflict(format!("removal of container {} is already in progress", entry.record().name)));
            }
            if let (Some(row), None) = (asked, &intent) {
                *intent = Some(self.audit().intent_alone(row).await?);
            }
            self.kill_and_await(entry).await?;
        }
        self.settled(entry).await;
        self.last_lines_sent(entry).await;
        entry.record().life.state = State::Removing;
        let kept = self.log_to_keep(entry).await;
        let mut tx = self.inventory().begin().await?;
        if let (Some(row), None) = (asked, &intent) {
            *intent = Some(self.audit().intent(&mut tx, row).await?);
        }
        crate::inventory::containers::delete(&mut tx, &entry.id).await?;
        if let Some(log) = &kept {
            crate::inventory::logs::insert(&mut tx, log).await?;
        }
        crate::inventory::commit(tx).await?;
        fail::fail_point!("remove-after-commit");
        self.registry().remove(entry);
        self.execs().forget(&entry.id);
        if kept.is_some() {
            self.move_kept_log(&entry.id);
        }
        let folder = self.container_folder(&entry.id);
        let grave = self.instance().data_root().join("trash").join(entry.id.as_str());
        let moved = std::fs::rename(&folder, &grave).doing(|| format!("moving {} away", folder.display()));
        self.sweep_trash();
        let run = self.run_folder(&entry.id);
        if let Err(error) = std::fs::remove_dir_all(&run)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(container.id = entry.id.short(), %error, "a removed container's run folder remains");
        }
        if options.volumes {
            self.drop_anonymous_volumes(entry).await;
        }
        self.tell_container(entry, "destroy", &[]);
        entry.turns.send_modify(|t| t.removed = true);
        moved
    }

    /// Removes the anonymous volumes that only this container used.
    async fn drop_anonymous_volumes(&self, entry: &Entry) {
        let owner = match self.engine_subject(entry) {
            Ok(owner) => owner,
            Err(error) => return tracing::warn!(?error, "anonymous volumes remain"),
        };
        for mount in entry.fixed.mounts.iter().filter(|m| m.kind == MountKind::Volume) {
            let Some(row) = self.volumes_handle().get(entry.tenant, &mount.name) else { continue };
            if row.anonymous
                && self.users_of_volume(&row).is_empty()
                && let Err(error) = self.drop_volume(&owner, &row.name, true).await
            {
                tracing::warn!(volume.name = row.name, ?error, "an anonymous volume remains");
            }
        }
    }

    /// Removes what is not running.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter.
    pub async fn prune_containers(&self, who: &Subject, filters: &Filters) -> Result<Pruned> {
        filter::check_keys(filters, &["label", "label!", "until"])?;
        let until = filter::until(filters)?;
        let filters = filters.clone();
        self.uncancelled(who, move |engine, who| async move {
            engine.judge(&who, Action::ContainerPrune).await?;
            let mut pruned = Pruned::default();
            for entry in engine.registry().of(who.tenant) {
                let idle = matches!(entry.record().life.state, State::Created | State::Exited(_) | State::Dead(_));
                let labels = &entry.fixed.effective.labels;
                let chosen = idle
                    && filter::labels(&filters, "label", labels)
                    && filter::lacks_labels(&filters, labels)
                    && until.is_none_or(|t| entry.created < t);
                if !chosen {
                    continue;
                }
                let size = crate::volume::folder_size(&engine.container_folder(&entry.id).join("upper")).await;
                let name = entry.name();
                match engine.audited(&who, Action::ContainerPrune, &name, engine.forget(&entry, RemoveOptions::default(), None)).await {
                    Ok(()) => {
                        pruned.removed.push(entry.id.to_string());
                        pruned.reclaimed += size;
                    }
                    // It was started meanwhile.
                    Err(error) if error.kind() == crate::Kind::Conflict => {}
                    Err(error) => return Err(error),
                }
            }
            engine.tell(who.tenant, "container", "prune", "", [("reclaimed".to_owned(), pruned.reclaimed.to_string())].into());
            Ok(pruned)
        })
        .await
    }
}
