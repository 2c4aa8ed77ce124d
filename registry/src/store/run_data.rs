//! What runs logged.

use std::collections::HashMap;
use std::sync::LazyLock;

use mlflow_api::types::{KeyValue, ModelInput, ModelOutput, Run, RunData, RunInputs, RunOutputs};

use super::Result;
use super::datasets::datasets_of;
use super::db::{Conn, QueryBuilder, query};
use super::metrics::Latest;
use super::runs::{Row, no_run};
use super::tags::CHUNK;

/// (what, run, key, text, two integers, a number, whether it is NaN, bytes).
type Detail = (
    i64,
    String,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<f64>,
    Option<i64>,
    Option<Vec<u8>>,
);

const RUN: i64 = -1;
const LATEST: i64 = 0;
const PARAM: i64 = 1;
const TAG: i64 = 2;
const OUTPUT: i64 = 3;
// After the latest points, which it may be newer than.
const LOGGED: i64 = 4;
const INPUT: i64 = 5;

/// (its columns, its table): the columns of the first give all of them their types.
const DETAILS: [(&str, &str); 7] = [
    (
        "CAST(0 AS BIGINT) AS what, run_id, key, CAST(NULL AS TEXT) AS text, timestamp, step, \
         value, is_nan, CAST(NULL AS BYTEA) AS points",
        "latest_metrics",
    ),
    (
        "1, run_id, key, value, NULL, NULL, NULL, NULL, NULL",
        "run_params",
    ),
    (
        "2, run_id, key, value, NULL, NULL, NULL, NULL, NULL",
        "run_tags",
    ),
    (
        "3, run_id, model_id, NULL, step, NULL, NULL, NULL, NULL",
        "run_outputs",
    ),
    (
        "4, run_id, NULL, NULL, NULL, NULL, NULL, NULL, points",
        "metric_log",
    ),
    (
        "5, run_id, model_id, NULL, NULL, NULL, NULL, NULL, NULL",
        "run_inputs",
    ),
    // Only that there are some: few runs have any, and they have texts of their own.
    (
        "6, run_id, dataset_id, NULL, NULL, NULL, NULL, NULL, NULL",
        "run_datasets",
    ),
];

/// A detail, and of the run itself its user, status and stage.
type RunOrDetail = (
    i64,
    String,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<f64>,
    Option<i64>,
    Option<Vec<u8>>,
    Option<String>,
    Option<String>,
    Option<String>,
);

static ONE: LazyLock<String> = LazyLock::new(|| {
    let mut text = format!(
        "SELECT CAST({RUN} AS BIGINT) AS what, run_id, run_name AS key, artifact_uri AS text, \
         experiment_id, start_time, CAST(NULL AS DOUBLE PRECISION), end_time, \
         CAST(NULL AS BYTEA), user_id, status, lifecycle_stage FROM runs WHERE run_id = $1"
    );
    for (columns, table) in DETAILS {
        text += &format!(
            " UNION ALL SELECT {columns}, NULL, NULL, NULL FROM {table} WHERE run_id = $1"
        );
    }
    text
});

/// A run with what it logged, in one statement.
pub(super) async fn load(connection: &mut Conn, run_id: &str) -> Result<Run> {
    let parts: Vec<RunOrDetail> = query(ONE.as_str())
        .bind(run_id)
        .fetch_all(connection)
        .await?;
    let mut run = None;
    let mut details = Vec::with_capacity(parts.len());
    for (what, run_id, key, text, a, b, value, c, points, user_id, status, stage) in parts {
        if what == RUN {
            run = Some(Row {
                run_id,
                experiment_id: a.unwrap_or_default(),
                run_name: key.unwrap_or_default(),
                user_id: user_id.unwrap_or_default(),
                status: status.unwrap_or_default(),
                start_time: b,
                end_time: c,
                lifecycle_stage: stage.unwrap_or_default(),
                artifact_uri: text.unwrap_or_default(),
            });
        } else {
            details.push((what, run_id, key, text, a, b, value, c, points));
        }
    }
    let run = run.ok_or_else(|| no_run(run_id))?;
    let mut data = Data::default();
    data.add(details)?;
    data.add_datasets(connection).await?;
    Ok(data.complete(run))
}

/// Adds what runs logged, with one statement for all of them: a point that is folded meanwhile is
/// seen once.
pub(super) async fn with_data(connection: &mut Conn, rows: Vec<Row>) -> Result<Vec<Run>> {
    let ids: Vec<String> = rows.iter().map(|row| row.run_id.clone()).collect();
    let mut data = Data::default();
    for chunk in ids.chunks(CHUNK) {
        let mut query = QueryBuilder::new(connection, "");
        for (i, (columns, table)) in DETAILS.into_iter().enumerate() {
            query.push(if i > 0 { " UNION ALL " } else { "" });
            query.push(format!("SELECT {columns} FROM {table} WHERE run_id"));
            query.push_in(chunk);
        }
        data.add(query.build().fetch_all(connection).await?)?;
    }
    data.add_datasets(connection).await?;
    Ok(rows.into_iter().map(|row| data.complete(row)).collect())
}

/// What is known of runs, by their ids.
#[derive(Default)]
struct Data {
    latest: Latest,
    others: HashMap<String, (RunData, RunOutputs, RunInputs)>,
    with_datasets: Vec<String>,
}

impl Data {
    fn add(&mut self, mut details: Vec<Detail>) -> Result<()> {
        // By kind, run and key.
        details.sort_by(|a, b| (a.0, &a.1, &a.2).cmp(&(b.0, &b.1, &b.2)));
        for (what, run_id, key, text, a, b, value, is_nan, points) in details {
            let key = key.unwrap_or_default();
            let text = text.unwrap_or_default();
            let number = a.unwrap_or_default();
            match what {
                LATEST => {
                    let value = value.unwrap_or_default();
                    let is_nan = is_nan.unwrap_or_default();
                    let point = (number, b.unwrap_or_default(), value, is_nan);
                    self.latest.folded(run_id, key, point);
                }
                PARAM => {
                    let pair = KeyValue { key, value: text };
                    self.others.entry(run_id).or_default().0.params.push(pair);
                }
                TAG => {
                    let pair = KeyValue { key, value: text };
                    self.others.entry(run_id).or_default().0.tags.push(pair);
                }
                OUTPUT => {
                    let output = ModelOutput {
                        model_id: key,
                        step: number,
                    };
                    let outputs = &mut self.others.entry(run_id).or_default().1;
                    outputs.model_outputs.push(output);
                }
                LOGGED => self.latest.logged(run_id, &points.unwrap_or_default())?,
                INPUT => {
                    let inputs = &mut self.others.entry(run_id).or_default().2;
                    inputs.model_inputs.push(ModelInput { model_id: key });
                }
                // Sorted by run: one that has several is there several times in a row.
                _ if self.with_datasets.last() == Some(&run_id) => (),
                _ => self.with_datasets.push(run_id),
            }
        }
        Ok(())
    }

    async fn add_datasets(&mut self, connection: &mut Conn) -> Result<()> {
        for (run_id, datasets) in datasets_of(connection, &self.with_datasets).await? {
            self.others.entry(run_id).or_default().2.dataset_inputs = datasets;
        }
        Ok(())
    }

    /// The run with its part.
    fn complete(&mut self, row: Row) -> Run {
        let (mut data, mut outputs, inputs) = self.others.remove(&row.run_id).unwrap_or_default();
        data.metrics = self.latest.take(&row.run_id);
        outputs.model_outputs.sort_by_key(|output| output.step);
        Run {
            data,
            inputs,
            outputs,
            info: row.into_info(),
        }
    }
}
