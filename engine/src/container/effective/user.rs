//! Who a container's process is: `user[:group]` and extra groups, resolved against the passwd and group files of its own root
//! file system. Those files are the image's, so hostile: only plain decimal ids in range count, and a line that is not
//! well-formed is no line (CVE-2016-3697, CVE-2024-40635, CVE-2026-46680).

use crate::{Error, Result};

/// What the process becomes before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User id in the container.
    pub uid: u32,
    /// Primary group in the container.
    pub gid: u32,
    /// Supplementary groups, the primary one not repeated, sorted.
    pub groups: Vec<u32>,
    /// Home folder: passwd's, else `/`. Only for HOME when nobody set it; never written anywhere.
    pub home: String,
}

/// The largest id: the block of a tenant is 65,536 wide.
const LARGEST_ID: u32 = 65_535;

/// The largest id where the host's user namespace is shared: −1 means "unchanged" to the kernel.
const LARGEST_HOST_ID: u32 = i32::MAX as u32;

/// How many ids a container has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// 65,536: its own user namespace.
    Block,
    /// The host's.
    Host,
}

impl Ids {
    fn largest(self) -> u32 {
        match self {
            Ids::Block => LARGEST_ID,
            Ids::Host => LARGEST_HOST_ID,
        }
    }
}

/// Resolves `text` (`user[:group]`, names or numbers; empty: root) and `extra` groups.
///
/// A name given as user brings its passwd group and all groups that list it, as Docker does; with an explicit group it
/// brings only that one.
///
/// # Errors
/// Docker's texts: `unable to find user x: no matching entries in passwd file`, `unable to find group x: no matching entries in group
/// file`, `uids and gids must be in range 0-65535`.
pub fn resolve_user(passwd: &[u8], group: &[u8], text: &str, extra: &[String], ids: Ids) -> Result<Credentials> {
    let (user, explicit_group) = match text.split_once(':') {
        Some((_, "")) => return Err(Error::invalid(format!("invalid user {text:?}: there is no group after the colon"))),
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let entries = passwd_entries(passwd, ids);
    let groups = group_entries(group, ids);

    let wanted = if user.is_empty() { "0" } else { user };
    // A name wins over a number only if it is not numeric: an entry called "1000" with uid 0 must not be what -u 1000 finds.
    let number = numeric(wanted, ids)?;
    let entry = match number {
        Some(uid) => entries.iter().find(|e| e.uid == uid),
        None => Some(
            entries
                .iter()
                .find(|e| e.name == wanted)
                .ok_or_else(|| Error::invalid(format!("unable to find user {wanted}: no matching entries in passwd file")))?,
        ),
    };
    let uid = number.or(entry.map(|e| e.uid)).unwrap_or(0);
    let mut gid = entry.map_or(0, |e| e.gid);
    let mut supplementary = Vec::new();
    match explicit_group {
        Some(text) => gid = find_group(&groups, text, ids)?,
        None => {
            if let Some(e) = entry {
                supplementary.extend(groups.iter().filter(|g| g.members.contains(&e.name)).map(|g| g.gid));
            }
        }
    }
    for text in extra {
        supplementary.push(find_group(&groups, text, ids)?);
    }
    supplementary.retain(|g| *g != gid);
    supplementary.sort_unstable();
    supplementary.dedup();
    let home = entry.map(|e| e.home).filter(|h| h.starts_with('/')).unwrap_or("/").to_owned();
    Ok(Credentials { uid, gid, groups: supplementary, home })
}

/// Whether `text` can be a user at all; names are looked up at start only.
///
/// # Errors
/// When it has control characters, is a number out of range or has an empty group.
pub fn check_user(text: &str, ids: Ids) -> Result<()> {
    if text.chars().any(|c| c.is_control() || c == '/') {
        return Err(Error::invalid(format!("invalid user {text:?}: control characters and slashes are not allowed")));
    }
    let (user, group) = text.split_once(':').unwrap_or((text, "0"));
    if group.is_empty() {
        return Err(Error::invalid(format!("invalid user {text:?}: there is no group after the colon")));
    }
    numeric(user, ids)?;
    numeric(group, ids)?;
    Ok(())
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: Vec<&'a str>,
}

fn passwd_entries(file: &[u8], ids: Ids) -> Vec<PasswdEntry<'_>> {
    lines(file)
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|n| !n.is_empty())?;
            fields.next()?;
            let uid = plain_id(fields.next()?, ids)?;
            let gid = plain_id(fields.next()?, ids)?;
            let home = fields.nth(1).unwrap_or("");
            Some(PasswdEntry { name, uid, gid, home })
        })
        .collect()
}

fn group_entries(file: &[u8], ids: Ids) -> Vec<GroupEntry<'_>> {
    lines(file)
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|n| !n.is_empty())?;
            fields.next()?;
            let gid = plain_id(fields.next()?, ids)?;
            let members = fields.next().unwrap_or("").split(',').filter(|m| !m.is_empty()).collect();
            Some(GroupEntry { name, gid, members })
        })
        .collect()
}

fn lines(file: &[u8]) -> impl Iterator<Item = &str> {
    file.split(|b| *b == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .filter(|line| !line.starts_with('#') && !line.chars().any(char::is_control))
}

fn find_group(groups: &[GroupEntry<'_>], text: &str, ids: Ids) -> Result<u32> {
    if let Some(gid) = numeric(text, ids)? {
        return Ok(gid);
    }
    groups
        .iter()
        .find(|g| g.name == text)
        .map(|g| g.gid)
        .ok_or_else(|| Error::invalid(format!("unable to find group {text}: no matching entries in group file")))
}

/// `text` as an id if it looks like a number at all: `-1`, `+5`, `4294967296` and `0x0` are errors or names, never 0.
fn numeric(text: &str, ids: Ids) -> Result<Option<u32>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match plain_id(text, ids) {
        Some(id) => Ok(Some(id)),
        None => Err(Error::invalid(format!("uids and gids must be in range 0-{}", ids.largest()))),
    }
}

fn plain_id(text: &str, ids: Ids) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|id| *id <= ids.largest())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\nroot2:x:0:0::/x:/bin/sh\n\
        1234:x:0:0::/evil:/bin/sh\nbig:x:4294967296:0::/:/bin/sh\nneg:x:-1:0::/:/bin/sh\nshort:x:7\n\xff\xfe:x:1:1::/:\nhex:x:0x0:0x0::/:\n";
    const GROUP: &[u8] = b"root:x:0:\nnode:x:1000:\ndocker:x:998:node,other\nwheel:x:10:node\n";

    fn resolve(text: &str, extra: &[&str]) -> Result<Credentials> {
        let extra: Vec<String> = extra.iter().map(|s| (*s).to_owned()).collect();
        resolve_user(PASSWD, GROUP, text, &extra, Ids::Block)
    }

    #[test]
    fn names_numbers_and_groups() {
        let c = |uid, gid, groups: &[u32], home: &str| Credentials { uid, gid, groups: groups.to_vec(), home: home.into() };
        assert_eq!(resolve("", &[]).unwrap(), c(0, 0, &[], "/root"));
        assert_eq!(resolve("node", &[]).unwrap(), c(1000, 1000, &[10, 998], "/home/node"));
        assert_eq!(resolve("node:docker", &[]).unwrap(), c(1000, 998, &[], "/home/node"));
        assert_eq!(resolve("1000", &[]).unwrap(), c(1000, 1000, &[10, 998], "/home/node"));
        assert_eq!(resolve("5000", &["wheel", "77", "77"]).unwrap(), c(5000, 0, &[10, 77], "/"));
        assert_eq!(resolve(":1000", &[]).unwrap(), c(0, 1000, &[], "/root"));
        assert_eq!(resolve("65535:65535", &[]).unwrap(), c(65535, 65535, &[], "/"));
    }

    #[test]
    fn without_files_numbers_still_work() {
        let nobody = resolve_user(b"", b"", "12:34", &[], Ids::Block).unwrap();
        assert_eq!((nobody.uid, nobody.gid, nobody.home.as_str()), (12, 34, "/"));
        assert_eq!(
            resolve_user(b"", b"", "x", &[], Ids::Block).unwrap_err().to_string(),
            "unable to find user x: no matching entries in passwd file"
        );
    }

    #[test]
    fn sec_e3_odd_users_are_errors_and_never_root() {
        for text in
            ["0x0", "4294967296", "-1", "+0", "65536", "1000:", "big", "neg", "short", "hex", "nobody\n", "18446744073709551616", "-0"]
        {
            assert!(resolve(text, &[]).is_err(), "{text:?} resolved to {:?}", resolve(text, &[]));
        }
        // A numeric *name* in passwd does not turn -u 1234 into root.
        assert_eq!(resolve("1234", &[]).unwrap().uid, 1234);
        assert!(resolve("node", &["-1"]).is_err());
        assert!(resolve("node:nogroup", &[]).unwrap_err().to_string().contains("no matching entries in group file"));
    }

    #[test]
    fn sec_b5_a_home_with_a_control_character_is_no_entry() {
        let file = b"evil:x:5:5::/a\rroot:/bin/sh\nok:x:6:6::/b:/bin/sh\n";
        assert!(resolve_user(file, b"", "evil", &[], Ids::Block).is_err());
        assert_eq!(resolve_user(file, b"", "ok", &[], Ids::Block).unwrap().home, "/b");
    }
}
