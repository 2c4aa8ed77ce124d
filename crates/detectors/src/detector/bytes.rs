//! A detector's bytes: its kind, then what that kind writes.

use linfa_isolation::IsolationForest;

use super::Detector;
use crate::autoencoder::Autoencoder;
use crate::bytes::{Reader, Writer};
use crate::consensus::Consensus;
use crate::dbscan::Dbscan;
use crate::ecod::Ecod;
use crate::error::{FormatError, Result};
use crate::half_space::HalfSpaceTrees;
use crate::hbos::Hbos;
use crate::knn::Knn;
use crate::mahalanobis::Mahalanobis;
use crate::max_z::MaxZ;
use crate::mixture::GaussianMixture;
use crate::statistics::{CandleZ, SlidingWindow};

/// The first byte of a detector; they never change.
mod kind {
    pub(super) const MAX_Z: u8 = 1;
    pub(super) const ISOLATION_FOREST: u8 = 2;
    pub(super) const ECOD: u8 = 3;
    pub(super) const HBOS: u8 = 4;
    pub(super) const KNN: u8 = 5;
    pub(super) const DBSCAN: u8 = 6;
    pub(super) const MAHALANOBIS: u8 = 7;
    pub(super) const GAUSSIAN_MIXTURE: u8 = 8;
    pub(super) const AUTOENCODER: u8 = 9;
    pub(super) const HALF_SPACE_TREES: u8 = 10;
    pub(super) const CANDLE_Z: u8 = 11;
    pub(super) const SLIDING_WINDOW: u8 = 12;
    pub(super) const CONSENSUS: u8 = 13;
}

impl Detector {
    /// Its exact bytes, as they stand in a model: a kind, then what that kind writes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        self.write(&mut out);
        out.into_bytes()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote. Bytes from anywhere may be passed.
    ///
    /// # Errors
    /// Bytes that are cut, too long, or hold what no detector can.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut from = Reader::new(bytes);
        let detector = Self::read(&mut from)?;
        from.end("detector")?;
        Ok(detector)
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        match self {
            Self::MaxZ(inner) => {
                out.u8(kind::MAX_Z);
                inner.write(out);
            }
            Self::IsolationForest(inner) => {
                out.u8(kind::ISOLATION_FOREST);
                out.blob(&inner.to_bytes());
            }
            Self::Ecod(inner) => {
                out.u8(kind::ECOD);
                inner.write(out);
            }
            Self::Hbos(inner) => {
                out.u8(kind::HBOS);
                inner.write(out);
            }
            Self::Knn(inner) => {
                out.u8(kind::KNN);
                inner.write(out);
            }
            Self::Dbscan(inner) => {
                out.u8(kind::DBSCAN);
                inner.write(out);
            }
            Self::Mahalanobis(inner) => {
                out.u8(kind::MAHALANOBIS);
                inner.write(out);
            }
            Self::GaussianMixture(inner) => {
                out.u8(kind::GAUSSIAN_MIXTURE);
                inner.write(out);
            }
            Self::Autoencoder(inner) => {
                out.u8(kind::AUTOENCODER);
                inner.write(out);
            }
            Self::HalfSpaceTrees(inner) => {
                out.u8(kind::HALF_SPACE_TREES);
                inner.write(out);
            }
            Self::CandleZ(inner) => {
                out.u8(kind::CANDLE_Z);
                inner.write(out);
            }
            Self::SlidingWindow(inner) => {
                out.u8(kind::SLIDING_WINDOW);
                inner.write(out);
            }
            Self::Consensus(inner) => {
                out.u8(kind::CONSENSUS);
                inner.write(out);
            }
        }
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        match from.u8("detector kind")? {
            kind::CONSENSUS => Consensus::read(from).map(Self::Consensus),
            kind => Self::read_kind(kind, from),
        }
    }

    /// Reads any detector but a consensus.
    pub(crate) fn read_plain(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        let kind = from.u8("detector kind")?;
        Self::read_kind(kind, from)
    }

    fn read_kind(kind: u8, from: &mut Reader<'_>) -> Result<Self, FormatError> {
        match kind {
            kind::MAX_Z => MaxZ::read(from).map(Self::MaxZ),
            kind::ISOLATION_FOREST => IsolationForest::from_bytes(from.blob("isolation forest")?)
                .map(Self::IsolationForest)
                .map_err(|error| FormatError::content("isolation forest", error)),
            kind::ECOD => Ecod::read(from).map(Self::Ecod),
            kind::HBOS => Hbos::read(from).map(Self::Hbos),
            kind::KNN => Knn::read(from).map(Self::Knn),
            kind::DBSCAN => Dbscan::read(from).map(Self::Dbscan),
            kind::MAHALANOBIS => Mahalanobis::read(from).map(Self::Mahalanobis),
            kind::GAUSSIAN_MIXTURE => GaussianMixture::read(from).map(Self::GaussianMixture),
            kind::AUTOENCODER => Autoencoder::read(from).map(Self::Autoencoder),
            kind::HALF_SPACE_TREES => HalfSpaceTrees::read(from).map(Self::HalfSpaceTrees),
            kind::CANDLE_Z => CandleZ::read(from).map(Self::CandleZ),
            kind::SLIDING_WINDOW => SlidingWindow::read(from).map(Self::SlidingWindow),
            kind => Err(FormatError::content(
                "detector kind",
                format!("`{kind}` is not known here"),
            )),
        }
    }
}
