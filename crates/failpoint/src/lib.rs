//! Named places where a test lets a process die, as `kill -9` would: nothing is flushed, unwound or said goodbye.
//!
//! `AMENDS_FAILPOINT=lane.committed=7` kills the process when it comes by `lane.committed` for the seventh time;
//! with `=7:hang` the thread that comes by stands still for ever, as in a deadlock.
//! Builds without debug assertions have no failpoints: [`hit`] is empty there, whatever the environment says. What
//! is here must not change what a process does in any other way.

/// Every failpoint, the process that comes by it, and where it stands.
pub const ALL: [Failpoint; 20] = [
    at("start.commit", "orchestrator", "a group of starts, before its statement"),
    at(
        "start.committed",
        "orchestrator",
        "a group of starts is durable; nobody was told, nothing is published",
    ),
    at("start.answered", "orchestrator", "starts are acknowledged; their first commands are not published"),
    at("lane.claim", "orchestrator", "shards are offered, and not claimed yet"),
    at("lane.claimed", "orchestrator", "the claim is committed, and nothing is loaded"),
    at("lane.commit", "orchestrator", "a batch is decided, before its statement"),
    at("lane.committed", "orchestrator", "the batch is durable, and its commands are not published"),
    at("lane.published", "orchestrator", "its commands are handed to the bus"),
    at("lane.acknowledged", "orchestrator", "the bus has them, and their rows are still there"),
    at("lane.swept", "orchestrator", "a sweep has found something"),
    at("worker.take", "worker", "a batch of commands is read"),
    at("worker.effect", "worker", "the handlers are about to write"),
    at("worker.commit", "worker", "effect and barrier are written, and not committed"),
    at("worker.committed", "worker", "they are committed, and nobody was answered"),
    at("worker.replied", "worker", "the answers are handed to the bus; no offset was committed"),
    at("worker.offset", "worker", "the answers are acknowledged, before their offsets are committed"),
    at("call.intended", "payment", "intents are committed, and no call has begun"),
    at("call.made", "payment", "a call has ended, and its result is not recorded"),
    at("call.record", "payment", "results are written, and not committed"),
    at("call.recorded", "payment", "results are committed, and nobody was answered"),
];

/// A place where a process can be made to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failpoint {
    /// Its name.
    pub name: &'static str,
    /// Who comes by it: the orchestrator, every worker, or the payment worker alone.
    pub process: &'static str,
    /// What has happened there, and what has not.
    pub place: &'static str,
}

const fn at(name: &'static str, process: &'static str, place: &'static str) -> Failpoint {
    Failpoint { name, process, place }
}

/// Comes by a failpoint. Dies there when the environment says so.
#[cfg(debug_assertions)]
#[inline]
pub fn hit(name: &'static str) {
    armed::hit(name);
}

/// Comes by a failpoint: nothing happens in this build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn hit(_: &'static str) {}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    struct Armed {
        name: String,
        left: AtomicI64,
        hangs: bool,
    }

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
        let text = std::env::var("AMENDS_FAILPOINT").ok()?;
        let (name, times) = text.split_once('=').unwrap_or((&text, "1"));
        // Whoever misspells a failpoint would wait for a death that never comes.
        assert!(
            super::ALL.iter().any(|it| it.name == name),
            "AMENDS_FAILPOINT: there is no failpoint `{name}`"
        );
        let (times, hangs) = times.strip_suffix(":hang").map_or((times, false), |times| (times, true));
        let left =
            times.parse().unwrap_or_else(|_| panic!("AMENDS_FAILPOINT: `{times}` is no number of times"));
        Some(Armed { name: name.to_owned(), left: AtomicI64::new(left), hangs })
    });

    pub(super) fn hit(name: &'static str) {
        debug_assert!(super::ALL.iter().any(|it| it.name == name), "`{name}` is not in the list");
        if let Some(armed) = &*ARMED
            && armed.name == name
            && armed.left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            if armed.hangs {
                eprintln!("failpoint {name}: the thread stands still");
                loop {
                    std::thread::park();
                }
            }
            eprintln!("failpoint {name}: the process dies");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use super::{ALL, hit};

    /// Comes by a failpoint three times, when asked to by the environment: the body of the processes below.
    #[test]
    fn comes_by() {
        if std::env::var_os("FAILPOINT_BODY").is_some() {
            (0..3).for_each(|_| hit("lane.commit"));
        }
    }

    fn run(failpoint: &str) -> Output {
        let this = std::env::current_exe().expect("a test is a program");
        let mut process = Command::new(this);
        process
            .args(["--exact", "tests::comes_by"])
            .env("FAILPOINT_BODY", "1")
            .env("AMENDS_FAILPOINT", failpoint);
        process.output().expect("it can be started")
    }

    #[test]
    fn dies_at_the_time_that_was_named_and_nowhere_else() {
        assert!(!run("lane.commit=3").status.success());
        assert!(!run("lane.commit").status.success());
        assert!(run("lane.commit=4").status.success());
        assert!(run("lane.committed=1").status.success());
    }

    #[test]
    fn a_failpoint_that_does_not_exist_is_refused() {
        assert!(!run("lane.comit=4").status.success());
    }

    #[test]
    fn names_are_given_once() {
        for (index, it) in ALL.iter().enumerate() {
            assert!(ALL[..index].iter().all(|before| before.name != it.name), "{}", it.name);
        }
    }
}
