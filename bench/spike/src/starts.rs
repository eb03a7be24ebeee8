//! Starts: a group of sagas with their states, histories and first commands in one commit.

use std::sync::{Arc, mpsc as std_mpsc};
use std::time::Duration;

use serde_json::value::RawValue;
use sqlx::PgConnection;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::engine::Publisher;
use crate::lane::Running;
use crate::saga::{Call, Order, State, Status, now_ms};

/// As in `orchestrator/src/start`: starts of one transaction at most, from how many on the next group waits for company,
/// and for how long.
const GROUP_MAX: usize = 512;
const LOAD_FROM: usize = 8;
const LINGER: Duration = Duration::from_millis(8);

const START: &str = "
with rows as (
    select * from unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[], $7::text[],
        $8::smallint[]) as n (id, key, amount, started_ms, due, state, input, command)
), sagas as (
    insert into saga (id, shard, definition, status, started_at, key, amount)
    select id, 0, 1, 0, to_timestamp(started_ms / 1000.0), key, amount from rows
), states as (
    insert into saga_state (shard, id, revision, due, state) select 0, id, 1, due, state from rows
), transitions as (
    insert into history (saga_id, revision, event, payload) select id, 1, 'start', input from rows
)
insert into outbox (shard, saga_id, command) select 0, id, command from rows";

/// A saga that is to be started.
pub(crate) struct Pending {
    pub(crate) running: Running,
    first: Call,
    key: String,
    amount: i64,
    now_ms: i64,
}

impl Pending {
    /// A saga of an order; `answer` is told how it ended.
    pub(crate) fn new(order: Order, input: Box<RawValue>, answer: oneshot::Sender<Status>) -> Self {
        let now_ms = now_ms();
        let (state, first) = State::begin(now_ms);
        let running = Running { id: Uuid::now_v7(), state, input, answer };
        Self { running, first, key: order.order_id, amount: order.payment.amount, now_ms }
    }
}

/// Commits groups, hands the sagas over to the lane, and publishes their first commands.
pub(crate) struct Group {
    pub(crate) connection: PgConnection,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) hand_over: std_mpsc::Sender<Running>,
}

impl Group {
    /// Runs until nobody can start sagas any more.
    pub(crate) async fn run(mut self, mut pending: mpsc::Receiver<Pending>) -> anyhow::Result<()> {
        let mut last = 0;
        while let Some(first) = pending.recv().await {
            if last >= LOAD_FROM && pending.len() < last {
                tokio::time::sleep(LINGER).await;
            }
            let mut group = vec![first];
            while group.len() < GROUP_MAX
                && let Ok(next) = pending.try_recv()
            {
                group.push(next);
            }
            last = group.len();
            self.commit(group).await?;
        }
        Ok(())
    }

    async fn commit(&mut self, group: Vec<Pending>) -> anyhow::Result<()> {
        let states: Result<Vec<Vec<u8>>, _> =
            group.iter().map(|it| serde_json::to_vec(&it.running.state)).collect();
        sqlx::query(START)
            .bind(group.iter().map(|it| it.running.id).collect::<Vec<_>>())
            .bind(group.iter().map(|it| it.key.as_str()).collect::<Vec<_>>())
            .bind(group.iter().map(|it| it.amount).collect::<Vec<_>>())
            .bind(group.iter().map(|it| it.now_ms).collect::<Vec<_>>())
            .bind(group.iter().map(|it| it.running.state.due_ms(it.now_ms)).collect::<Vec<_>>())
            .bind(states?)
            .bind(group.iter().map(|it| it.running.input.get()).collect::<Vec<_>>())
            .bind(group.iter().map(|it| it.first.number()).collect::<Vec<_>>())
            .execute(&mut self.connection)
            .await?;
        let mut records = Vec::with_capacity(group.len());
        for Pending { running, first, now_ms, .. } in group {
            records.push((running.id, first, running.command(first, now_ms)?));
            // Before anything is published that could be answered.
            self.hand_over.send(running)?;
        }
        for (id, first, data) in records {
            Running::publish(&self.publisher, id, first, &data)?;
        }
        Ok(())
    }
}
