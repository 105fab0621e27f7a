//! Detach keys: the sequence (`ctrl-p,ctrl-q`) by which a person leaves a terminal without ending what runs in it.

use engine::{Error, Result};

/// What happens without a choice.
const DEFAULT: [u8; 2] = [16, 17];

/// Watches input for the sequence.
#[derive(Debug)]
pub struct Detach {
    keys: Vec<u8>,
    /// How many of them came last, in order, and were held back.
    seen: usize,
}

impl Detach {
    /// Watches for `keys` in Docker's notation: single characters, `ctrl-a` … `ctrl-z`, `ctrl-@ [ \ ] ^ _` and `DEL`, with commas
    /// between. Empty: the default.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn new(keys: &str) -> Result<Self> {
        if keys.is_empty() {
            return Ok(Self { keys: DEFAULT.to_vec(), seen: 0 });
        }
        let keys = keys.split(',').map(key).collect::<Option<Vec<u8>>>();
        match keys {
            Some(keys) => Ok(Self { keys, seen: 0 }),
            None => Err(Error::invalid("invalid detach keys: expected single characters or ctrl-<value>, with commas between")),
        }
    }

    /// Takes what was typed; gives what is to be passed on, and whether the sequence was completed (what follows it is
    /// nobody's).
    pub fn feed(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut pass = Vec::with_capacity(input.len());
        for &byte in input {
            if byte == self.keys[self.seen] {
                self.seen += 1;
                if self.seen == self.keys.len() {
                    self.seen = 0;
                    return (pass, true);
                }
                continue;
            }
            // It was no detaching after all: what was held back goes on its way.
            pass.extend_from_slice(&self.keys[..self.seen]);
            self.seen = usize::from(byte == self.keys[0]);
            if self.seen == 0 {
                pass.push(byte);
            }
        }
        (pass, false)
    }

    /// What is held back when the input ends.
    pub fn held(&self) -> &[u8] {
        &self.keys[..self.seen]
    }
}

fn key(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [byte] => Some(*byte),
        _ if text == "DEL" => Some(127),
        _ => match text.strip_prefix("ctrl-")?.as_bytes() {
            [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
            [b'@'] => Some(0),
            [sign @ b'['..=b'_'] => Some(sign - b'[' + 27),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notations() {
        assert_eq!(Detach::new("").unwrap().keys, [16, 17]);
        assert_eq!(Detach::new("ctrl-a,b,ctrl-@,ctrl-[,ctrl-\\,ctrl-_,DEL").unwrap().keys, [1, b'b', 0, 27, 28, 31, 127]);
        for bad in ["ctrl-", "ctrl-1", "ab", "a,", ",", "ctrl-A"] {
            assert!(Detach::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sequences() {
        let feed = |parts: &[&[u8]]| {
            let mut detach = Detach::new("").unwrap();
            let mut all = Vec::new();
            for part in parts {
                let (pass, done) = detach.feed(part);
                all.extend(pass);
                if done {
                    return (all, true);
                }
            }
            all.extend(detach.held());
            (all, false)
        };
        assert_eq!(feed(&[b"ls\n"]), (b"ls\n".to_vec(), false));
        assert_eq!(feed(&[b"ls\x10\x11rest"]), (b"ls".to_vec(), true));
        assert_eq!(feed(&[b"a\x10", b"\x11"]), (b"a".to_vec(), true));
        assert_eq!(feed(&[b"a\x10", b"b\x11"]), (b"a\x10b\x11".to_vec(), false));
        assert_eq!(feed(&[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(feed(&[b"end\x10"]), (b"end\x10".to_vec(), false));
    }
}
