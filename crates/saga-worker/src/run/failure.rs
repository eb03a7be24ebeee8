//! What a failure means: the data's fault, the moment's, or the worker's own.

use saga_protocol::Fault;
use sqlx::Error;

use crate::handler::HandlerError;

/// Why a transaction could not be finished.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Some command's data: bisect.
    Data(Fault),
    /// The worker's own trouble, whatever the commands are: answer `retryable`, uncharged.
    Own(Fault),
    /// Passing: the same again, after a while.
    Transient(String),
}

impl From<HandlerError> for Failure {
    fn from(error: HandlerError) -> Self {
        match error {
            HandlerError::Database(error) => Self::from(error),
            HandlerError::Data(message) => Self::Data(Fault::new("data", message)),
            HandlerError::Transient(message) => Self::Transient(message),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match &error {
            Error::Database(database) => {
                let state = database.code().unwrap_or_default();
                // Source: PostgreSQL 15, appendix A, error codes.
                match state.get(..2).unwrap_or_default() {
                    "21" | "22" | "23" | "44" | "P0" => {
                        Self::Data(Fault::new(format!("sqlstate_{state}"), message))
                    }
                    // Connections, rollbacks, resources, operators, the system; and a read-only
                    // server, which is a failover that has not finished.
                    "08" | "40" | "53" | "55" | "57" | "58" => Self::Transient(message),
                    _ if state == "25006" || state == "25P03" => Self::Transient(message),
                    _ => Self::Own(Fault::new(format!("sqlstate_{state}"), message)),
                }
            }
            Error::RowNotFound => Self::Data(Fault::new("row_not_found", message)),
            Error::Decode(_) | Error::Encode(_) | Error::ColumnDecode { .. } => {
                Self::Data(Fault::new("decode", message))
            }
            Error::Io(_)
            | Error::Tls(_)
            | Error::Protocol(_)
            | Error::PoolTimedOut
            | Error::PoolClosed
            | Error::WorkerCrashed
            | Error::BeginFailed => Self::Transient(message),
            _ => Self::Own(Fault::new("database", message)),
        }
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the handler panicked: {}", text.unwrap_or_else(|| "without a message".to_owned()))
}
