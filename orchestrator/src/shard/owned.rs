//! What a lane knows of each shard that it owns: the claim, and how far the log was read.

use saga_bus::Watermarks;
use saga_core::Millis;
use uuid::Uuid;

use crate::store::batch::Fence;

/// Unknown commands that one shard sends again in one second, at most: an outage of a worker must not end in
/// a storm.
const RESENDS_PER_SECOND: u32 = 500;

/// An owned shard.
#[derive(Debug)]
pub(crate) struct Owned {
    pub(crate) shard: i32,
    pub(crate) epoch: i64,
    pub(crate) token: Uuid,
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
    /// A watermark is being asked for.
    pub(crate) asking: bool,
    resends: (i64, u32),
}

impl Owned {
    pub(crate) fn new(shard: i32, epoch: i64, token: Uuid, next_offset: i64) -> Self {
        Self {
            shard,
            epoch,
            token,
            seq: 0,
            next_offset,
            read_offset: next_offset,
            seeking: false,
            watermark: None,
            asking: false,
            resends: (0, 0),
        }
    }

    /// The fence of a batch that takes in the log up to `next_offset`.
    pub(crate) fn fence(&self, next_offset: i64) -> Fence {
        Fence { shard: self.shard, epoch: self.epoch, token: self.token, seq: self.seq, next_offset }
    }

    pub(crate) fn answered(&mut self, asked_at: Millis, watermarks: Watermarks) {
        self.asking = false;
        self.watermark = Some((asked_at, watermarks.high));
    }

    /// Whether the log has been read up to a high watermark that was fetched after `due`: what was answered
    /// in time is in it.
    pub(crate) fn caught_up(&self, due: Millis, next_offset: i64) -> bool {
        self.watermark.is_some_and(|(asked_at, high)| asked_at > due && next_offset >= high)
    }

    /// Whether one more unknown command may be sent again within this second.
    pub(crate) fn may_resend(&mut self, now: Millis) -> bool {
        let second = now.0.div_euclid(1_000);
        if self.resends.0 != second {
            self.resends = (second, 0);
        }
        self.resends.1 += 1;
        self.resends.1 <= RESENDS_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_fires_only_behind_a_watermark_fetched_after_it_fell_due() {
        let mut owned = Owned::new(0, 1, Uuid::nil(), 5);
        assert!(!owned.caught_up(Millis(100), 5), "nothing was asked");
        owned.answered(Millis(100), Watermarks { low: 0, high: 5 });
        assert!(!owned.caught_up(Millis(100), 5), "asked at the due instant: the answer may be of before");
        owned.answered(Millis(101), Watermarks { low: 0, high: 7 });
        assert!(!owned.caught_up(Millis(100), 6), "the log was not read so far yet");
        assert!(owned.caught_up(Millis(100), 7));
    }

    #[test]
    fn unknown_commands_are_sent_again_at_a_bounded_rate() {
        let mut owned = Owned::new(0, 1, Uuid::nil(), 0);
        let sent = (0..RESENDS_PER_SECOND * 2).filter(|_| owned.may_resend(Millis(1_500))).count();
        assert_eq!(sent, RESENDS_PER_SECOND as usize);
        assert!(owned.may_resend(Millis(2_000)), "a new second");
    }
}
