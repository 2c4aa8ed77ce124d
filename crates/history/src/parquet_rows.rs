//! The rows of a Parquet file of trades or candles.

use polars::prelude::{
    Column, DataFrame, DataType, Expr, Float64Chunked, Int64Chunked, PolarsResult, SchemaRef,
    StringChunked, UInt64Chunked, col, lit,
};

use crate::columns::{Role, TradeIds};
use crate::error::{HistoryError, Result, near_names};
use crate::location::DataObject;
use crate::options::ReadOptions;
use crate::parquet::{TimeColumn, batches, names_of, scan, schema_of};
use crate::rows::{Content, Rows, label_name};

const ROW_INDEX: &str = "__row";

/// A cursor over the wanted rows and columns, batch by batch.
pub(crate) struct ParquetRows {
    uri: String,
    time: TimeColumn,
    batches: Box<dyn Iterator<Item = PolarsResult<DataFrame>>>,
    /// The columns that are read: their role and their name in the file.
    roles: Vec<(Role, String)>,
    /// The place of each role among them.
    places: [Option<usize>; Role::COUNT],
    trade_ids: TradeIds,
    /// The current batch; its columns are in the order of `roles`.
    row_numbers: UInt64Chunked,
    columns: Vec<Values>,
    /// The row after the current one, within the batch.
    next_idx: usize,
}

enum Values {
    Time(Int64Chunked),
    Number(Float64Chunked),
    Integer(UInt64Chunked),
    Text(StringChunked),
}

impl ParquetRows {
    pub(crate) fn open(
        object: &DataObject,
        content: Content,
        options: &ReadOptions,
    ) -> Result<Self> {
        let mut frame = scan(object)?;
        let schema = schema_of(&mut frame, object)?;
        let roles = roles_of_schema(object, &schema, content, options)?;
        let name_of = |wanted: Role| {
            let found = roles.iter().find(|(role, _)| *role == wanted);
            found.map(|(_, name)| name.as_str())
        };
        let dtype_of = |name: &str| schema.get(name).cloned().unwrap_or(DataType::Null);

        let time_name = name_of(Role::Time).unwrap_or_default();
        let time = TimeColumn::new(object, &frame, time_name, &dtype_of(time_name))?;
        let mut selected = vec![col(ROW_INDEX).cast(DataType::UInt64)];
        for (role, name) in &roles {
            selected.push(select(object, *role, name, &dtype_of(name), &time)?);
        }

        frame = frame.with_row_index(ROW_INDEX, None);
        if let Some(range) = time.range(options.from, options.to) {
            // A row without a time passes, to be refused by its number.
            frame = frame.filter(range.or(col(time_name).is_null()));
        }
        if let Some(symbol) = name_of(Role::Symbol) {
            let is_wanted = |wanted: &String| {
                let symbol = col(symbol).cast(DataType::String);
                symbol.eq(lit(wanted.clone()))
            };
            if let Some(predicate) = options.symbols.iter().map(is_wanted).reduce(Expr::or) {
                frame = frame.filter(predicate);
            }
        }
        let batches = batches(frame.select(selected), object)?;
        let mut places = [None; Role::COUNT];
        for (place, (role, _)) in roles.iter().enumerate() {
            places[*role as usize] = Some(place);
        }
        Ok(Self {
            uri: object.uri.clone(),
            time,
            batches: Box::new(batches),
            roles,
            places,
            trade_ids: TradeIds::of(&names_of(&schema)),
            row_numbers: UInt64Chunked::default(),
            columns: Vec::new(),
            next_idx: 0,
        })
    }

    fn load(&mut self, frame: &DataFrame) -> PolarsResult<()> {
        let mut columns = frame.columns().iter().map(Column::rechunk);
        if let Some(row_numbers) = columns.next() {
            self.row_numbers = row_numbers.u64()?.clone();
        }
        self.columns = self
            .roles
            .iter()
            .zip(columns)
            .map(|((role, _), column)| {
                Ok(match kind_of(*role) {
                    Kind::Time => Values::Time(column.i64()?.clone()),
                    Kind::Number => Values::Number(column.f64()?.clone()),
                    Kind::Integer => Values::Integer(column.u64()?.clone()),
                    Kind::Text => Values::Text(column.str()?.clone()),
                })
            })
            .collect::<PolarsResult<_>>()?;
        self.next_idx = 0;
        Ok(())
    }

    fn row_idx(&self) -> usize {
        self.next_idx.saturating_sub(1)
    }

    fn column(&self, wanted: Role) -> Option<(&str, &Values)> {
        let idx = self.places[wanted as usize]?;
        Some((&self.roles[idx].1, self.columns.get(idx)?))
    }

    fn null(&self, role: Role) -> HistoryError {
        let name = self.column(role).map_or(role.name(), |(name, _)| name);
        self.refuse(format!("{name} is null"))
    }
}

impl Rows for ParquetRows {
    fn advance(&mut self) -> Result<bool> {
        while self.next_idx >= self.row_numbers.len() {
            let failed = |error| HistoryError::parquet(&self.uri, "read", error);
            let Some(batch) = self.batches.next() else {
                return Ok(false);
            };
            let batch = batch.map_err(failed)?;
            self.load(&batch)
                .map_err(|error| HistoryError::parquet(&self.uri, "read", error))?;
        }
        self.next_idx += 1;
        Ok(true)
    }

    fn uri(&self) -> &str {
        &self.uri
    }

    fn row(&self) -> u64 {
        self.row_numbers
            .get(self.row_idx())
            .map_or(0, |idx| idx + 1)
    }

    fn has(&self, role: Role) -> bool {
        self.places[role as usize].is_some()
    }

    fn has_label(&self) -> bool {
        self.has(Role::Label)
    }

    fn trade_ids(&self) -> TradeIds {
        self.trade_ids
    }

    fn time(&self) -> Result<i64> {
        match self.column(Role::Time) {
            Some((_, Values::Time(values))) => values
                .get(self.row_idx())
                .map(|raw| self.time.micros(raw))
                .ok_or_else(|| self.null(Role::Time)),
            _ => Err(self.null(Role::Time)),
        }
    }

    fn number(&self, role: Role) -> Result<f64> {
        self.optional_number(role)?.ok_or_else(|| self.null(role))
    }

    fn optional_number(&self, role: Role) -> Result<Option<f64>> {
        let Some((name, Values::Number(values))) = self.column(role) else {
            return Ok(None);
        };
        match values.get(self.row_idx()) {
            Some(number) if !number.is_finite() => {
                Err(self.refuse(format!("{name} `{number}` is not a finite number")))
            }
            number => Ok(number),
        }
    }

    fn optional_integer(&self, role: Role) -> Result<Option<u64>> {
        match self.column(role) {
            Some((_, Values::Integer(values))) => Ok(values.get(self.row_idx())),
            _ => Ok(None),
        }
    }

    fn text(&self, role: Role) -> Result<&str> {
        match self.column(role) {
            Some((name, Values::Text(values))) => match values.get(self.row_idx()) {
                Some("") => Err(self.refuse(format!("{name} is empty"))),
                Some(text) => Ok(text),
                None => Err(self.null(role)),
            },
            _ => Err(self.null(role)),
        }
    }

    fn label(&self) -> Result<Option<&str>> {
        Ok(match self.column(Role::Label) {
            Some((_, Values::Text(values))) => values.get(self.row_idx()).and_then(label_name),
            _ => None,
        })
    }
}

enum Kind {
    Time,
    Number,
    Integer,
    Text,
}

fn kind_of(role: Role) -> Kind {
    match role {
        Role::Time => Kind::Time,
        Role::Symbol | Role::Label | Role::Side | Role::IsBuyerMaker => Kind::Text,
        Role::TradeId | Role::TradeCount => Kind::Integer,
        Role::Price
        | Role::Quantity
        | Role::Open
        | Role::High
        | Role::Low
        | Role::Close
        | Role::Volume
        | Role::QuoteVolume
        | Role::BuyVolume => Kind::Number,
    }
}

fn roles_of_schema(
    object: &DataObject,
    schema: &SchemaRef,
    content: Content,
    options: &ReadOptions,
) -> Result<Vec<(Role, String)>> {
    let names = names_of(schema);
    let missing = |column: &str| HistoryError::MissingColumn {
        uri: object.uri.clone(),
        column: column.to_owned(),
        hint: near_names(column, names.iter().map(String::as_str)),
    };
    let mut roles = Vec::new();
    for role in content.wanted() {
        match role.find(&names) {
            Some(idx) => roles.push((*role, names[idx].clone())),
            None if content.required().contains(role) => {
                return Err(content.lacks(&object.uri, content.name_of(*role), &names));
            }
            None => {}
        }
    }
    let has_side = roles
        .iter()
        .any(|(role, _)| matches!(role, Role::Side | Role::IsBuyerMaker));
    if content == Content::Trades && !has_side {
        return Err(content.lacks(&object.uri, "side` or `is_buyer_maker", &names));
    }
    match &options.label {
        Some(name) if names.contains(name) => roles.push((Role::Label, name.clone())),
        Some(name) => return Err(missing(name)),
        None => {
            if let Some(idx) = Role::Label.find(&names) {
                roles.push((Role::Label, names[idx].clone()));
            }
        }
    }
    Ok(roles)
}

fn select(
    object: &DataObject,
    role: Role,
    name: &str,
    dtype: &DataType,
    time: &TimeColumn,
) -> Result<Expr> {
    let target = match kind_of(role) {
        Kind::Time => return Ok(time.raw()),
        Kind::Text => return Ok(col(name).cast(DataType::String)),
        Kind::Number => DataType::Float64,
        Kind::Integer => DataType::UInt64,
    };
    if !dtype.is_primitive_numeric() {
        return Err(HistoryError::ColumnType {
            uri: object.uri.clone(),
            column: name.to_owned(),
            found: dtype.to_string(),
            expected: "a number",
        });
    }
    Ok(col(name).strict_cast(target))
}
