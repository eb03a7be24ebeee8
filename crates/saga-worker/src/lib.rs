//! The worker SDK: everything between the command topics and a handler.
//!
//! A worker's author registers actions, each with a [`Transactional`] handler (a batch in one
//! transaction of the worker's own database) or an [`External`] one (a call to somebody else's
//! system). The SDK consumes, keeps the barrier against duplicate, late and never-executed
//! commands, batches, retries, replies, announces and drains; docs/protocol.md says the same rules
//! for workers in other languages. It must not know the orchestrator, nor any business.
//!
//! ```no_run
//! # use saga_worker::*;
//! # async fn example(pool: sqlx::PgPool, bus: std::sync::Arc<dyn saga_bus::Bus>, handler: impl Transactional + 'static) -> Result<(), WorkerError> {
//! saga_worker::migrate(&pool).await?;
//! let worker = Worker::builder("stock", "1.0.0", pool)
//!     .transactional("reserve", Some("release"), handler)
//!     .build();
//! worker.run(bus, Topics::default(), CancellationToken::new()).await
//! # }
//! ```

mod answer;
mod barrier;
mod clock;
mod command;
mod external;
mod handler;
mod inbox;
mod run;
pub mod testkit;
mod worker;

pub use answer::Answer;
pub use clock::{Clock, SystemClock};
pub use command::Command;
pub use external::{BreakerPolicy, Call, CallResult, External, ExternalPolicy, Inquiry};
pub use handler::{HandlerError, Transactional};
pub use inbox::migrate;
pub use worker::{Limit, NoSuchLimit, Tuning, Worker, WorkerBuilder, WorkerError};

pub use async_trait::async_trait;
pub use saga_protocol::{Direction, Fault, Topics};
pub use tokio_util::sync::CancellationToken;
