//! The small program under every container. It is exec'd once per server, from a sealed memfd, as the *spawner*; each
//! container's *shim* and each container's *init* are forks of it: a static program with one thread, few pages and no
//! relocations, so a fork is cheap and may do anything (no lock can be held by a thread that is not there).
//!
//! spawner (spawner.rs) --fork--> shim (birth.rs, then supervise.rs) --clone3--> init (init.rs) --exec--> the program
//!                                                                  --clone3--> exec (exec.rs)  --exec--> its program

#[macro_use]
mod wire;

mod birth;
mod channel;
mod copy_up;
mod exec;
mod init;
mod log;
mod logfile;
mod loopback;
mod message;
mod plan;
mod process;
mod reaper;
mod spawner;
mod stdio;
mod supervise;
mod sys;

fn main() {
    // A container can run this program through `#!/proc/self/exe`. It is nothing to it: without the server's socket as
    // its stdin it ends here.
    if std::env::args_os().next().is_some_and(|name| name == "wharf-spawner") {
        sys::exit(spawner::run());
    }
    sys::exit(64);
}
