//! The lane: replies in batches, one statement a batch, commands published after it.

use std::collections::HashMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::Message as _;
use serde_json::value::RawValue;
use sqlx::PgConnection;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::database;
use crate::engine::{Publisher, Row};
use crate::kafka::{self, Reader};
use crate::saga::{Call, Command, Reply, STEPS, State, Status, now_ms};

/// As in `orchestrator/src/shard/lane.rs`: a batch of at least this many is load; delivered rows are deleted by the next
/// batch, or after this when there is none.
const LOAD_FROM: usize = 24;
const IDLE_FLUSH: Duration = Duration::from_millis(500);

const CLAIM: &str = "
update shard set epoch = epoch + 1, token = $1, seq = 0 where id = 0 returning epoch, next_offset";

/// The engine's statement, as far as something happens: fence, states, ends, history, outbox. What is looked up names its
/// shard, as there: else the fence is joined with the table before the rows are, which reads the whole shard.
const COMMIT: &str = "
with fenced as (
    update shard set seq = seq + 1, next_offset = $4
    where id = 0 and epoch = $1 and token = $2 and seq = $3
    returning id
), states as (
    update saga_state s set revision = n.revision, due = n.due, state = n.state
    from fenced f, unnest($5::int[], $6::uuid[], $7::int[], $8::bigint[], $9::bytea[])
        as n (shard, id, revision, due, state)
    where n.shard = f.id and s.shard = n.shard and s.id = n.id
), ended as (
    update saga s set status = n.status, final_state = n.state, ended_at = now()
    from fenced f, unnest($10::int[], $11::uuid[], $12::smallint[], $13::bytea[]) as n (shard, id, status, state)
    where n.shard = f.id and s.id = n.id
), gone as (
    delete from saga_state s using fenced f, unnest($10::int[], $11::uuid[]) as n (shard, id)
    where n.shard = f.id and s.shard = n.shard and s.id = n.id
), transitions as (
    insert into history (saga_id, revision, event)
    select n.saga, n.revision, n.event
    from fenced f, unnest($14::uuid[], $15::int[], $16::text[]) as n (saga, revision, event)
), sends as (
    insert into outbox (shard, saga_id, command)
    select f.id, n.saga, n.command from fenced f, unnest($17::uuid[], $18::smallint[]) as n (saga, command)
), sent as (
    delete from outbox o using fenced f, unnest($19::int[], $20::uuid[], $21::smallint[]) as n (shard, saga, command)
    where n.shard = f.id and o.shard = n.shard and o.saga_id = n.saga and o.command = n.command
)
select count(*) from fenced";

/// A saga in memory, with whoever waits for it.
pub(crate) struct Running {
    pub(crate) id: Uuid,
    pub(crate) state: State,
    pub(crate) input: Box<RawValue>,
    pub(crate) answer: oneshot::Sender<Status>,
}

impl Running {
    /// A command's bytes.
    pub(crate) fn command(&self, call: Call, now_ms: i64) -> anyhow::Result<Vec<u8>> {
        Ok(serde_json::to_vec(&Command::new(self.id, call, now_ms, &self.input))?)
    }

    /// Hands a command to its topic.
    pub(crate) fn publish(publisher: &Publisher, id: Uuid, call: Call, data: &[u8]) -> anyhow::Result<()> {
        let topic = kafka::commands(STEPS[call.step].worker, call.direction);
        kafka::send(publisher, &topic, id, data, Box::new((id, call.number())))
    }
}

/// What a batch writes, a column a vector.
#[derive(Default)]
struct Batch {
    states: (Vec<Uuid>, Vec<i32>, Vec<i64>, Vec<Vec<u8>>),
    ended: (Vec<Uuid>, Vec<i16>, Vec<Vec<u8>>),
    history: (Vec<Uuid>, Vec<i32>, Vec<String>),
    sends: Vec<(Uuid, Call)>,
}

/// The one lane of the one shard.
pub(crate) struct Lane {
    connection: PgConnection,
    reader: Reader,
    publisher: Arc<Publisher>,
    handovers: mpsc::Receiver<Running>,
    deliveries: mpsc::Receiver<anyhow::Result<Row>>,
    sagas: HashMap<Uuid, Running>,
    /// Rows that can go.
    sent: Vec<Row>,
    claim: (i64, Uuid),
    seq: i64,
    next_offset: i64,
    committed: Instant,
}

impl Lane {
    /// Serves the shard until something fails. What it asks of Postgres is answered on this thread.
    pub(crate) fn run(
        bootstrap: &str,
        publisher: Arc<Publisher>,
        handovers: mpsc::Receiver<Running>,
        deliveries: mpsc::Receiver<anyhow::Result<Row>>,
    ) -> anyhow::Result<()> {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
            let mut connection = database::connect("AMENDS_DATABASE_URL").await?;
            let token = Uuid::now_v7();
            let (epoch, next_offset): (i64, i64) =
                sqlx::query_as(CLAIM).bind(token).fetch_one(&mut connection).await?;
            let mut lane = Self {
                connection,
                reader: Reader::inbox(bootstrap, next_offset, LOAD_FROM)?,
                publisher,
                handovers,
                deliveries,
                sagas: HashMap::new(),
                sent: Vec::new(),
                claim: (epoch, token),
                seq: 0,
                next_offset,
                committed: Instant::now(),
            };
            loop {
                lane.turn().await?;
            }
        })
    }

    async fn turn(&mut self) -> anyhow::Result<()> {
        let replies = self.reader.batch(|message| {
            let data = message.payload().unwrap_or_default();
            Ok((message.offset(), std::str::from_utf8(data)?.to_owned()))
        })?;
        for delivered in self.deliveries.try_iter() {
            self.sent.push(delivered?);
        }
        // After the replies were read: a start is known before anything that answers it.
        self.sagas.extend(self.handovers.try_iter().map(|it| (it.id, it)));
        let flush = !self.sent.is_empty() && self.committed.elapsed() >= IDLE_FLUSH;
        if replies.is_empty() && !flush {
            return Ok(());
        }
        let now_ms = now_ms();
        let mut batch = Batch::default();
        for (offset, text) in replies {
            self.next_offset = offset + 1;
            self.take_in(text, now_ms, &mut batch)?;
        }
        self.commit(&batch).await?;
        for (id, call) in batch.sends {
            let data = self.sagas.get(&id).context("a saga that is gone")?.command(call, now_ms)?;
            Running::publish(&self.publisher, id, call, &data)?;
        }
        for id in &batch.ended.0 {
            if let Some(Running { state, answer, .. }) = self.sagas.remove(id) {
                // The client may have gone.
                let _ = answer.send(state.status);
            }
        }
        Ok(())
    }

    fn take_in(&mut self, text: String, now_ms: i64, batch: &mut Batch) -> anyhow::Result<()> {
        let reply: Reply<'_> = serde_json::from_str(&text).context("a reply")?;
        let id = reply.saga;
        let state = &mut self.sagas.get_mut(&id).context("a reply of no saga")?.state;
        let call = state.apply(&reply, now_ms)?;
        let bytes = serde_json::to_vec(state)?;
        match call {
            Some(call) => {
                batch.sends.push((id, call));
                batch.states.0.push(id);
                batch.states.1.push(state.revision);
                batch.states.2.push(state.due_ms(now_ms));
                batch.states.3.push(bytes);
            }
            None => {
                batch.ended.0.push(id);
                batch.ended.1.push(state.status as i16);
                batch.ended.2.push(bytes);
            }
        }
        batch.history.0.push(id);
        batch.history.1.push(state.revision);
        batch.history.2.push(text);
        Ok(())
    }

    async fn commit(&mut self, batch: &Batch) -> anyhow::Result<()> {
        let sent = std::mem::take(&mut self.sent);
        let shards = |rows: usize| vec![0_i32; rows];
        let fenced: i64 = sqlx::query_scalar(COMMIT)
            .bind(self.claim.0)
            .bind(self.claim.1)
            .bind(self.seq)
            .bind(self.next_offset)
            .bind(shards(batch.states.0.len()))
            .bind(&batch.states.0)
            .bind(&batch.states.1)
            .bind(&batch.states.2)
            .bind(&batch.states.3)
            .bind(shards(batch.ended.0.len()))
            .bind(&batch.ended.0)
            .bind(&batch.ended.1)
            .bind(&batch.ended.2)
            .bind(&batch.history.0)
            .bind(&batch.history.1)
            .bind(&batch.history.2)
            .bind(batch.sends.iter().map(|row| row.0).collect::<Vec<_>>())
            .bind(batch.sends.iter().map(|row| row.1.number()).collect::<Vec<_>>())
            .bind(shards(sent.len()))
            .bind(sent.iter().map(|row| row.0).collect::<Vec<_>>())
            .bind(sent.iter().map(|row| row.1).collect::<Vec<_>>())
            .fetch_one(&mut self.connection)
            .await?;
        anyhow::ensure!(fenced == 1, "fenced");
        self.seq += 1;
        self.committed = Instant::now();
        Ok(())
    }
}
