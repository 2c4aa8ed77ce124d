//! What models had a say in, as bytes: written with what is said, in the same transaction.
//!
//! It can't be computed again from the records once the model has changed, so it is small: the open incidents, and
//! since when the rows of which model are watched for drift. What the watch has counted since is not in it; see
//! [`drift`](crate::drift).

use serde::{Deserialize, Serialize};

use crate::bytes::{Frame, StoredError};
use crate::drift::Began;
use crate::incidents::Incidents;

/// What was committed with the last outputs.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Memory {
    pub(crate) incidents: Incidents,
    pub(crate) began: Option<Began>,
}

/// The same, to be written.
#[derive(Debug, Serialize)]
pub(crate) struct MemoryView<'a> {
    pub(crate) incidents: &'a Incidents,
    pub(crate) began: Option<&'a Began>,
}

const MEMORY: Frame = Frame {
    what: "state of models",
    magic: *b"FSHI",
    version: 2,
};

/// Version 1 was the incidents alone.
const INCIDENTS: Frame = Frame {
    version: 1,
    ..MEMORY
};

impl MemoryView<'_> {
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, StoredError> {
        MEMORY.write(self)
    }
}

impl Memory {
    /// Reads what [`MemoryView::to_bytes`] wrote, in this version of the program or the one before.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, StoredError> {
        if INCIDENTS.begins(bytes) {
            return Ok(Self {
                incidents: INCIDENTS.read(bytes)?,
                began: None,
            });
        }
        MEMORY.read(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_before_is_read_and_damage_is_seen() {
        let old = INCIDENTS.write(&Incidents::default()).unwrap();
        assert!(Memory::from_bytes(&old).unwrap().began.is_none());
        let incidents = Incidents::default();
        let view = MemoryView {
            incidents: &incidents,
            began: None,
        };
        let bytes = view.to_bytes().unwrap();
        assert_eq!(Memory::from_bytes(&bytes).unwrap().incidents, incidents);
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert!(Memory::from_bytes(&damaged).is_err(), "{place}");
        }
    }
}
