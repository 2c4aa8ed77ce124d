//! Datasets that runs read.

use super::{KeyValue, ModelInput};

crate::wire::wire! {
    /// A dataset of an experiment: name and digest say which it is.
    pub struct Dataset {
        /// Its name.
        pub name: String,
        /// A fingerprint of its content.
        pub digest: String,
        /// What kind of source it comes from: `local`, `s3`, `code`, …
        pub source_type: String,
        /// The source: a JSON text.
        pub source: String,
        /// Its columns: a JSON text.
        pub schema: Option<String>,
        /// Numbers about it: a JSON text.
        pub profile: Option<String>,
    }

    /// A dataset that a run read.
    pub struct DatasetInput {
        /// Tags of the reading, `mlflow.data.context` (training, evaluation, …) among them.
        pub tags: Vec<KeyValue>,
        /// The dataset.
        pub dataset: Option<Dataset>,
    }

    /// `runs/log-inputs`.
    pub struct LogInputs {
        /// The run.
        pub run_id: String,
        /// Datasets that it read.
        pub datasets: Vec<DatasetInput>,
        /// Logged models that it read.
        pub models: Vec<ModelInput>,
    }

    /// `experiments/search-datasets`.
    pub struct SearchDatasets {
        /// The experiments to look in, 20 at most.
        pub experiment_ids: Vec<String>,
    }

    /// The answer to [`SearchDatasets`].
    pub struct SearchDatasetsResponse {
        /// Each dataset once per context in which it was read.
        pub dataset_summaries: Vec<DatasetSummary>,
    }

    /// A dataset as runs of an experiment read it.
    pub struct DatasetSummary {
        /// The experiment.
        pub experiment_id: String,
        /// The dataset's name.
        pub name: String,
        /// Its digest.
        pub digest: String,
        /// What it was read for.
        pub context: Option<String>,
    }
}
