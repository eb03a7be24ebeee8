//! The scenarios that every worker must pass.

use async_trait::async_trait;
use saga_protocol::{Command, Outcome};
use serde_json::Value;

use super::bench::Bench;
use super::commands::{again, compensate, execute, round};
use crate::worker::Worker;

/// How many pairs the scenario of concurrent directions sends.
const PAIRS: usize = 25;

/// What the kit must know about an action.
#[async_trait]
pub trait Subject: Send + Sync {
    /// The worker, with its handlers; its database is migrated.
    fn worker(&self) -> Worker;

    /// The action to try.
    fn action(&self) -> &str;

    /// The name of its compensation, when it has one.
    fn compensation(&self) -> Option<&str>;

    /// A valid input, another one at each call, with whatever must exist before it can succeed.
    async fn input(&self) -> Value;

    /// How often the effect of this input stands in the books (for an external action, the other
    /// side's): 1 after it succeeded, 0 before and after it was undone. 2 is the mistake that the
    /// barrier is there to prevent.
    async fn standing(&self, input: &Value) -> u32;

    /// For an external action, power over the other side.
    fn air(&self) -> Option<&dyn Air> {
        None
    }
}

/// Power over the other side of an external action.
#[async_trait]
pub trait Air: Send + Sync {
    /// From now on the other side receives calls, and neither acts nor answers.
    async fn hold(&self);

    /// Waits until a call is held.
    async fn in_the_air(&self);

    /// Acts on every held call and answers, and holds no more. A caller that is gone gets no answer;
    /// the effect takes place all the same, and has when this returns.
    async fn land(&self);
}

/// Runs every scenario that applies.
///
/// # Panics
/// Where a rule is broken; the message names the scenario.
pub async fn conformance(subject: &dyn Subject) {
    let bench = Bench::new(subject.worker()).await;
    bench.start();
    let suite = Suite { subject, bench };
    suite.duplicates().await;
    suite.duplicates_at_once().await;
    suite.crash_between_commit_and_reply().await;
    suite.expired_then_second_round().await;
    if let Some(compensation) = subject.compensation() {
        suite.undone_once(compensation).await;
        suite.compensate_before_execute(compensation).await;
        suite.both_at_once(compensation).await;
        suite.lost_record(compensation).await;
    }
    if let Some(air) = subject.air() {
        suite.crash_in_the_air(air).await;
        if let Some(compensation) = subject.compensation() {
            suite.compensate_in_the_air(air, compensation).await;
        }
    }
    suite.bench.stop().await;
}

struct Suite<'a> {
    subject: &'a dyn Subject,
    bench: Bench,
}

impl Suite<'_> {
    async fn valid(&self) -> (Command, Value) {
        let input = self.subject.input().await;
        (execute(self.subject.action(), &input), input)
    }

    async fn expect_standing(&self, scenario: &str, input: &Value, expected: u32) {
        let standing = self.subject.standing(input).await;
        assert_eq!(standing, expected, "{scenario}: how often the effect of {input} stands");
    }

    async fn duplicates(&self) {
        let (first, input) = self.valid().await;
        let reply = self.bench.settle(&first).await;
        assert_eq!(
            reply.outcome,
            Outcome::Succeeded,
            "duplicates: the kit needs an input that succeeds: {reply:?}"
        );
        let second = self.bench.ask(&Command { attempt: 100, ..first }).await;
        assert_eq!(second.outcome, Outcome::Succeeded, "duplicates: {second:?}");
        let text =
            |output: &Option<Box<serde_json::value::RawValue>>| output.as_ref().map(|it| it.get().to_owned());
        assert_eq!(text(&second.output), text(&reply.output), "duplicates: the stored output is answered");
        self.expect_standing("duplicates", &input, 1).await;
    }

    async fn duplicates_at_once(&self) {
        let (first, input) = self.valid().await;
        let (second, third) = (again(&first), again(&again(&first)));
        self.bench.send(&[&first, &second, &first, &third]).await;
        for command in [&first, &second, &third] {
            let reply = self.bench.reply(command).await;
            assert_eq!(reply.outcome, Outcome::Succeeded, "duplicates at once: {reply:?}");
        }
        self.bench.replies(&first, 2).await;
        self.expect_standing("duplicates at once", &input, 1).await;
    }

    async fn crash_between_commit_and_reply(&self) {
        let (command, input) = self.valid().await;
        self.bench.gate.shut();
        self.bench.send(&[&command]).await;
        self.bench.until("a reply at the gate", || (self.bench.gate.held() > 0).then_some(())).await;
        self.bench.crash().await;
        self.bench.gate.open();
        self.bench.start();
        let reply = self.bench.reply(&command).await;
        assert_eq!(reply.outcome, Outcome::Succeeded, "crash between commit and reply: {reply:?}");
        self.expect_standing("crash between commit and reply", &input, 1).await;
    }

    async fn expired_then_second_round(&self) {
        let (command, input) = self.valid().await;
        let expired = Command { expires_at_ms: command.sent_at_ms - 1, ..command.clone() };
        let reply = self.bench.ask(&expired).await;
        assert_eq!(reply.outcome, Outcome::Rejected, "expired: {reply:?}");
        self.expect_standing("expired", &input, 0).await;
        let reply = self.bench.ask(&again(&command)).await;
        assert_eq!(reply.outcome, Outcome::Rejected, "expired, asked again: {reply:?}");
        self.expect_standing("expired, asked again", &input, 0).await;
        let reply = self.bench.settle(&round(&command, 2)).await;
        assert_eq!(reply.outcome, Outcome::Succeeded, "second round: {reply:?}");
        self.expect_standing("second round", &input, 1).await;
    }

    async fn undone_once(&self, compensation: &str) {
        let (command, input) = self.valid().await;
        let executed = self.bench.settle(&command).await;
        assert_eq!(executed.outcome, Outcome::Succeeded, "undone once: {executed:?}");
        let mut undo = compensate(&command, compensation, true);
        undo.output = executed.output;
        let (second, third) = (again(&undo), again(&again(&undo)));
        self.bench.send(&[&undo, &second]).await;
        for attempt in [&undo, &second] {
            let reply = self.bench.reply(attempt).await;
            assert_eq!(reply.outcome, Outcome::Succeeded, "undone once: {reply:?}");
        }
        let reply = self.bench.ask(&third).await;
        assert_eq!(reply.outcome, Outcome::Succeeded, "undone once: {reply:?}");
        self.expect_standing("undone once", &input, 0).await;
    }

    async fn compensate_before_execute(&self, compensation: &str) {
        let (command, input) = self.valid().await;
        let reply = self.bench.ask(&compensate(&command, compensation, false)).await;
        assert_eq!(reply.outcome, Outcome::Succeeded, "empty compensation: {reply:?}");
        let reply = self.bench.ask(&command).await;
        assert_eq!(reply.outcome, Outcome::Rejected, "an execute after its compensate: {reply:?}");
        self.expect_standing("compensate before execute", &input, 0).await;
    }

    async fn both_at_once(&self, compensation: &str) {
        let mut pairs = Vec::new();
        for _ in 0..PAIRS {
            let (command, input) = self.valid().await;
            pairs.push((compensate(&command, compensation, false), command, input));
        }
        let commands: Vec<&Command> = pairs.iter().flat_map(|(undo, command, _)| [command, undo]).collect();
        self.bench.send(&commands).await;
        for (undo, command, input) in &pairs {
            let undone = self.bench.reply(undo).await;
            let undone = match undone.outcome {
                Outcome::Retryable => self.bench.settle(&again(undo)).await,
                _ => undone,
            };
            assert_eq!(undone.outcome, Outcome::Succeeded, "both at once: {undone:?}");
            self.bench.reply(command).await;
            self.expect_standing("both at once", input, 0).await;
        }
    }

    async fn lost_record(&self, compensation: &str) {
        let (command, _) = self.valid().await;
        let reply = self.bench.ask(&compensate(&command, compensation, true)).await;
        assert_eq!(reply.outcome, Outcome::Undecidable, "a known success without a record: {reply:?}");
        let saga = command.saga.to_string();
        self.bench
            .until("its dead letter", || {
                let dead = self.bench.dead_letters();
                dead.iter().any(|letter| letter.key.as_deref() == Some(saga.as_bytes())).then_some(())
            })
            .await;
    }

    async fn crash_in_the_air(&self, air: &dyn Air) {
        let (command, input) = self.valid().await;
        air.hold().await;
        self.bench.send(&[&command]).await;
        air.in_the_air().await;
        self.bench.crash().await;
        air.land().await;
        self.bench.start();
        // The command comes again by itself: its offset was not committed.
        let reply = self.bench.reply(&command).await;
        let reply = match reply.outcome {
            Outcome::Retryable => self.bench.settle(&again(&command)).await,
            _ => reply,
        };
        assert_eq!(reply.outcome, Outcome::Succeeded, "crash in the air: {reply:?}");
        self.expect_standing("crash in the air", &input, 1).await;
    }

    async fn compensate_in_the_air(&self, air: &dyn Air, compensation: &str) {
        let (command, input) = self.valid().await;
        air.hold().await;
        self.bench.send(&[&command]).await;
        air.in_the_air().await;
        let undo = compensate(&command, compensation, false);
        let reply = self.bench.ask(&undo).await;
        assert_eq!(reply.outcome, Outcome::Retryable, "compensate in the air: its fate is open: {reply:?}");
        air.land().await;
        let reply = self.bench.settle(&again(&undo)).await;
        assert_eq!(reply.outcome, Outcome::Succeeded, "compensate in the air: {reply:?}");
        self.expect_standing("compensate in the air", &input, 0).await;
    }
}
