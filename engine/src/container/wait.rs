//! `wait`: told of a container's end, whoever ended it.

use super::record::{Entry, Turns};
use super::request::{WaitCondition, WaitOutcome};
use super::view::State;
use crate::engine::Engine;
use crate::{Result, Subject};
use std::sync::Arc;

impl Engine {
    /// Subscribes to its end before returning, so that an end right after is not missed; the inner future gives the outcome.
    ///
    /// # Errors
    /// `NotFound` when it is absent or somebody else's.
    pub async fn wait(
        &self,
        who: &Subject,
        name: &str,
        condition: WaitCondition,
    ) -> Result<impl Future<Output = Result<WaitOutcome>> + Send + use<>> {
        let entry = self.registry().find(who.tenant, name)?;
        let mut turns = entry.turns.subscribe();
        let seen = *turns.borrow_and_update();
        Ok(async move {
            // The entry is held until the end: its sender lives as long.
            let satisfied = |now: &Turns| match condition {
                WaitCondition::NextExit => now.exits > seen.exits || now.removed,
                WaitCondition::Removed => now.removed,
                WaitCondition::NotRunning => now.exits > seen.exits || now.removed || !is_up(&entry),
            };
            let now = match turns.wait_for(|now| satisfied(now)).await {
                Ok(now) => *now,
                Err(_) => seen,
            };
            Ok(outcome(&entry, now, seen))
        })
    }
}

fn is_up(entry: &Entry) -> bool {
    let record = entry.record();
    // A container that is being started is not "not running": its caller asked before the process was there.
    record.life.state.is_up() || record.life.live.is_some()
}

fn outcome(entry: &Arc<Entry>, now: Turns, seen: Turns) -> WaitOutcome {
    let record = entry.record();
    let error = record.life.failure.as_ref().map(|f| f.error.clone());
    let code = match &record.life.state {
        _ if now.exits > seen.exits => now.code,
        State::Exited(end) | State::Dead(end) | State::Restarting(end) => end.code,
        _ => record.life.failure.as_ref().map_or(now.code, |f| f.code),
    };
    WaitOutcome { code, error }
}
