//! kNN: the distance to the nearest training rows.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::bytes::{Reader, Writer};
use crate::error::{Error, FormatError, Result};
use crate::neighbors::{KdTree, Nearest};
use crate::observer::FitObserver;
use crate::params::Checks;
use crate::sample::sample;
use crate::scaler::{Scaler, Scaling};
use crate::scorer::Scorer;
use crate::scratch::with_zeros;

/// Most neighbours that a row is compared with.
const MAX_NEIGHBORS: usize = 64;

/// What the distances to the k nearest training rows become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnnDistance {
    /// The distance to the k-th.
    #[default]
    Largest,
    /// The mean over all k.
    Mean,
}

/// Parameters of kNN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KnnConfig {
    /// Neighbours, 1 to 64; all training rows where there are fewer. Default 5.
    pub n_neighbors: usize,
    /// Which distance is the score. Default the largest.
    pub distance: KnnDistance,
    /// How columns are brought to one scale. Default standard.
    pub scaling: Scaling,
    /// Training rows that are kept, 1 to 10,000,000; of more, a seeded sample. Default 50,000.
    pub max_rows: usize,
}

impl Default for KnnConfig {
    fn default() -> Self {
        Self {
            n_neighbors: 5,
            distance: KnnDistance::Largest,
            scaling: Scaling::Standard,
            max_rows: 50_000,
        }
    }
}

impl KnnConfig {
    /// The keys of an experiment file.
    pub const KEYS: &'static [&'static str] = &["n_neighbors", "distance", "scaling", "max_rows"];

    pub(crate) fn violations(&self) -> Vec<String> {
        Checks::default()
            .within("n_neighbors", self.n_neighbors, 1..=MAX_NEIGHBORS)
            .within("max_rows", self.max_rows, 1..=10_000_000)
            .done()
    }
}

/// Distance to the nearest training rows (Ramaswamy, Rastogi and Shim, SIGMOD 2000; the mean is that of
/// Angiulli and Pizzuti 2002), Euclidean, on scaled columns.
///
/// A row's parts are its squared differences from the neighbours over their distances: they sum to
/// the score. A training row scored again is its own nearest neighbour.
#[derive(Debug, Clone, PartialEq)]
pub struct Knn {
    n_neighbors: usize,
    distance: KnnDistance,
    scaler: Scaler,
    tree: KdTree,
}

impl Knn {
    pub(crate) fn fit(
        config: &KnnConfig,
        rows: ArrayView2<'_, f64>,
        seed: u64,
        observer: &mut dyn FitObserver,
    ) -> Result<Self> {
        let scaler = Scaler::fit(rows, config.scaling);
        let kept = sample(rows, config.max_rows, seed, 0x6b6e_6e00);
        if kept.nrows() >= u32::MAX as usize {
            return Err(Error::invalid(
                "rows",
                kept.nrows(),
                "fewer than 2³² are needed",
            ));
        }
        Ok(Self {
            n_neighbors: config.n_neighbors.min(kept.nrows()),
            distance: config.distance,
            tree: KdTree::turned_watched(scaler.scale_rows(kept.view()), rows.ncols(), observer)?,
            scaler,
        })
    }

    /// Number of training rows kept.
    #[must_use]
    pub fn n_kept(&self) -> usize {
        self.tree.len()
    }

    pub(crate) fn parts(&self) -> (&Scaler, &KdTree, usize, KnnDistance) {
        (&self.scaler, &self.tree, self.n_neighbors, self.distance)
    }

    /// Calls `done` with the scaled row, and squared distances and positions of its neighbours.
    fn neighbors<R>(&self, row: &[f64], done: impl FnOnce(&[f64], &[f64], &[u32]) -> R) -> R {
        with_zeros(row.len(), |scaled| {
            self.scaler.scale_row(row, scaled);
            let mut distances = [0.0; MAX_NEIGHBORS];
            let mut positions = [0; MAX_NEIGHBORS];
            let distances = &mut distances[..self.n_neighbors];
            let positions = &mut positions[..self.n_neighbors];
            self.tree
                .k_nearest(scaled, &mut Nearest::new(distances, positions));
            done(scaled, distances, positions)
        })
    }

    fn score_of(&self, squares: &[f64]) -> f64 {
        match self.distance {
            KnnDistance::Largest => squares[squares.len() - 1].sqrt(),
            KnnDistance::Mean => {
                squares.iter().map(|d| d.sqrt()).sum::<f64>() / squares.len() as f64
            }
        }
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.u64(self.n_neighbors as u64);
        out.u8(match self.distance {
            KnnDistance::Largest => 0,
            KnnDistance::Mean => 1,
        });
        self.scaler.write(out);
        self.tree.write(out);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        let refuse = |reason| Err(FormatError::content("knn", reason));
        let n_neighbors = from.u64("knn neighbours")?;
        let distance = match from.u8("knn distance")? {
            0 => KnnDistance::Largest,
            1 => KnnDistance::Mean,
            _ => return refuse("the distance is not known"),
        };
        let scaler = Scaler::read(from)?;
        let tree = KdTree::read(from)?;
        if n_neighbors == 0 || n_neighbors > tree.len().min(MAX_NEIGHBORS) as u64 {
            return refuse("it needs 1 to 64 neighbours, and as many rows");
        }
        if scaler.n_features() != tree.dims() {
            return refuse("its scaler is for other columns");
        }
        Ok(Self {
            n_neighbors: n_neighbors as usize,
            distance,
            scaler,
            tree,
        })
    }
}

impl Scorer for Knn {
    fn n_features(&self) -> usize {
        self.scaler.n_features()
    }

    fn score_row(&self, row: &[f64]) -> f64 {
        self.neighbors(row, |_, squares, _| self.score_of(squares))
    }

    fn explain_row(&self, row: &[f64], parts: &mut [f64]) -> f64 {
        parts.fill(0.0);
        self.neighbors(row, |scaled, squares, positions| {
            let from = match self.distance {
                KnnDistance::Largest => squares.len() - 1,
                KnnDistance::Mean => 0,
            };
            let n = (squares.len() - from) as f64;
            for (square, position) in squares.iter().zip(positions).skip(from) {
                if *square > 0.0 {
                    let neighbor = self.tree.row(self.tree.id(*position as usize));
                    add_shares(scaled, neighbor, n * square.sqrt(), parts);
                }
            }
            self.score_of(squares)
        })
    }
}

/// Adds (a − b)² / `over` of every column to `parts`.
pub(crate) fn add_shares(a: &[f64], b: &[f64], over: f64, parts: &mut [f64]) {
    for ((part, a), b) in parts.iter_mut().zip(a).zip(b) {
        *part += (a - b) * (a - b) / over;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn the_kth_or_the_mean_distance_with_parts_that_sum_to_it() {
        let rows = array![[0.0, 0.0], [3.0, 4.0], [6.0, 8.0], [30.0, 40.0]];
        let config = |distance| KnnConfig {
            n_neighbors: 3,
            distance,
            scaling: Scaling::None,
            ..KnnConfig::default()
        };
        for (distance, expected) in [(KnnDistance::Largest, 10.0), (KnnDistance::Mean, 5.0)] {
            let knn = Knn::fit(&config(distance), rows.view(), 0, &mut ()).unwrap();
            let mut parts = [0.0; 2];
            assert_eq!(knn.score_row(&[0.0, 0.0]), expected);
            assert_eq!(knn.explain_row(&[0.0, 0.0], &mut parts), expected);
            assert!((parts[0] + parts[1] - expected).abs() < 1e-12, "{parts:?}");
            assert!((parts[0] / expected - 0.36).abs() < 1e-12, "{parts:?}");
        }
    }

    #[test]
    fn of_many_rows_a_sample_is_kept() {
        let rows = ndarray::Array2::from_shape_fn((500, 1), |(i, _)| i as f64);
        let config = KnnConfig {
            max_rows: 100,
            ..KnnConfig::default()
        };
        let knn = Knn::fit(&config, rows.view(), 3, &mut ()).unwrap();
        assert_eq!(knn.n_kept(), 100);
        assert_eq!(knn, Knn::fit(&config, rows.view(), 3, &mut ()).unwrap());
        assert_ne!(knn, Knn::fit(&config, rows.view(), 4, &mut ()).unwrap());
    }
}
