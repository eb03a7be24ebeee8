//! What operators ask, over the API, and how long each answer takes.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

/// What is asked. `N` is a number of a saga, another one each time; `CURSOR`, `AT` and `FAILURE` stand for what [`Known`] has.
pub(crate) const QUESTIONS: &[(&str, &str)] = &[
    ("everything", "/sagas"),
    ("everything, a page deep down", "/sagas?after=CURSOR"),
    ("status: running", "/sagas?status=running"),
    ("status: parked", "/sagas?status=parked"),
    ("status: completed", "/sagas?status=completed"),
    ("status: compensated", "/sagas?status=compensated"),
    ("status: abandoned", "/sagas?status=abandoned"),
    ("definition", "/sagas?definition=found-a"),
    ("definition, rare", "/sagas?definition=found-c"),
    ("definition and status", "/sagas?definition=found-b&status=compensated"),
    ("version", "/sagas?version=VERSION"),
    ("version and status", "/sagas?version=VERSION&status=parked"),
    ("health: on time", "/sagas?health=on_time"),
    ("health: late", "/sagas?health=late"),
    ("health: queued", "/sagas?health=queued"),
    ("health: waiting", "/sagas?health=waiting"),
    ("health: retrying", "/sagas?health=retrying"),
    ("health: parked", "/sagas?health=parked"),
    ("health: parked, rare definition", "/sagas?health=parked&definition=found-c"),
    ("step", "/sagas?step=charge"),
    ("step and status", "/sagas?step=charge&status=parked"),
    ("error code", "/sagas?error_code=PROVIDER_DOWN"),
    ("error code, rare", "/sagas?error_code=CODE_0"),
    (
        "error code, step, status, definition",
        "/sagas?error_code=CARD_REFUSED&step=done&status=parked&definition=found-b",
    ),
    ("worker", "/sagas?worker=bank"),
    ("worker and status", "/sagas?worker=bank&status=running"),
    ("failure group", "/sagas?failure=FAILURE"),
    ("failure group and status", "/sagas?failure=FAILURE&status=parked"),
    ("key", "/sagas?key=order-N"),
    ("text: an id", "/sagas?text=CURSOR"),
    ("text: the beginning of a key", "/sagas?text=order-0000"),
    ("text: of an error, frequent", "/sagas?text=refused"),
    ("text: of an error, one saga's", "/sagas?text=order%20N0"),
    ("text: of a note", "/sagas?text=receipt"),
    ("text: nothing", "/sagas?text=nowhere%20to%20be%20found"),
    ("text and status", "/sagas?text=refused&status=parked"),
    ("owner", "/sagas?owner=operator-7"),
    ("label, frequent", "/sagas?label=region:seoul"),
    ("label, rare", "/sagas?label=campaign:winter"),
    ("label and status", "/sagas?label=region:seoul&status=parked"),
    ("labels that begin so", "/ops/labels?begin=region:"),
    ("time range", "/sagas?started_after=AT&started_before=UNTIL"),
    ("time range and status", "/sagas?started_after=AT&started_before=UNTIL&status=compensated"),
    ("time range and error code", "/sagas?started_after=AT&started_before=UNTIL&error_code=CARD_REFUSED"),
    ("age", "/sagas?older_than_s=864000"),
    ("age and status", "/sagas?older_than_s=864000&status=running"),
    ("age and health", "/sagas?older_than_s=864000&health=late"),
    ("replays of a saga", "/sagas?replay_of=CURSOR"),
    ("counts: everything", "/ops/counts"),
    ("counts: definition", "/ops/counts?definition=found-a"),
    ("counts: step", "/ops/counts?step=charge"),
    ("counts: error code", "/ops/counts?error_code=PROVIDER_DOWN"),
    ("counts: worker", "/ops/counts?worker=bank"),
    ("counts: text", "/ops/counts?text=refused"),
    ("counts: label, rare", "/ops/counts?label=campaign:winter"),
    ("counts: time range", "/ops/counts?started_after=AT&started_before=UNTIL"),
    ("overview", "/ops/overview"),
    ("parked queue, by amount", "/ops/parked"),
    ("parked queue, by age", "/ops/parked?sort=age"),
    ("parked queue, of an owner", "/ops/parked?owner=operator-7"),
    ("parked queue, rare definition", "/ops/parked?definition=found-c"),
    ("failure groups", "/ops/failures"),
    ("failure groups of a definition", "/ops/failures?definition=found-c"),
    ("one failure group", "/ops/failures/FAILURE"),
    ("anomalies", "/ops/anomalies"),
    ("dead letters", "/ops/dead-letters"),
    ("bulk jobs", "/ops/jobs"),
    ("audit of a person", "/ops/audit?who=operator-7"),
    ("audit of a target", "/ops/audit?target=target-4711"),
    ("audit of a deed", "/ops/audit?what=saga.skip"),
];

/// What the questions need to know.
#[derive(Debug)]
pub(crate) struct Known {
    pub sagas: i64,
    pub cursor: String,
    pub failure: String,
    pub version: String,
    pub at: String,
    pub until: String,
}

impl Known {
    /// The path of a question, for the round with this number.
    pub(crate) fn spell(&self, path: &str, round: i64) -> String {
        let n = (round * 7_919_331).rem_euclid(self.sagas.max(1));
        path.replace("order-N", &format!("order-{n:09}"))
            .replace("%20N0", &format!("%20{n}"))
            .replace("CURSOR", &self.cursor)
            .replace("FAILURE", &self.failure)
            .replace("VERSION", &self.version)
            .replace("AT", &self.at)
            .replace("UNTIL", &self.until)
    }
}

/// The answers' times to one question, in ms, sorted; and how many rows the last answer had.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    pub ms: Vec<f64>,
    pub rows: usize,
}

impl Times {
    pub(crate) fn percentile_ms(&self, share: f64) -> f64 {
        bench::run::percentile(&self.ms, share)
    }
}

/// Asks one question.
pub(crate) async fn ask(http: &reqwest::Client, url: &str, path: &str) -> anyhow::Result<(Duration, usize)> {
    let began = Instant::now();
    let answer = http.get(format!("{url}{path}")).send().await?;
    let status = answer.status();
    let body: Value = answer.json().await.with_context(|| format!("{path}: {status}"))?;
    anyhow::ensure!(status.is_success(), "{path}: {status}: {body}");
    let rows = body.as_object().and_then(|it| it.values().find_map(Value::as_array)).map_or(0, Vec::len);
    Ok((began.elapsed(), rows))
}
