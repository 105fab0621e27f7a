//! bpf(2), as far as device filters on cgroup v2 need it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

// From include/uapi/linux/bpf.h.
const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_DETACH: libc::c_long = 9;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const PROG_QUERY: libc::c_long = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_kind: u32,
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next: u32,
    open_flags: u32,
}

/// bpf(2) with one of the structures above.
fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: `attributes` is valid for reads and writes of its size during the call, and the kernel gets exactly that
    // size. Pointers in it (instructions, licence, ids) point to buffers which the callers keep alive over the call.
    let outcome = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), std::mem::size_of::<T>()) };
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(outcome as libc::c_int) }
}

fn raw(fd: &impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd() as u32
}

fn owned(fd: libc::c_int) -> OwnedFd {
    // SAFETY: bpf(2) has just returned this descriptor to us alone (with close-on-exec set, as it always does).
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Loads a `BPF_PROG_TYPE_CGROUP_DEVICE` program, checked by the kernel's verifier.
///
/// # Errors
/// What bpf(2) says: EPERM without CAP_BPF or CAP_SYS_ADMIN, EINVAL when the verifier refuses.
pub fn load_device_filter(instructions: &[u64]) -> io::Result<OwnedFd> {
    let mut attributes = Load {
        kind: TYPE_CGROUP_DEVICE,
        count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        attach_kind: ATTACH_CGROUP_DEVICE,
        ..Load::default()
    };
    bpf(PROG_LOAD, &mut attributes).map(owned)
}

/// Puts a program on a cgroup beside those that are there.
///
/// # Errors
/// What bpf(2) says.
pub fn attach_device_filter(group: &impl AsFd, program: &impl AsFd) -> io::Result<()> {
    let mut attributes = Attach { target: raw(group), program: raw(program), kind: ATTACH_CGROUP_DEVICE, flags: ALLOW_MULTI };
    bpf(PROG_ATTACH, &mut attributes).map(drop)
}

/// The ids of the device filters that sit on this very cgroup.
///
/// # Errors
/// What bpf(2) says.
pub fn attached_device_filters(group: &impl AsFd) -> io::Result<Vec<u32>> {
    let mut ids = [0u32; 64]; // the kernel's own limit per cgroup (BPF_CGROUP_MAX_PROGS)
    let mut attributes =
        Query { target: raw(group), kind: ATTACH_CGROUP_DEVICE, ids: ids.as_mut_ptr() as u64, count: 64, ..Query::default() };
    bpf(PROG_QUERY, &mut attributes)?;
    Ok(ids[..(attributes.count as usize).min(ids.len())].to_vec())
}

/// Takes a program off a cgroup, by its id.
///
/// # Errors
/// What bpf(2) says.
pub fn detach_device_filter(group: &impl AsFd, id: u32) -> io::Result<()> {
    let program = bpf(PROG_GET_FD_BY_ID, &mut ById { id, ..ById::default() }).map(owned)?;
    let mut attributes = Attach { target: raw(group), program: raw(&program), kind: ATTACH_CGROUP_DEVICE, flags: 0 };
    bpf(PROG_DETACH, &mut attributes).map(drop)
}
