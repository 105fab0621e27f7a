//! Uid blocks: 65,536 host uids for each tenant, for each isolated container, and for the layers all tenants share.
//!
//! A block belongs to one owner on the whole host: several instances may run side by side, so each writes the blocks it holds into a file of a
//! folder they all know, under a lock; and ids that passwd, group, subuid or subgid give to others are passed over.

use crate::{Doing, Error, Result};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// How many ids a block has.
pub const BLOCK_SIZE: u32 = 65_536;

/// A range of host uids and gids; the same numbers serve for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block {
    /// The host id of root inside.
    pub base: u32,
    /// How many ids, always [`BLOCK_SIZE`].
    pub size: u32,
}

impl Block {
    pub(crate) fn at(base: u32) -> Self {
        Self { base, size: BLOCK_SIZE }
    }

    /// Whether this host id lies in it.
    pub fn contains(self, id: u32) -> bool {
        id >= self.base && id - self.base < self.size
    }

    /// The host id of an id inside.
    pub fn host_id(self, inside: u32) -> Option<u32> {
        (inside < self.size).then(|| self.base + inside)
    }
}

/// Where blocks are taken from.
#[derive(Debug, Clone)]
pub struct Pool {
    /// The first id, a multiple of 65,536.
    pub first: u32,
    /// The last id.
    pub last: u32,
    /// The folder in which the instances of this host tell each other what they hold.
    pub claims: PathBuf,
    /// The host's `/etc`: its accounts' ids are not ours.
    pub etc: PathBuf,
}

impl Default for Pool {
    fn default() -> Self {
        // Above systemd's container range (systemd.io/UIDS-GIDS), below 2^31, which some programs take for negative.
        Self { first: 1_879_048_192, last: 2_147_352_575, claims: "/run/wharf-blocks".into(), etc: "/etc".into() }
    }
}

impl Pool {
    fn blocks(&self) -> u32 {
        (u64::from(self.last) + 1).saturating_sub(u64::from(self.first)).checked_div(u64::from(BLOCK_SIZE)).unwrap_or(0) as u32
    }
}

/// What this instance holds, as the others see it.
#[derive(Debug)]
pub(crate) struct Claims {
    pool: Pool,
    data_root: PathBuf,
    file: PathBuf,
    /// All blocks of ours, tombstones among them.
    held: Mutex<BTreeSet<u32>>,
}

impl Claims {
    /// Tells the others that `held` is ours.
    ///
    /// # Errors
    /// `Conflict` when a living instance claims one of them; `Invalid` when the pool is not one.
    pub fn open(pool: Pool, data_root: &Path, held: BTreeSet<u32>) -> Result<Self> {
        if !pool.first.is_multiple_of(BLOCK_SIZE) || pool.first == 0 || pool.blocks() == 0 || pool.last == u32::MAX {
            return Err(Error::invalid(format!(
                "the uid pool {}-{} is no pool: it begins at a multiple of 65536 above 0, has at least one block and ends below 4294967295",
                pool.first, pool.last
            )));
        }
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&pool.claims)
            .doing(|| format!("making {}", pool.claims.display()))?;
        let name = crate::Digest::of(data_root.as_os_str().as_bytes()).hex();
        let claims = Self { file: pool.claims.join(name), data_root: data_root.to_owned(), pool, held: Mutex::default() };
        let _lock = claims.lock()?;
        for other in claims.others()? {
            if let Some(base) = other.held.intersection(&held).next() {
                return Err(Error::conflict(format!(
                    "the uid block {base} of this instance is also held by the one on {}: two instances must not share ids; remove one, or give \
                     one another uid pool and restore it from a backup",
                    other.data_root.display()
                )));
            }
        }
        for base in held.iter().filter(|b| claims.foreign_ids().iter().any(|r| r.overlaps(**b))) {
            tracing::warn!(uid.base = base, "accounts of this host have ids within a tenant's uid block; move those accounts");
        }
        claims.write(&held)?;
        *claims.held.lock().unwrap_or_else(|e| e.into_inner()) = held;
        Ok(claims)
    }

    /// The first free block; ours from now on.
    ///
    /// # Errors
    /// `Exhausted` when there is none.
    pub fn claim(&self) -> Result<Block> {
        let mut held = self.held.lock().unwrap_or_else(|e| e.into_inner());
        let _lock = self.lock()?;
        let others = self.others()?;
        let foreign = self.foreign_ids();
        let blocks = self.pool.blocks();
        // Instances begin at different places, so that one that has not claimed its blocks since the last boot keeps them.
        let start = if self.data_root == Path::new(crate::DEFAULT_DATA_ROOT) {
            0
        } else {
            let hash = crate::Digest::of(self.data_root.as_os_str().as_bytes());
            let [a, b, c, d, ..] = *hash.as_bytes();
            u32::from_le_bytes([a, b, c, d]) % blocks
        };
        let free = (0..blocks).map(|i| self.pool.first + (start + i) % blocks * BLOCK_SIZE).find(|base| {
            !held.contains(base) && !others.iter().any(|o| o.held.contains(base)) && !foreign.iter().any(|r| r.overlaps(*base))
        });
        let base =
            free.ok_or_else(|| Error::new(crate::Kind::Exhausted, "no uid block is free: make the uid pool larger or remove tenants"))?;
        held.insert(base);
        if let Err(e) = self.write(&held) {
            held.remove(&base);
            return Err(e);
        }
        Ok(Block::at(base))
    }

    /// Gives a block back.
    pub fn release(&self, base: u32) -> Result<()> {
        let mut held = self.held.lock().unwrap_or_else(|e| e.into_inner());
        let _lock = self.lock()?;
        held.remove(&base);
        self.write(&held)
    }

    fn lock(&self) -> Result<File> {
        let path = self.pool.claims.join(".lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .doing(|| format!("opening {}", path.display()))?;
        file.lock().doing(|| format!("locking {}", path.display()))?;
        Ok(file)
    }

    fn write(&self, held: &BTreeSet<u32>) -> Result<()> {
        let mut text = self.data_root.as_os_str().as_bytes().to_vec();
        text.push(0);
        let mut numbers = String::new();
        for base in held {
            let _ = writeln!(numbers, "{base}");
        }
        text.extend_from_slice(numbers.as_bytes());
        // A reader holds the lock, so it never sees half of it; after a crash in between the new file counts.
        let new = self.file.with_extension("new");
        std::fs::write(&new, text).doing(|| format!("writing {}", new.display()))?;
        std::fs::rename(&new, &self.file).doing(|| format!("writing {}", self.file.display()))
    }

    /// The claims of other data roots that still exist.
    fn others(&self) -> Result<Vec<Other>> {
        let doing = || format!("reading {}", self.pool.claims.display());
        let mut others = Vec::new();
        for entry in std::fs::read_dir(&self.pool.claims).doing(doing)? {
            let path = entry.doing(doing)?.path();
            let is_claim = path.file_name().is_some_and(|n| n.len() == 64);
            if !is_claim || path == self.file {
                continue;
            }
            let text = std::fs::read(&path).doing(|| format!("reading {}", path.display()))?;
            let Some(end) = text.iter().position(|b| *b == 0) else { continue };
            let data_root = PathBuf::from(std::ffi::OsStr::from_bytes(&text[..end]));
            if !data_root.exists() {
                std::fs::remove_file(&path).doing(|| format!("removing {}", path.display()))?;
                continue;
            }
            let held = String::from_utf8_lossy(&text[end + 1..]).lines().filter_map(|l| l.parse().ok()).collect();
            others.push(Other { data_root, held });
        }
        Ok(others)
    }

    fn foreign_ids(&self) -> Vec<Range> {
        let read = |name: &str| std::fs::read_to_string(self.pool.etc.join(name)).unwrap_or_default();
        let mut ranges = Vec::new();
        for name in ["passwd", "group"] {
            // name:password:id:…
            ranges.extend(read(name).lines().filter_map(|l| l.split(':').nth(2)?.parse().ok()).map(|first| Range { first, count: 1 }));
        }
        for name in ["subuid", "subgid"] {
            // name:first:count
            ranges.extend(read(name).lines().filter_map(|l| {
                let mut fields = l.split(':').skip(1);
                Some(Range { first: fields.next()?.trim().parse().ok()?, count: fields.next()?.trim().parse().ok()? })
            }));
        }
        ranges
    }
}

struct Other {
    data_root: PathBuf,
    held: BTreeSet<u32>,
}

struct Range {
    first: u64,
    count: u64,
}

impl Range {
    fn overlaps(&self, base: u32) -> bool {
        let (base, end) = (u64::from(base), u64::from(base) + u64::from(BLOCK_SIZE));
        self.first < end && self.first.saturating_add(self.count) > base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(dir: &Path, blocks: u32) -> Pool {
        let first = 1_879_048_192;
        std::fs::create_dir_all(dir.join("etc")).unwrap();
        Pool { first, last: first + blocks * BLOCK_SIZE - 1, claims: dir.join("claims"), etc: dir.join("etc") }
    }

    fn instance(dir: &Path, name: &str, blocks: u32) -> Claims {
        let root = dir.join(name);
        std::fs::create_dir_all(&root).unwrap();
        Claims::open(pool(dir, blocks), &root, BTreeSet::new()).unwrap()
    }

    #[test]
    fn the_default_pool_has_4094_blocks() {
        assert_eq!(Pool::default().blocks(), 4094);
    }

    #[test]
    fn blocks_of_several_instances_never_overlap() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (instance(dir.path(), "a", 20), instance(dir.path(), "b", 20));
        let (mut held_a, mut held_b) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..10 {
            held_a.insert(a.claim().unwrap().base);
            held_b.insert(b.claim().unwrap().base);
        }
        assert_eq!(held_a.union(&held_b).count(), 20);
        assert_eq!(a.claim().unwrap_err().kind(), crate::Kind::Exhausted);
        // When an instance's data root is gone, so are its claims.
        std::fs::remove_dir(dir.path().join("b")).unwrap();
        assert!(held_b.contains(&a.claim().unwrap().base));
    }

    #[test]
    fn a_block_with_ids_of_an_account_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let a = instance(dir.path(), "a", 4);
        let first = 1_879_048_192u32;
        std::fs::write(dir.path().join("etc/passwd"), format!("x:x:{}:0::/:/bin/sh\n", first + 5)).unwrap();
        // A range that begins in block 1 and ends in block 2.
        std::fs::write(dir.path().join("etc/subuid"), format!("x:{}:{}\n", first + BLOCK_SIZE + 65_535, 2)).unwrap();
        assert_eq!(a.claim().unwrap().base, first + 3 * BLOCK_SIZE);
    }

    #[test]
    fn two_instances_with_one_block_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let a = instance(dir.path(), "a", 4);
        let block = a.claim().unwrap();
        let root = dir.path().join("copy");
        std::fs::create_dir(&root).unwrap();
        let error = Claims::open(pool(dir.path(), 4), &root, BTreeSet::from([block.base])).unwrap_err();
        assert_eq!(error.kind(), crate::Kind::Conflict);
    }
}
