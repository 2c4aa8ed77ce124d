//! Comparisons and orders as SQL with bound values.

use super::db::{Dialect, QueryBuilder};
use crate::filter::{Clause, Field, Op, Order, Value};

/// Where a resource keeps what a search looks at. The resource's table has the alias `r`.
#[derive(Debug)]
pub(super) struct Tables {
    /// The column that the other tables refer to it by.
    pub(super) owner: &'static str,
    pub(super) tags: &'static str,
    pub(super) params: &'static str,
    pub(super) metrics: &'static str,
}

/// Begins a subselect of which there must be a row. Written so, PostgreSQL looks it up for each row
/// or collects it once; a plain `EXISTS` it makes a join, and where it thinks that there are few rows
/// (the last statistics are a minute old) it compares each with each.
pub(super) const EXISTS: &str = "(EXISTS (";
/// Ends it.
pub(super) const EXISTS_END: &str = ")) IS TRUE";
/// Ends a subselect of which there must be none.
pub(super) const EXISTS_NOT: &str = ")) IS NOT TRUE";

/// Appends ` AND …` for each clause.
pub(super) fn push_filter(query: &mut QueryBuilder, tables: &Tables, clauses: &[Clause]) {
    for clause in clauses {
        query.push(" AND ");
        let (table, key) = match &clause.field {
            Field::Attribute(column) => {
                push_comparison(query, &format!("r.{column}"), clause.op, &clause.value);
                continue;
            }
            Field::Metric(key) => (tables.metrics, key),
            Field::Param(key) => (tables.params, key),
            Field::Tag(key) => (tables.tags, key),
            Field::Dataset(key) => {
                super::datasets::push_comparison(query, key, clause);
                continue;
            }
            Field::Span(key) => {
                super::trace_search::push_span(query, key, clause);
                continue;
            }
            Field::Assessment(kind, key) => {
                super::trace_search::push_assessment(query, kind, key, clause);
                continue;
            }
        };
        query.push(format!(
            "{EXISTS}SELECT 1 FROM {table} f WHERE {} AND f.key = ",
            join("f", tables.owner)
        ));
        query.push_bind(key.clone());
        match (&clause.field, clause.op) {
            (_, Op::IsNull | Op::IsNotNull) => {}
            // Nothing compares with NaN but `!=`, which always holds.
            (Field::Metric(_), Op::Ne) => {
                query.push(" AND (f.is_nan = 1 OR ");
                push_comparison(query, "f.value", clause.op, &clause.value);
                query.push(")");
            }
            (Field::Metric(_), _) => {
                query.push(" AND f.is_nan = 0 AND ");
                push_comparison(query, "f.value", clause.op, &clause.value);
            }
            _ => {
                query.push(" AND ");
                push_text_comparison(query, table, clause.op, &clause.value);
            }
        }
        query.push(if clause.op == Op::IsNull {
            EXISTS_NOT
        } else {
            EXISTS_END
        });
    }
}

/// Compares `f.value`, a text of a table of keys and texts, in such a way that its index helps.
pub(super) fn push_text_comparison(query: &mut QueryBuilder, table: &str, op: Op, value: &Value) {
    // Their indexes have the beginnings of the texts only, and know them by this expression.
    let by_beginning = matches!(table, "run_tags" | "trace_metadata" | "model_version_tags");
    if by_beginning && op == Op::Eq {
        query.push("SUBSTR(f.value, 1, 200) = SUBSTR(");
        push_value(query, value);
        query.push(", 1, 200) AND ");
    }
    push_comparison(query, "f.value", op, value);
}

/// `f.a = r.a AND f.b = r.b` for an owner `a, b`.
fn join(alias: &str, owner: &str) -> String {
    let columns: Vec<_> = owner
        .split(", ")
        .map(|column| format!("{alias}.{column} = r.{column}"))
        .collect();
    columns.join(" AND ")
}

pub(super) fn push_comparison(query: &mut QueryBuilder, column: &str, op: Op, value: &Value) {
    match op {
        Op::ILike => {
            query.push(format!("LOWER({column}) LIKE LOWER("));
            push_value(query, value);
            query.push(")");
            push_no_escape(query);
        }
        Op::In | Op::NotIn => {
            query.push(if op == Op::NotIn { "NOT " } else { "" });
            query.push(column);
            match value {
                Value::List(values) => query.push_in(values),
                _ => query.push(" IN (NULL)"),
            };
        }
        _ => {
            query.push(format!("{column} {} ", op.as_str()));
            push_value(query, value);
            if op == Op::Like {
                push_no_escape(query);
            }
        }
    }
}

/// PostgreSQL takes a backslash in a pattern for an escape, SQLite does not.
fn push_no_escape(query: &mut QueryBuilder) {
    if query.dialect() == Dialect::Postgres {
        query.push(" ESCAPE ''");
    }
}

fn push_value(query: &mut QueryBuilder, value: &Value) {
    match value {
        Value::Text(text) => query.push_bind(text.clone()),
        Value::Int(int) => query.push_bind(*int),
        Value::Float(float) => query.push_bind(*float),
        Value::None | Value::List(_) => query.push("NULL"),
    };
}

/// The metrics that every match has, by comparisons that a missing value or NaN fails: a match is
/// joined with the row of each, and the database may begin with whichever has the fewest, or walk
/// through one in the order that is asked for.
#[derive(Debug, Default)]
pub(super) struct Present<'c>(Vec<&'c str>);

impl<'c> Present<'c> {
    pub(super) fn of(clauses: &'c [Clause]) -> Self {
        let mut keys = Vec::new();
        for clause in clauses {
            if let Some(key) = compared(clause)
                && !keys.contains(&key)
            {
                keys.push(key);
            }
        }
        Self(keys)
    }

    /// Whether the metric is among them, which it then is.
    pub(super) fn add(&mut self, key: &'c str) -> bool {
        let known = self.0.contains(&key);
        if !known {
            self.0.push(key);
        }
        known
    }

    fn alias(&self, key: &str) -> Option<String> {
        let at = self.0.iter().position(|known| *known == key)?;
        Some(format!("m{at}"))
    }

    /// Appends the joins; they stand before `WHERE`.
    pub(super) fn push_joins(&self, query: &mut QueryBuilder, tables: &Tables) {
        for (i, key) in self.0.iter().enumerate() {
            let on = join(&format!("m{i}"), tables.owner);
            query.push(format!(
                " JOIN {} m{i} ON {on} AND m{i}.experiment_id = r.experiment_id AND m{i}.is_nan = 0 \
                 AND m{i}.key = ",
                tables.metrics
            ));
            query.push_bind(*key);
        }
    }

    /// Appends ` AND …` for each clause, those about its metrics by their joins.
    pub(super) fn push_filter(
        &self,
        query: &mut QueryBuilder,
        tables: &Tables,
        clauses: &[Clause],
    ) {
        for clause in clauses {
            match compared(clause).and_then(|key| self.alias(key)) {
                Some(alias) => {
                    query.push(" AND ");
                    push_comparison(query, &format!("{alias}.value"), clause.op, &clause.value);
                }
                None => push_filter(query, tables, std::slice::from_ref(clause)),
            }
        }
    }
}

/// The metric of a comparison that a missing value or NaN fails.
fn compared(clause: &Clause) -> Option<&str> {
    match (&clause.field, clause.op) {
        (Field::Metric(key), Op::Eq | Op::Lt | Op::Le | Op::Gt | Op::Ge) => Some(key),
        _ => None,
    }
}

/// Appends the joins that [`push_order`] needs; they stand before `WHERE`.
pub(super) fn push_order_joins(query: &mut QueryBuilder, tables: &Tables, orders: &[Order]) {
    push_order_joins_beside(query, tables, orders, &Present::default());
}

/// The same beside the joins of `present`, which some orders find what they need in.
pub(super) fn push_order_joins_beside(
    query: &mut QueryBuilder,
    tables: &Tables,
    orders: &[Order],
    present: &Present<'_>,
) {
    for (i, order) in orders.iter().enumerate() {
        if matches!(&order.field, Field::Metric(key) if present.alias(key).is_some()) {
            continue;
        }
        push_order_join(query, tables, i, order);
    }
}

/// The join of the order's column number `i`, if it needs one.
pub(super) fn push_order_join(query: &mut QueryBuilder, tables: &Tables, i: usize, order: &Order) {
    let (table, key) = match &order.field {
        Field::Attribute(_) | Field::Dataset(_) | Field::Span(_) | Field::Assessment(..) => return,
        Field::Metric(key) => (tables.metrics, key),
        Field::Param(key) => (tables.params, key),
        Field::Tag(key) => (tables.tags, key),
    };
    let on = join(&format!("o{i}"), tables.owner);
    query.push(format!(" LEFT JOIN {table} o{i} ON {on} AND o{i}.key = "));
    query.push_bind(key.clone());
}

/// Appends ` ORDER BY …`: numbers first, then NaN, then what is missing, in both directions.
///
/// `last` are the columns that break ties.
pub(super) fn push_order(query: &mut QueryBuilder, orders: &[Order], last: &str) {
    push_order_beside(query, orders, &Present::default(), last);
}

/// The same beside the joins of `present`.
pub(super) fn push_order_beside(
    query: &mut QueryBuilder,
    orders: &[Order],
    present: &Present<'_>,
    last: &str,
) {
    query.push(" ORDER BY ");
    for (i, order) in orders.iter().enumerate() {
        let direction = if order.ascending { "ASC" } else { "DESC" };
        if let Field::Metric(key) = &order.field
            && let Some(alias) = present.alias(key)
        {
            query.push(format!("{alias}.value {direction}, "));
            continue;
        }
        let (rank, column) = match &order.field {
            // It is never missing, and there is an index of it alone.
            Field::Attribute("timestamp_ms") => {
                query.push(format!("r.timestamp_ms {direction}, "));
                continue;
            }
            Field::Attribute(column) => (
                format!("CASE WHEN r.{column} IS NULL THEN 1 ELSE 0 END"),
                format!("r.{column}"),
            ),
            Field::Metric(_) => (
                format!(
                    "CASE WHEN o{i}.value IS NULL THEN 2 WHEN o{i}.is_nan = 1 THEN 1 ELSE 0 END"
                ),
                format!("o{i}.value"),
            ),
            // The language doesn't sort by these.
            Field::Dataset(_) | Field::Span(_) | Field::Assessment(..) => continue,
            Field::Param(_) | Field::Tag(_) => (
                format!("CASE WHEN o{i}.value IS NULL THEN 1 ELSE 0 END"),
                format!("o{i}.value"),
            ),
        };
        query.push(format!("{rank}, {column} {direction}, "));
    }
    query.push(last);
}
