//! How text looks on a terminal: a state is always shape and word, and colour only on top.

use std::io::IsTerminal;

use unicode_width::UnicodeWidthChar;

/// Whether to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    colour: bool,
}

/// A tone. The numbers are those of the terminal's own palette.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Goes on, or ended as wanted.
    Good = 34,
    /// Is being retried, or is late.
    Retrying = 33,
    /// Goes back.
    Back = 35,
    /// Needs a human.
    Human = 31,
    /// Beside the point.
    Faint = 90,
    /// To be read first.
    Strong = 1,
}

impl Style {
    /// Without colours.
    pub const PLAIN: Self = Self { colour: false };

    /// Colours if standard output is a terminal that has them, unless `NO_COLOR` is set.
    pub fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty())
            || std::env::var_os("TERM").is_some_and(|it| it == "dumb");
        Self { colour: !refused && std::io::stdout().is_terminal() }
    }

    /// With colours, whatever standard output is.
    pub const fn coloured() -> Self {
        Self { colour: true }
    }

    /// The text in a tone.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("\u{1b}[{}m{text}\u{1b}[0m", tone as u8)
        } else {
            text.to_owned()
        }
    }

    /// A saga's status: shape and word.
    pub fn status(self, word: &str) -> String {
        let (shape, tone) = match word {
            "completed" => ("✓", Tone::Good),
            "compensated" => ("⤺", Tone::Back),
            "parked" => ("■", Tone::Human),
            "abandoned" => ("×", Tone::Faint),
            _ => ("◔", Tone::Good),
        };
        self.paint(tone, &format!("{shape} {word}"))
    }
}

/// An amount with its currency: `₩ 39,000`; without a currency the bare number.
pub fn amount(amount: i64, currency: Option<&str>) -> String {
    let digits = amount.unsigned_abs().to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if amount < 0 { "-" } else { "" };
    match currency {
        Some("KRW") => format!("₩ {sign}{grouped}"),
        Some(other) => format!("{sign}{grouped} {other}"),
        None => format!("{sign}{grouped}"),
    }
}

/// A span of time in words: `84 ms`, `12.3 s`, `4 min 5 s`, `3 h 2 min`, `5 d 1 h`.
pub fn span(ms: i64) -> String {
    let ms = ms.max(0);
    let (s, min, h) = (ms / 1_000, ms / 60_000, ms / 3_600_000);
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", s, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{min} min {} s", s % 60),
        3_600_000..86_400_000 => format!("{h} h {} min", min % 60),
        _ => format!("{} d {} h", h / 24, h % 24),
    }
}

/// Rows below their heads, each column as wide as it must be. A head that begins with `>` is that of a column whose
/// text stands at the right.
pub fn table(heads: &[&str], rows: Vec<Vec<String>>) -> String {
    let right: Vec<bool> = heads.iter().map(|head| head.starts_with('>')).collect();
    let heads: Vec<String> = heads.iter().map(|head| head.trim_start_matches('>').to_owned()).collect();
    let mut widths: Vec<usize> = heads.iter().map(|head| width(head)).collect();
    for row in &rows {
        for (most, cell) in widths.iter_mut().zip(row) {
            *most = (*most).max(width(cell));
        }
    }
    let line = |row: &Vec<String>| {
        let columns = row.iter().zip(&widths).zip(&right);
        let cells: Vec<String> = columns
            .map(|((cell, most), right)| {
                let pad = " ".repeat(most.saturating_sub(width(cell)));
                if *right { format!("{pad}{cell}") } else { format!("{cell}{pad}") }
            })
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    std::iter::once(&heads).chain(&rows).map(line).collect::<Vec<_>>().join("\n")
}

/// How many columns a text takes on a terminal: Hangul takes two a character, a colour none.
fn width(text: &str) -> usize {
    let mut colour = false;
    let columns = text.chars().map(|it| {
        let seen = !colour && it != '\u{1b}';
        colour = if colour { it != 'm' } else { it == '\u{1b}' };
        if seen { it.width().unwrap_or(0) } else { 0 }
    });
    columns.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short_and_amounts_are_grouped() {
        let spans = [
            (-5, "0 ms"),
            (999, "999 ms"),
            (12_345, "12.3 s"),
            (245_000, "4 min 5 s"),
            (10_920_000, "3 h 2 min"),
            (435_600_000, "5 d 1 h"),
        ];
        for (ms, text) in spans {
            assert_eq!(span(ms), text);
        }
        assert_eq!(amount(39_000, Some("KRW")), "₩ 39,000");
        assert_eq!(amount(-1_234_567, Some("USD")), "-1,234,567 USD");
        assert_eq!(amount(0, None), "0");
    }

    #[test]
    fn plain_is_plain_and_a_status_keeps_its_shape_and_word_in_colour() {
        assert_eq!(Style::PLAIN.status("parked"), "■ parked");
        let coloured = Style::coloured().status("parked");
        assert!(coloured.contains("■ parked") && coloured.starts_with('\u{1b}'));
    }

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = vec![
            vec!["a".into(), "주문 1".into(), "10".into(), String::new()],
            vec![Style::coloured().paint(Tone::Good, "long"), "b".into(), "5".into(), "c".into()],
        ];
        let text = table(&["x", "y", ">n", "z"], rows);
        assert_eq!(text, "x     y        n  z\na     주문 1  10\n\u{1b}[34mlong\u{1b}[0m  b        5  c");
    }
}
