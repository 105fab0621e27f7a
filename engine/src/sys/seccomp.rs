//! Loading a seccomp filter into the calling thread, for good.

use crate::runtime::plan::Instruction;
use std::io;

#[repr(C)]
#[derive(Clone, Copy)]
struct SockFilter {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

#[repr(C)]
struct SockFprog {
    len: libc::c_ushort,
    filter: *const SockFilter,
}

/// Puts a filter on the calling thread and what it will make. Sets no_new_privs first, which an unprivileged thread
/// must have and a privileged one that confines itself wants.
///
/// # Errors
/// What seccomp(2) says: EINVAL for a program the kernel does not take.
pub fn confine_thread(program: &[Instruction]) -> io::Result<()> {
    const SET_MODE_FILTER: libc::c_long = 1;
    rustix::thread::set_no_new_privs(true)?;
    let filter: Vec<SockFilter> = program.iter().map(|i| SockFilter { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect();
    let len = libc::c_ushort::try_from(filter.len()).map_err(io::Error::other)?;
    let prog = SockFprog { len, filter: filter.as_ptr() };
    // SAFETY: `prog` and the instructions it points to live until the call has returned; the kernel copies them.
    let outcome = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, 0, &raw const prog) };
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
