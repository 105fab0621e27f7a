//! `docker top`: the process table of a group, in the columns `ps` would give for the arguments. Computed from /proc
//! (proc_pid_stat(5), proc_pid_status(5)); no ps is run, so none need be installed and none parses hostile names as root.

use crate::cgroup::Group;
use crate::container::request::ProcessTable;
use crate::{Doing, Error, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// USER_HZ: ticks in a second.
const TICKS: u64 = 100;

/// The processes of a group, in the columns that `ps` with these arguments would show (empty: `-ef`). Users and groups
/// are host ids, as numbers.
///
/// # Errors
/// `Invalid` for arguments without a PID column (Docker's text), or that we do not know.
pub fn top(group: &Group, ps_args: &str) -> Result<ProcessTable> {
    let columns = columns(ps_args)?;
    if !columns.iter().any(|(_, c)| *c == Column::Pid) {
        return Err(Error::invalid("Couldn't find PID field in ps output"));
    }
    let host = HostClock::now()?;
    let mut pids = group.pids()?;
    pids.sort_unstable();
    // One that ended since the list was made is left out.
    let processes = pids.into_iter().filter_map(Process::read);
    let rows = processes.map(|p| columns.iter().map(|(_, c)| p.show(*c, &host)).collect()).collect();
    Ok(ProcessTable { titles: columns.into_iter().map(|(title, _)| title).collect(), processes: rows })
}

/// What a column shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Pid,
    Ppid,
    Pgid,
    Sid,
    User,
    RealUser,
    Group,
    RealGroup,
    /// CPU use since its start, whole percent.
    C,
    /// The same with one decimal.
    PercentCpu,
    PercentMemory,
    VirtualKib,
    ResidentKib,
    Tty,
    State,
    StateAndFlags,
    /// When it began, in few characters.
    Start,
    /// When it began, in full.
    LongStart,
    /// CPU time, `HH:MM:SS`.
    Time,
    /// CPU time, `M:SS`.
    BsdTime,
    Elapsed,
    ElapsedSeconds,
    Nice,
    Priority,
    Cpu,
    Threads,
    Name,
    Command,
}

/// Names for `-o`, with the heads ps gives them.
const NAMED: &[(&str, &str, Column)] = &[
    ("pid", "PID", Column::Pid),
    ("tgid", "TGID", Column::Pid),
    ("ppid", "PPID", Column::Ppid),
    ("pgid", "PGID", Column::Pgid),
    ("pgrp", "PGRP", Column::Pgid),
    ("sid", "SID", Column::Sid),
    ("sess", "SESS", Column::Sid),
    ("user", "USER", Column::User),
    ("euser", "EUSER", Column::User),
    ("uname", "USER", Column::User),
    ("uid", "UID", Column::User),
    ("euid", "EUID", Column::User),
    ("ruser", "RUSER", Column::RealUser),
    ("ruid", "RUID", Column::RealUser),
    ("group", "GROUP", Column::Group),
    ("egroup", "EGROUP", Column::Group),
    ("gid", "GID", Column::Group),
    ("egid", "EGID", Column::Group),
    ("rgroup", "RGROUP", Column::RealGroup),
    ("rgid", "RGID", Column::RealGroup),
    ("c", "C", Column::C),
    ("pcpu", "%CPU", Column::PercentCpu),
    ("%cpu", "%CPU", Column::PercentCpu),
    ("pmem", "%MEM", Column::PercentMemory),
    ("%mem", "%MEM", Column::PercentMemory),
    ("vsz", "VSZ", Column::VirtualKib),
    ("vsize", "VSZ", Column::VirtualKib),
    ("rss", "RSS", Column::ResidentKib),
    ("rssize", "RSS", Column::ResidentKib),
    ("rsz", "RSZ", Column::ResidentKib),
    ("tty", "TT", Column::Tty),
    ("tt", "TT", Column::Tty),
    ("tname", "TTY", Column::Tty),
    ("s", "S", Column::State),
    ("state", "S", Column::State),
    ("stat", "STAT", Column::StateAndFlags),
    ("stime", "STIME", Column::Start),
    ("start_time", "START", Column::Start),
    ("start", "STARTED", Column::Start),
    ("lstart", "STARTED", Column::LongStart),
    ("time", "TIME", Column::Time),
    ("cputime", "TIME", Column::Time),
    ("bsdtime", "TIME", Column::BsdTime),
    ("etime", "ELAPSED", Column::Elapsed),
    ("etimes", "ELAPSED", Column::ElapsedSeconds),
    ("ni", "NI", Column::Nice),
    ("nice", "NI", Column::Nice),
    ("pri", "PRI", Column::Priority),
    ("psr", "PSR", Column::Cpu),
    ("nlwp", "NLWP", Column::Threads),
    ("thcount", "THCNT", Column::Threads),
    ("comm", "COMMAND", Column::Name),
    ("ucmd", "CMD", Column::Name),
    ("ucomm", "COMMAND", Column::Name),
    ("cmd", "CMD", Column::Command),
    ("args", "COMMAND", Column::Command),
    ("command", "COMMAND", Column::Command),
];

type Columns = Vec<(String, Column)>;

fn titled(list: &[(&str, Column)]) -> Columns {
    list.iter().map(|(title, column)| ((*title).to_owned(), *column)).collect()
}

/// The columns for ps arguments (ps(1)). Which processes ps would select is of no matter: always the group's.
fn columns(arguments: &str) -> Result<Columns> {
    let unknown = |what: &str| Error::invalid(format!("ps argument {what:?} is not known here: try -ef, aux or -o pid,user,args"));
    let (mut full, mut user, mut bsd) = (false, false, false);
    let mut chosen: Columns = Vec::new();
    let mut words = arguments.split_whitespace();
    let mut any = false;
    while let Some(word) = words.next() {
        any = true;
        if let Some(list) = word.strip_prefix("--format") {
            let list = list.strip_prefix('=').map_or_else(|| words.next(), Some).ok_or_else(|| unknown(word))?;
            choose(list, &mut chosen)?;
            continue;
        }
        let (letters, unix) = word.strip_prefix('-').map_or((word, false), |w| (w, true));
        for (at, letter) in letters.char_indices() {
            match (letter, unix) {
                ('e' | 'A' | 'a' | 'd' | 'N' | 'w' | 'L' | 'H', true) | ('a' | 'x' | 'w' | 'f' | 'e' | 'g', false) => bsd |= !unix,
                ('f' | 'F', true) => full = true,
                ('u', false) => user = true,
                ('o', _) => {
                    // The list follows at once or as the next word; more words may go on with it: `-o pid, args`.
                    let at_once = &letters[at + 1..];
                    let list = if at_once.is_empty() { words.next() } else { Some(at_once) };
                    choose(list.ok_or_else(|| unknown(word))?, &mut chosen)?;
                    break;
                }
                _ => return Err(unknown(word)),
            }
        }
    }
    Ok(if !chosen.is_empty() {
        chosen
    } else if full || !any {
        use Column::{C, Command, Pid, Ppid, Start, Time, Tty, User};
        titled(&[("UID", User), ("PID", Pid), ("PPID", Ppid), ("C", C), ("STIME", Start), ("TTY", Tty), ("TIME", Time), ("CMD", Command)])
    } else if user {
        use Column::{BsdTime, Command, PercentCpu, PercentMemory, Pid, ResidentKib, Start, StateAndFlags, Tty, User, VirtualKib};
        titled(&[
            ("USER", User),
            ("PID", Pid),
            ("%CPU", PercentCpu),
            ("%MEM", PercentMemory),
            ("VSZ", VirtualKib),
            ("RSS", ResidentKib),
            ("TTY", Tty),
            ("STAT", StateAndFlags),
            ("START", Start),
            ("TIME", BsdTime),
            ("COMMAND", Command),
        ])
    } else if bsd {
        use Column::{BsdTime, Command, Pid, StateAndFlags, Tty};
        titled(&[("PID", Pid), ("TTY", Tty), ("STAT", StateAndFlags), ("TIME", BsdTime), ("COMMAND", Command)])
    } else {
        use Column::{Name, Pid, Time, Tty};
        titled(&[("PID", Pid), ("TTY", Tty), ("TIME", Time), ("CMD", Name)])
    })
}

/// Columns of an `-o` list: `pid,user=WHO,args`. A head after `=` goes to the end of the list.
fn choose(list: &str, chosen: &mut Columns) -> Result<()> {
    let mut rest = list;
    while !rest.is_empty() {
        let end = rest.find([',', '=']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let (head, next) = match after.strip_prefix('=') {
            Some(head) => (Some(head), ""),
            None => (None, after.strip_prefix(',').unwrap_or("")),
        };
        let (_, title, column) = NAMED
            .iter()
            .find(|(known, ..)| *known == name)
            .ok_or_else(|| Error::invalid(format!("error: unknown user-defined format specifier \"{name}\"")))?;
        // dockerd finds the pids by the head, so it may not be renamed.
        let head = head.filter(|_| *column != Column::Pid).unwrap_or(title);
        chosen.push((head.to_owned(), *column));
        rest = next;
    }
    Ok(())
}

/// The host's clock and memory, for ages and shares.
struct HostClock {
    now: Timestamp,
    uptime_ticks: u64,
    memory_kib: u64,
    zone: TimeZone,
}

impl HostClock {
    fn now() -> Result<Self> {
        let uptime = std::fs::read_to_string("/proc/uptime").doing(|| "reading /proc/uptime".into())?;
        let seconds: f64 = uptime.split(' ').next().and_then(|s| s.parse().ok()).unwrap_or(0.0);
        let info = rustix::system::sysinfo();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // a host's uptime
        let uptime_ticks = (seconds * TICKS as f64) as u64;
        Ok(Self {
            now: Timestamp::now(),
            uptime_ticks,
            memory_kib: info.totalram as u64 * u64::from(info.mem_unit) / 1024,
            zone: TimeZone::system(),
        })
    }
}

/// One process, as /proc tells.
#[derive(Debug, Default)]
struct Process {
    pid: i32,
    name: String,
    command: String,
    state: char,
    ppid: i32,
    pgid: i32,
    sid: i32,
    tty: i32,
    foreground: i32,
    cpu_ticks: u64,
    priority: i64,
    nice: i64,
    threads: u64,
    start_ticks: u64,
    virtual_kib: u64,
    resident_kib: u64,
    cpu: i64,
    /// Real, effective.
    uid: (u32, u32),
    gid: (u32, u32),
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).ok();
        let mut process = Self::parse_stat(pid, &String::from_utf8_lossy(&read("stat")?))?;
        process.parse_status(&String::from_utf8_lossy(&read("status")?));
        let command = read("cmdline")?;
        let words: Vec<_> = command.split(|b| *b == 0).filter(|w| !w.is_empty()).map(String::from_utf8_lossy).collect();
        // Control characters in a name must not reach a terminal; ps shows `?` as well.
        let clean = |text: &str| text.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>();
        process.name = clean(&process.name);
        process.command = if words.is_empty() { format!("[{}]", process.name) } else { clean(&words.join(" ")) };
        Some(process)
    }

    /// The name is in parentheses and may hold some itself: the last one ends it.
    fn parse_stat(pid: i32, stat: &str) -> Option<Self> {
        let (left, right) = stat.rsplit_once(')')?;
        let name = left.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = right.split_whitespace().collect();
        // Field n of the manual is at n − 3.
        let number = |n: usize| fields.get(n - 3).and_then(|f| f.parse::<i64>().ok()).unwrap_or(0);
        let count = |n: usize| u64::try_from(number(n)).unwrap_or(0);
        let small = |n: usize| i32::try_from(number(n)).unwrap_or(0);
        Some(Self {
            pid,
            name,
            state: fields.first()?.chars().next()?,
            ppid: small(4),
            pgid: small(5),
            sid: small(6),
            tty: small(7),
            foreground: small(8),
            cpu_ticks: count(14) + count(15),
            priority: number(18),
            nice: number(19),
            threads: count(20),
            start_ticks: count(22),
            virtual_kib: count(23) / 1024,
            resident_kib: count(24) * (rustix::param::page_size() as u64 / 1024),
            cpu: number(39),
            ..Self::default()
        })
    }

    fn parse_status(&mut self, status: &str) {
        let two = |line: &str| {
            let mut ids = line.split_whitespace().filter_map(|w| w.parse().ok());
            (ids.next().unwrap_or(0), ids.next().unwrap_or(0))
        };
        for line in status.lines() {
            if let Some(ids) = line.strip_prefix("Uid:") {
                self.uid = two(ids);
            } else if let Some(ids) = line.strip_prefix("Gid:") {
                self.gid = two(ids);
            }
        }
    }

    fn show(&self, column: Column, host: &HostClock) -> String {
        let age = host.uptime_ticks.saturating_sub(self.start_ticks);
        let permille = (self.cpu_ticks * 1000).checked_div(age).unwrap_or(0);
        let tenths = |n: u64| format!("{}.{}", n / 10, n % 10);
        match column {
            Column::Pid => self.pid.to_string(),
            Column::Ppid => self.ppid.to_string(),
            Column::Pgid => self.pgid.to_string(),
            Column::Sid => self.sid.to_string(),
            Column::User => self.uid.1.to_string(),
            Column::RealUser => self.uid.0.to_string(),
            Column::Group => self.gid.1.to_string(),
            Column::RealGroup => self.gid.0.to_string(),
            Column::C => (permille / 10).min(99).to_string(),
            Column::PercentCpu => tenths(permille),
            Column::PercentMemory => tenths((self.resident_kib * 1000).checked_div(host.memory_kib).unwrap_or(0)),
            Column::VirtualKib => self.virtual_kib.to_string(),
            Column::ResidentKib => self.resident_kib.to_string(),
            Column::Tty => terminal(self.tty),
            Column::State => self.state.to_string(),
            Column::StateAndFlags => self.state_and_flags(),
            Column::Start | Column::LongStart => self.start(age, host, column == Column::LongStart),
            Column::Time => {
                let s = self.cpu_ticks / TICKS;
                let days = if s >= 86400 { format!("{}-", s / 86400) } else { String::new() };
                format!("{days}{:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60)
            }
            Column::BsdTime => {
                let s = self.cpu_ticks / TICKS;
                format!("{}:{:02}", s / 60, s % 60)
            }
            Column::Elapsed => {
                let s = age / TICKS;
                match (s / 86400, s / 3600 % 24) {
                    (0, 0) => format!("{:02}:{:02}", s / 60, s % 60),
                    (0, h) => format!("{h:02}:{:02}:{:02}", s / 60 % 60, s % 60),
                    (d, h) => format!("{d}-{h:02}:{:02}:{:02}", s / 60 % 60, s % 60),
                }
            }
            Column::ElapsedSeconds => (age / TICKS).to_string(),
            Column::Nice => self.nice.to_string(),
            Column::Priority => (39 - self.priority).to_string(),
            Column::Cpu => self.cpu.to_string(),
            Column::Threads => self.threads.to_string(),
            Column::Name => self.name.clone(),
            Column::Command => self.command.clone(),
        }
    }

    fn state_and_flags(&self) -> String {
        let mut text = self.state.to_string();
        let flags = [
            (self.nice < 0, '<'),
            (self.nice > 0, 'N'),
            (self.sid == self.pid, 's'),
            (self.threads > 1, 'l'),
            (self.foreground == self.pgid && self.tty != 0, '+'),
        ];
        text.extend(flags.iter().filter(|(on, _)| *on).map(|(_, flag)| *flag));
        text
    }

    /// Today's start as `14:05`, another day's as `Nov24`; in full `Tue Nov 24 14:05:00 2026`.
    fn start(&self, age: u64, host: &HostClock, long: bool) -> String {
        let ago = jiff::SignedDuration::from_secs(i64::try_from(age / TICKS).unwrap_or(0));
        let begun = host.zone.to_datetime(host.now - ago);
        let today = host.zone.to_datetime(host.now).date() == begun.date();
        let format = match (long, today) {
            (true, _) => "%a %b %e %H:%M:%S %Y",
            (false, true) => "%H:%M",
            (false, false) => "%b%d",
        };
        begun.strftime(format).to_string()
    }
}

/// A terminal by its device number: minor in bits 0–7 and 20–31, major in 8–19 (proc_pid_stat(5)).
fn terminal(number: i32) -> String {
    #[allow(clippy::cast_sign_loss)]
    let number = number as u32;
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xfff00);
    match major {
        0 => "?".to_owned(),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        5 if minor == 1 => "console".to_owned(),
        _ => format!("{major}:{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(arguments: &str) -> String {
        columns(arguments).unwrap().into_iter().map(|(title, _)| title).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn columns_as_ps_has_them() {
        let full = "UID PID PPID C STIME TTY TIME CMD";
        let user = "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND";
        for (arguments, expected) in [
            ("", full),
            ("-ef", full),
            ("-e -f", full),
            ("aux", user),
            ("auxww", user),
            ("ax", "PID TTY STAT TIME COMMAND"),
            ("-e", "PID TTY TIME CMD"),
            ("-o pid,comm", "PID COMMAND"),
            ("-eo pid,user=WHO", "PID WHO"),
            ("axo pid,args", "PID COMMAND"),
            ("-opid", "PID"),
            ("-o pid -o %cpu", "PID %CPU"),
            ("-o pid=X", "PID"),
            ("--format=pid,etime", "PID ELAPSED"),
        ] {
            assert_eq!(heads(arguments), expected, "{arguments:?}");
        }
    }

    #[test]
    fn nonsense_is_named() {
        for (arguments, text) in [
            ("-o pid,nope", "error: unknown user-defined format specifier \"nope\""),
            ("-Z!", "ps argument \"-Z!\" is not known here"),
            ("-o", "ps argument \"-o\" is not known here"),
            ("--help", "ps argument \"--help\""),
        ] {
            let error = columns(arguments).unwrap_err().to_string();
            assert!(error.starts_with(text), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn a_name_may_hold_parentheses() {
        let stat = "7 (a) b) (c) S 1 7 7 34816 7 0 0 0 0 0 150 50 0 0 20 5 3 0 100 4096000 25 0 0 0 0 0 0 0 0 0 0 0 0 0 17 2 0 0";
        let p = Process::parse_stat(7, stat).unwrap();
        assert_eq!((p.name.as_str(), p.ppid, p.cpu_ticks, p.nice, p.threads, p.start_ticks), ("a) b) (c", 1, 200, 5, 3, 100));
        assert_eq!(terminal(p.tty), "pts/0");
        assert_eq!(p.cpu, 2);
        assert_eq!(p.state_and_flags(), "SNsl+");
        let host = HostClock { now: Timestamp::from_second(100_000).unwrap(), uptime_ticks: 1100, memory_kib: 1000, zone: TimeZone::UTC };
        let show = |c| p.show(c, &host);
        assert_eq!(show(Column::Time), "00:00:02");
        assert_eq!(show(Column::BsdTime), "0:02");
        assert_eq!(show(Column::PercentCpu), "20.0");
        assert_eq!(show(Column::Elapsed), "00:10");
        assert_eq!(show(Column::PercentMemory), "10.0");
        assert_eq!(show(Column::Start), "03:46");
        assert_eq!(show(Column::LongStart), "Fri Jan  2 03:46:30 1970");
    }

    #[test]
    fn this_process_is_read() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let p = Process::read(pid).unwrap();
        assert_eq!(p.uid, (0, 0), "tests run as root");
        assert!(p.resident_kib > 0 && p.command.contains("engine"), "{p:?}");
    }
}
