//! Experiments and runs.

use super::transport::Repeat;
use super::{Client, ClientError};
use crate::error::ErrorCode;
use crate::types::*;

/// The server's limits for one `log-batch`.
const MAX_METRICS: usize = 1000;
const MAX_PARAMS: usize = 100;
const MAX_TAGS: usize = 100;

impl Client {
    /// Whether the server is up; asked without patience (no retries beyond the options').
    ///
    /// # Errors
    /// When it is not reachable or not healthy.
    pub async fn health(&self) -> Result<(), ClientError> {
        let url = format!("{}/health", self.tracking_uri());
        let none = super::transport::Payload::None;
        self.send(reqwest::Method::GET, &url, &none, Repeat::Safe)
            .await
            .map(drop)
    }

    /// The id of the experiment of that name, which is created where it is missing.
    ///
    /// # Errors
    /// When the server is not reachable or refuses; a deleted experiment keeps its name, so its
    /// id is returned and logging to it is refused later.
    pub async fn get_or_create_experiment(&self, name: &str) -> Result<String, ClientError> {
        match self.get_experiment_by_name(name).await {
            Ok(experiment) => return Ok(experiment.experiment_id),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        let request = CreateExperiment {
            name: name.to_owned(),
            ..Default::default()
        };
        match self
            .call::<_, CreateExperimentResponse>(
                reqwest::Method::POST,
                "experiments/create",
                &request,
                Repeat::Unsafe,
            )
            .await
        {
            Ok(created) => Ok(created.experiment_id),
            // Somebody else was faster.
            Err(error) if error.code() == Some(ErrorCode::ResourceAlreadyExists) => {
                Ok(self.get_experiment_by_name(name).await?.experiment_id)
            }
            Err(error) => Err(error),
        }
    }

    /// The experiment of that name.
    ///
    /// # Errors
    /// When the server is not reachable or there is none.
    pub async fn get_experiment_by_name(&self, name: &str) -> Result<Experiment, ClientError> {
        let request = GetExperimentByName {
            experiment_name: name.to_owned(),
        };
        let answer: ExperimentResponse = self.get("experiments/get-by-name", &request).await?;
        Ok(answer.experiment)
    }

    /// The experiment of that id.
    ///
    /// # Errors
    /// When the server is not reachable or there is none.
    pub async fn get_experiment(&self, experiment_id: &str) -> Result<Experiment, ClientError> {
        let request = ExperimentRef {
            experiment_id: experiment_id.to_owned(),
        };
        let answer: ExperimentResponse = self.get("experiments/get", &request).await?;
        Ok(answer.experiment)
    }

    /// Starts a run. `start_time` is in ms since the epoch.
    ///
    /// # Errors
    /// When the server is not reachable or refuses.
    pub async fn create_run(
        &self,
        experiment_id: &str,
        run_name: Option<&str>,
        start_time: i64,
        tags: Vec<KeyValue>,
    ) -> Result<Run, ClientError> {
        let request = CreateRun {
            experiment_id: experiment_id.to_owned(),
            user_id: tags
                .iter()
                .find(|tag| tag.key == "mlflow.user")
                .map(|tag| tag.value.clone()),
            run_name: run_name.map(str::to_owned),
            start_time: Some(start_time),
            tags,
        };
        let answer: RunResponse = self
            .call(
                reqwest::Method::POST,
                "runs/create",
                &request,
                Repeat::Unsafe,
            )
            .await?;
        Ok(answer.run)
    }

    /// Changes what a run is; `None` leaves a field as it was. `end_time` is in ms since the epoch.
    ///
    /// # Errors
    /// When the server is not reachable or refuses.
    pub async fn update_run(
        &self,
        run_id: &str,
        status: Option<RunStatus>,
        end_time: Option<i64>,
        run_name: Option<&str>,
    ) -> Result<RunInfo, ClientError> {
        let request = UpdateRun {
            run_id: Some(run_id.to_owned()),
            run_uuid: None,
            status,
            end_time,
            run_name: run_name.map(str::to_owned),
        };
        let answer: UpdateRunResponse = self.post("runs/update", &request).await?;
        Ok(answer.run_info)
    }

    /// The run of that id.
    ///
    /// # Errors
    /// When the server is not reachable or there is none.
    pub async fn get_run(&self, run_id: &str) -> Result<Run, ClientError> {
        let request = RunRef {
            run_id: Some(run_id.to_owned()),
            run_uuid: None,
        };
        let answer: RunResponse = self.get("runs/get", &request).await?;
        Ok(answer.run)
    }

    /// Logs any number of points, parameters and tags, in batches that the server takes.
    ///
    /// Each batch is one transaction; a repeated call changes nothing.
    ///
    /// # Errors
    /// When the server is not reachable or refuses (a parameter that has another value already).
    pub async fn log_batch(
        &self,
        run_id: &str,
        metrics: &[Metric],
        params: &[KeyValue],
        tags: &[KeyValue],
    ) -> Result<(), ClientError> {
        let (mut metrics, mut params, mut tags) = (metrics, params, tags);
        while !(metrics.is_empty() && params.is_empty() && tags.is_empty()) {
            let params_now = take(&mut params, MAX_PARAMS);
            let tags_now = take(&mut tags, MAX_TAGS);
            // The total must not exceed the metrics' limit either.
            let metrics_now = take(
                &mut metrics,
                MAX_METRICS - params_now.len() - tags_now.len(),
            );
            let request = LogBatch {
                run_id: run_id.to_owned(),
                metrics: metrics_now.iter().cloned().map(LogMetric::from).collect(),
                params: params_now.to_vec(),
                tags: tags_now.to_vec(),
            };
            let _: Empty = self.post("runs/log-batch", &request).await?;
        }
        Ok(())
    }

    /// Logs one point. `timestamp` is in ms since the epoch.
    ///
    /// # Errors
    /// When the server is not reachable or refuses.
    pub async fn log_metric(
        &self,
        run_id: &str,
        key: &str,
        value: f64,
        timestamp: i64,
        step: i64,
    ) -> Result<(), ClientError> {
        let request = LogMetric {
            run_id: Some(run_id.to_owned()),
            key: key.to_owned(),
            value: Some(value),
            timestamp: Some(timestamp),
            step: Some(step),
            ..Default::default()
        };
        let _: Empty = self.post("runs/log-metric", &request).await?;
        Ok(())
    }

    /// Sets a tag of a run.
    ///
    /// # Errors
    /// When the server is not reachable or refuses.
    pub async fn set_tag(&self, run_id: &str, key: &str, value: &str) -> Result<(), ClientError> {
        let request = SetTag {
            run_id: Some(run_id.to_owned()),
            run_uuid: None,
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let _: Empty = self.post("runs/set-tag", &request).await?;
        Ok(())
    }

    /// Deletes a tag of a run.
    ///
    /// # Errors
    /// When the server is not reachable or the run has no such tag.
    pub async fn delete_tag(&self, run_id: &str, key: &str) -> Result<(), ClientError> {
        let request = DeleteTag {
            run_id: Some(run_id.to_owned()),
            key: key.to_owned(),
        };
        let _: Empty = self.post("runs/delete-tag", &request).await?;
        Ok(())
    }

    /// All runs that a search finds, page by page, up to `limit`.
    ///
    /// # Errors
    /// When the server is not reachable or refuses the filter.
    pub async fn search_runs(
        &self,
        experiment_ids: &[String],
        filter: &str,
        order_by: &[String],
        limit: usize,
    ) -> Result<Vec<Run>, ClientError> {
        let mut request = SearchRuns {
            experiment_ids: experiment_ids.to_vec(),
            filter: (!filter.is_empty()).then(|| filter.to_owned()),
            order_by: order_by.to_vec(),
            ..Default::default()
        };
        let mut runs = Vec::new();
        while runs.len() < limit {
            request.max_results = Some((limit - runs.len()).min(1000) as i64);
            let page: SearchRunsResponse = self.post("runs/search", &request).await?;
            runs.extend(page.runs);
            request.page_token = page.next_page_token.filter(|token| !token.is_empty());
            if request.page_token.is_none() {
                break;
            }
        }
        Ok(runs)
    }

    /// The whole history of a metric, by timestamp, step and value.
    ///
    /// # Errors
    /// When the server is not reachable or the run does not exist.
    pub async fn get_metric_history(
        &self,
        run_id: &str,
        key: &str,
    ) -> Result<Vec<Metric>, ClientError> {
        let mut request = GetMetricHistory {
            run_id: Some(run_id.to_owned()),
            metric_key: key.to_owned(),
            ..Default::default()
        };
        let mut points = Vec::new();
        loop {
            let page: GetMetricHistoryResponse = self.get("metrics/get-history", &request).await?;
            points.extend(page.metrics);
            request.page_token = page.next_page_token.filter(|token| !token.is_empty());
            if request.page_token.is_none() {
                return Ok(points);
            }
        }
    }
}

fn take<'a, T>(rest: &mut &'a [T], limit: usize) -> &'a [T] {
    let (now, later) = rest.split_at(rest.len().min(limit));
    *rest = later;
    now
}
