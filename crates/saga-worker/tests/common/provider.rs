//! An outside provider with a memory of its own, and the external handler that calls it.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use parking_lot::Mutex;
use saga_worker::testkit::Air;
use saga_worker::{Answer, Call, CallResult, Direction, External, Fault, HandlerError, Inquiry};
use serde::Deserialize;
use serde_json::value::to_raw_value;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

pub async fn migrate(pool: &PgPool) {
    // No unique key: books that are written twice show.
    let statement = "create table settled (effect_key text not null, outcome text not null)";
    sqlx::query(statement).execute(pool).await.unwrap();
}

#[derive(Deserialize)]
struct Input {
    id: Uuid,
    #[serde(default)]
    mood: String,
}

/// What the provider does with the calls of one payment, one after another; the last one stays.
pub type Script = Vec<&'static str>;

pub struct Provider {
    memory: Mutex<Memory>,
    in_the_air: watch::Sender<usize>,
}

#[derive(Default)]
struct Memory {
    /// What took effect, by effect key: the payment, and +1 or -1.
    effects: HashMap<String, (Uuid, i64)>,
    /// Effect keys whose effect has become impossible.
    aborted: HashSet<String>,
    scripts: HashMap<Uuid, Script>,
    calls: HashMap<Uuid, u32>,
    /// The executes' outputs, as the compensates' calls were told them.
    told: Vec<Option<String>>,
    inquiries: u32,
    inquiry_fails: bool,
    holding: bool,
    held: Vec<Held>,
}

struct Held {
    key: String,
    id: Uuid,
    amount: i64,
    answer: oneshot::Sender<()>,
}

impl Default for Provider {
    fn default() -> Self {
        Self { memory: Mutex::default(), in_the_air: watch::Sender::new(0) }
    }
}

impl Provider {
    pub fn script(&self, id: Uuid, script: &[&'static str]) {
        self.memory.lock().scripts.insert(id, script.to_vec());
    }

    pub fn fail_inquiries(&self, fail: bool) {
        self.memory.lock().inquiry_fails = fail;
    }

    /// How many calls arrived for this payment, in both directions.
    pub fn calls(&self, id: Uuid) -> u32 {
        self.memory.lock().calls.get(&id).copied().unwrap_or(0)
    }

    pub fn told(&self) -> Vec<Option<String>> {
        self.memory.lock().told.clone()
    }

    pub fn inquiries(&self) -> u32 {
        self.memory.lock().inquiries
    }

    /// Charges minus refunds.
    pub fn standing(&self, id: Uuid) -> i64 {
        self.memory.lock().effects.values().filter(|(of, _)| *of == id).map(|(_, amount)| amount).sum()
    }

    /// A call of long ago takes effect now.
    pub fn land_late(&self, key: &str, id: Uuid) {
        self.memory.lock().act(key.to_owned(), id, 1);
    }

    fn next(&self, id: Uuid) -> &'static str {
        let mut memory = self.memory.lock();
        *memory.calls.entry(id).or_default() += 1;
        match memory.scripts.get_mut(&id) {
            Some(script) if script.len() > 1 => script.remove(0),
            Some(script) => script[0],
            None => "ok",
        }
    }
}

impl Memory {
    /// The provider is idempotent by key, as Toss is.
    fn act(&mut self, key: String, id: Uuid, amount: i64) {
        self.effects.insert(key, (id, amount));
    }
}

#[async_trait]
impl Air for Provider {
    async fn hold(&self) {
        self.in_the_air.send_replace(0);
        self.memory.lock().holding = true;
    }

    async fn in_the_air(&self) {
        let mut held = self.in_the_air.subscribe();
        let waited =
            tokio::time::timeout(std::time::Duration::from_secs(30), held.wait_for(|held| *held > 0)).await;
        waited.expect("a call comes").expect("the provider lives");
    }

    async fn land(&self) {
        let mut memory = self.memory.lock();
        memory.holding = false;
        for held in std::mem::take(&mut memory.held) {
            memory.act(held.key, held.id, held.amount);
            // A caller that is gone gets no answer.
            let _ = held.answer.send(());
        }
    }
}

/// The handler.
pub struct Payments(pub std::sync::Arc<Provider>);

fn fault() -> Fault {
    Fault::new("scripted", "as the script says")
}

#[async_trait]
impl External for Payments {
    async fn call(&self, call: &Call) -> CallResult {
        let Ok(input) = call.command.parse_input::<Input>() else { return CallResult::Declined(fault()) };
        let amount = if call.command.direction == Direction::Execute { 1 } else { -1 };
        if !call.may_send() {
            return CallResult::NotSent(fault());
        }
        if call.command.direction == Direction::Compensate {
            self.0.memory.lock().told.push(call.command.parse_output());
        }
        let mood = self.0.next(input.id);
        let answer = {
            let mut memory = self.0.memory.lock();
            if memory.holding {
                let (answer, landed) = oneshot::channel();
                memory.held.push(Held { key: call.effect_key.clone(), id: input.id, amount, answer });
                let held = memory.held.len();
                drop(memory);
                self.0.in_the_air.send_replace(held);
                Some(landed)
            } else {
                None
            }
        };
        if let Some(landed) = answer {
            // The sender is dropped only with the provider.
            let _ = landed.await;
            return CallResult::Done(None);
        }
        let act = || self.0.memory.lock().act(call.effect_key.clone(), input.id, amount);
        match mood {
            "decline" => CallResult::Declined(Fault::new("REJECT_CARD", "no")),
            "unknown_aborted" => {
                self.0.memory.lock().aborted.insert(call.effect_key.clone());
                CallResult::Unknown(fault())
            }
            "unknown_lost" => CallResult::Unknown(fault()),
            "unknown_landed" => {
                act();
                CallResult::Unknown(fault())
            }
            "not_sent" => CallResult::NotSent(fault()),
            "own_trouble" => CallResult::OwnTrouble(fault()),
            "panic" => panic!("as the script says"),
            _ => {
                act();
                let output = if input.mood == "large" { "x".repeat(70_000) } else { call.effect_key.clone() };
                CallResult::Done(Some(to_raw_value(&output).unwrap()))
            }
        }
    }

    async fn inquire(&self, call: &Call) -> Inquiry {
        let mut memory = self.0.memory.lock();
        memory.inquiries += 1;
        if memory.inquiry_fails {
            return Inquiry::Unknown(fault());
        }
        match memory.effects.get(&call.effect_key) {
            Some(_) => Inquiry::Found(Some(to_raw_value(&call.effect_key).unwrap())),
            None if memory.aborted.contains(&call.effect_key) => {
                Inquiry::Impossible(Fault::new("ABORTED", "it was aborted"))
            }
            None => Inquiry::NotFound,
        }
    }

    async fn settled(&self, tx: &mut PgConnection, call: &Call, answer: &Answer) -> Result<(), HandlerError> {
        if call.command.parse_input::<Input>().is_ok_and(|input| input.mood == "books_fail") {
            return Err(HandlerError::Data("as the input says".to_owned()));
        }
        sqlx::query("insert into settled (effect_key, outcome) values ($1, $2)")
            .bind(&call.effect_key)
            .bind(format!("{:?}", answer.outcome()))
            .execute(tx)
            .await?;
        Ok(())
    }
}
