//! Which saga a step's child is: its id follows from its parent's.

use saga_protocol::SagaId;
use sha2::{Digest, Sha256};
use uuid::Builder;

use crate::state::Parent;

/// The id of the child that `of` names. It keeps the parent's time, so that both lie in the same week of the history,
/// and is the same whenever it is asked for: a child that is started again is the one that there is.
pub fn id(of: &Parent) -> SagaId {
    let mut hash = Sha256::new();
    hash.update(of.saga.0.as_bytes());
    hash.update(of.step.0.to_be_bytes());
    hash.update(of.item.map_or(u64::MAX, u64::from).to_be_bytes());
    hash.update(of.round.to_be_bytes());
    let hash = hash.finalize();
    let (high, _) = of.saga.0.as_u64_pair();
    let mut random = [0; 10];
    random.copy_from_slice(&hash[..10]);
    SagaId(Builder::from_unix_timestamp_millis(high >> 16, &random).into_uuid())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::definition::StepIx;

    #[test]
    fn an_id_follows_from_parent_step_item_and_round() {
        let parent = Parent { saga: SagaId(Uuid::now_v7()), step: StepIx(1), item: None, round: 1 };
        let child = id(&parent);
        assert_eq!(child, id(&parent.clone()));
        assert_eq!(child.0.get_version_num(), 7);
        assert_eq!(child.0.as_u64_pair().0 >> 16, parent.saga.0.as_u64_pair().0 >> 16, "the parent's time");
        let others = [
            Parent { saga: SagaId(Uuid::now_v7()), ..parent.clone() },
            Parent { step: StepIx(2), ..parent.clone() },
            Parent { item: Some(0), ..parent.clone() },
            Parent { round: 2, ..parent.clone() },
        ];
        for other in others {
            assert_ne!(child, id(&other), "{other:?}");
        }
    }
}
