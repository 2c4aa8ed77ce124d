//! CSV files of trades and candles: their columns, and their rows as values.

use std::io::Read;

use crate::columns::{Role, TradeIds};
use crate::error::{HistoryError, Result, near_names};
use crate::options::{CsvLayout, ReadOptions};
use crate::records::Records;
use crate::rows::{Content, Rows, label_name};
use crate::time::parse_time;

/// A CSV reader that knows which column is what.
pub(crate) struct TextReader<'r> {
    uri: String,
    records: Records<'r>,
    /// The names of the columns; of positions alone if there is no header.
    columns: Vec<String>,
    /// The column of each role.
    roles: [Option<usize>; Role::COUNT],
    label: Option<usize>,
    trade_ids: TradeIds,
    /// The first row, read to see whether it is a header, when it is not.
    has_pending: bool,
}

impl<'r> TextReader<'r> {
    /// `None` for a file without any row.
    pub(crate) fn open(
        uri: &str,
        source: &'r mut dyn Read,
        content: Content,
        options: &ReadOptions,
    ) -> Result<Option<Self>> {
        let mut records = Records::new(uri, source);
        if !records.advance()? {
            return Ok(None);
        }
        let first = records.to_texts();
        let has_header = !first.iter().any(|field| is_value(field));
        let layout = match (options.layout, has_header) {
            (Some(layout), _) => {
                check_width(uri, layout, first.len())?;
                Some(layout)
            }
            (None, true) => None,
            (None, false) => Some(guess_layout(uri, &first, content)?),
        };
        let (columns, found) = match layout {
            Some(layout) => (first, roles_of_layout(layout)),
            None => {
                let roles = roles_of_header(uri, &first, content)?;
                (first, roles)
            }
        };
        let trade_ids = match layout {
            Some(CsvLayout::BinanceTrades) => TradeIds::Single,
            Some(CsvLayout::BinanceAggTrades) => TradeIds::Aggregate,
            Some(_) => TradeIds::Unknown,
            None => TradeIds::of(&columns),
        };
        let mut roles = [None; Role::COUNT];
        for (role, idx) in found.into_iter().filter(|(_, idx)| *idx < columns.len()) {
            roles[role as usize] = Some(idx);
        }
        let label = match (&options.label, has_header) {
            (Some(name), true) => columns.iter().position(|column| column.trim() == name),
            (None, true) => Role::Label.find(&columns),
            (_, false) => None,
        };
        if let (Some(name), None) = (&options.label, label) {
            return Err(HistoryError::MissingColumn {
                uri: uri.to_owned(),
                column: name.clone(),
                hint: near_names(name, columns.iter().map(String::as_str)),
            });
        }
        let columns = if has_header {
            columns
        } else {
            (1..=columns.len())
                .map(|idx| format!("column {idx}"))
                .collect()
        };
        Ok(Some(Self {
            uri: uri.to_owned(),
            records,
            columns,
            roles,
            label,
            trade_ids,
            has_pending: !has_header,
        }))
    }

    fn idx(&self, role: Role) -> Option<usize> {
        self.roles[role as usize]
    }

    fn field(&self, role: Role) -> Result<&str> {
        match self.idx(role) {
            Some(idx) => self.field_at(idx),
            None => Err(self.refuse(format!("no column is `{}`", role.name()))),
        }
    }

    fn field_at(&self, idx: usize) -> Result<&str> {
        match self.records.field(idx) {
            Ok(field) => Ok(trimmed(field.unwrap_or_default())),
            Err(_) => Err(self.refuse(format!("{} is not UTF-8 text", self.column_at(idx)))),
        }
    }

    fn column_at(&self, idx: usize) -> &str {
        self.columns.get(idx).map_or("", String::as_str).trim()
    }

    /// Refuses the field of a role: `reason` follows the column's name.
    fn refuse_field(&self, role: Role, reason: &str) -> HistoryError {
        let column = self
            .idx(role)
            .map_or(role.name(), |idx| self.column_at(idx));
        self.refuse(format!("{column} {reason}"))
    }
}

impl Rows for TextReader<'_> {
    fn has(&self, role: Role) -> bool {
        self.idx(role).is_some()
    }

    fn has_label(&self) -> bool {
        self.label.is_some()
    }

    fn trade_ids(&self) -> TradeIds {
        self.trade_ids
    }

    fn advance(&mut self) -> Result<bool> {
        if self.has_pending {
            self.has_pending = false;
        } else if !self.records.advance()? {
            return Ok(false);
        }
        if self.records.n_fields() != self.columns.len() {
            return Err(self.refuse(format!(
                "it has {} fields where the first row has {}",
                self.records.n_fields(),
                self.columns.len()
            )));
        }
        Ok(true)
    }

    fn row(&self) -> u64 {
        self.records.line()
    }

    fn uri(&self) -> &str {
        &self.uri
    }

    fn time(&self) -> Result<i64> {
        let text = self.field(Role::Time)?;
        parse_time(text)
            .ok_or_else(|| self.refuse_field(Role::Time, &format!("`{text}` is not a time")))
    }

    fn number(&self, role: Role) -> Result<f64> {
        let text = self.field(role)?;
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            Ok(_) => Err(self.refuse_field(role, &format!("`{text}` is not a finite number"))),
            Err(_) => Err(self.refuse_field(role, &format!("`{text}` is not a number"))),
        }
    }

    fn optional_number(&self, role: Role) -> Result<Option<f64>> {
        if !self.has(role) || self.field(role)?.is_empty() {
            return Ok(None);
        }
        self.number(role).map(Some)
    }

    fn optional_integer(&self, role: Role) -> Result<Option<u64>> {
        if !self.has(role) {
            return Ok(None);
        }
        let text = self.field(role)?;
        if text.is_empty() {
            return Ok(None);
        }
        // `558.0` is how a float column writes 558.
        let digits = text.strip_suffix(".0").unwrap_or(text);
        digits
            .parse()
            .map(Some)
            .map_err(|_| self.refuse_field(role, &format!("`{text}` is not a whole number")))
    }

    fn text(&self, role: Role) -> Result<&str> {
        match self.field(role)? {
            "" => Err(self.refuse_field(role, "is empty")),
            text => Ok(text),
        }
    }

    fn label(&self) -> Result<Option<&str>> {
        let Some(idx) = self.label else {
            return Ok(None);
        };
        self.field_at(idx).map(label_name)
    }
}

/// A text without the blanks around it; it hardly ever has any.
fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic() => text,
        _ => text.trim(),
    }
}

/// Whether a field of the first row is data: a number or a time, as no column name is.
fn is_value(field: &str) -> bool {
    let field = field.trim_start_matches('\u{feff}').trim();
    field.as_bytes().first().is_some_and(u8::is_ascii_digit)
        && (field.parse::<f64>().is_ok() || parse_time(field).is_some())
}

fn roles_of_header(uri: &str, columns: &[String], content: Content) -> Result<Vec<(Role, usize)>> {
    for role in content.required() {
        if role.find(columns).is_none() {
            return Err(content.lacks(uri, content.name_of(*role), columns));
        }
    }
    let roles: Vec<(Role, usize)> = content
        .wanted()
        .iter()
        .filter_map(|role| Some((*role, role.find(columns)?)))
        .collect();
    let has_side = roles
        .iter()
        .any(|(role, _)| matches!(role, Role::Side | Role::IsBuyerMaker));
    if content == Content::Trades && !has_side {
        return Err(content.lacks(uri, "side` or `is_buyer_maker", columns));
    }
    Ok(roles)
}

fn roles_of_layout(layout: CsvLayout) -> Vec<(Role, usize)> {
    let in_order: &[Role] = match layout {
        CsvLayout::BinanceTrades => {
            return vec![
                (Role::TradeId, 0),
                (Role::Price, 1),
                (Role::Quantity, 2),
                (Role::Time, 4),
                (Role::IsBuyerMaker, 5),
            ];
        }
        CsvLayout::BinanceAggTrades => {
            return vec![
                (Role::TradeId, 0),
                (Role::Price, 1),
                (Role::Quantity, 2),
                (Role::Time, 5),
                (Role::IsBuyerMaker, 6),
            ];
        }
        CsvLayout::BinanceKlines => {
            return vec![
                (Role::Time, 0),
                (Role::Open, 1),
                (Role::High, 2),
                (Role::Low, 3),
                (Role::Close, 4),
                (Role::Volume, 5),
                (Role::QuoteVolume, 7),
                (Role::TradeCount, 8),
                (Role::BuyVolume, 9),
            ];
        }
        CsvLayout::PlainTrades => &[Role::Time, Role::Side, Role::Price, Role::Quantity],
        CsvLayout::Ohlcv => &[
            Role::Time,
            Role::Open,
            Role::High,
            Role::Low,
            Role::Close,
            Role::Volume,
        ],
        CsvLayout::Ochlv => &[
            Role::Time,
            Role::Open,
            Role::Close,
            Role::High,
            Role::Low,
            Role::Volume,
        ],
    };
    in_order
        .iter()
        .enumerate()
        .map(|(idx, role)| (*role, idx))
        .collect()
}

fn check_width(uri: &str, layout: CsvLayout, n_columns: usize) -> Result<()> {
    let n_needed = 1 + roles_of_layout(layout)
        .iter()
        .map(|(_, idx)| *idx)
        .max()
        .unwrap_or(0);
    if n_columns < n_needed {
        return Err(HistoryError::format(
            uri,
            format!("{layout:?} needs {n_needed} columns, but the first row has {n_columns}"),
        ));
    }
    Ok(())
}

fn guess_layout(uri: &str, first: &[String], content: Content) -> Result<CsvLayout> {
    let is_bool = |idx: usize| {
        first.get(idx).is_some_and(|field| {
            matches!(field.trim().to_ascii_lowercase().as_str(), "true" | "false")
        })
    };
    let is_side = |idx: usize| {
        first.get(idx).is_some_and(|field| {
            matches!(field.trim().to_ascii_lowercase().as_str(), "buy" | "sell")
        })
    };
    let layout_of = |content| match (content, first.len()) {
        (Content::Trades, 6 | 7) if is_bool(5) => Some(CsvLayout::BinanceTrades),
        (Content::Trades, 7 | 8) if is_bool(6) => Some(CsvLayout::BinanceAggTrades),
        (Content::Trades, 4) if is_side(1) => Some(CsvLayout::PlainTrades),
        (Content::Candles, 11 | 12) => Some(CsvLayout::BinanceKlines),
        _ => None,
    };
    if let Some(layout) = layout_of(content) {
        return Ok(layout);
    }
    let row: String = first.join(",").chars().take(100).collect();
    if layout_of(content.other()).is_some() {
        return Err(content.is_other(uri, format!("its first row is `{row}`")));
    }
    let needed: Vec<String> = content
        .required()
        .iter()
        .map(|role| format!("`{}`", content.name_of(*role)))
        .collect();
    let side = match content {
        Content::Trades => " and `side` or `is_buyer_maker`",
        Content::Candles => "",
    };
    Err(HistoryError::format(
        uri,
        format!(
            "there is no header, and {} columns do not tell what they are (the first row is `{row}`); {} need a header with {}{side}",
            first.len(),
            content.as_str(),
            needed.join(", ")
        ),
    ))
}
