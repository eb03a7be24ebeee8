//! A mistake shown where it is: the line of the source, underlined.
//!
//! Owns the looks, as plain text; colours are the terminal's business.

use super::Diagnostic;

/// The most characters of a line that are shown.
const SHOWN_MAX: usize = 160;

/// Shows a mistake in its source. `file` is how the reader knows it.
pub fn show(file: &str, source: &str, told: &Diagnostic) -> String {
    let Diagnostic { code, message, line, column, remedy } = told;
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    let mut text = format!("{code}: {message}\n{margin}--> {file}:{line}:{column}\n");
    let index = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
    if let Some(shown) = source.lines().nth(index) {
        let before = usize::try_from(column.saturating_sub(1)).unwrap_or(usize::MAX);
        let shown: String = shown.chars().take(SHOWN_MAX).map(|c| if c == '\t' { ' ' } else { c }).collect();
        let indent: usize = shown.chars().take(before).map(width).sum();
        let marked: usize = marked(&shown, before).map(width).sum::<usize>().max(1);
        let (indent, marks) = (" ".repeat(indent), "^".repeat(marked));
        text.push_str(&format!("{margin} |\n{number} | {}\n{margin} | {indent}{marks}\n", shown.trim_end()));
    }
    text.push_str(&format!("{margin} = {remedy}"));
    text
}

/// The characters of the word, quoted text or bracket that begins there.
fn marked(line: &str, from: usize) -> impl Iterator<Item = char> {
    let mut chars = line.chars().skip(from);
    let first = chars.next();
    let quoted = first.filter(|c| matches!(c, '"' | '\''));
    let bracket = first.is_some_and(|c| matches!(c, '[' | '{' | ']' | '}'));
    let braced = line.chars().skip(from).take(2).eq("${".chars());
    let mut over = bracket;
    let rest = chars.take_while(move |&c| {
        if over {
            return false;
        }
        match quoted {
            Some(quote) => over = c == quote,
            None if braced => over = c == '}',
            None => return !(c.is_whitespace() || matches!(c, ',' | ']' | '}' | ':')),
        }
        true
    });
    first.into_iter().chain(rest)
}

/// The columns that a character takes: wide ones of East Asia take two.
pub(crate) const fn width(c: char) -> usize {
    match c as u32 {
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => 2,
        0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1f64f | 0x1f900..=0x1f9ff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::definition::load;

    #[test]
    fn a_mistake_is_underlined_as_wide_as_it_is() {
        let source = "saga: test\ndescription: 주문\nsteps:\n  a: {worker: w, action: a, compensation: none, after: [nobody]}\n  \"가\": {}\n";
        let told = load(source).unwrap_err();
        let shown: Vec<String> = told.iter().map(|it| super::show("t.yaml", source, it)).collect();
        assert_eq!(
            shown[0],
            "E006: `a` comes after `nobody`, which is not a step\n --> t.yaml:4:57\n  |\n\
             4 |   a: {worker: w, action: a, compensation: none, after: [nobody]}\n  |                                                         ^^^^^^\n  \
             = remove it: there is no other step"
        );
        assert!(shown[1].contains("5 |   \"가\": {}\n  |   ^^^^\n"), "{}", shown[1]);
    }
}
