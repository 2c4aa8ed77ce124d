//! Searching runs.

use mlflow_api::types::{Run, ViewType};

use super::db::QueryBuilder;
use super::experiments::push_view;
use super::runs::{COLUMNS, Row, with_data};
use super::search::{Tables, push_filter, push_order, push_order_joins};
use super::{Page, PageRequest, Result, Store, experiment_number};
use crate::filter::{Clause, Field, Order};

const TABLES: Tables = Tables {
    owner: "run_id",
    tags: "run_tags",
    params: "run_params",
    metrics: "latest_metrics",
};

/// Which runs are looked for.
#[derive(Debug, Clone)]
pub struct RunSearch {
    /// The experiments to look in; ids of none match nothing.
    pub experiment_ids: Vec<String>,
    /// What must hold.
    pub clauses: Vec<Clause>,
    /// What is sorted by, before the start time.
    pub orders: Vec<Order>,
    /// Active or deleted ones.
    pub view: ViewType,
}

impl Store {
    /// The runs that match.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn search_runs(&self, search: &RunSearch, page: PageRequest) -> Result<Page<Run>> {
        let experiments: Vec<i64> = search
            .experiment_ids
            .iter()
            .filter_map(|id| experiment_number(id))
            .collect();
        if experiments.is_empty() {
            return Ok(page.page(Vec::new()));
        }
        let by_metric = |field: &Field| matches!(field, Field::Metric(_));
        if search.clauses.iter().any(|clause| by_metric(&clause.field))
            || search.orders.iter().any(|order| by_metric(&order.field))
        {
            self.settle_metrics().await?;
        }
        let mut connection = self.read().await?;
        let mut query = QueryBuilder::new(&connection, "SELECT ");
        query.push(COLUMNS).push(" FROM runs r");
        push_order_joins(&mut query, &TABLES, &search.orders);
        query.push(" WHERE r.experiment_id");
        query.push_in(&experiments);
        push_view(&mut query, search.view);
        push_filter(&mut query, &TABLES, &search.clauses);
        let by_start = search
            .orders
            .iter()
            .any(|o| o.field == Field::Attribute("start_time"));
        let last = if by_start {
            "r.run_id"
        } else {
            "r.start_time DESC, r.run_id"
        };
        push_order(&mut query, &search.orders, last);
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
