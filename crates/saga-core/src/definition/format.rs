//! One spelling for definitions: spaces, indentation, and the order of keys.
//!
//! Owns the spelling. It must never change what a definition means: each pass is kept only if the version, which is a
//! hash of the content, stays as it was. Comments go with the line that they stand above.

use super::diagnostic::Diagnostics;
use super::source;

/// The order of the top's keys.
const TOP: [&str; 17] = [
    "saga",
    "description",
    "owner",
    "runbook",
    "trigger",
    "key",
    "deadline",
    "signal_ttl",
    "amount",
    "currency",
    "labels",
    "approval",
    "input",
    "steps",
    "output",
    "on_compensated",
    "on_parked",
];
/// The order of a step's keys.
const STEP: [&str; 16] = [
    "after",
    "when",
    "foreach",
    "pivot",
    "optional",
    "worker",
    "action",
    "http",
    "wait",
    "saga",
    "compensation",
    "input",
    "retry",
    "timeout",
    "on_rejected",
    "on_exhausted",
];

/// Spells a definition as all are spelled; nothing when it is not YAML.
pub fn format(text: &str) -> Option<String> {
    let meaning = canonical(text)?;
    let mut spelled = text.to_owned();
    for pass in [lines, indentation, order] {
        let next = pass(&spelled);
        if canonical(&next).as_ref() == Some(&meaning) {
            spelled = next;
        }
    }
    Some(spelled)
}

fn canonical(text: &str) -> Option<String> {
    let mut told = Diagnostics::default();
    let root = source::parse(text, &mut told)?;
    told.into_result().ok()?;
    Some(root.canonical())
}

/// No spaces at ends of lines, no two blank lines in a row, none at the top, one line break at the end.
fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 1);
    let mut blank = true;
    for line in text.lines().map(str::trim_end) {
        if !(line.is_empty() && blank) {
            out.push_str(line);
            out.push('\n');
        }
        blank = line.is_empty();
    }
    let kept = out.trim_end().len();
    out.truncate(kept);
    out.push('\n');
    out
}

fn indentation(text: &str) -> String {
    let (entries, tail) = tree(text);
    let mut out = String::new();
    entries.iter().for_each(|entry| entry.write(0, &mut out));
    tail.iter().for_each(|line| push(0, line, &mut out));
    out
}

fn order(text: &str) -> String {
    let (mut entries, tail) = tree(text);
    for entry in &mut entries {
        if ["steps", "on_compensated", "on_parked"].contains(&entry.key()) {
            entry.children.iter_mut().for_each(|step| sort(&mut step.children, &STEP));
        }
    }
    sort(&mut entries, &TOP);
    let mut out = String::new();
    entries.iter().for_each(|entry| entry.write(0, &mut out));
    tail.iter().for_each(|line| push(0, line, &mut out));
    lines(&out)
}

fn sort(entries: &mut [Entry], known: &[&str]) {
    entries.sort_by_key(|entry| known.iter().position(|key| *key == entry.key()).unwrap_or(known.len()));
}

/// A line of a block with everything that belongs to it.
#[derive(Debug, Default)]
struct Entry {
    /// Comments and blank lines above it.
    lead: Vec<String>,
    indent: usize,
    text: String,
    /// Lines that go on with the value: of flow, or of a text.
    rest: Vec<String>,
    children: Vec<Entry>,
}

impl Entry {
    fn key(&self) -> &str {
        self.text.split(':').next().unwrap_or_default().trim()
    }

    fn write(&self, depth: usize, out: &mut String) {
        self.lead.iter().for_each(|line| push(depth * 2, line, out));
        push(depth * 2, &self.text, out);
        for line in &self.rest {
            let own = line.len() - line.trim_start().len();
            let moved = (own + depth * 2).saturating_sub(self.indent);
            push(if line.trim().is_empty() { 0 } else { moved }, line.trim_start(), out);
        }
        self.children.iter().for_each(|child| child.write(depth + 1, out));
    }
}

fn push(indent: usize, line: &str, out: &mut String) {
    if !line.is_empty() {
        out.extend(std::iter::repeat_n(' ', indent));
    }
    out.push_str(line);
    out.push('\n');
}

/// The lines as a tree, and what stands below the last one.
fn tree(text: &str) -> (Vec<Entry>, Vec<String>) {
    let mut flat: Vec<Entry> = Vec::new();
    let (mut lead, mut scanner, mut block) = (Vec::new(), Scanner::default(), false);
    for line in text.lines() {
        let (indent, bare) = (line.len() - line.trim_start().len(), line.trim_start());
        if let Some(last) = flat.last_mut() {
            // A block of text goes on as long as it stands deeper; so does a text over several lines.
            let deeper = indent > last.indent && !bare.is_empty();
            let goes_on = scanner.is_open() || (block && (deeper || bare.is_empty()));
            let goes_on = goes_on || (deeper && !bare.starts_with('#') && lead.is_empty() && !is_entry(bare));
            if goes_on {
                if !block {
                    scanner.scan(bare);
                }
                last.rest.push(line.to_owned());
                continue;
            }
        }
        block = false;
        if bare.is_empty() || bare.starts_with('#') {
            lead.push(bare.to_owned());
            continue;
        }
        scanner = Scanner::default();
        scanner.scan(bare);
        block = scanner.ends_in_block;
        flat.push(Entry {
            lead: std::mem::take(&mut lead),
            indent,
            text: bare.to_owned(),
            ..Entry::default()
        });
    }
    let mut roots = Vec::new();
    let mut open: Vec<Entry> = Vec::new();
    for entry in flat {
        while let Some(above) = open.pop() {
            // An item may stand right below the key of its list.
            let item = entry.text.starts_with('-') && !above.text.starts_with('-');
            if above.indent < entry.indent || (item && above.indent == entry.indent) {
                open.push(above);
                break;
            }
            close(above, &mut open, &mut roots);
        }
        open.push(entry);
    }
    while let Some(entry) = open.pop() {
        close(entry, &mut open, &mut roots);
    }
    (roots, lead)
}

fn close(entry: Entry, open: &mut [Entry], roots: &mut Vec<Entry>) {
    match open.last_mut() {
        Some(above) => above.children.push(entry),
        None => roots.push(entry),
    }
}

/// Whether a line begins an entry of a block, and does not go on with a text.
fn is_entry(bare: &str) -> bool {
    bare == "-" || bare.starts_with("- ") || bare.ends_with(':') || bare.contains(": ")
}

/// What of a value is still open at the end of a line.
#[derive(Debug, Default)]
struct Scanner {
    depth: usize,
    quote: Option<char>,
    /// The value is a block of text, which begins on the next line.
    ends_in_block: bool,
}

impl Scanner {
    const fn is_open(&self) -> bool {
        self.depth > 0 || self.quote.is_some()
    }

    fn scan(&mut self, line: &str) {
        let (mut before, mut chars) = (' ', line.chars().peekable());
        let mut content = String::new();
        while let Some(c) = chars.next() {
            let at_start = before == ' ' || matches!(before, '[' | '{' | ',');
            match self.quote {
                Some('"') if c == '\\' => drop(chars.next()),
                Some('\'') if c == '\'' && chars.peek() == Some(&'\'') => drop(chars.next()),
                Some(quote) if c == quote => self.quote = None,
                Some(_) => {}
                None if c == '#' && before == ' ' => break,
                None if matches!(c, '"' | '\'') && at_start => self.quote = Some(c),
                // Within a plain text in a block, as in ${…}, brackets are text.
                None if matches!(c, '[' | '{') && (self.depth > 0 || at_start) => self.depth += 1,
                None if matches!(c, ']' | '}') && self.depth > 0 => self.depth -= 1,
                None => {}
            }
            content.push(c);
            before = if c == '\t' { ' ' } else { c };
        }
        let last = content.trim_end().rsplit(' ').next().unwrap_or_default();
        let header = last.starts_with(['|', '>']) && last.len() <= 3;
        self.ends_in_block = self.depth == 0 && self.quote.is_none() && header;
    }
}
