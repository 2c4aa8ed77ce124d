//! Logged models: what `mlflow.<flavor>.log_model` writes, before or without registration.

use super::{KeyValue, Metric};

crate::wire::wire_enum! {
    /// How far a logged model is.
    pub enum LoggedModelStatus {
        /// Its files are being written.
        Pending = 1, "LOGGED_MODEL_PENDING";
        /// It can be used.
        Ready = 2, "LOGGED_MODEL_READY";
        /// Writing its files failed.
        UploadFailed = 3, "LOGGED_MODEL_UPLOAD_FAILED";
    }
}

crate::wire::wire! {
    /// A logged model.
    pub struct LoggedModel {
        /// What it is.
        pub info: LoggedModelInfo,
        /// Its parameters and metrics.
        pub data: LoggedModelData,
    }

    /// What a logged model is.
    pub struct LoggedModelInfo {
        /// Its id: `m-` and 32 hexadecimal digits.
        pub model_id: String,
        /// Its experiment.
        pub experiment_id: String,
        /// Its name.
        pub name: String,
        /// When it was created, ms since the epoch.
        pub creation_timestamp_ms: Option<i64>,
        /// When it last changed, ms since the epoch.
        pub last_updated_timestamp_ms: Option<i64>,
        /// The URI of its files.
        pub artifact_uri: Option<String>,
        /// How far it is.
        pub status: Option<LoggedModelStatus>,
        /// More about the status.
        pub status_message: Option<String>,
        /// What kind of model it is.
        pub model_type: Option<String>,
        /// The run that made it.
        pub source_run_id: Option<String>,
        /// Its tags.
        pub tags: Vec<KeyValue>,
    }

    /// What is known of a logged model.
    pub struct LoggedModelData {
        /// Its parameters.
        pub params: Vec<KeyValue>,
        /// The points of metrics that are about it.
        pub metrics: Vec<Metric>,
    }

    /// `logged-models`, POST.
    pub struct CreateLoggedModel {
        /// The experiment.
        pub experiment_id: String,
        /// Its name; the server finds one when absent.
        pub name: Option<String>,
        /// What kind of model it is.
        pub model_type: Option<String>,
        /// The run that makes it.
        pub source_run_id: Option<String>,
        /// Parameters.
        pub params: Vec<KeyValue>,
        /// Tags.
        pub tags: Vec<KeyValue>,
    }

    /// The answer to requests for one logged model.
    pub struct LoggedModelResponse {
        /// The model.
        pub model: LoggedModel,
    }

    /// `logged-models/ID`, PATCH: its final status.
    pub struct FinalizeLoggedModel {
        /// The model (also in the path).
        pub model_id: Option<String>,
        /// Ready or failed.
        pub status: Option<LoggedModelStatus>,
    }

    /// `logged-models/ID/tags`, PATCH.
    pub struct SetLoggedModelTags {
        /// The model (also in the path).
        pub model_id: Option<String>,
        /// Tags to set.
        pub tags: Vec<KeyValue>,
    }

    /// `logged-models/ID/params`, POST.
    pub struct LogLoggedModelParams {
        /// The model (also in the path).
        pub model_id: Option<String>,
        /// Parameters to add.
        pub params: Vec<KeyValue>,
    }

    /// `logged-models/search`.
    pub struct SearchLoggedModels {
        /// The experiments to look in.
        pub experiment_ids: Vec<String>,
        /// A filter over attributes, params, tags and metrics.
        pub filter: Option<String>,
        /// Metrics of the filter are looked at only where they are about one of these.
        pub datasets: Vec<LoggedModelDataset>,
        /// The page's size; 100 when absent.
        pub max_results: Option<i64>,
        /// Columns to sort by.
        pub order_by: Vec<LoggedModelOrderBy>,
        /// Where to go on.
        pub page_token: Option<String>,
    }

    /// One of [`SearchLoggedModels::datasets`].
    pub struct LoggedModelDataset {
        /// The dataset's name.
        pub dataset_name: String,
        /// Its digest; any when absent.
        pub dataset_digest: Option<String>,
    }

    /// One column of [`SearchLoggedModels::order_by`].
    pub struct LoggedModelOrderBy {
        /// The column.
        pub field_name: String,
        /// Ascending when absent.
        pub ascending: Option<bool>,
        /// Of a metric: the dataset's name.
        pub dataset_name: Option<String>,
        /// Of a metric: the dataset's digest.
        pub dataset_digest: Option<String>,
    }

    /// The answer to [`SearchLoggedModels`].
    pub struct SearchLoggedModelsResponse {
        /// The page.
        pub models: Vec<LoggedModel>,
        /// Where to go on; absent on the last page.
        pub next_page_token: Option<String>,
    }
}
