//! Source files as the rules read them: comments and the insides of literals blanked, test code
//! told from live code. Lines stay where they are, so that a finding can name them.
//!
//! This is a scanner, not a parser: it knows just enough of Rust's surface for the rules, and
//! never changes what it reads.

use std::fs;
use std::path::{Path, PathBuf};

/// One source file.
pub struct Source {
    /// From the package's root, with `/`.
    pub path: String,
    /// As it stands in the file.
    pub text: String,
    /// The text without comments and without the insides of strings and characters.
    pub code: String,
    /// The code without what is compiled for tests only.
    pub live: String,
}

/// A function's extent and number of parameters.
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of `fn`, from 1.
    pub line: usize,
    /// Lines from `fn` to the closing brace.
    pub lines: usize,
    /// Parameters, `self` not counted.
    pub parameters: usize,
}

/// A path of at least two segments, use-groups written out.
pub struct PathUse {
    /// The line on which it begins, from 1.
    pub line: usize,
    /// `crate`, `store`, `journal` and so on.
    pub segments: Vec<String>,
}

impl Source {
    /// A file that was read, or one that a test of the rules plants.
    pub fn new(path: &str, text: &str) -> Source {
        let code = blank_comments_and_literals(text);
        let is_test = !is_live_file(path) || code.contains("#![cfg(test)]");
        let live = if is_test { blank(&code) } else { blank_test_items(&code) };
        Source { path: path.into(), text: text.into(), code, live }
    }

    /// All Rust files under these folders of the package.
    pub fn all(folders: &[&str]) -> Vec<Source> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        for folder in folders {
            find_rust_files(&root.join(folder), &mut files);
        }
        files.sort();
        let read = |file: &PathBuf| {
            let name = file.strip_prefix(root).expect("found under the root").to_string_lossy();
            let text = fs::read_to_string(file).expect("a source file is UTF-8");
            Source::new(&name, &text)
        };
        files.iter().map(read).collect()
    }

    /// The module path: `src/shard/log.rs` is `shard`, `log`; the crate's roots are empty.
    pub fn module(&self) -> Vec<&str> {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let inner = inner.strip_suffix(".rs").unwrap_or(inner);
        let mut names: Vec<&str> = inner.split('/').collect();
        if matches!(names.last(), Some(&("mod" | "lib" | "main"))) {
            names.pop();
        }
        names
    }

    /// The functions with a body, test functions too.
    pub fn functions(&self) -> Vec<Function> {
        let code = self.code.as_bytes();
        let mut found = Vec::new();
        let mut words = words(&self.code).into_iter().peekable();
        while let Some((_, word)) = words.next() {
            if word != "fn" {
                continue;
            }
            let Some(&(at, name)) = words.peek() else { break };
            // `fn(` is a type; a declaration of a trait's has no body.
            if !code[..at].trim_ascii_end().ends_with(b"fn") {
                continue;
            }
            let Some((parameters, end)) = signature_and_end(code, at + name.len()) else {
                continue;
            };
            let (line, last) = (line_of(&self.code, at), line_of(&self.code, end));
            found.push(Function { name: name.into(), line, lines: last - line + 1, parameters });
        }
        found
    }

    /// The paths in live code.
    pub fn paths(&self) -> Vec<PathUse> {
        let code = self.live.as_bytes();
        let mut found = Vec::new();
        let mut at = 0;
        while at < code.len() {
            let starts = is_word(code[at]) && (at == 0 || !is_word(code[at - 1]));
            if !starts {
                at += 1;
                continue;
            }
            let mut trees: Vec<Vec<String>> = Vec::new();
            let end = read_tree(code, at, &mut Vec::new(), &mut trees);
            trees.retain(|segments| segments.len() > 1);
            if !trees.is_empty() {
                let line = line_of(&self.live, at);
                found.extend(trees.into_iter().map(|segments| PathUse { line, segments }));
            }
            at = end.max(at + 1);
        }
        found
    }
}

/// The identifiers of some code, with their offsets.
pub fn words(code: &str) -> Vec<(usize, &str)> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end = word_end(bytes, at);
        if end > at {
            // A lifetime (`'static`) is no word.
            if at == 0 || bytes[at - 1] != b'\'' {
                found.push((at, &code[at..end]));
            }
            at = end;
        } else {
            at += 1;
        }
    }
    found
}

/// The line of an offset, from 1.
pub fn line_of(code: &str, at: usize) -> usize {
    code.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

fn is_live_file(path: &str) -> bool {
    let tests = path.ends_with("/tests.rs") || path.contains("/tests/");
    (path.starts_with("src/") || path.starts_with("perf/src/")) && !tests
}

fn find_rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() && !path.ends_with("node_modules") && !path.ends_with("target") {
            find_rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn word_end(code: &[u8], at: usize) -> usize {
    at + code[at..].iter().take_while(|byte| is_word(**byte)).count()
}

fn space_end(code: &[u8], at: usize) -> usize {
    at + code[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Reads `a::b::{c, d::e}` at `at`, adds each path written out to `found`; where it ends.
fn read_tree(
    code: &[u8],
    at: usize,
    prefix: &mut Vec<String>,
    found: &mut Vec<Vec<String>>,
) -> usize {
    let at = space_end(code, at);
    if code.get(at) == Some(&b'{') {
        let mut at = at + 1;
        loop {
            let depth = prefix.len();
            at = space_end(code, read_tree(code, at, prefix, found));
            prefix.truncate(depth);
            // `as name` and anything unknown is passed over up to the next member.
            at += code[at..].iter().take_while(|byte| !b",}".contains(byte)).count();
            match code.get(at) {
                Some(b',') => at += 1,
                _ => return (at + 1).min(code.len()),
            }
        }
    }
    let end = word_end(code, at);
    if end == at {
        return at;
    }
    prefix.push(String::from_utf8_lossy(&code[at..end]).into_owned());
    let next = space_end(code, end);
    if code[next..].starts_with(b"::") {
        let inner = space_end(code, next + 2);
        if code.get(inner).is_some_and(|byte| is_word(*byte) || *byte == b'{') {
            return read_tree(code, inner, prefix, found);
        }
    }
    found.push(prefix.clone());
    end
}

/// Reads a function from behind its name: its parameters and the offset of its closing brace.
fn signature_and_end(code: &[u8], from: usize) -> Option<(usize, usize)> {
    let open = find_at_depth_0(code, from, b"(")?;
    let close = closing(code, open)?;
    let body = find_at_depth_0(code, close + 1, b"{;")?;
    if code[body] == b';' {
        return None;
    }
    Some((count_parameters(&code[open + 1..close]), closing(code, body)?))
}

/// The first of `wanted` outside of brackets and angle brackets.
fn find_at_depth_0(code: &[u8], from: usize, wanted: &[u8]) -> Option<usize> {
    let mut depth = 0i32;
    for at in from..code.len() {
        if depth == 0 && wanted.contains(&code[at]) {
            return Some(at);
        }
        depth += step(code, at);
    }
    None
}

/// Where the bracket that opens at `open` closes; braces, round and square ones only.
fn closing(code: &[u8], open: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, byte) in code.iter().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

fn step(code: &[u8], at: usize) -> i32 {
    let arrow = at > 0 && (code[at - 1] == b'-' || code[at - 1] == b'=');
    match code[at] {
        b'(' | b'[' | b'{' | b'<' => 1,
        b')' | b']' | b'}' => -1,
        b'>' if !arrow => -1,
        _ => 0,
    }
}

fn count_parameters(list: &[u8]) -> usize {
    let mut depth = 0;
    let mut parts = vec![Vec::new()];
    for at in 0..list.len() {
        if depth == 0 && list[at] == b',' {
            parts.push(Vec::new());
            continue;
        }
        depth += step(list, at);
        parts.last_mut().expect("begun with one").push(list[at]);
    }
    let counts = |part: &&Vec<u8>| {
        let text = String::from_utf8_lossy(part);
        let is_self = words(&text).iter().find(|(_, word)| *word != "mut").map(|(_, word)| *word);
        !text.trim().is_empty() && is_self != Some("self")
    };
    parts.iter().filter(counts).count()
}

fn blank(code: &str) -> String {
    code.chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }).collect()
}

/// Blanks each item behind `#[cfg(test)]`, to its closing brace or semicolon.
fn blank_test_items(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut live = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        let bytes = rest.as_bytes();
        let end = match find_at_depth_0(bytes, start + MARK.len(), b"{;") {
            Some(at) if bytes[at] == b'{' => closing(bytes, at).unwrap_or(rest.len() - 1),
            Some(at) => at,
            None => rest.len() - 1,
        };
        live.push_str(&rest[..start]);
        live.push_str(&blank(&rest[start..=end]));
        rest = &rest[end + 1..];
    }
    live.push_str(rest);
    live
}

/// Blanks comments and the insides of literals; keeps lines and the literals' quotes.
fn blank_comments_and_literals(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < letters.len() {
        let (kept, end) = match literal_or_comment_end(&letters, at) {
            Some(end) => (0, end),
            None => (1, at + 1),
        };
        if kept == 1 {
            code.push(letters[at]);
        } else {
            let inside: String = letters[at..end].iter().collect();
            let quote = matches!(letters[end - 1], '"' | '\'' | '#') && letters[at] != '/';
            code.push_str(&if quote { quoted(&inside) } else { blank(&inside) });
        }
        at = end;
    }
    code
}

fn quoted(literal: &str) -> String {
    let mut blanked = blank(literal);
    if blanked.len() > 1 && blanked.starts_with(' ') && blanked.ends_with(' ') {
        blanked.replace_range(0..1, "\"");
        blanked.replace_range(blanked.len() - 1.., "\"");
    }
    blanked
}

fn literal_or_comment_end(letters: &[char], at: usize) -> Option<usize> {
    let rest = &letters[at..];
    let after_word = at > 0 && (letters[at - 1].is_alphanumeric() || letters[at - 1] == '_');
    match rest {
        ['/', '/', ..] => {
            Some(at + rest.iter().position(|letter| *letter == '\n').unwrap_or(rest.len()))
        }
        ['/', '*', ..] => Some(block_comment_end(letters, at)),
        ['"', ..] => Some(string_end(letters, at)),
        ['r', '"' | '#', ..] if !after_word => raw_string_end(letters, at + 1),
        ['b' | 'c', 'r', '"' | '#', ..] if !after_word => raw_string_end(letters, at + 2),
        ['\'', '\\', _, tail @ ..] => {
            tail.iter().position(|letter| *letter == '\'').map(|inner| at + 3 + inner + 1)
        }
        ['\'', _, '\'', ..] => Some(at + 3),
        _ => None,
    }
}

fn block_comment_end(letters: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < letters.len() {
        match letters[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(letters.len())
}

fn string_end(letters: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < letters.len() && letters[at] != '"' {
        at += if letters[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(letters.len())
}

fn raw_string_end(letters: &[char], hashes_from: usize) -> Option<usize> {
    let hashes = letters[hashes_from..].iter().take_while(|letter| **letter == '#').count();
    let open = hashes_from + hashes;
    if letters.get(open) != Some(&'"') {
        return None; // A raw identifier, `r#type`.
    }
    let closes = |at: &usize| {
        letters[*at] == '"'
            && letters[at + 1..].iter().take(hashes).filter(|letter| **letter == '#').count()
                == hashes
    };
    Some((open + 1..letters.len()).find(closes).map_or(letters.len(), |at| at + 1 + hashes))
}
