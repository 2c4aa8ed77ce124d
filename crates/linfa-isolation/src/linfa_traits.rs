//! The forest as a citizen of linfa.

use linfa::DatasetBase;
use linfa::traits::{Fit, PredictInplace};
use ndarray::{Array1, ArrayBase, Data, Ix2};

use crate::error::{Error, Result};
use crate::forest::IsolationForest;
use crate::params::IsolationForestValidParams;

/// Unsupervised: targets, if the dataset has any, are not looked at. Weights, if it has any, are the
/// odds with which trees draw rows.
impl<D: Data<Elem = f64>, T> Fit<ArrayBase<D, Ix2>, T, Error> for IsolationForestValidParams {
    type Object = IsolationForest;

    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<IsolationForest> {
        match dataset.weights() {
            Some(weights) => self.fit_weighted(dataset.records.view(), weights),
            None => self.fit_view(dataset.records.view()),
        }
    }
}

/// Predictions are scores in (0, 1), higher is more anomalous.
///
/// # Panics
///
/// linfa's prediction can't return an error, so a table with the wrong number of columns or a value
/// that is not finite panics. [`IsolationForest::score_samples`] returns an error instead.
impl<D: Data<Elem = f64>> PredictInplace<ArrayBase<D, Ix2>, Array1<f64>> for IsolationForest {
    fn predict_inplace(&self, records: &ArrayBase<D, Ix2>, scores: &mut Array1<f64>) {
        match self.score_samples(records.view()) {
            Ok(values) => {
                assert_eq!(
                    values.len(),
                    scores.len(),
                    "the number of targets must be the number of rows"
                );
                scores.assign(&values);
            }
            Err(error) => panic!("can't predict: {error}"),
        }
    }

    fn default_target(&self, records: &ArrayBase<D, Ix2>) -> Array1<f64> {
        Array1::zeros(records.nrows())
    }
}
