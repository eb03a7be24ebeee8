//! What is wrong with a definition, where, and what to do about it.

use std::fmt;

/// A place in a definition's text, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// The line.
    pub(super) line: u32,
    /// The column, in characters.
    pub(super) column: u32,
}

/// The kinds of mistakes. Codes are stable: what has one keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Code {
    Yaml,
    UnknownKey,
    MissingKey,
    BadValue,
    BadName,
    UnknownStep,
    Cycle,
    SecondPivot,
    BadPivot,
    BesidePivot,
    NotUndoable,
    NeverCompensated,
    Expression,
    NotAnAncestor,
    MaybeNoOutput,
    OutOfBounds,
    Schema,
    NotYetSupported,
    NoItem,
    WorkKind,
    OnlyInput,
    NeverApplies,
    NoSuchValue,
    BadOperand,
    WrongKind,
    Personal,
    MayBeMissing,
}

impl Code {
    const fn text(self) -> &'static str {
        match self {
            Self::Yaml => "E001",
            Self::UnknownKey => "E002",
            Self::MissingKey => "E003",
            Self::BadValue => "E004",
            Self::BadName => "E005",
            Self::UnknownStep => "E006",
            Self::Cycle => "E007",
            Self::SecondPivot => "E008",
            Self::BadPivot => "E009",
            Self::BesidePivot => "E010",
            Self::NotUndoable => "E011",
            Self::NeverCompensated => "E012",
            Self::Expression => "E013",
            Self::NotAnAncestor => "E014",
            Self::MaybeNoOutput => "E015",
            Self::OutOfBounds => "E016",
            Self::Schema => "E017",
            Self::NotYetSupported => "E018",
            Self::NoItem => "E019",
            Self::WorkKind => "E020",
            Self::OnlyInput => "E021",
            Self::NeverApplies => "E022",
            Self::NoSuchValue => "E023",
            Self::BadOperand => "E024",
            Self::WrongKind => "E025",
            Self::Personal => "E026",
            Self::MayBeMissing => "E027",
        }
    }
}

/// One mistake in a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// A stable code, such as `E007`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}; {}", self.line, self.column, self.code, self.message, self.remedy)
    }
}

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct Diagnostics {
    told: Vec<Diagnostic>,
    /// What keeps nothing from being loaded that was published before anybody looked for it.
    new: Vec<Diagnostic>,
}

/// The most mistakes that are told at once.
const TOLD_MAX: usize = 100;

impl Diagnostics {
    pub(super) fn add(
        &mut self,
        at: Position,
        code: Code,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.told.push(diagnostic(at, code, message, remedy));
    }

    /// A mistake that earlier releases have let pass, of a code that is otherwise a bar to loading.
    pub(super) fn add_new(
        &mut self,
        at: Position,
        code: Code,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.new.push(diagnostic(at, code, message, remedy));
    }

    /// Tells what others tell, but for one kind.
    pub(super) fn take_in(&mut self, others: Self, but: Code) {
        self.told.extend(others.told.into_iter().filter(|told| told.code != but.text()));
    }

    /// Whether there are no mistakes but of these kinds, and such as earlier releases have let pass.
    pub(super) fn only(&self, codes: &[Code]) -> bool {
        self.told.iter().all(|told| codes.iter().any(|code| code.text() == told.code))
    }

    /// The mistakes in the order of the text, if there are any.
    pub(super) fn into_result(mut self) -> Result<(), Vec<Diagnostic>> {
        let mut all = self.told;
        all.append(&mut self.new);
        all.sort_by(|a, b| {
            (a.line, a.column, a.code, &a.message).cmp(&(b.line, b.column, b.code, &b.message))
        });
        all.dedup();
        all.truncate(TOLD_MAX);
        if all.is_empty() { Ok(()) } else { Err(all) }
    }
}

fn diagnostic(at: Position, code: Code, message: impl Into<String>, remedy: impl Into<String>) -> Diagnostic {
    let (message, remedy) = (message.into(), remedy.into());
    Diagnostic { code: code.text(), message, line: at.line, column: at.column, remedy }
}
