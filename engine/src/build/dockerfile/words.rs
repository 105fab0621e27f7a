//! Words and variables, as a Dockerfile has them: quotes, escapes, `$x` and `${x…}` with the modifiers of a shell.

use regex::Regex;

/// How deep `${a:-${b:-…}}` may go.
const DEPTH_MAX: usize = 32;
/// The longest result: `${x}` in `x` many times over doubles with each line.
const RESULT_MAX: usize = 1 << 20;

/// Splits at whitespace that is not quoted. Quotes and escapes stay in the words.
pub fn split(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(q) if c == q => quote = None,
            _ => {}
        }
        word.push(c);
        if c == escape && quote != Some('\'') {
            word.extend(chars.next());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Where variables come from.
pub trait Variables {
    /// A variable's value.
    fn get(&self, name: &str) -> Option<String>;

    /// It has none, and the word says nothing else for that.
    fn undefined(&self, _name: &str) {}
}

impl<F: Fn(&str) -> Option<String>> Variables for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// A word with its variables expanded and its quotes taken off.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn expand(word: &str, escape: char, variables: &dyn Variables) -> Result<String, String> {
    let mut reader = Reader { chars: word.chars().collect(), at: 0, escape, variables, quotes: true };
    reader.until(None, 0)
}

/// As [`expand`], but quotes are characters like others: here-documents.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn expand_document(text: &str, escape: char, variables: &dyn Variables) -> Result<String, String> {
    let mut reader = Reader { chars: text.chars().collect(), at: 0, escape, variables, quotes: false };
    reader.until(None, 0)
}

struct Reader<'a> {
    chars: Vec<char>,
    at: usize,
    escape: char,
    variables: &'a dyn Variables,
    quotes: bool,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    /// Up to `end` (taken too), or to the end of the word.
    fn until(&mut self, end: Option<&[char]>, depth: usize) -> Result<String, String> {
        if depth > DEPTH_MAX {
            return Err("variables are nested too deeply".to_owned());
        }
        let mut out = String::new();
        while let Some(c) = self.peek() {
            if end.is_some_and(|e| e.contains(&c)) {
                return Ok(out);
            }
            if out.len() > RESULT_MAX {
                return Err("the result is longer than a megabyte".to_owned());
            }
            self.at += 1;
            match c {
                '\'' if self.quotes => self.single(&mut out)?,
                '"' if self.quotes => self.double(&mut out, depth)?,
                '$' => {
                    let value = self.variable(depth)?;
                    out.push_str(&value);
                }
                c if c == self.escape => match self.next() {
                    None if self.quotes => {}
                    None => out.push(c),
                    // In a document only what would otherwise be read is escaped.
                    Some(n) if !self.quotes && n != '$' && n != self.escape => out.extend([c, n]),
                    Some(n) => out.push(n),
                },
                c => out.push(c),
            }
        }
        match end {
            None => Ok(out),
            Some(_) => Err("syntax error: missing '}'".to_owned()),
        }
    }

    fn single(&mut self, out: &mut String) -> Result<(), String> {
        loop {
            match self.next() {
                None => return Err("unexpected end of statement while looking for matching single-quote".to_owned()),
                Some('\'') => return Ok(()),
                Some(c) => out.push(c),
            }
        }
    }

    fn double(&mut self, out: &mut String, depth: usize) -> Result<(), String> {
        loop {
            match self.next() {
                None => return Err("unexpected end of statement while looking for matching double-quote".to_owned()),
                Some('"') => return Ok(()),
                Some('$') => {
                    let value = self.variable(depth)?;
                    out.push_str(&value);
                }
                Some(c) if c == self.escape => match self.next() {
                    None => return Err("unexpected end of statement while looking for matching double-quote".to_owned()),
                    Some(n) if n == '"' || n == '$' || n == self.escape => out.push(n),
                    Some(n) => out.extend([c, n]),
                },
                Some(c) => out.push(c),
            }
        }
    }

    /// After `$`.
    fn variable(&mut self, depth: usize) -> Result<String, String> {
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(if name.is_empty() { "$".to_owned() } else { self.plain(&name) });
        }
        self.at += 1;
        let name = self.name();
        if name.is_empty() {
            return Err("syntax error: bad substitution".to_owned());
        }
        let value = self.variables.get(&name);
        match self.next() {
            None => Err("syntax error: missing '}'".to_owned()),
            Some('}') => Ok(self.plain(&name)),
            Some(':') => {
                let modifier = self.next().ok_or("syntax error: missing ':' in substitution")?;
                let word = self.rest(depth)?;
                self.modified(modifier, &name, value.filter(|v| !v.is_empty()), word)
                    .ok_or_else(|| format!("unsupported modifier (:{modifier}) in substitution"))?
            }
            Some(modifier @ ('-' | '+' | '?')) => {
                let word = self.rest(depth)?;
                self.modified(modifier, &name, value, word).ok_or("unsupported modifier in substitution")?
            }
            Some(end @ ('#' | '%')) => {
                let longest = self.peek() == Some(end);
                self.at += usize::from(longest);
                let pattern = self.rest(depth)?;
                let value = value.unwrap_or_default();
                Ok(if end == '#' { without_prefix(&value, &pattern, longest)? } else { without_suffix(&value, &pattern, longest)? })
            }
            Some('/') => {
                let all = self.peek() == Some('/');
                self.at += usize::from(all);
                let pattern = self.until(Some(&['/', '}']), depth + 1)?;
                let with = if self.next() == Some('/') { self.rest(depth)? } else { String::new() };
                replaced(&value.unwrap_or_default(), &pattern, &with, all)
            }
            Some(c) => Err(format!("unsupported modifier ({c}) in substitution")),
        }
    }

    /// A variable's value, or nothing.
    fn plain(&self, name: &str) -> String {
        self.variables.get(name).unwrap_or_else(|| {
            self.variables.undefined(name);
            String::new()
        })
    }

    /// What stands before the closing brace.
    fn rest(&mut self, depth: usize) -> Result<String, String> {
        let text = self.until(Some(&['}']), depth + 1)?;
        self.at += 1;
        Ok(text)
    }

    fn modified(&self, modifier: char, name: &str, value: Option<String>, word: String) -> Option<Result<String, String>> {
        Some(Ok(match (modifier, value) {
            ('-', value) => value.unwrap_or(word),
            ('+', Some(_)) => word,
            ('+', None) => String::new(),
            ('?', Some(value)) => value,
            ('?', None) => {
                let word = if word.is_empty() { "is not allowed to be unset".to_owned() } else { word };
                return Some(Err(format!("{name}: {word}")));
            }
            _ => return None,
        }))
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            if c == '_' || c.is_ascii_alphabetic() || (c.is_ascii_digit() && !name.is_empty()) {
                name.push(c);
                self.at += 1;
            } else if c.is_ascii_digit() && name.is_empty() {
                // Positional: a single digit, never set.
                self.at += 1;
                return c.to_string();
            } else {
                break;
            }
        }
        name
    }
}

/// A shell pattern (`*`, `?`, escapes) as a regular expression.
fn pattern(text: &str, greedy: bool) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => out.push_str(if greedy { ".*" } else { ".*?" }),
            '?' => out.push('.'),
            '\\' => {
                let escaped = chars.next().unwrap_or('\\');
                out.push_str(&regex::escape(&escaped.to_string()));
            }
            c => out.push_str(&regex::escape(&c.to_string())),
        }
    }
    out
}

fn regex(text: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(text).dot_matches_new_line(true).size_limit(1 << 20).build().map_err(|_| "the pattern is too long".to_owned())
}

fn without_prefix(value: &str, text: &str, longest: bool) -> Result<String, String> {
    let regex = regex(&format!("^{}", pattern(text, longest)))?;
    Ok(regex.find(value).map_or(value, |m| &value[m.end()..]).to_owned())
}

fn without_suffix(value: &str, text: &str, longest: bool) -> Result<String, String> {
    // The shortest suffix begins last, which no regular expression says: try from the right place on.
    let regex = regex(&format!("^(?:{})$", pattern(text, true)))?;
    let mut starts: Vec<usize> = value.char_indices().map(|(i, _)| i).chain([value.len()]).collect();
    if value.len() > 64 * 1024 {
        return Err("the value is too long for a pattern".to_owned());
    }
    if !longest {
        starts.reverse();
    }
    Ok(starts.into_iter().find(|i| regex.is_match(&value[*i..])).map_or(value, |i| &value[..i]).to_owned())
}

fn replaced(value: &str, text: &str, with: &str, all: bool) -> Result<String, String> {
    if text.is_empty() {
        return Ok(value.to_owned());
    }
    let regex = regex(&pattern(text, true))?;
    let with = regex::NoExpand(with);
    let out = if all { regex.replace_all(value, with) } else { regex.replace(value, with) };
    if out.len() > RESULT_MAX {
        return Err("the result is longer than a megabyte".to_owned());
    }
    Ok(out.into_owned())
}
