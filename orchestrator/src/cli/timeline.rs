//! A saga as a timeline for people: a line a transition, then where it stands and what happens next.
//!
//! Pure text from the API's answers, so that goldens hold it. It must not ask anything itself.

use chrono::{DateTime, Utc};
use saga_core::definition::item_name;

use super::style::{Style, Tone, amount, span};
use crate::api::view::{Failure, Happening, HistoryEvent, LetterLine, SagaView, StepView};

/// The widest that the column of steps grows.
const STEP_WIDTH_MAX: usize = 28;

/// Draws one saga.
#[derive(Clone, Copy, Debug)]
pub struct Timeline<'a> {
    saga: &'a SagaView,
    style: Style,
    width: usize,
}

impl<'a> Timeline<'a> {
    /// A timeline of a saga. Its steps must be known; its state may change meanwhile.
    pub fn new(saga: &'a SagaView, style: Style) -> Self {
        let widest =
            saga.steps.iter().map(|it| item_name(&it.step, it.item).chars().count()).max().unwrap_or(0);
        Self { saga, style, width: widest.clamp(12, STEP_WIDTH_MAX) }
    }

    /// What it is.
    pub fn header(&self) -> String {
        let it = &self.saga.summary;
        let mut parts = vec![self.style.paint(Tone::Strong, &it.definition), it.saga.to_string()];
        parts.extend(it.key.as_ref().map(|key| format!("key {key}")));
        parts.extend(it.amount.map(|number| amount(number, it.currency.as_deref())));
        parts.extend(it.parent.map(|parent| format!("child of {parent}")));
        parts.extend(it.labels.iter().map(|(name, value)| format!("{name}:{value}")));
        parts.join("  ")
    }

    /// One transition; nothing for one that people need not see.
    pub fn line(&self, event: &HistoryEvent) -> Option<String> {
        let it = &event.what;
        let at = format!("+{}", span((it.at - self.saga.summary.started_at).num_milliseconds()));
        let (tone, shape, step, what) = self.words(it)?;
        let step = format!("{step:<width$}", width = self.width);
        let line =
            format!("{at:>12}  {} {}  {what}", self.style.paint(tone, shape), self.style.paint(tone, &step));
        Some(line.trim_end().to_owned())
    }

    fn words(&self, it: &Happening) -> Option<(Tone, &'static str, String, String)> {
        let step = it.step.as_deref().map(|step| item_name(step, it.item)).unwrap_or_default();
        let by = it.who.as_deref().map(|who| format!("by {who}")).unwrap_or_default();
        let why = it.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        Some(match it.kind.as_str() {
            "start" => (Tone::Strong, "▸", "started".to_owned(), String::new()),
            "answer" | "child_ended" => {
                let (tone, shape, what) = self.answer(it);
                (tone, shape, step, what)
            }
            // What fell due shows in what comes of it; the event does not name it.
            "due" => (Tone::Faint, "⏲", "timer".to_owned(), "a wait, retry or timeout fell due".to_owned()),
            "signal" => (Tone::Good, "▸", "signal".to_owned(), it.signal.clone().unwrap_or_default()),
            "operator" => {
                let action = it.action.clone().unwrap_or_default();
                let step = if step.is_empty() { action.clone() } else { step };
                (Tone::Strong, "▸", step, format!("operator: {action} {by}{why}"))
            }
            "hold" => (Tone::Faint, "▸", "hold".to_owned(), "a hold began or ended".to_owned()),
            "log_lost" => return None,
            "parent_compensates" => {
                (Tone::Back, "↶", "parent".to_owned(), "the parent saga undoes it".to_owned())
            }
            kind => (Tone::Human, "■", kind.to_owned(), it.detail.clone().unwrap_or_default()),
        })
    }

    fn answer(&self, it: &Happening) -> (Tone, &'static str, String) {
        let back = it.direction.as_deref() == Some("compensate");
        let work = self.work(it.step.as_deref().unwrap_or_default(), back);
        let tries = match (it.attempt, it.round) {
            (Some(attempt), Some(round)) if attempt > 1 || round > 1 => {
                let round = if round > 1 { format!(", round {round}") } else { String::new() };
                format!(" (try {attempt}{round})")
            }
            _ => String::new(),
        };
        let why = it.error.as_ref().map(|error| format!(": {}", spell(error))).unwrap_or_default();
        match (it.outcome.as_deref().unwrap_or_default(), back) {
            ("succeeded", false) => {
                let late = it.detail.as_deref().map(|it| format!("; {it}")).unwrap_or_default();
                (Tone::Good, "✓", format!("{work}{tries}{late}"))
            }
            ("succeeded", true) => (Tone::Back, "⤺", format!("{work}{tries}")),
            ("rejected", false) => (Tone::Retrying, "✗", format!("{work} rejected{tries}{why}")),
            ("rejected", true) => (Tone::Human, "■", format!("{work} rejected{tries}{why}")),
            ("retryable", _) => (Tone::Retrying, "↻", format!("{work} to be retried{tries}{why}")),
            (outcome, _) => (Tone::Human, "■", format!("{work} {outcome}{tries}{why}")),
        }
    }

    /// `worker.action`, or `worker.compensation`.
    fn work(&self, step: &str, back: bool) -> String {
        let Some(view) = self.saga.steps.iter().find(|it| it.step == step) else { return String::new() };
        // A child saga is undone as a whole, by no action of its own.
        let undo = view.compensation.as_deref().filter(|_| back);
        let action = undo.unwrap_or(view.action.as_str());
        view.worker.as_deref().map_or_else(|| action.to_owned(), |worker| format!("{worker}.{action}"))
    }

    /// Where it stands, why, and what happens next.
    pub fn footer(&self, now: DateTime<Utc>) -> String {
        let it = self.saga;
        let until = it.summary.ended_at.unwrap_or(now);
        let took = span((until - it.summary.started_at).num_milliseconds());
        let mut lines = Vec::new();
        let mut first = format!("{:>12}  {}", "", self.style.status(&it.summary.status));
        let word = if it.summary.ended_at.is_some() { "after" } else { "for" };
        first.push_str(&format!(" {word} {took}"));
        if let Some(error) = &it.summary.error {
            let step = error.step.as_deref().map(|step| format!("{step}: ")).unwrap_or_default();
            first.push_str(&format!(", because {step}{}", spell(error)));
        }
        lines.push(first);
        if it.summary.ended_at.is_none() {
            lines.extend(it.steps.iter().filter_map(|step| self.open(step, now)));
            lines.extend(self.next(now));
        }
        for anomaly in &it.anomalies {
            let money = anomaly.amount.map(|it| format!(" {}", amount(it, anomaly.currency.as_deref())));
            let text =
                format!("! anomaly: {} {}{}", anomaly.kind, anomaly.effect_key, money.unwrap_or_default());
            lines.push(format!("{:>12}  {}", "", self.style.paint(Tone::Human, &text)));
        }
        lines.join("\n")
    }

    /// A step that something is expected of.
    fn open(&self, it: &StepView, now: DateTime<Utc>) -> Option<String> {
        let (track, back) = match (&it.compensate, &it.execute) {
            (Some(track), _) => (track, true),
            (None, Some(track)) => (track, false),
            (None, None) => return None,
        };
        let (tone, shape) = match track.state.as_str() {
            "running" if back => (Tone::Back, "↶"),
            "running" => (Tone::Good, "◔"),
            "unknown" => (Tone::Retrying, "▲"),
            "retrying" => (Tone::Retrying, "↻"),
            "waiting" | "held" => (Tone::Good, "⏲"),
            _ => return None,
        };
        let word = if back && track.state == "running" { "compensating" } else { track.state.as_str() };
        let since =
            track.last_sent_at.map(|at| format!(", sent {} ago", span((now - at).num_milliseconds())));
        let tries = track.attempts_max.map(|max| format!(", try {} of {max}", track.charged.max(1)));
        let step = format!("{:<width$}", item_name(&it.step, it.item), width = self.width);
        let head = self.style.paint(tone, &format!("{shape} {step}"));
        let child = it.child.map(|child| format!(" for saga {child}"));
        let (since, tries, child) =
            (since.unwrap_or_default(), tries.unwrap_or_default(), child.unwrap_or_default());
        Some(format!("{:>12}  {head}  {word}{child}{since}{tries}", ""))
    }

    fn next(&self, now: DateTime<Utc>) -> Option<String> {
        let next = self.saga.next.as_ref()?;
        let what = match next.what.as_str() {
            "retry" => "the next try",
            "timeout" => "the timeout",
            "wait_ends" => "the end of the wait",
            _ => "the deadline",
        };
        let of = next.step.as_deref().map(|step| format!(" of {step}")).unwrap_or_default();
        let left_ms = (next.at - now).num_milliseconds();
        let when = if left_ms > 0 { format!("in {}", span(left_ms)) } else { "now".to_owned() };
        Some(format!("{:>12}  {}", "", self.style.paint(Tone::Faint, &format!("next: {what}{of} {when}"))))
    }

    /// A dead letter.
    fn letter(&self, it: &LetterLine) -> String {
        let at = format!("+{}", span((it.at - self.saga.summary.started_at).num_milliseconds()));
        let settled = if it.state == "kept" { String::new() } else { format!(" ({} since)", it.state) };
        let head = format!("{:<width$}", "dead letter", width = self.width);
        let head = format!("{} {}", self.style.paint(Tone::Human, "■"), self.style.paint(Tone::Human, &head));
        format!("{at:>12}  {head}  {}: {}{settled}", it.id, it.reason)
    }

    /// All of it, dead letters where they came.
    pub fn whole(&self, history: &[HistoryEvent], letters: &[LetterLine], now: DateTime<Utc>) -> String {
        let mut lines = vec![self.header()];
        let mut letters = letters.iter().peekable();
        for event in history {
            while let Some(letter) = letters.next_if(|it| it.at < event.what.at) {
                lines.push(self.letter(letter));
            }
            lines.extend(self.line(event));
        }
        lines.extend(letters.map(|it| self.letter(it)));
        lines.push(self.footer(now));
        lines.join("\n")
    }
}

fn spell(failure: &Failure) -> String {
    if failure.message.is_empty() || failure.message == failure.code {
        failure.code.clone()
    } else {
        format!("{} ({})", failure.code, failure.message)
    }
}
