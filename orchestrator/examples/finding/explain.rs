//! How Postgres finds what a question asks for: the plan of its longest statement, as `auto_explain` tells it to the
//! client. Owns no measurement: a plan that is watched takes longer.

use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::Mutex;
use sqlx::{AssertSqlSafe, PgPool};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// What the server has said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plans(Arc<Mutex<Vec<String>>>);

impl Plans {
    /// Has every later connection to this database tell its plans, and listens.
    pub(crate) async fn listen(pool: &PgPool, database: &str) -> anyhow::Result<Self> {
        for setting in [
            "session_preload_libraries = 'auto_explain'",
            "auto_explain.log_min_duration = 0",
            "auto_explain.log_analyze = on",
            "auto_explain.log_level = 'notice'",
        ] {
            let sql = format!("alter database {database} set {setting}");
            sqlx::query(AssertSqlSafe(sql)).execute(pool).await?;
        }
        let plans = Self::default();
        tracing_subscriber::registry().with(plans.clone()).try_init()?;
        Ok(plans)
    }

    /// The plan of the longest statement that only reads, of those since the last time.
    pub(crate) fn longest(&self) -> Option<String> {
        let heard = std::mem::take(&mut *self.0.lock());
        let reads = heard.iter().filter_map(|text| read(text));
        reads.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(ms, plan)| format!("{ms:.1} ms\n{plan}"))
    }
}

/// How long a statement took, in ms, and its plan without estimates.
fn read(text: &str) -> Option<(f64, String)> {
    let ms = text.strip_prefix("duration: ")?.split(' ').next()?.parse().ok()?;
    let lines = text.lines().skip_while(|line| !line.contains("(cost="));
    let mut plan = String::new();
    for line in lines {
        if ["Insert on", "Update on", "Delete on"].iter().any(|it| line.contains(it)) {
            return None;
        }
        match line.split_once("  (cost=") {
            Some((what, numbers)) => {
                let actual =
                    numbers.split_once(") (").map_or("never executed", |it| it.1.trim_end_matches(')'));
                let _ = writeln!(plan, "{what}  ({})", actual.trim_start_matches("actual "));
            }
            None => {
                let _ = writeln!(plan, "{line}");
            }
        }
    }
    (!plan.is_empty()).then_some((ms, plan))
}

impl<S: Subscriber> Layer<S> for Plans {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "sqlx::postgres::notice" {
            let mut said = Said(String::new());
            event.record(&mut said);
            self.0.lock().push(said.0);
        }
    }
}

struct Said(String);

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
