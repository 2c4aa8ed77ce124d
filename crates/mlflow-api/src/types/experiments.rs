//! Experiments.

use super::{KeyValue, ViewType};

crate::wire::wire! {
    /// An experiment: a named set of runs.
    pub struct Experiment {
        /// Its id, a decimal number as text.
        pub experiment_id: String,
        /// Its name, unique also among the deleted.
        pub name: String,
        /// The URI under which its runs' artifacts live.
        pub artifact_location: Option<String>,
        /// `active` or `deleted`.
        pub lifecycle_stage: String,
        /// When it last changed, ms since the epoch.
        pub last_update_time: Option<i64>,
        /// When it was created, ms since the epoch.
        pub creation_time: Option<i64>,
        /// Its tags.
        pub tags: Vec<KeyValue>,
        /// The workspace that it is in.
        pub workspace: Option<String>,
    }

    /// `experiments/create`.
    pub struct CreateExperiment {
        /// The name.
        pub name: String,
        /// Where artifacts shall live; the server chooses when absent.
        pub artifact_location: Option<String>,
        /// Tags to begin with.
        pub tags: Vec<KeyValue>,
    }

    /// The answer to [`CreateExperiment`].
    pub struct CreateExperimentResponse {
        /// The new experiment.
        pub experiment_id: String,
    }

    /// `experiments/get`, `delete` and `restore`.
    pub struct ExperimentRef {
        /// The experiment.
        pub experiment_id: String,
    }

    /// `experiments/get-by-name`.
    pub struct GetExperimentByName {
        /// The name.
        pub experiment_name: String,
    }

    /// The answer to requests for one experiment.
    pub struct ExperimentResponse {
        /// The experiment.
        pub experiment: Experiment,
    }

    /// `experiments/search`.
    pub struct SearchExperiments {
        /// The page's size; 1000 when absent.
        pub max_results: Option<i64>,
        /// Where to go on.
        pub page_token: Option<String>,
        /// A filter over name, times and tags.
        pub filter: Option<String>,
        /// Columns with `ASC` or `DESC`.
        pub order_by: Vec<String>,
        /// Active ones when absent.
        pub view_type: Option<ViewType>,
    }

    /// The answer to [`SearchExperiments`].
    pub struct SearchExperimentsResponse {
        /// The page.
        pub experiments: Vec<Experiment>,
        /// Where to go on; absent on the last page.
        pub next_page_token: Option<String>,
    }

    /// `experiments/update`.
    pub struct UpdateExperiment {
        /// The experiment.
        pub experiment_id: String,
        /// Its new name.
        pub new_name: Option<String>,
    }

    /// `experiments/set-experiment-tag`.
    pub struct SetExperimentTag {
        /// The experiment.
        pub experiment_id: String,
        /// The tag's key.
        pub key: String,
        /// The tag's text.
        pub value: String,
    }

    /// `experiments/delete-experiment-tag`.
    pub struct DeleteExperimentTag {
        /// The experiment.
        pub experiment_id: String,
        /// The tag's key.
        pub key: String,
    }
}
