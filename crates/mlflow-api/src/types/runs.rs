//! Runs, their metrics, parameters and tags.

use super::{DatasetInput, KeyValue, ViewType};

crate::wire::wire_enum! {
    /// How far a run is.
    pub enum RunStatus {
        /// It runs.
        Running = 1, "RUNNING";
        /// It waits for its start.
        Scheduled = 2, "SCHEDULED";
        /// It ended well.
        Finished = 3, "FINISHED";
        /// It ended with an error.
        Failed = 4, "FAILED";
        /// It was stopped.
        Killed = 5, "KILLED";
    }
}

crate::wire::wire! {
    /// A run.
    pub struct Run {
        /// What it is.
        pub info: RunInfo,
        /// What it logged.
        pub data: RunData,
        /// What it read.
        pub inputs: RunInputs,
        /// What it made.
        pub outputs: RunOutputs,
    }

    /// What a run is.
    pub struct RunInfo {
        /// Its id: 32 hexadecimal digits.
        pub run_id: String,
        /// The same, by its old name.
        pub run_uuid: String,
        /// Its experiment.
        pub experiment_id: String,
        /// Its name.
        pub run_name: Option<String>,
        /// Who started it.
        pub user_id: Option<String>,
        /// How far it is.
        pub status: Option<RunStatus>,
        /// When it started, ms since the epoch.
        pub start_time: Option<i64>,
        /// When it ended, ms since the epoch.
        pub end_time: Option<i64>,
        /// The URI of its artifact folder.
        pub artifact_uri: Option<String>,
        /// `active` or `deleted`.
        pub lifecycle_stage: Option<String>,
    }

    /// What a run logged.
    pub struct RunData {
        /// The latest point of each metric.
        pub metrics: Vec<Metric>,
        /// Its parameters.
        pub params: Vec<KeyValue>,
        /// Its tags.
        pub tags: Vec<KeyValue>,
    }

    /// What a run read.
    pub struct RunInputs {
        /// Datasets that it read.
        pub dataset_inputs: Vec<DatasetInput>,
        /// Logged models that it read.
        pub model_inputs: Vec<ModelInput>,
    }

    /// A logged model that a run read.
    pub struct ModelInput {
        /// The logged model.
        pub model_id: String,
    }

    /// What a run made.
    pub struct RunOutputs {
        /// Logged models that it made.
        pub model_outputs: Vec<ModelOutput>,
    }

    /// A logged model that a run made.
    pub struct ModelOutput {
        /// The logged model.
        pub model_id: String,
        /// The training step at which it was made.
        pub step: i64,
    }

    /// One point of a metric.
    pub struct Metric {
        /// The metric's name.
        pub key: String,
        /// The value; NaN and infinities are allowed.
        pub value: f64,
        /// ms since the epoch.
        pub timestamp: i64,
        /// The training step.
        pub step: i64,
        /// The logged model that the point is about.
        pub model_id: Option<String>,
        /// The dataset that the point is about.
        pub dataset_name: Option<String>,
        /// That dataset's digest.
        pub dataset_digest: Option<String>,
        /// The run, where points of several runs are listed together.
        pub run_id: Option<String>,
    }

    /// `runs/create`.
    pub struct CreateRun {
        /// The experiment.
        pub experiment_id: String,
        /// Who starts it.
        pub user_id: Option<String>,
        /// Its name; the server finds one when absent.
        pub run_name: Option<String>,
        /// When it started, ms since the epoch.
        pub start_time: Option<i64>,
        /// Tags to begin with.
        pub tags: Vec<KeyValue>,
    }

    /// The answer to requests for one run.
    pub struct RunResponse {
        /// The run.
        pub run: Run,
    }

    /// `runs/update`.
    pub struct UpdateRun {
        /// The run.
        pub run_id: Option<String>,
        /// The run, by its old name.
        pub run_uuid: Option<String>,
        /// The new status.
        pub status: Option<RunStatus>,
        /// When it ended, ms since the epoch.
        pub end_time: Option<i64>,
        /// The new name.
        pub run_name: Option<String>,
    }

    /// The answer to [`UpdateRun`].
    pub struct UpdateRunResponse {
        /// What the run is now.
        pub run_info: RunInfo,
    }

    /// `runs/get`, `delete` and `restore`.
    pub struct RunRef {
        /// The run.
        pub run_id: Option<String>,
        /// The run, by its old name.
        pub run_uuid: Option<String>,
    }

    /// `runs/log-metric`.
    pub struct LogMetric {
        /// The run.
        pub run_id: Option<String>,
        /// The run, by its old name.
        pub run_uuid: Option<String>,
        /// The metric's name.
        pub key: String,
        /// The value.
        pub value: Option<f64>,
        /// ms since the epoch.
        pub timestamp: Option<i64>,
        /// The training step; 0 when absent.
        pub step: Option<i64>,
        /// The logged model that the point is about.
        pub model_id: Option<String>,
        /// The dataset that the point is about.
        pub dataset_name: Option<String>,
        /// That dataset's digest.
        pub dataset_digest: Option<String>,
    }

    /// `runs/log-parameter`.
    pub struct LogParam {
        /// The run.
        pub run_id: Option<String>,
        /// The run, by its old name.
        pub run_uuid: Option<String>,
        /// The parameter's name.
        pub key: String,
        /// Its text.
        pub value: String,
    }

    /// `runs/set-tag`.
    pub struct SetTag {
        /// The run.
        pub run_id: Option<String>,
        /// The run, by its old name.
        pub run_uuid: Option<String>,
        /// The tag's key.
        pub key: String,
        /// Its text.
        pub value: String,
    }

    /// `runs/delete-tag`.
    pub struct DeleteTag {
        /// The run.
        pub run_id: Option<String>,
        /// The tag's key.
        pub key: String,
    }

    /// `runs/log-batch`: at most 1,000 metrics, 100 params, 100 tags and 1,000 in total.
    pub struct LogBatch {
        /// The run.
        pub run_id: String,
        /// Points of metrics.
        pub metrics: Vec<LogMetric>,
        /// Parameters.
        pub params: Vec<KeyValue>,
        /// Tags.
        pub tags: Vec<KeyValue>,
    }

    /// `runs/log-model`: a legacy record of a logged model.
    pub struct LogModel {
        /// The run.
        pub run_id: String,
        /// The MLmodel file as JSON.
        pub model_json: String,
    }

    /// `runs/outputs`.
    pub struct LogOutputs {
        /// The run.
        pub run_id: String,
        /// Logged models that it made.
        pub models: Vec<ModelOutput>,
    }

    /// `runs/search`.
    pub struct SearchRuns {
        /// The experiments to look in.
        pub experiment_ids: Vec<String>,
        /// A filter over metrics, params, tags and attributes.
        pub filter: Option<String>,
        /// Active ones when absent.
        pub run_view_type: Option<ViewType>,
        /// The page's size; 1000 when absent.
        pub max_results: Option<i64>,
        /// Columns with `ASC` or `DESC`.
        pub order_by: Vec<String>,
        /// Where to go on.
        pub page_token: Option<String>,
    }

    /// The answer to [`SearchRuns`].
    pub struct SearchRunsResponse {
        /// The page.
        pub runs: Vec<Run>,
        /// Where to go on; absent on the last page.
        pub next_page_token: Option<String>,
    }

    /// `metrics/get-history`.
    pub struct GetMetricHistory {
        /// The run.
        pub run_id: Option<String>,
        /// The run, by its old name.
        pub run_uuid: Option<String>,
        /// The metric's name.
        pub metric_key: String,
        /// Where to go on.
        pub page_token: Option<String>,
        /// The page's size; everything when absent.
        pub max_results: Option<i64>,
    }

    /// `metrics/get-history-bulk`: the histories of several runs, one after the other.
    pub struct GetMetricHistoryBulk {
        /// The runs.
        pub run_id: Vec<String>,
        /// The metric's name.
        pub metric_key: String,
        /// How many points of all of them; 25,000 when absent or more.
        pub max_results: Option<i64>,
    }

    /// `metrics/get-history-bulk-interval`: a thinned history of several runs, for charts.
    pub struct GetMetricHistoryBulkInterval {
        /// The runs.
        pub run_ids: Vec<String>,
        /// The metric's name.
        pub metric_key: String,
        /// The first step.
        pub start_step: Option<i64>,
        /// The last step.
        pub end_step: Option<i64>,
        /// About how many points of each run.
        pub max_results: Option<i64>,
    }

    /// The answer to [`GetMetricHistory`].
    pub struct GetMetricHistoryResponse {
        /// The points, by timestamp, step, value.
        pub metrics: Vec<Metric>,
        /// Where to go on; absent on the last page.
        pub next_page_token: Option<String>,
    }
}

impl From<Metric> for LogMetric {
    fn from(metric: Metric) -> Self {
        Self {
            run_id: None,
            run_uuid: None,
            key: metric.key,
            value: Some(metric.value),
            timestamp: Some(metric.timestamp),
            step: Some(metric.step),
            model_id: metric.model_id,
            dataset_name: metric.dataset_name,
            dataset_digest: metric.dataset_digest,
        }
    }
}

impl Metric {
    /// A point of a metric that is about no particular model or dataset.
    pub fn new(key: impl Into<String>, value: f64, timestamp: i64, step: i64) -> Self {
        Self {
            key: key.into(),
            value,
            timestamp,
            step,
            ..Self::default()
        }
    }
}
