//! Many pipelines on few SKUs, on a real Postgres: nothing is oversold, nothing is lost, nobody
//! deadlocks, whatever the order.
#![allow(clippy::unwrap_used)]

mod common;

use common::{book, database, execute, new_saga, release, run, seed, summary, units};
use saga_protocol::SagaId;
use serde_json::{Value, json};
use sqlx::PgPool;
use worker_stock::commit::Commit;
use worker_stock::reserve::Reserve;

const SKUS: [&str; 4] = ["cup", "pot", "tea", "tin"];
const STOCK: i64 = 300;
const PIPELINES: u64 = 8;
const ROUNDS: u64 = 12;
const BATCH: u64 = 10;

/// A small generator (SplitMix64), so that a failure's seed repeats its commands.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What one pipeline believes that it did, in units of each SKU.
#[derive(Default)]
struct Did {
    sold: [i64; 4],
    held: [i64; 4],
    refused: u64,
}

async fn pipeline(pool: PgPool, seed: u64) -> Did {
    let mut random = Random(seed);
    let mut did = Did::default();
    let mut open: Vec<(SagaId, Value, [i64; 4])> = Vec::new();
    for _ in 0..ROUNDS {
        let wanted: Vec<_> = (0..BATCH).map(|_| wish(&mut random)).collect();
        let batch: Vec<_> =
            wanted.iter().map(|(saga, input, _)| execute(*saga, "reserve", input.clone())).collect();
        for (wish, answer) in wanted.into_iter().zip(summary(&run(&pool, &Reserve, &batch).await)) {
            match answer.as_str() {
                "ok" => open.push(wish),
                "rejected out_of_stock" => did.refused += 1,
                other => panic!("{other}"),
            }
        }
        let (mut commits, mut releases) = (Vec::new(), Vec::new());
        for (saga, input, amounts) in std::mem::take(&mut open) {
            match random.below(4) {
                0 => {
                    commits.push(execute(saga, "commit", json!({ "order_id": "order-1" })));
                    add(&mut did.sold, &amounts);
                }
                1 => open.push((saga, input, amounts)),
                _ => releases.push(release(saga, input)),
            }
        }
        if !commits.is_empty() {
            assert!(summary(&run(&pool, &Commit, &commits).await).iter().all(|answer| answer == "ok"));
        }
        if !releases.is_empty() {
            assert!(summary(&run(&pool, &Reserve, &releases).await).iter().all(|answer| answer == "ok"));
        }
    }
    open.iter().for_each(|(_, _, amounts)| add(&mut did.held, amounts));
    did
}

/// One to three SKUs, in any order, a few units each.
fn wish(random: &mut Random) -> (SagaId, Value, [i64; 4]) {
    let mut amounts = [0; 4];
    let lines: Vec<(&str, i64)> = (0..=random.below(3))
        .map(|_| {
            let at = usize::try_from(random.below(4)).unwrap();
            let quantity = i64::try_from(random.below(9)).unwrap() + 1;
            amounts[at] += quantity;
            (SKUS[at], quantity)
        })
        .collect();
    (new_saga(), units("order-1", &lines), amounts)
}

fn add(to: &mut [i64; 4], amounts: &[i64; 4]) {
    to.iter_mut().zip(amounts).for_each(|(to, amount)| *to += amount);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_balance_after_many_pipelines_fought_over_few_skus() {
    let seed_value: u64 = match std::env::var("AMENDS_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => u64::try_from(uuid::Uuid::now_v7().as_u128() & u128::from(u64::MAX)).unwrap(),
    };
    println!("seed {seed_value} (AMENDS_TEST_SEED repeats it)");
    let (_database, pool) = database().await;
    seed(&pool, &SKUS.map(|sku| (sku, STOCK))).await;
    let mut pipelines = tokio::task::JoinSet::new();
    for at in 0..PIPELINES {
        pipelines.spawn(pipeline(pool.clone(), seed_value.wrapping_add(at)));
    }
    let mut all = Did::default();
    for did in pipelines.join_all().await {
        add(&mut all.sold, &did.sold);
        add(&mut all.held, &did.held);
        all.refused += did.refused;
    }
    assert!(all.refused > 0, "the stock must have been fought over");
    for (at, sku) in SKUS.iter().enumerate() {
        let (available, reserved, sold) = book(&pool, sku).await;
        assert_eq!((reserved, sold), (all.held[at], all.sold[at]), "{sku}");
        assert_eq!(available + reserved + sold, STOCK, "{sku}");
        assert!(available >= 0, "{sku}");
    }
    // The reservations tell the same story as the books.
    let open: Vec<(String, i64)> = sqlx::query_as(
        "select sku, sum(quantity)::bigint from amends_stock.reservations
         join amends_stock.reservation_lines using (saga, step, item, round)
         where status = 'reserved' group by sku order by sku",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let held: Vec<(String, i64)> =
        SKUS.iter().zip(all.held).filter(|(_, n)| *n > 0).map(|(sku, n)| ((*sku).to_owned(), n)).collect();
    assert_eq!(open, held);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_release_and_a_commit_at_once_exactly_one_wins() {
    let (_database, pool) = database().await;
    seed(&pool, &[("tea", 1_000)]).await;
    let input = units("order-1", &[("tea", 2)]);
    let (mut sold, mut released) = (0, 0);
    for _ in 0..20 {
        let saga = new_saga();
        run(&pool, &Reserve, &[execute(saga, "reserve", input.clone())]).await;
        let commit = [execute(saga, "commit", json!({ "order_id": "order-1" }))];
        let undo = [release(saga, input.clone())];
        let (committed, undone) = tokio::join!(run(&pool, &Commit, &commit), run(&pool, &Reserve, &undo));
        match (summary(&committed)[0].as_str(), summary(&undone)[0].as_str()) {
            ("ok", "rejected reservation_sold") => sold += 2,
            ("rejected reservation_released", "ok") => released += 2,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sold + released, 40);
    assert_eq!(book(&pool, "tea").await, (1_000 - sold, 0, sold));
}
