//! Searching traces.

use mlflow_api::types::TraceInfo;

use super::db::QueryBuilder;
use super::search::{
    Tables, push_comparison, push_filter, push_order, push_order_joins, push_text_comparison,
};
use super::traces::{COLUMNS, Row, with_details};
use super::{Page, PageRequest, Result, Store, StoreError, experiment_number};
use crate::filter::{Clause, Field, Op, Order, Value};

const TABLES: Tables = Tables {
    owner: "trace_id",
    tags: "trace_tags",
    params: "trace_metadata",
    metrics: "",
};

const TRACE_NAME: &str = "mlflow.traceName";
const SOURCE_RUN: &str = "mlflow.sourceRun";

/// Which traces are looked for.
#[derive(Debug, Clone, Default)]
pub struct TraceSearch {
    /// The experiments to look in; ids of none match nothing.
    pub experiment_ids: Vec<String>,
    /// What must hold.
    pub clauses: Vec<Clause>,
    /// What is sorted by, before the time.
    pub orders: Vec<Order>,
}

impl Store {
    /// The traces that match, the newest first.
    ///
    /// # Errors
    /// When a prompt is not named as `name/version`.
    pub async fn search_traces(
        &self,
        search: &TraceSearch,
        page: PageRequest,
    ) -> Result<Page<TraceInfo>> {
        let experiments: Vec<i64> = search
            .experiment_ids
            .iter()
            .filter_map(|id| experiment_number(id))
            .collect();
        if experiments.is_empty() {
            return Ok(page.page(Vec::new()));
        }
        let orders: Vec<Order> = search.orders.iter().map(canonical_order).collect();
        let mut connection = self.read().await?;
        let mut query = QueryBuilder::new(&connection, "SELECT ");
        query.push(COLUMNS).push(" FROM traces r");
        push_order_joins(&mut query, &TABLES, &orders);
        query.push(" WHERE r.experiment_id");
        match experiments.as_slice() {
            // An index gives the order of one experiment's traces.
            [one] => query.push(" = ").push_bind(one),
            several => query.push_in(several),
        };
        for clause in &search.clauses {
            push_clause(&mut query, clause)?;
        }
        let by_time = orders
            .iter()
            .any(|order| order.field == Field::Attribute("timestamp_ms"));
        let last = if by_time {
            "r.trace_id"
        } else {
            "r.timestamp_ms DESC, r.trace_id"
        };
        push_order(&mut query, &orders, last);
        query.push(" LIMIT ").push_bind(page.limit());
        query.push(" OFFSET ").push_bind(page.offset());
        let rows: Vec<Row> = query.build().fetch_all(&mut connection).await?;
        let page = page.page(rows);
        Ok(Page {
            items: with_details(&mut connection, page.items).await?,
            next_page_token: page.next_page_token,
        })
    }
}

/// Names and runs are tags and metadata; the end is computed.
fn canonical_order(order: &Order) -> Order {
    let field = match &order.field {
        Field::Attribute("name") => Field::Tag(TRACE_NAME.to_owned()),
        Field::Attribute("run_id") => Field::Param(SOURCE_RUN.to_owned()),
        Field::Attribute("end_time_ms") => {
            Field::Attribute("timestamp_ms + COALESCE(r.execution_time_ms, 0)")
        }
        other => other.clone(),
    };
    Order {
        field,
        ascending: order.ascending,
    }
}

fn push_clause(query: &mut QueryBuilder, clause: &Clause) -> Result<()> {
    let as_if = |field: Field| Clause {
        field,
        ..clause.clone()
    };
    match &clause.field {
        Field::Attribute("name") => {
            let clause = as_if(Field::Tag(TRACE_NAME.to_owned()));
            push_filter(query, &TABLES, &[clause]);
        }
        Field::Attribute("run_id") => push_run(query, clause),
        Field::Param(key) if key == SOURCE_RUN && clause.op == Op::Eq => push_run(query, clause),
        Field::Attribute("end_time_ms") => {
            query.push(" AND ");
            let end = "(r.timestamp_ms + COALESCE(r.execution_time_ms, 0))";
            push_comparison(query, end, clause.op, &clause.value);
        }
        Field::Attribute("text") => {
            if !matches!(clause.op, Op::Like | Op::ILike) {
                return Err(StoreError::Invalid(
                    "trace.text is compared with LIKE or ILIKE only.".to_owned(),
                ));
            }
            query.push(" AND EXISTS (SELECT 1 FROM spans f WHERE f.trace_id = r.trace_id AND ");
            push_comparison(query, "f.content", clause.op, &clause.value);
            query.push(")");
        }
        Field::Attribute("prompt") => match (&clause.op, &clause.value) {
            (Op::Eq, Value::Text(prompt)) if prompt.matches('/').count() == 1 => {
                query.push(
                    " AND EXISTS (SELECT 1 FROM trace_prompts f WHERE f.trace_id = r.trace_id \
                     AND f.prompt = ",
                );
                query.push_bind(prompt.clone()).push(")");
            }
            _ => {
                return Err(StoreError::Invalid(
                    "Invalid prompts filter. Expected format: prompt = \"name/version\"".to_owned(),
                ));
            }
        },
        _ => push_filter(query, &TABLES, std::slice::from_ref(clause)),
    }
    Ok(())
}

/// Traces made in a run, or linked to it.
fn push_run(query: &mut QueryBuilder, clause: &Clause) {
    query.push(
        " AND (EXISTS (SELECT 1 FROM trace_metadata f WHERE f.trace_id = r.trace_id AND f.key = ",
    );
    query.push_bind(SOURCE_RUN.to_owned()).push(" AND ");
    push_text_comparison(query, TABLES.params, clause.op, &clause.value);
    query.push(")");
    if matches!(clause.op, Op::Eq | Op::In) {
        query.push(" OR EXISTS (SELECT 1 FROM trace_runs f WHERE f.trace_id = r.trace_id AND ");
        push_comparison(query, "f.run_id", clause.op, &clause.value);
        query.push(")");
    }
    query.push(")");
}

/// Appends that a trace `r` has such a span.
pub(super) fn push_span(query: &mut QueryBuilder, key: &str, clause: &Clause) {
    query.push("EXISTS (SELECT 1 FROM spans f WHERE f.trace_id = r.trace_id AND ");
    match key.strip_prefix("attributes.") {
        None => push_comparison(query, &format!("f.{key}"), clause.op, &clause.value),
        Some(name) => {
            // The attribute's name, and after it what is looked for: as exact as the reference is.
            let name = serde_json::Value::from(name).to_string();
            let (op, negated) = match clause.op {
                Op::ILike => (Op::ILike, false),
                Op::Ne | Op::NotIn => (Op::Like, true),
                _ => (Op::Like, false),
            };
            let texts = match &clause.value {
                Value::Text(text) => std::slice::from_ref(text),
                Value::List(texts) => texts,
                Value::None | Value::Int(_) | Value::Float(_) => &[],
            };
            query.push(if negated { "NOT (" } else { "(" });
            for (i, text) in texts.iter().enumerate() {
                if i > 0 {
                    query.push(" OR ");
                }
                let pattern = match clause.op {
                    Op::Like | Op::ILike => format!("%{name}%{text}%"),
                    _ => format!("%{name},%:{}}}%", serde_json::Value::from(text.as_str())),
                };
                push_comparison(query, "f.content", op, &Value::Text(pattern));
            }
            query.push(")");
        }
    }
    query.push(")");
}

/// Appends that such a thing was said of a trace `r`.
pub(super) fn push_assessment(
    query: &mut QueryBuilder,
    kind: &'static str,
    key: &str,
    clause: &Clause,
) {
    if clause.op == Op::IsNull {
        query.push("NOT ");
    }
    query.push("EXISTS (SELECT 1 FROM assessments f WHERE f.trace_id = r.trace_id AND f.type = ");
    query.push_bind(kind.to_owned());
    if kind == "issue" {
        query.push(" AND ");
        push_comparison(query, "f.name", clause.op, &clause.value);
        query.push(")");
        return;
    }
    query.push(" AND f.valid = 1 AND f.name = ");
    query.push_bind(key.to_owned());
    match (clause.op, &clause.value) {
        (Op::IsNull | Op::IsNotNull, _) => {}
        (op, value @ (Value::Int(_) | Value::Float(_))) => {
            query.push(" AND ");
            push_comparison(query, "f.number", op, value);
        }
        (Op::Eq | Op::Ne, Value::Text(text)) => {
            // A text stands for itself and for the JSON value that looks like it.
            query.push(if clause.op == Op::Ne {
                " AND NOT f.value"
            } else {
                " AND f.value"
            });
            let json = serde_json::Value::from(text.as_str()).to_string();
            query.push_in(&[text.clone(), json]);
        }
        (op @ (Op::Lt | Op::Le | Op::Gt | Op::Ge), Value::Text(text)) => {
            query.push(" AND ");
            let number = text.parse().map_or(Value::None, Value::Float);
            push_comparison(query, "f.number", op, &number);
        }
        (op, value) => {
            query.push(" AND ");
            push_comparison(query, "f.value", op, value);
        }
    }
    query.push(")");
}
