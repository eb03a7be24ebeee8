//! The simulated database and Postgres, held to the same script: what the simulator proves is worth no more than the
//! likeness of the two.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use saga_core::{Millis, State};
use saga_protocol::SagaId;
use test_support::{eventually, fresh_database};
use uuid::Uuid;

use super::database::Simulated;
use crate::shard::Claims;
use crate::shard::stuck::Stuck;
use crate::store::batch::{AnomalyRow, Batch, Fence};
use crate::store::children::ChildStart;
use crate::store::claim::Claimed;
use crate::store::start::NewSaga;
use crate::store::sweep::Look;
use crate::store::{Database, Purpose, Session, Store, StoreError};

fn id(n: u128) -> Uuid {
    Uuid::from_u128((1_800_000_000_000 << 80) | (7 << 76) | (1 << 63) | n)
}

fn state(revision: u32) -> String {
    let mut state = State::new(Millis(1), None, None);
    state.revision = revision;
    serde_json::to_string(&state).unwrap()
}

fn saga(n: u128, shard: i32, key: &str, body: u8) -> NewSaga {
    NewSaga {
        id: id(n),
        shard,
        definition: 1,
        key: Some(key.to_owned()),
        principal: "ann".to_owned(),
        amount: None,
        currency: None,
        labels: None,
        started_ms: 1,
        state: state(1),
        status: 0,
        due: Some(i64::try_from(n).unwrap()),
        event: "{}".to_owned(),
        payload: format!("{{\"n\":{n}}}"),
        inputs: None,
        commands: vec!["0x1:1".to_owned(), "1x1:1".to_owned()],
        keys: vec![("key".to_owned(), key.to_owned())],
        body_hash: vec![body],
        replay_of: None,
    }
}

/// What was seen, in words: the same of both.
#[derive(Default)]
struct Seen(Vec<String>);

impl Seen {
    fn note(&mut self, what: &str, value: impl std::fmt::Debug) {
        self.0.push(format!("{what}: {value:?}"));
    }

    async fn loads(&mut self, what: &str, session: &mut dyn Session, keys: &[(i32, Uuid)]) {
        let found = session.load(keys).await.unwrap();
        let found: BTreeMap<_, _> = found
            .into_iter()
            .map(|(id, it)| {
                let state = it.state.map(|state| state.revision);
                let outputs: BTreeMap<_, _> = it.payloads.by_revision.into_iter().collect();
                (
                    id,
                    (
                        it.shard,
                        it.definition,
                        it.ended,
                        state,
                        it.payloads.input,
                        outputs,
                        it.payloads.inputs,
                    ),
                )
            })
            .collect();
        self.note(what, found);
    }

    /// Children: started once, refused for their keys, taken over by later rounds; and an ended saga runs again.
    async fn children(&mut self, session: &mut dyn Session, starts: &mut dyn Session, claim: &Claimed) {
        let start = |n, key: &str, parent| ChildStart {
            row: NewSaga { principal: format!("saga:{parent}/kid"), ..saga(n, 0, key, 7) },
            parent: id(parent),
            told: (n % 2 == 0).then(|| ((id(n + 300), format!("{{\"told\":{n}}}")), Some("7".to_owned()))),
            refused: (id(n + 100), format!("{{\"refused\":{n}}}")),
            abandoned: (id(n + 200), format!("{{\"abandoned\":{n}}}")),
        };
        let batch = Batch {
            fences: vec![fence(claim, 2, 10)],
            children: vec![
                start(20, "kid", 1),
                start(21, "kid", 1),
                start(22, "one", 1),
                start(23, "other", 1),
            ],
            reopened: vec![(0, id(3), 5, Some(3), state(5), 0)],
            ..Batch::default()
        };
        self.note("children", session.commit(&batch).await.unwrap());
        // A round later; the same again; a stale fence.
        let later = Batch {
            fences: vec![fence(claim, 3, 10)],
            children: vec![start(24, "kid", 1), start(23, "other", 1), start(25, "other", 2)],
            ended: vec![(0, id(20), 4, 1, state(4))],
            ..Batch::default()
        };
        self.note("later ones", session.commit(&later).await.unwrap());
        let stale = Batch { children: vec![start(26, "stale", 1)], ..later.clone() };
        self.note("stale ones", session.commit(&stale).await.unwrap());
        let again = Batch {
            fences: vec![fence(claim, 4, 10)],
            children: vec![start(20, "x", 1)],
            ..Batch::default()
        };
        self.note("an abandoned one again", session.commit(&again).await.unwrap());
        self.loads("children", session, &(20..=26).map(|n| (0, id(n))).collect::<Vec<_>>()).await;
        self.loads("the reopened one", session, &[(0, id(3))]).await;
        let taken = starts.start(&[saga(30, 0, "kid", 7), saga(31, 0, "other", 7)]).await.unwrap().taken;
        let owners: BTreeMap<_, _> =
            taken.into_iter().map(|(id, it)| (id, (it.saga, it.principal))).collect();
        self.note("whose keys", owners);
        let mut timers = session.timers(0).await.unwrap();
        timers.sort();
        self.note("timers with children", timers);
    }

    async fn sweeps(&mut self, what: &str, database: &dyn Database, left_out: &[Uuid]) {
        let swept = database.sweep(look(left_out)).await.unwrap();
        let (mut rows, mut mail) = (swept.outbox, swept.mail);
        rows.sort();
        mail.sort_by_key(|it| it.id);
        let mail: Vec<_> =
            mail.into_iter().map(|it| (it.id, it.shard, it.saga, it.kind, it.body, it.payload)).collect();
        let claims: BTreeMap<_, _> =
            swept.claims.into_iter().map(|(shard, epoch, token)| (shard, (epoch, token.is_some()))).collect();
        self.note(what, (rows, mail, claims));
    }
}

fn look(left_out: &[Uuid]) -> Look {
    let (claims, stuck) = (Claims::default(), Stuck::default());
    (0..2).for_each(|shard| claims.set(shard, Some(Uuid::nil())));
    left_out.iter().for_each(|saga| stuck.insert(SagaId(*saga)));
    Look::begin(&claims, &stuck, None)
}

fn fence(claimed: &Claimed, seq: i64, next_offset: i64) -> Fence {
    Fence { shard: claimed.shard, epoch: claimed.epoch, token: claimed.token, seq, next_offset }
}

async fn script(database: &dyn Database) -> Vec<String> {
    let mut seen = Seen::default();
    let mut session = database.session(Purpose::Lane).await.unwrap();
    let session = &mut *session;
    let mut first = session.claim("a", &[0, 1]).await.unwrap();
    first.sort_by_key(|it| it.shard);
    seen.note(
        "claimed",
        first.iter().map(|it| (it.shard, it.epoch, it.next_offset, it.log.clone())).collect::<Vec<_>>(),
    );
    seen.note("begin a log", session.begin_log(&first[0], 5).await.unwrap());
    session.know_log((0, first[0].epoch, first[0].token), ("c", "t")).await.unwrap();

    // Starts: two groups, the second with a key that is taken.
    let mut starts = database.session(Purpose::Starts).await.unwrap();
    let started =
        starts.start(&[saga(1, 0, "one", 1), saga(2, 1, "two", 2), saga(3, 0, "three", 3)]).await.unwrap();
    seen.note("started", (started.fresh.len(), started.taken.len()));
    let started = starts.start(&[saga(4, 0, "one", 9), saga(5, 0, "five", 5)]).await.unwrap();
    let taken: BTreeMap<_, _> = started
        .taken
        .iter()
        .map(|(id, it)| (*id, (it.saga, it.body_hash.clone(), it.principal.clone())))
        .collect();
    seen.note("taken", (started.fresh, taken));
    let mut existing: Vec<_> = database.existing(&[id(1), id(4), id(5)]).await.unwrap().into_iter().collect();
    existing.sort();
    seen.note("existing", existing);
    seen.loads("new ones", session, &[(0, id(1)), (1, id(2)), (1, id(3)), (0, id(4))]).await;

    // Shard 1 is somebody else's by now: it writes nothing, and shard 0 does.
    let second = session.claim("b", &[1]).await.unwrap();
    seen.note("claimed again", (second[0].epoch, second[0].next_offset));
    seen.note("a stale log", session.begin_log(&first[1], 9).await.unwrap());
    let row = |shard, n, revision| {
        (
            shard,
            id(n),
            revision,
            "{\"e\":1}".to_owned(),
            Some("{\"out\":1}".to_owned()),
            Some("{\"0x\":7}".to_owned()),
        )
    };
    let batch = Batch {
        fences: vec![fence(&first[0], 0, 7), fence(&first[1], 0, 7)],
        states: vec![(0, id(1), 2, None, state(2)), (1, id(2), 2, None, state(2))],
        history: vec![row(0, 1, 2), row(1, 2, 2)],
        // One that is there already, and new ones.
        sends: vec![(0, id(1), "0x1:1".into()), (0, id(1), "2x1:1".into()), (1, id(2), "2x1:1".into())],
        sent: vec![(0, id(3), "1x1:1".into()), (1, id(2), "0x1:1".into())],
        mail: vec![
            (0, id(90), id(1), "event".into(), "{}".into(), None),
            (1, id(91), id(2), "event".into(), "{}".into(), None),
        ],
        anomalies: vec![AnomalyRow {
            shard: 1,
            saga: id(2),
            effect_key: "k".into(),
            kind: "late".into(),
            at_ms: 1,
            amount: None,
            currency: None,
            output: None,
        }],
        ..Batch::default()
    };
    seen.note("passed", session.commit(&batch).await.unwrap());
    seen.note("the same again", session.commit(&batch).await.unwrap());
    seen.note("offsets", (database.next_offset(0).await.unwrap(), database.next_offset(1).await.unwrap()));
    seen.loads("after the batch", session, &[(0, id(1)), (1, id(2))]).await;
    // A revision twice is the data's fault, and nothing of the batch is written.
    let twice =
        Batch { fences: vec![fence(&first[0], 1, 8)], history: vec![row(0, 1, 2)], ..Batch::default() };
    seen.note("a revision twice", matches!(session.commit(&twice).await, Err(StoreError::Data(_))));
    seen.note("the offset", database.next_offset(0).await.unwrap());

    // An end, and mail that is taken in.
    let end = Batch {
        fences: vec![fence(&first[0], 1, 9)],
        ended: vec![(0, id(3), 3, 1, state(4))],
        statuses: vec![(0, id(1), 1)],
        taken: vec![(0, id(90), "applied".into(), None)],
        ..Batch::default()
    };
    seen.note("ended", session.commit(&end).await.unwrap());
    seen.loads("the ended one", session, &[(0, id(3)), (1, id(3))]).await;
    let mut timers = session.timers(0).await.unwrap();
    timers.sort();
    seen.note("timers", timers);
    seen.children(&mut *session, &mut *starts, &first[0]).await;
    // Young rows belong to whoever has committed them; the youngest is a moment younger than the oldest.
    eventually("rows grow old", 10_000, async || !database.sweep(look(&[])).await.unwrap().outbox.is_empty())
        .await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    seen.sweeps("old", database, &[]).await;
    seen.sweeps("without one", database, &[id(2)]).await;
    seen.0
}

#[tokio::test]
async fn the_simulated_database_is_like_postgres() {
    let fresh = fresh_database().await;
    let store = Store::connect(&fresh.url, 3).await.unwrap();
    store.migrate(2, chrono::Utc::now()).await.unwrap();
    let (real, simulated) = (script(&store).await, script(&Simulated::new(1, 2)).await);
    assert_eq!(real, simulated);
    assert!(real.len() > 15, "{real:#?}");
}

#[tokio::test]
async fn a_sweep_goes_on_behind_the_rows_that_it_has_seen() {
    let fresh = fresh_database().await;
    let store = Store::connect(&fresh.url, 2).await.unwrap();
    store.migrate(2, chrono::Utc::now()).await.unwrap();
    // One transaction writes them all at the same instant.
    let rows = "insert into outbox (shard, saga_id, command, created_at)
        select 0, gen_random_uuid(), '0x1:1', timestamptz '2026-01-01' from generate_series(1, 1005)";
    sqlx::query(rows).execute(store.hot()).await.unwrap();
    let mut look = look(&[]);
    let first = store.sweep(look.clone()).await.unwrap();
    look.rows_from = first.rows_to;
    let rest = store.sweep(look).await.unwrap();
    assert_eq!((first.outbox.len(), rest.outbox.len()), (1_000, 5));
    assert!(rest.rows_to.is_none() && !first.outbox.contains(&rest.outbox[0]));
}
