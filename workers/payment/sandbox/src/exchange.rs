//! One request through the sandbox: idempotency, faults, the decision, the journal, the webhook.
//!
//! An operation runs in a task of its own: a client that hangs up does not stop a payment, as it
//! would not at the vendor. It must not know HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::Utc;
use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::book::{Book, Entry, Kept, KeptAnswer, Operation};
use crate::errors::ApiError;
use crate::faults::{Fault, Faults, Lost, Subject};
use crate::hold::Hold;
use crate::journal::{Journal, JournalError};
use crate::operations::{self, CancelRequest, Confirm, Outcome};
use crate::payment::Payment;
use crate::webhook::{Notice, Webhooks};
use crate::{SandboxConfig, SandboxError};

/// The sandbox's state.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) config: SandboxConfig,
    pub(crate) book: Mutex<Book>,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) closing: CancellationToken,
    hold: Hold,
    journal: Journal,
    webhooks: Option<Webhooks>,
    clock_ahead_ms: AtomicI64,
}

/// What is asked.
#[derive(Debug)]
pub(crate) enum Ask {
    Confirm(Confirm),
    Cancel(String, CancelRequest),
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Payment(Value),
    Error(ApiError),
    /// Nothing: the connection is closed, or kept open in silence.
    Silence {
        hang: bool,
    },
}

impl Ask {
    pub(crate) fn operation(&self) -> Operation {
        match self {
            Self::Confirm(_) => Operation::Confirm,
            Self::Cancel(..) => Operation::Cancel,
        }
    }

    pub(crate) fn payment_key(&self) -> &str {
        match self {
            Self::Confirm(request) => &request.payment_key,
            Self::Cancel(key, _) => key,
        }
    }

    fn decide(&self, book: &Book, now_ms: i64) -> Outcome {
        match self {
            Self::Confirm(request) => operations::confirm(book, request, now_ms),
            Self::Cancel(key, request) => operations::cancel(book, key, request, now_ms),
        }
    }
}

impl Exchange {
    pub(crate) fn open(config: SandboxConfig) -> Result<Arc<Self>, SandboxError> {
        let mut book = Book::default();
        let journal = match &config.data_dir {
            None => Journal::nowhere(),
            Some(dir) => {
                std::fs::create_dir_all(dir)
                    .map_err(|source| JournalError::Io { path: dir.clone(), source })?;
                Journal::open(&dir.join("toss-sandbox.jsonl"), |line| {
                    book.apply(serde_json::from_slice::<Entry>(line)?);
                    Ok(())
                })?
            }
        };
        let webhooks = config
            .webhook_url
            .as_ref()
            .map(|url| Webhooks::start(url.clone(), config.webhook_minute_ms))
            .transpose()
            .map_err(SandboxError::Client)?;
        Ok(Arc::new(Self {
            config,
            book: Mutex::new(book),
            faults: Mutex::default(),
            closing: CancellationToken::new(),
            hold: Hold::new(),
            journal,
            webhooks,
            clock_ahead_ms: AtomicI64::new(0),
        }))
    }

    pub(crate) fn now_ms(&self) -> i64 {
        Utc::now().timestamp_millis() + self.clock_ahead_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn advance_clock(&self, by_ms: i64) {
        self.clock_ahead_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// How many requests are held.
    pub(crate) fn held(&self) -> usize {
        self.hold.held()
    }

    /// Lets held requests go, holds no more, and returns when they have taken effect.
    pub(crate) async fn release(&self) {
        self.faults.lock().clear_holds();
        self.hold.release().await;
    }

    pub(crate) fn healthy(&self) -> bool {
        self.journal.healthy()
    }

    /// Waits until everything that the books say now is on disk: what was shown must stay true.
    pub(crate) async fn settled(&self) -> Result<(), ApiError> {
        self.journal
            .durable(self.journal.newest())
            .await
            .map_err(|_| ApiError::new("FAILED_INTERNAL_SYSTEM_PROCESSING"))
    }

    /// Processes a request. `scope` is its scoped idempotency key; the body may be unreadable.
    pub(crate) async fn process(
        self: &Arc<Self>,
        scope: Option<String>,
        ask: Result<Ask, ApiError>,
    ) -> Answer {
        let turn = match self.begin(scope.as_deref(), ask.as_ref().ok()) {
            Ok(turn) => turn,
            Err(answer) => {
                if let Err(error) = self.settled().await {
                    return Answer::Error(error);
                }
                return answer;
            }
        };
        let this = Arc::clone(self);
        let task = tokio::spawn(async move { this.run(turn, scope, ask).await });
        task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a sandbox operation has panicked");
            Answer::Error(ApiError::new("FAILED_INTERNAL_SYSTEM_PROCESSING"))
        })
    }

    fn begin(self: &Arc<Self>, scope: Option<&str>, ask: Option<&Ask>) -> Result<Turn, Answer> {
        let now_ms = self.now_ms();
        let mut book = self.book.lock();
        if let Some(kept) = scope.and_then(|scope| book.kept(scope, now_ms)) {
            return Err(render_kept(&book, kept));
        }
        if scope.is_some_and(|scope| book.in_flight.contains(scope)) {
            return Err(Answer::Error(ApiError::new("IDEMPOTENT_REQUEST_PROCESSING")));
        }
        let busy = ask.map(|ask| (ask.operation(), ask.payment_key().to_owned()));
        if busy.as_ref().is_some_and(|busy| book.busy.contains(busy)) {
            return Err(Answer::Error(ApiError::new("FORBIDDEN_CONSECUTIVE_REQUEST")));
        }
        book.in_flight.extend(scope.map(str::to_owned));
        book.busy.extend(busy.clone());
        Ok(Turn { exchange: Arc::clone(self), scope: scope.map(str::to_owned), busy })
    }

    async fn run(&self, turn: Turn, scope: Option<String>, ask: Result<Ask, ApiError>) -> Answer {
        let ask = match ask {
            Ok(ask) => ask,
            Err(error) => return self.refuse(scope, error).await,
        };
        let fault = self.take_fault(&ask);
        let held = if fault.hold { Some(self.hold.wait().await) } else { None };
        wait(fault.delay_ms).await;
        let forced = fault.error.as_ref().map(|code| ApiError::new(code).with_status(fault.status));
        let answer = if fault.lost == Some(Lost::Request) {
            Answer::Silence { hang: fault.hang }
        } else if let Some(error) = forced.clone().filter(|_| !fault.takes_effect) {
            self.refuse(scope, error).await
        } else {
            self.take_effect(scope, &ask, fault.webhook_twice).await
        };
        drop((turn, held));
        wait(fault.delay_after_ms).await;
        match (fault.lost, forced) {
            (Some(_), _) => Answer::Silence { hang: fault.hang },
            (None, Some(error)) => Answer::Error(error),
            (None, None) => answer,
        }
    }

    fn take_fault(&self, ask: &Ask) -> Fault {
        let book = self.book.lock();
        let known = book.payment(ask.payment_key()).map(|it| it.order_id.clone());
        drop(book);
        let order_id = match ask {
            Ask::Confirm(request) => Some(request.order_id.clone()),
            Ask::Cancel(..) => known,
        };
        let subject = Subject {
            operation: ask.operation(),
            payment_key: Some(ask.payment_key()),
            order_id: order_id.as_deref(),
        };
        self.faults.lock().take(subject)
    }

    /// Answers an error that changes nothing.
    async fn refuse(&self, scope: Option<String>, error: ApiError) -> Answer {
        let number = self.commit(&mut self.book.lock(), scope, None, Kept::Error(error.clone()));
        self.when_durable(number, Answer::Error(error)).await
    }

    async fn take_effect(&self, scope: Option<String>, ask: &Ask, webhook_twice: bool) -> Answer {
        let (number, answer, changed) = {
            let mut book = self.book.lock();
            let outcome = ask.decide(&book, self.now_ms());
            let changed = outcome.payment.clone();
            let kept = match (&outcome.refused, &changed) {
                (None, Some(payment)) => Kept::Payment(payment.payment_key.clone(), payment.snapshot()),
                (refused, _) => Kept::Error(
                    refused.clone().unwrap_or_else(|| ApiError::new("FAILED_INTERNAL_SYSTEM_PROCESSING")),
                ),
            };
            let answer = match (&kept, &changed) {
                (Kept::Payment(..), Some(payment)) => Answer::Payment(payment.render()),
                _ => render_kept(&book, &kept),
            };
            (self.commit(&mut book, scope, Some(outcome), kept), answer, changed)
        };
        let answer = self.when_durable(number, answer).await;
        if let Some(payment) = changed.filter(|_| self.healthy()) {
            self.notify(Notice::status_changed(&payment, self.now_ms()), webhook_twice);
        }
        answer
    }

    /// Applies a change and queues its line, both under the lock of the books.
    fn commit(&self, book: &mut Book, scope: Option<String>, outcome: Option<Outcome>, answer: Kept) -> u64 {
        let passing = matches!(&answer, Kept::Error(error) if error.passing());
        let at_ms = self.now_ms();
        let kept = scope.filter(|_| !passing).map(|scope| KeptAnswer { scope, answer, at_ms });
        let (payment, movement) = outcome.map_or((None, None), |it| (it.payment, it.movement));
        let entry = Entry { payment, movement, kept };
        if entry == Entry::default() {
            return self.journal.newest();
        }
        let line = serde_json::to_vec(&entry).expect("the journal's types have string keys");
        book.apply(entry);
        self.journal.append(&line)
    }

    async fn when_durable(&self, number: u64, answer: Answer) -> Answer {
        match self.journal.durable(number).await {
            Ok(()) => answer,
            Err(_) => Answer::Error(ApiError::new("FAILED_INTERNAL_SYSTEM_PROCESSING")),
        }
    }

    /// Adds a payment that a customer has authenticated.
    pub(crate) async fn add_session(&self, payment: Payment) -> Result<(), ApiError> {
        let number = self.record(&mut self.book.lock(), payment, None);
        self.journal.durable(number).await.map_err(|_| ApiError::new("FAILED_INTERNAL_SYSTEM_PROCESSING"))
    }

    /// A deposit into a virtual account, or its undoing.
    pub(crate) async fn deposit(&self, order_id: &str, undone: bool) -> Result<Payment, ApiError> {
        let (number, payment) = {
            let mut book = self.book.lock();
            let outcome = operations::deposit(&book, order_id, undone, self.now_ms())?;
            let payment = outcome.payment.ok_or_else(|| ApiError::new("NOT_FOUND_PAYMENT"))?;
            (self.record(&mut book, payment.clone(), outcome.movement), payment)
        };
        self.journal.durable(number).await.map_err(|_| ApiError::new("FAILED_INTERNAL_SYSTEM_PROCESSING"))?;
        let now_ms = self.now_ms();
        self.notify(Notice::deposit(&payment, now_ms), false);
        self.notify(Notice::status_changed(&payment, now_ms), false);
        Ok(payment)
    }

    fn record(&self, book: &mut Book, payment: Payment, movement: Option<crate::book::Movement>) -> u64 {
        let entry = Entry { payment: Some(payment), movement, kept: None };
        let line = serde_json::to_vec(&entry).expect("the journal's types have string keys");
        book.apply(entry);
        self.journal.append(&line)
    }

    fn notify(&self, notice: Notice, twice: bool) {
        let Some(webhooks) = &self.webhooks else { return };
        if twice {
            webhooks.send(notice.clone());
        }
        webhooks.send(notice);
    }
}

fn render_kept(book: &Book, kept: &Kept) -> Answer {
    match kept {
        Kept::Error(error) => Answer::Error(error.clone()),
        Kept::Payment(key, then) => match book.payment(key) {
            Some(payment) => Answer::Payment(payment.at(*then).render()),
            None => Answer::Error(ApiError::new("FAILED_INTERNAL_SYSTEM_PROCESSING")),
        },
    }
}

async fn wait(for_ms: u64) {
    if for_ms > 0 {
        tokio::time::sleep(Duration::from_millis(for_ms)).await;
    }
}

/// The right to process one request; given back when dropped, also by a panic.
#[derive(Debug)]
struct Turn {
    exchange: Arc<Exchange>,
    scope: Option<String>,
    busy: Option<(Operation, String)>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut book = self.exchange.book.lock();
        if let Some(scope) = &self.scope {
            book.in_flight.remove(scope);
        }
        if let Some(busy) = &self.busy {
            book.busy.remove(busy);
        }
    }
}
