//! The page at `/`: what this is, how to use it, and the newest runs.

use std::fmt::Write;

use axum::extract::State;
use axum::response::Html;
use mlflow_api::types::{RunStatus, ViewType};

use super::error::ApiError;
use crate::Registry;
use crate::store::{PageRequest, RunSearch};

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8>\
<meta name=viewport content='width=device-width'><title>Foreshock registry</title><style>\
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
pre{background:#8882;padding:.8rem;overflow:auto}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8884}\
:root{color-scheme:light dark}</style><h1>Foreshock registry</h1>\
<p>A tracking server and model registry that speaks the MLflow REST dialect. Point any MLflow \
client at it:</p><pre>export MLFLOW_TRACKING_URI=<span id=uri>http://127.0.0.1:5000</span>\n\
python -c 'import mlflow; print(mlflow.search_runs(search_all_experiments=True))'</pre>\
<script>document.getElementById('uri').textContent=location.origin</script><h2>Newest runs</h2>";

const MOST_RUNS: i64 = 50;

pub(super) async fn page(State(registry): State<Registry>) -> Result<Html<String>, ApiError> {
    let store = registry.store();
    let all = PageRequest::new(1000, None)?;
    let experiments = store
        .search_experiments(ViewType::ActiveOnly, &[], &[], all)
        .await?
        .items;
    let search = RunSearch {
        experiment_ids: experiments
            .iter()
            .map(|e| e.experiment_id.clone())
            .collect(),
        clauses: Vec::new(),
        orders: Vec::new(),
        view: ViewType::ActiveOnly,
    };
    let runs = store
        .search_runs(&search, PageRequest::new(MOST_RUNS, None)?)
        .await?
        .items;
    let mut html = HEAD.to_owned();
    if runs.is_empty() {
        html.push_str("<p>None yet: <code>trainer run experiments/iforest.toml</code> makes one.");
        return Ok(Html(html));
    }
    html.push_str("<table><tr><th>Run<th>Experiment<th>Status<th>Metrics<th>Id");
    for run in runs {
        let experiment = experiments
            .iter()
            .find(|experiment| experiment.experiment_id == run.info.experiment_id)
            .map_or("", |experiment| experiment.name.as_str());
        let mut metrics = String::new();
        for metric in run.data.metrics.iter().take(4) {
            // Writing to a String can't fail.
            write!(metrics, "{} {:.4} ", metric.key, metric.value).ok();
        }
        html.push_str("<tr>");
        for cell in [
            run.info.run_name.as_deref().unwrap_or_default(),
            experiment,
            run.info.status.map_or("", RunStatus::as_str),
            metrics.trim_end(),
            &run.info.run_id,
        ] {
            html.push_str("<td>");
            escape(&mut html, cell);
        }
    }
    html.push_str("</table>");
    Ok(Html(html))
}

fn escape(html: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
}
