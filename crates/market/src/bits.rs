//! Serde for the floats of a snapshot: as their bits in text formats such as JSON, which may lose the last bit of a
//! decimal, and as they are in binary ones. A resumed engine must go on bit-identically.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        value.to_bits().serialize(serializer)
    } else {
        serializer.serialize_f64(*value)
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    if deserializer.is_human_readable() {
        u64::deserialize(deserializer).map(f64::from_bits)
    } else {
        f64::deserialize(deserializer)
    }
}

/// The same for a queue of floats.
pub(crate) mod queue {
    use std::collections::VecDeque;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        values: &VecDeque<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_seq(values.iter().map(|value| value.to_bits()))
        } else {
            serializer.collect_seq(values)
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<VecDeque<f64>, D::Error> {
        if !deserializer.is_human_readable() {
            return VecDeque::deserialize(deserializer);
        }
        let bits = Vec::<u64>::deserialize(deserializer)?;
        Ok(bits.into_iter().map(f64::from_bits).collect())
    }
}
