//! In the test program only: answers `worker` as its first argument before the test harness starts, as `main` does in the
//! real program. A worker joins a user namespace, which a process with threads may not.

extern "C" fn enter() {
    if std::env::args().nth(1).as_deref() == Some("worker") {
        let code = crate::worker::main();
        std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
    }
}

// SAFETY: .init_array holds pointers to functions that the loader calls before main; glibc passes them arguments, which
// a function without parameters ignores. std works there except for what its runtime sets up (SIGPIPE, stack guards).
#[used]
#[unsafe(link_section = ".init_array")]
static ENTER: extern "C" fn() = enter;
