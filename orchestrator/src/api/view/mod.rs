//! The API's answers as types: what the server writes, the OpenAPI document describes and the command line
//! reads.
//!
//! Words are those of the design; instants are RFC 3339, amounts in the currency's smallest unit.

mod answer;
mod definition;
mod history;
mod saga;

pub use answer::{Acted, Failure, HealthView, Links, Signalled, Started};
pub use definition::{
    CanaryRequest, CanaryView, DefinitionList, DefinitionSummary, DefinitionView, OutcomesView,
    PublishedView, VersionView,
};
pub use history::{Happening, HistoryEvent, HistoryPage, IgnoredPage, IgnoredView, LetterLine};
pub use saga::{
    AnomalyView, Cause, Count, Counts, CountsByHealth, CountsByStatus, Next, NoteView, ParkedView, SagaPage,
    SagaSummary, SagaView, StepView, TrackView,
};
