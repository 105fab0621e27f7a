//! `stop`, `kill`, `restart`, `pause`: what people do to a running container.

use super::effective::signal::Signal;
use super::record::Entry;
use super::request::{Changed, StopOptions};
use super::view::{Finished, State};
use crate::engine::Engine;
use crate::policy::Action;
use crate::{Error, Result, Subject};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// How long after SIGKILL a process may take to be gone. Longer means it hangs in the kernel (NFS, a dying device).
const GONE: Duration = Duration::from_secs(10);

impl Engine {
    /// Stops it: its stop signal, then SIGKILL.
    ///
    /// # Errors
    /// `Invalid` for an unknown signal.
    pub async fn stop(&self, who: &Subject, name: &str, options: &StopOptions) -> Result<Changed> {
        let (name, options) = (name.to_owned(), options.clone());
        self.uncancelled(who, move |engine, who| async move {
            let entry = engine.registry().find(who.tenant, &name)?;
            let signal = options.signal.as_deref().map(str::parse::<Signal>).transpose()?;
            if !is_active(&entry) {
                return Ok(Changed::AlreadySo);
            }
            let name = entry.name();
            engine
                .audited(&who, Action::ContainerStop, &name, async {
                    let _one = entry.turn(&name).await?;
                    engine.stop_locked(&entry, signal, options.timeout).await
                })
                .await?;
            engine.tell_container(&entry, "stop", &[]);
            Ok(Changed::Yes)
        })
        .await
    }

    /// Stops and starts it.
    ///
    /// # Errors
    /// As `stop` and `start`.
    pub async fn restart(&self, who: &Subject, name: &str, options: &StopOptions) -> Result<()> {
        let (name, options) = (name.to_owned(), options.clone());
        self.uncancelled(who, move |engine, who| async move {
            let entry = engine.registry().find(who.tenant, &name)?;
            engine.judge(&who, Action::ContainerRestart).await?;
            let signal = options.signal.as_deref().map(str::parse::<Signal>).transpose()?;
            let _one = entry.turn(&name).await?;
            if is_active(&entry) {
                engine.stop_locked(&entry, signal, options.timeout).await?;
                engine.tell_container(&entry, "stop", &[]);
            }
            engine.start_locked(&entry, &who).await?;
            engine.tell_container(&entry, "restart", &[]);
            Ok(())
        })
        .await
    }

    /// Sends a signal, by name or number; empty: SIGKILL, whose effect is awaited.
    ///
    /// # Errors
    /// `Conflict` when it is not running.
    pub async fn kill(&self, who: &Subject, name: &str, signal: &str) -> Result<()> {
        let entry = self.registry().find(who.tenant, name)?;
        let signal: Signal = if signal.is_empty() { Signal::KILL } else { signal.parse()? };
        let not_running = || Error::conflict(format!("cannot kill container: {name}: container {} is not running", entry.id));
        if matches!(entry.record().life.state, State::Restarting(_)) {
            // Between two starts of its restart policy there is nothing to signal: it ends there.
            let own_name = entry.name();
            self.audited(who, Action::ContainerKill, &own_name, async {
                let _one = entry.turn(name).await?;
                self.stop_locked(&entry, Some(signal), None).await
            })
            .await?;
            self.tell_container(&entry, "kill", &[("signal", &signal.number().to_string())]);
            return Ok(());
        }
        let up = entry.up().ok_or_else(not_running)?;
        let own_name = entry.name();
        // Docker: a signal meant to end it also ends its restarts, and its pause.
        let ends = matches!(signal.number(), 9 | 15) || signal == entry.fixed.effective.stop.signal;
        let mut turns = entry.turns.subscribe();
        let seen = *turns.borrow_and_update();
        self.audited(who, Action::ContainerKill, &own_name, async {
            if ends {
                entry.record().life.stopped_by_hand = true;
            }
            up.shim.signal(signal.number()).map_err(|e| if e.kind() == crate::Kind::Conflict { not_running() } else { e })?;
            if ends && matches!(entry.record().life.state, State::Paused(_)) {
                up.group.thaw()?;
            }
            Ok(())
        })
        .await?;
        self.tell_container(&entry, "kill", &[("signal", &signal.number().to_string())]);
        if signal != Signal::KILL {
            return Ok(());
        }
        // Clients look at once, and find it ended: nothing survives this signal.
        match tokio::time::timeout(GONE, turns.wait_for(|now| now.exits > seen.exits || now.removed)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(hangs(&entry)),
        }
    }

    /// Freezes it.
    ///
    /// # Errors
    /// `Conflict` when it is not running or is paused already.
    pub async fn pause(&self, who: &Subject, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.uncancelled(who, move |engine, who| async move {
            let entry = engine.registry().find(who.tenant, &name)?;
            let not_running = || format!("Container {} is not running", entry.id);
            let _one = entry.turn(&name).await?;
            let running = match &entry.record().life.state {
                State::Running(r) => r.clone(),
                State::Paused(_) => return Err(Error::conflict(format!("Container {} is already paused", entry.id))),
                _ => return Err(Error::conflict(not_running())),
            };
            let Some(up) = entry.up() else { return Err(Error::conflict(not_running())) };
            let name = entry.name();
            engine
                .audited(&who, Action::ContainerPause, &name, async {
                    // Its group may be gone a moment before its end is known here.
                    let ended = |error| if up.shim.has_ended() { Error::conflict(not_running()).because(error) } else { error };
                    up.group.freeze().await.map_err(ended)?;
                    entry.record().life.state = State::Paused(running);
                    engine.save_life(&entry).await
                })
                .await?;
            engine.tell_container(&entry, "pause", &[]);
            Ok(())
        })
        .await
    }

    /// Thaws it.
    ///
    /// # Errors
    /// `Conflict` when it is not paused.
    pub async fn unpause(&self, who: &Subject, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.uncancelled(who, move |engine, who| async move {
            let entry = engine.registry().find(who.tenant, &name)?;
            let _one = entry.turn(&name).await?;
            let State::Paused(running) = entry.record().life.state.clone() else {
                return Err(Error::conflict(format!("Container {} is not paused", entry.id)));
            };
            let Some(up) = entry.up() else { return Err(Error::conflict(format!("Container {} is not running", entry.id))) };
            engine.may_go_on(&entry).await?;
            let name = entry.name();
            engine
                .audited(&who, Action::ContainerUnpause, &name, async {
                    up.group.thaw()?;
                    entry.record().life.state = State::Running(running);
                    engine.save_life(&entry).await
                })
                .await?;
            engine.tell_container(&entry, "unpause", &[]);
            Ok(())
        })
        .await
    }

    /// Stops a container whose lifecycle lock is held; returns when its process is gone.
    async fn stop_locked(&self, entry: &Arc<Entry>, signal: Option<Signal>, timeout: Option<i64>) -> Result<()> {
        let mut turns = entry.turns.subscribe();
        let seen = *turns.borrow_and_update();
        {
            let mut record = entry.record();
            record.life.stopped_by_hand = true;
            if let State::Restarting(end) = &record.life.state {
                // Between two starts there is nothing to signal.
                record.life.state = State::Exited(end.clone());
            }
        }
        let Some(up) = entry.up() else { return self.save_life(entry).await };
        let stop = entry.fixed.effective.stop;
        let signal = signal.unwrap_or(stop.signal);
        if matches!(entry.record().life.state, State::Paused(_)) {
            up.group.thaw()?;
        }
        // A process that is gone already ends the wait below at once.
        let _ = up.shim.signal(signal.number());
        self.tell_container(entry, "kill", &[("signal", &signal.number().to_string())]);
        let ended = turns.wait_for(|now| now.exits > seen.exits || now.removed);
        let seconds = timeout.unwrap_or(stop.timeout);
        let in_time = match u64::try_from(seconds) {
            Ok(seconds) => tokio::time::timeout(Duration::from_secs(seconds), ended).await.is_ok(),
            Err(_) => ended.await.is_ok(),
        };
        if !in_time {
            self.kill_and_await(entry).await?;
        }
        Ok(())
    }

    /// SIGKILL to everything in the container, and its end awaited. The lifecycle lock is held.
    pub(crate) async fn kill_and_await(&self, entry: &Arc<Entry>) -> Result<()> {
        let mut turns = entry.turns.subscribe();
        let seen = *turns.borrow_and_update();
        let Some(up) = entry.up() else { return Ok(()) };
        if matches!(entry.record().life.state, State::Paused(_)) {
            up.group.thaw()?;
        }
        up.kill();
        self.tell_container(entry, "kill", &[("signal", "9")]);
        match tokio::time::timeout(GONE, turns.wait_for(|now| now.exits > seen.exits || now.removed)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(hangs(entry)),
        }
    }
}

fn hangs(entry: &Entry) -> Error {
    let text = format!("container {} did not end within {} s of SIGKILL: it hangs in the kernel", entry.id.short(), GONE.as_secs());
    Error::new(crate::Kind::Internal, text)
}

fn is_active(entry: &Entry) -> bool {
    let record = entry.record();
    record.life.state.is_up() || matches!(record.life.state, State::Restarting(_)) || record.life.live.is_some()
}

/// An end without a process: a start that failed before there was one.
pub(crate) fn ended_now(code: i32, error: String) -> Finished {
    Finished { code, oom_killed: false, error, started: None, finished: Timestamp::now() }
}
