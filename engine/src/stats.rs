//! What a container uses now, and which processes it has: from cgroup files and the host's /proc, without any program.

use crate::cgroup::Group;
use crate::container::request::{ProcessTable, Stats};
use crate::{Error, Result};

/// One look at a group's counters, the host's CPU time and the interfaces in `pid`'s network namespace (0: none).
/// Short blocking reads.
///
/// # Errors
/// `Internal` when /proc cannot be read.
pub fn sample(group: &Group, pid: i32) -> Result<Stats> {
    let _ = (group, pid);
    Err(Error::unsupported("stats"))
}

/// The processes of a group, in the columns that `ps` with these arguments would show (empty: `-ef`).
///
/// # Errors
/// `Invalid` for arguments without a PID column, or that we do not know.
pub fn top(group: &Group, ps_args: &str) -> Result<ProcessTable> {
    let _ = (group, ps_args);
    Err(Error::unsupported("top"))
}
