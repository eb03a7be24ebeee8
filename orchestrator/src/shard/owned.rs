//! What a lane knows of each shard that it owns: the claim, and how far the log was read.

use std::time::Duration;

use saga_bus::Watermarks;
use saga_core::Millis;
use tokio::time::Instant;
use uuid::Uuid;

use crate::store::batch::Fence;

/// Unknown commands that one shard sends again in one second, at most: an outage of a worker must not end in
/// a storm.
const RESENDS_PER_SECOND: u32 = 500;
/// A question for a watermark that is older than this is slow.
const SLOW: Duration = Duration::from_millis(500);

/// An owned shard.
#[derive(Debug)]
pub(crate) struct Owned {
    pub(crate) shard: i32,
    pub(crate) epoch: i64,
    pub(crate) token: Uuid,
    /// Not before the claim was committed.
    pub(crate) claimed: Instant,
    /// Batches committed under this claim.
    pub(crate) seq: i64,
    /// The offset that the database says is to be read next.
    pub(crate) next_offset: i64,
    /// The offset that is to be taken from the log next; ahead of the database by what waits in the queue.
    pub(crate) read_offset: i64,
    /// After a seek, records from before it may still arrive; nothing counts until the right one comes.
    pub(crate) seeking: bool,
    /// The newest high watermark, and when the question was asked.
    watermark: Option<(Millis, i64)>,
    /// The mailbox has been taken in up to here.
    mail_read: Option<Millis>,
    /// Sweeps that began before this may have left mail out.
    mail_since: Instant,
    /// Since when a watermark is being asked for.
    asking: Option<Instant>,
    /// The last question had no answer.
    unanswered: bool,
    resends: (i64, u32),
}

impl Owned {
    pub(crate) fn new(shard: i32, epoch: i64, token: Uuid, next_offset: i64) -> Self {
        Self {
            shard,
            epoch,
            token,
            claimed: Instant::now(),
            mail_read: None,
            mail_since: Instant::now(),
            seq: 0,
            next_offset,
            read_offset: next_offset,
            seeking: false,
            watermark: None,
            asking: None,
            unanswered: false,
            resends: (0, 0),
        }
    }

    /// The fence of a batch that takes in the log up to `next_offset`.
    pub(crate) fn fence(&self, next_offset: i64) -> Fence {
        Fence { shard: self.shard, epoch: self.epoch, token: self.token, seq: self.seq, next_offset }
    }

    /// Whether a watermark is to be asked for now: one question at a time.
    pub(crate) fn asks(&mut self) -> bool {
        let asks = self.asking.is_none();
        self.asking.get_or_insert_with(Instant::now);
        asks
    }

    pub(crate) fn answered(&mut self, asked_at: Millis, watermarks: Option<Watermarks>) {
        self.asking = None;
        self.unanswered = watermarks.is_none();
        if let Some(watermarks) = watermarks {
            self.watermark = Some((asked_at, watermarks.high));
        }
    }

    /// Whether the log does not answer, or slowly: looking often does not help then.
    pub(crate) fn asks_in_vain(&self) -> bool {
        self.unanswered || self.asking.is_some_and(|since| since.elapsed() > SLOW)
    }

    /// Whether the log has been read up to a high watermark that was fetched after `due`: what was answered
    /// in time is in it.
    pub(crate) fn caught_up(&self, due: Millis, next_offset: i64) -> bool {
        self.watermark.is_some_and(|(asked_at, high)| asked_at > due && next_offset >= high)
    }

    /// Mail that was left out so far is left out no more: what was read of the mailbox does not count.
    pub(crate) fn unread_mail(&mut self) {
        (self.mail_read, self.mail_since) = (None, Instant::now());
    }

    /// Whether a sweep that began then has found all the mail there was.
    pub(crate) fn sweep_counts(&self, began: Instant) -> bool {
        began >= self.mail_since
    }

    pub(crate) fn mail_read(&mut self, until: Millis) {
        self.mail_read = self.mail_read.max(Some(until));
    }

    /// Whether the mailbox has been read since `due`: what was accepted in time has been taken in.
    pub(crate) fn has_read_mail(&self, due: Millis) -> bool {
        self.mail_read.is_some_and(|until| until > due)
    }

    /// Whether one more unknown command may be sent again within this second.
    ///
    /// # Errors
    /// After how many ms its turn comes: each second to come has room for as many as this one, so that
    /// those who are refused do not all ask again in the next.
    pub(crate) fn turn_to_resend(&mut self, now: Millis) -> Result<(), i64> {
        let second = now.0.div_euclid(1_000);
        if self.resends.0 != second {
            self.resends = (second, 0);
        }
        self.resends.1 = self.resends.1.saturating_add(1);
        match (self.resends.1 - 1) / RESENDS_PER_SECOND {
            0 => Ok(()),
            later => Err(i64::from(later) * 1_000 - now.0.rem_euclid(1_000)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_fires_only_behind_a_watermark_fetched_after_it_fell_due() {
        let mut owned = Owned::new(0, 1, Uuid::nil(), 5);
        assert!(!owned.caught_up(Millis(100), 5), "nothing was asked");
        owned.answered(Millis(100), Some(Watermarks { low: 0, high: 5 }));
        assert!(!owned.caught_up(Millis(100), 5), "asked at the due instant: the answer may be of before");
        owned.answered(Millis(101), Some(Watermarks { low: 0, high: 7 }));
        assert!(!owned.caught_up(Millis(100), 6), "the log was not read so far yet");
        assert!(owned.caught_up(Millis(100), 7));
    }

    #[test]
    fn a_timeout_fires_only_behind_a_sweep_that_began_after_it_fell_due() {
        let mut owned = Owned::new(0, 1, Uuid::nil(), 5);
        let before = owned.claimed;
        assert!(!owned.has_read_mail(Millis(100)), "nobody has looked into the mailbox");
        owned.mail_read(Millis(100));
        assert!(!owned.has_read_mail(Millis(100)), "looked at the due instant: a signal may have come since");
        owned.mail_read(Millis(101));
        owned.mail_read(Millis(90));
        assert!(owned.has_read_mail(Millis(100)));
        owned.unread_mail();
        assert!(!owned.has_read_mail(Millis(100)) && !owned.sweep_counts(before), "some was left out");
        assert!(owned.sweep_counts(Instant::now()));
    }

    #[test]
    fn unknown_commands_are_sent_again_at_a_bounded_rate() {
        let mut owned = Owned::new(0, 1, Uuid::nil(), 0);
        let turns: Vec<_> =
            (0..RESENDS_PER_SECOND * 3).map(|_| owned.turn_to_resend(Millis(1_300))).collect();
        let count = |turn| turns.iter().filter(|it| **it == turn).count();
        let each = RESENDS_PER_SECOND as usize;
        assert_eq!((count(Ok(())), count(Err(700)), count(Err(1_700))), (each, each, each));
        assert_eq!(owned.turn_to_resend(Millis(2_000)), Ok(()), "a new second");
    }
}
