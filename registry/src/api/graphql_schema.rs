//! The types of MLflow's GraphQL schema, as far as queries ask for them.

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Float,
    Truth,
    /// A 64-bit integer, shown as text: JavaScript would round it.
    Long,
    Enum,
    Texts,
    One(&'static str),
    Many(&'static str),
    /// An error of the API: there is none, as errors have a place of their own.
    NoError,
}

use Kind::{Enum, Float, Long, Many, NoError, One, Text, Texts, Truth};

type Fields = &'static [(&'static str, Kind)];

const KEY_VALUE: Fields = &[("key", Text), ("value", Text)];

const METRIC: Fields = &[
    ("key", Text),
    ("value", Float),
    ("timestamp", Long),
    ("step", Long),
    ("datasetName", Text),
    ("datasetDigest", Text),
    ("modelId", Text),
    ("runId", Text),
];

/// The queries: name, the type of the answer.
pub(super) const QUERIES: &[(&str, &str)] = &[
    ("mlflowGetExperiment", "MlflowGetExperimentResponse"),
    (
        "mlflowGetMetricHistoryBulkInterval",
        "MlflowGetMetricHistoryBulkIntervalResponse",
    ),
    ("mlflowGetRun", "MlflowGetRunResponse"),
    ("mlflowListArtifacts", "MlflowListArtifactsResponse"),
    (
        "mlflowSearchModelVersions",
        "MlflowSearchModelVersionsResponse",
    ),
    ("mlflowSearchRuns", "MlflowSearchRunsResponse"),
];

/// The mutations, which change nothing but are sent as such.
pub(super) const MUTATIONS: &[(&str, &str)] = &[
    ("mlflowSearchDatasets", "MlflowSearchDatasetsResponse"),
    ("mlflowSearchRuns", "MlflowSearchRunsResponse"),
];

/// The fields of a type.
pub(super) fn fields(type_name: &str) -> Fields {
    match type_name {
        "MlflowGetExperimentResponse" => &[
            ("experiment", One("MlflowExperiment")),
            ("apiError", NoError),
        ],
        "MlflowExperiment" => &[
            ("experimentId", Text),
            ("name", Text),
            ("artifactLocation", Text),
            ("lifecycleStage", Text),
            ("lastUpdateTime", Long),
            ("creationTime", Long),
            ("tags", Many("MlflowExperimentTag")),
            ("effectiveTraceArchivalRetention", Text),
            ("workspace", Text),
        ],
        "MlflowExperimentTag"
        | "MlflowRunTag"
        | "MlflowParam"
        | "MlflowInputTag"
        | "MlflowModelVersionTag" => KEY_VALUE,
        "MlflowGetMetricHistoryBulkIntervalResponse" => &[
            ("metrics", Many("MlflowMetricWithRunId")),
            ("apiError", NoError),
        ],
        "MlflowMetricWithRunId" => &[
            ("key", Text),
            ("value", Float),
            ("timestamp", Long),
            ("step", Long),
            ("runId", Text),
        ],
        "MlflowGetRunResponse" => &[("run", One("MlflowRunExtension")), ("apiError", NoError)],
        "MlflowSearchRunsResponse" => &[
            ("runs", Many("MlflowRunExtension")),
            ("nextPageToken", Text),
            ("apiError", NoError),
        ],
        "MlflowRunExtension" => &[
            ("info", One("MlflowRunInfo")),
            ("data", One("MlflowRunData")),
            ("inputs", One("MlflowRunInputs")),
            ("outputs", One("MlflowRunOutputs")),
            ("experiment", One("MlflowExperiment")),
            ("modelVersions", Many("MlflowModelVersion")),
        ],
        "MlflowRunInfo" => &[
            ("runId", Text),
            ("runUuid", Text),
            ("runName", Text),
            ("experimentId", Text),
            ("userId", Text),
            ("status", Enum),
            ("startTime", Long),
            ("endTime", Long),
            ("artifactUri", Text),
            ("lifecycleStage", Text),
        ],
        "MlflowRunData" => &[
            ("metrics", Many("MlflowMetricExtension")),
            ("params", Many("MlflowParam")),
            ("tags", Many("MlflowRunTag")),
        ],
        "MlflowMetricExtension" | "MlflowModelMetric" => METRIC,
        "MlflowRunInputs" => &[
            ("datasetInputs", Many("MlflowDatasetInput")),
            ("modelInputs", Many("MlflowModelInput")),
        ],
        "MlflowDatasetInput" => &[
            ("tags", Many("MlflowInputTag")),
            ("dataset", One("MlflowDataset")),
        ],
        "MlflowDataset" => &[
            ("name", Text),
            ("digest", Text),
            ("sourceType", Text),
            ("source", Text),
            ("schema", Text),
            ("profile", Text),
        ],
        "MlflowModelInput" => &[("modelId", Text)],
        "MlflowRunOutputs" => &[("modelOutputs", Many("MlflowModelOutput"))],
        "MlflowModelOutput" => &[("modelId", Text), ("step", Long)],
        "MlflowListArtifactsResponse" => &[
            ("rootUri", Text),
            ("files", Many("MlflowFileInfo")),
            ("nextPageToken", Text),
            ("apiError", NoError),
        ],
        "MlflowFileInfo" => &[("path", Text), ("isDir", Truth), ("fileSize", Long)],
        "MlflowSearchModelVersionsResponse" => &[
            ("modelVersions", Many("MlflowModelVersion")),
            ("nextPageToken", Text),
            ("apiError", NoError),
        ],
        "MlflowModelVersion" => &[
            ("name", Text),
            ("version", Text),
            ("creationTimestamp", Long),
            ("lastUpdatedTimestamp", Long),
            ("userId", Text),
            ("currentStage", Text),
            ("description", Text),
            ("source", Text),
            ("runId", Text),
            ("status", Enum),
            ("statusMessage", Text),
            ("tags", Many("MlflowModelVersionTag")),
            ("runLink", Text),
            ("aliases", Texts),
            ("modelId", Text),
            ("modelParams", Many("MlflowModelParam")),
            ("modelMetrics", Many("MlflowModelMetric")),
        ],
        "MlflowModelParam" => &[("name", Text), ("value", Text)],
        "MlflowSearchDatasetsResponse" => &[
            ("datasetSummaries", Many("MlflowDatasetSummary")),
            ("apiError", NoError),
        ],
        "MlflowDatasetSummary" => &[
            ("experimentId", Text),
            ("name", Text),
            ("digest", Text),
            ("context", Text),
        ],
        "Test" | "TestMutation" => &[("output", Text)],
        _ => &[],
    }
}
