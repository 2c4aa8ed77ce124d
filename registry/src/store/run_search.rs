//! Searching runs.

use mlflow_api::types::{Run, ViewType};

use super::db::{Conn, QueryBuilder};
use super::experiments::push_view;
use super::run_data::with_data;
use super::runs::{COLUMNS, Row};
use super::search::{Present, Tables, push_order_beside, push_order_joins_beside};
use super::{Page, PageRequest, Result, Store, experiment_number};
use crate::filter::{Clause, Field, Order};

const TABLES: Tables = Tables {
    owner: "run_id",
    tags: "run_tags",
    params: "run_params",
    metrics: "latest_metrics",
};

/// The newest first, and last those that have no start, which databases sort differently; there is
/// an index of this expression.
const BY_START: &str = "COALESCE(r.start_time, -9007199254740993) DESC";

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
        let mut present = Present::of(&search.clauses);
        if let Some(Order {
            field: Field::Metric(key),
            ..
        }) = search.orders.first()
            && !present.add(key)
        {
            // Runs that have the metric come first: where they fill the page, nobody looks at the
            // others, and the database stops when it is full.
            let rows = select(&mut connection, search, &experiments, &present, page).await?;
            if i64::try_from(rows.len()).is_ok_and(|found| found == page.limit()) {
                return with_page(&mut connection, page, rows).await;
            }
            present = Present::of(&search.clauses);
        }
        let rows = select(&mut connection, search, &experiments, &present, page).await?;
        with_page(&mut connection, page, rows).await
    }
}

async fn select(
    connection: &mut Conn,
    search: &RunSearch,
    experiments: &[i64],
    present: &Present<'_>,
    page: PageRequest,
) -> Result<Vec<Row>> {
    let mut query = QueryBuilder::new(connection, "SELECT ");
    query.push(COLUMNS).push(" FROM runs r");
    present.push_joins(&mut query, &TABLES);
    // What the web UI asks for is the order by default, in other words than the index knows.
    let orders: &[Order] = match search.orders.as_slice() {
        [
            Order {
                field: Field::Attribute("start_time"),
                ascending: false,
            },
        ] => &[],
        orders => orders,
    };
    push_order_joins_beside(&mut query, &TABLES, orders, present);
    query.push(" WHERE r.experiment_id");
    match experiments {
        // An index gives the order of one experiment's runs.
        [one] => query.push(" = ").push_bind(one),
        several => query.push_in(several),
    };
    push_view(&mut query, search.view);
    present.push_filter(&mut query, &TABLES, &search.clauses);
    let by_start = orders
        .iter()
        .any(|order| order.field == Field::Attribute("start_time"));
    let last = if by_start {
        "r.run_id".to_owned()
    } else {
        format!("{BY_START}, r.run_id")
    };
    push_order_beside(&mut query, orders, present, &last);
    query.push(" LIMIT ").push_bind(page.limit());
    query.push(" OFFSET ").push_bind(page.offset());
    Ok(query.build().fetch_all(connection).await?)
}

async fn with_page(connection: &mut Conn, page: PageRequest, rows: Vec<Row>) -> Result<Page<Run>> {
    let page = page.page(rows);
    Ok(Page {
        items: with_data(connection, page.items).await?,
        next_page_token: page.next_page_token,
    })
}
