//! Statements and their values.

use std::borrow::Cow;
use std::fmt::{Display, Write};

use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, FromRow};

use super::{Conn, Dialect, Raw};

/// A row of either database; derive `sqlx::FromRow`, or use a tuple.
pub(in crate::store) trait Record:
    Send + Unpin + for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow>
{
}

impl<T> Record for T where
    T: Send + Unpin + for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow>
{
}

/// A value that is bound to a statement.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::store) enum Value {
    Int(Option<i64>),
    Float(Option<f64>),
    Text(Option<String>),
    Bytes(Vec<u8>),
    /// Whole columns, for `UNNEST`: PostgreSQL alone knows arrays.
    Ints(Vec<i64>),
    Texts(Vec<String>),
    OptionalTexts(Vec<Option<String>>),
    Floats(Vec<Option<f64>>),
    OptionalInts(Vec<Option<i64>>),
    ByteStrings(Vec<Vec<u8>>),
}

macro_rules! values {
    ($( $from:ty => |$value:ident| $make:expr; )*) => {
        $( impl From<$from> for Value {
            fn from($value: $from) -> Self { $make }
        } )*
    };
}

values! {
    i64 => |v| Self::Int(Some(v));
    &i64 => |v| Self::Int(Some(*v));
    Option<i64> => |v| Self::Int(v);
    f64 => |v| Self::Float(Some(v));
    &f64 => |v| Self::Float(Some(*v));
    Option<f64> => |v| Self::Float(v);
    &str => |v| Self::Text(Some(v.to_owned()));
    String => |v| Self::Text(Some(v));
    &String => |v| Self::Text(Some(v.clone()));
    Option<&str> => |v| Self::Text(v.map(str::to_owned));
    Option<String> => |v| Self::Text(v);
    &Option<String> => |v| Self::Text(v.clone());
    Vec<u8> => |v| Self::Bytes(v);
    &[u8] => |v| Self::Bytes(v.to_vec());
    Vec<i64> => |v| Self::Ints(v);
    Vec<String> => |v| Self::Texts(v);
    Vec<Vec<u8>> => |v| Self::ByteStrings(v);
}

/// A statement and its values.
#[derive(Debug)]
pub(in crate::store) struct Query {
    text: Cow<'static, str>,
    values: Vec<Value>,
}

/// A statement of that text.
pub(in crate::store) fn query(text: &'static str) -> Query {
    Query {
        text: Cow::Borrowed(text),
        values: Vec::new(),
    }
}

/// The same expression for either database.
macro_rules! run {
    ($self:ident, $conn:ident, $make:ident, |$query:ident, $raw:ident| $body:expr) => {
        match $conn.raw() {
            Raw::Sqlite($raw) => {
                let arguments = sqlite($self.values).map_err(sqlx::Error::Encode)?;
                let $query = sqlx::$make(AssertSqlSafe($self.text), arguments);
                $body
            }
            Raw::Postgres($raw) => {
                let arguments = postgres($self.values).map_err(sqlx::Error::Encode)?;
                let $query = sqlx::$make(AssertSqlSafe($self.text), arguments);
                let session = $raw;
                let $raw = session.start()?;
                let outcome = $body;
                session.end(&outcome);
                outcome
            }
        }
    };
}

impl Query {
    /// Binds the next value.
    pub(in crate::store) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Does it; returns how many rows were affected.
    pub(in crate::store) async fn execute(self, conn: &mut Conn) -> sqlx::Result<u64> {
        run!(self, conn, query_with, |q, raw| q
            .execute(raw)
            .await
            .map(|done| done.rows_affected()))
    }

    /// All rows.
    pub(in crate::store) async fn fetch_all<T: Record>(
        self,
        conn: &mut Conn,
    ) -> sqlx::Result<Vec<T>> {
        run!(self, conn, query_as_with, |q, raw| q.fetch_all(raw).await)
    }

    /// The first row, if there is one.
    pub(in crate::store) async fn fetch_optional<T: Record>(
        self,
        conn: &mut Conn,
    ) -> sqlx::Result<Option<T>> {
        run!(self, conn, query_as_with, |q, raw| q
            .fetch_optional(raw)
            .await)
    }

    /// The first row, which must be there.
    pub(in crate::store) async fn fetch_one<T: Record>(self, conn: &mut Conn) -> sqlx::Result<T> {
        self.fetch_optional(conn)
            .await?
            .ok_or(sqlx::Error::RowNotFound)
    }
}

fn sqlite(values: Vec<Value>) -> Result<SqliteArguments, BoxDynError> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        match value {
            Value::Int(v) => arguments.add(v)?,
            Value::Float(v) => arguments.add(v)?,
            Value::Text(v) => arguments.add(v)?,
            Value::Bytes(v) => arguments.add(v)?,
            Value::Ints(_)
            | Value::Texts(_)
            | Value::OptionalTexts(_)
            | Value::Floats(_)
            | Value::OptionalInts(_)
            | Value::ByteStrings(_) => {
                return Err("SQLite has no arrays".into());
            }
        }
    }
    Ok(arguments)
}

fn postgres(values: Vec<Value>) -> Result<PgArguments, BoxDynError> {
    let mut arguments = PgArguments::default();
    for value in values {
        match value {
            Value::Int(v) => arguments.add(v)?,
            Value::Float(v) => arguments.add(v)?,
            Value::Text(v) => arguments.add(v)?,
            Value::Bytes(v) => arguments.add(v)?,
            Value::Ints(v) => arguments.add(v)?,
            Value::Texts(v) => arguments.add(v)?,
            Value::OptionalTexts(v) => arguments.add(v)?,
            Value::Floats(v) => arguments.add(v)?,
            Value::OptionalInts(v) => arguments.add(v)?,
            Value::ByteStrings(v) => arguments.add(v)?,
        }
    }
    Ok(arguments)
}

/// A statement whose text depends on what is asked. Texts from outside are bound, never pushed.
#[derive(Debug)]
pub(in crate::store) struct QueryBuilder {
    dialect: Dialect,
    text: String,
    values: Vec<Value>,
}

impl QueryBuilder {
    pub(in crate::store) fn new(conn: &Conn, text: impl Into<String>) -> Self {
        Self {
            dialect: conn.dialect(),
            text: text.into(),
            values: Vec::new(),
        }
    }

    pub(in crate::store) fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(in crate::store) fn push(&mut self, text: impl Display) -> &mut Self {
        // Writing to a String can't fail.
        write!(self.text, "{text}").ok();
        self
    }

    /// Pushes the place of a value and binds it.
    pub(in crate::store) fn push_bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        write!(self.text, "${}", self.values.len()).ok();
        self
    }

    /// Pushes ` IN …` or its equal for any number of values. In PostgreSQL the text does not depend
    /// on their number, so that the statement is prepared once.
    pub(in crate::store) fn push_in<'v, V>(
        &mut self,
        values: impl IntoIterator<Item = &'v V>,
    ) -> &mut Self
    where
        V: Element + 'v,
    {
        let values = values.into_iter().cloned();
        match self.dialect {
            Dialect::Postgres => {
                self.push(" = ANY(")
                    .push_bind(V::array(values.collect()))
                    .push(")");
            }
            Dialect::Sqlite => {
                self.push(" IN (");
                for (i, value) in values.enumerate() {
                    if i > 0 {
                        self.push(", ");
                    }
                    self.push_bind(value.into());
                }
                self.push(")");
            }
        }
        self
    }

    /// Pushes `VALUES (…), (…)`; `row` gives the values of each.
    pub(in crate::store) fn push_values<I, const N: usize>(
        &mut self,
        rows: impl IntoIterator<Item = I>,
        mut row: impl FnMut(I) -> [Value; N],
    ) -> &mut Self {
        self.push(" VALUES ");
        for (i, item) in rows.into_iter().enumerate() {
            self.push(if i > 0 { ", (" } else { "(" });
            for (j, value) in row(item).into_iter().enumerate() {
                if j > 0 {
                    self.push(", ");
                }
                self.push_bind(value);
            }
            self.push(")");
        }
        self
    }

    /// Pushes rows to insert. In PostgreSQL they are columns of arrays, so that the text does not
    /// depend on their number.
    pub(in crate::store) fn push_rows<const N: usize>(
        &mut self,
        rows: impl Iterator<Item = [Value; N]>,
    ) -> &mut Self {
        match self.dialect {
            Dialect::Sqlite => self.push_values(rows, |row| row),
            Dialect::Postgres => {
                let mut columns: [Vec<Value>; N] = std::array::from_fn(|_| Vec::new());
                for row in rows {
                    for (column, value) in columns.iter_mut().zip(row) {
                        column.push(value);
                    }
                }
                self.push(" SELECT * FROM UNNEST(");
                for (i, column) in columns.into_iter().enumerate() {
                    self.push(if i > 0 { ", " } else { "" });
                    self.push_bind(array_of(column));
                }
                self.push(")")
            }
        }
    }

    /// The statement.
    pub(in crate::store) fn build(self) -> Query {
        Query {
            text: Cow::Owned(self.text),
            values: self.values,
        }
    }
}

/// Values of one kind as an array; what is of another kind is absent.
fn array_of(values: Vec<Value>) -> Value {
    match values.first() {
        Some(Value::Float(_)) => Value::Floats(
            values
                .into_iter()
                .map(|value| match value {
                    Value::Float(float) => float,
                    _ => None,
                })
                .collect(),
        ),
        Some(Value::Bytes(_)) => Value::ByteStrings(
            values
                .into_iter()
                .map(|value| match value {
                    Value::Bytes(bytes) => bytes,
                    _ => Vec::new(),
                })
                .collect(),
        ),
        Some(Value::Text(_)) => Value::OptionalTexts(
            values
                .into_iter()
                .map(|value| match value {
                    Value::Text(text) => text,
                    _ => None,
                })
                .collect(),
        ),
        _ => Value::OptionalInts(
            values
                .into_iter()
                .map(|value| match value {
                    Value::Int(int) => int,
                    _ => None,
                })
                .collect(),
        ),
    }
}

/// What a list may hold.
pub(in crate::store) trait Element: Clone + Into<Value> {
    fn array(values: Vec<Self>) -> Value;
}

impl Element for i64 {
    fn array(values: Vec<Self>) -> Value {
        Value::Ints(values)
    }
}

impl Element for String {
    fn array(values: Vec<Self>) -> Value {
        Value::Texts(values)
    }
}
