//! Transactional handlers: the business change and the barrier's rows in one transaction.
//!
//! Owns the trait that a worker's author implements and the errors that it may return. Batching,
//! the barrier and retries happen around it.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::PgConnection;

use crate::answer::Answer;
use crate::command::Command;

/// Work that is done entirely in the worker's own database.
///
/// Both methods get a *batch*: commands of one action, in the order in which they arrived (within a
/// partition), each barrier row at most once. Of what they do, only what was not done before is
/// committed. They answer one
/// [`Answer`] a command, in the same order. What makes them fast is to be set-based: one statement for
/// the batch (`unnest`), not one a command.
///
/// The transaction is the SDK's: handlers neither commit nor roll back. A command that is answered
/// `Rejected` or `Retryable` must have changed nothing. To avoid deadlocks with other instances,
/// lock rows in a fixed order.
///
/// A handler may run and be rolled back (the command was answered before, by this instance or another,
/// the connection broke, another command of the batch failed), so it must have no effects outside the
/// transaction.
#[async_trait]
pub trait Transactional: Send + Sync {
    /// Does the step's work.
    ///
    /// # Errors
    /// See [`HandlerError`]; the whole transaction is rolled back.
    async fn execute(&self, tx: &mut PgConnection, commands: &[Command])
    -> Result<Vec<Answer>, HandlerError>;

    /// Undoes the step's work. Called only for executes that succeeded here.
    ///
    /// # Errors
    /// See [`HandlerError`]; the whole transaction is rolled back.
    async fn compensate(
        &self,
        tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError>;
}

#[async_trait]
impl<T: Transactional + ?Sized> Transactional for Arc<T> {
    async fn execute(
        &self,
        tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError> {
        (**self).execute(tx, commands).await
    }

    async fn compensate(
        &self,
        tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError> {
        (**self).compensate(tx, commands).await
    }
}

/// Why a handler could not finish a batch. Which kind it is decides what happens next.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// Postgres said no. Data errors (SQLSTATE classes 21, 22, 23, 44, P0) are treated as [`Self::Data`],
    /// trouble with connections, locks and resources as [`Self::Transient`]; anything else (a
    /// missing table) is the worker's own trouble: its commands answer `retryable`, uncharged.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// Some command's data cannot be worked with. The batch is bisected; the command that fails
    /// alone answers `retryable`.
    #[error("data: {0}")]
    Data(String),
    /// Passing trouble that has nothing to do with the commands. The same batch is tried again,
    /// with backoff; nothing is answered meanwhile.
    #[error("{0}")]
    Transient(String),
}
