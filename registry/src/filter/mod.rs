//! MLflow's search language: `metrics.auc > 0.9 AND tags.team = 'risk'`, and its `order_by`.
//!
//! Comparisons joined by `AND`; no `OR`, no parentheses but a list's. What may be compared with
//! what differs by resource; a [`Grammar`] says it. The outcome is data: the store turns it into
//! SQL with bound values.

#[cfg(test)]
mod corpus;
mod grammar;
mod lexer;
mod parser;

pub use grammar::{
    EXPERIMENTS, Grammar, LOGGED_MODELS, MODEL_VERSIONS, REGISTERED_MODELS, RUNS, TRACES,
};
pub use parser::{parse, parse_order_by};

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// A column of the resource, by its canonical name.
    Attribute(&'static str),
    /// The latest point of a metric.
    Metric(String),
    /// A parameter.
    Param(String),
    /// A tag.
    Tag(String),
    /// Of a run's datasets: `name`, `digest` or `context`.
    Dataset(&'static str),
    /// Of a trace's spans: `name`, `type`, `status`, or an attribute.
    Span(String),
    /// What was said of a trace: (`feedback`, `expectation` or `issue`), and its name.
    Assessment(&'static str, String),
}

/// How it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `LIKE`, with `%` and `_`, case-sensitive.
    Like,
    /// `ILIKE`: `LIKE` without regard to case.
    ILike,
    /// `IN (…)`
    In,
    /// `NOT IN (…)`
    NotIn,
    /// `IS NULL`
    IsNull,
    /// `IS NOT NULL`
    IsNotNull,
}

impl Op {
    /// The operator in SQL; `LIKE` and `ILIKE` need more than their name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Like => "LIKE",
            Self::ILike => "ILIKE",
            Self::In => "IN",
            Self::NotIn => "NOT IN",
            Self::IsNull => "IS NULL",
            Self::IsNotNull => "IS NOT NULL",
        }
    }
}

/// What it is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing: `IS NULL`.
    None,
    /// A text.
    Text(String),
    /// An integer.
    Int(i64),
    /// Another number.
    Float(f64),
    /// Texts: `IN (…)`.
    List(Vec<String>),
}

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Clause {
    /// What is compared.
    pub field: Field,
    /// How.
    pub op: Op,
    /// With what.
    pub value: Value,
}

/// One column of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What is sorted by.
    pub field: Field,
    /// Whether the smallest comes first.
    pub ascending: bool,
}

/// Why a filter or an order can't be taken; the message is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FilterError(pub String);
