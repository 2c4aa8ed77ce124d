//! Searching logged models.
//!
//! A model may have several points of one metric: of runs, steps and datasets. A filter holds where
//! it holds for any of them; an order looks at the newest.

use mlflow_api::types::{LoggedModel, LoggedModelDataset};

use super::db::QueryBuilder;
use super::logged_models::{COLUMNS, Row, with_data};
use super::search::{Tables, push_comparison, push_filter, push_order};
use super::{Page, PageRequest, Result, Store, experiment_number};
use crate::filter::{Clause, Field, Op, Order};

const TABLES: Tables = Tables {
    owner: "model_id",
    tags: "logged_model_tags",
    params: "logged_model_params",
    metrics: "logged_model_metrics",
};

/// Which logged models are looked for.
#[derive(Debug, Clone, Default)]
pub struct LoggedModelSearch {
    /// The experiments to look in; ids of none match nothing.
    pub experiment_ids: Vec<String>,
    /// What must hold.
    pub clauses: Vec<Clause>,
    /// Metrics count only where they are about one of these, if there are any.
    pub datasets: Vec<LoggedModelDataset>,
    /// What is sorted by, before the creation time; of a metric, its points about a dataset only.
    pub orders: Vec<(Order, Option<LoggedModelDataset>)>,
}

impl Store {
    /// The logged models that match, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn search_logged_models(
        &self,
        search: &LoggedModelSearch,
        page: PageRequest,
    ) -> Result<Page<LoggedModel>> {
        let experiments: Vec<i64> = search
            .experiment_ids
            .iter()
            .filter_map(|id| experiment_number(id))
            .collect();
        if experiments.is_empty() {
            return Ok(page.page(Vec::new()));
        }
        let mut connection = self.read().await?;
        let mut query = QueryBuilder::new(&connection, "SELECT ");
        query.push(COLUMNS).push(" FROM logged_models r");
        push_order_joins(&mut query, &experiments, &search.orders);
        query.push(" WHERE r.lifecycle_stage = 'active' AND r.experiment_id");
        query.push_in(&experiments);
        let mut asks_for_metrics = false;
        for clause in &search.clauses {
            if let Field::Metric(key) = &clause.field {
                asks_for_metrics = true;
                push_metric(&mut query, Some((key, clause)), &search.datasets);
            } else {
                push_filter(&mut query, &TABLES, std::slice::from_ref(clause));
            }
        }
        if !search.datasets.is_empty() && !asks_for_metrics {
            push_metric(&mut query, None, &search.datasets);
        }
        let orders: Vec<Order> = search.orders.iter().map(|(o, _)| o.clone()).collect();
        let by_time = orders
            .iter()
            .any(|o| o.field == Field::Attribute("creation_timestamp_ms"));
        let last = if by_time {
            "r.model_id"
        } else {
            "r.creation_timestamp_ms DESC, r.model_id"
        };
        push_order(&mut query, &orders, last);
        query.push(" LIMIT ").push_bind(page.limit());
        query.push(" OFFSET ").push_bind(page.offset());
        let rows: Vec<Row> = query.build().fetch_all(&mut connection).await?;
        let page = page.page(rows);
        Ok(Page {
            items: with_data(&mut connection, page.items).await?,
            next_page_token: page.next_page_token,
        })
    }
}

/// Appends that there is a point about one of the datasets, of that metric and as the clause says.
fn push_metric(
    query: &mut QueryBuilder,
    comparison: Option<(&String, &Clause)>,
    datasets: &[LoggedModelDataset],
) {
    query.push(" AND EXISTS (SELECT 1 FROM logged_model_metrics f WHERE f.model_id = r.model_id");
    if let Some((key, clause)) = comparison {
        query.push(" AND f.key = ").push_bind(key.clone());
        // Nothing compares with NaN but `!=`, which always holds.
        if clause.op == Op::Ne {
            query.push(" AND (f.is_nan = 1 OR ");
            push_comparison(query, "f.value", clause.op, &clause.value);
            query.push(")");
        } else {
            query.push(" AND f.is_nan = 0 AND ");
            push_comparison(query, "f.value", clause.op, &clause.value);
        }
    }
    for (i, dataset) in datasets.iter().enumerate() {
        query.push(if i == 0 { " AND ((1 = 1" } else { " OR (1 = 1" });
        push_dataset(query, "f", dataset);
        query.push(")");
    }
    query.push(if datasets.is_empty() { ")" } else { "))" });
}

fn push_dataset(query: &mut QueryBuilder, alias: &str, dataset: &LoggedModelDataset) {
    query.push(format!(" AND {alias}.dataset_name = "));
    query.push_bind(dataset.dataset_name.clone());
    if let Some(digest) = dataset.dataset_digest.clone().filter(|d| !d.is_empty()) {
        query.push(format!(" AND {alias}.dataset_digest = "));
        query.push_bind(digest);
    }
}

/// Joins the newest point of each metric that is sorted by, and what else is.
fn push_order_joins(
    query: &mut QueryBuilder,
    experiments: &[i64],
    orders: &[(Order, Option<LoggedModelDataset>)],
) {
    for (i, (order, dataset)) in orders.iter().enumerate() {
        let Field::Metric(key) = &order.field else {
            super::search::push_order_join(query, &TABLES, i, order);
            continue;
        };
        query.push(
            " LEFT JOIN (SELECT model_id, value, is_nan FROM (SELECT m.model_id, m.value, \
             m.is_nan, ROW_NUMBER() OVER (PARTITION BY m.model_id \
             ORDER BY m.timestamp DESC, m.step DESC, m.run_id) AS newest \
             FROM logged_models l JOIN logged_model_metrics m ON m.model_id = l.model_id \
             WHERE l.lifecycle_stage = 'active' AND l.experiment_id",
        );
        query.push_in(experiments);
        query.push(" AND m.key = ").push_bind(key.clone());
        if let Some(dataset) = dataset {
            push_dataset(query, "m", dataset);
        }
        query.push(format!(
            ") n WHERE newest = 1) o{i} ON o{i}.model_id = r.model_id"
        ));
    }
}
