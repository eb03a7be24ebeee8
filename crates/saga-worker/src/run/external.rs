//! The external lane.

use std::sync::Arc;

use saga_protocol::Direction;
use tokio::sync::mpsc;

use super::job::Job;
use super::meters::Meters;
use super::replies::{Finished, Replies};
use crate::answer::Answer;
use crate::worker::Shared;

pub(crate) struct Lane {
    jobs: mpsc::Receiver<Box<Job>>,
    replies: Replies,
}

impl Lane {
    pub(crate) fn new(
        _shared: Arc<Shared>,
        _direction: Direction,
        jobs: mpsc::Receiver<Box<Job>>,
        replies: Replies,
        _meters: Arc<Meters>,
    ) -> Self {
        Self { jobs, replies }
    }

    pub(crate) async fn run(mut self) {
        while let Some(job) = self.jobs.recv().await {
            let answer = Answer::own_trouble("not_yet", "external actions are not served yet");
            self.replies.send(vec![Finished::Answered(job, answer)]).await;
        }
    }
}
