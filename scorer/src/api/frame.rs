//! Tables as MLflow's scoring protocol has them: JSON of four shapes, and CSV.

use market::Feature;

use super::error::Refusal;
use super::json::Json;
use super::rows::{Row, check_symbol};

const FORMATS: [&str; 4] = [
    "dataframe_split",
    "dataframe_records",
    "instances",
    "inputs",
];

/// Where a column belongs; others are passed over, as MLflow passes over columns that no signature names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Symbol,
    Feature(usize),
}

struct Columns<'a>(&'a [Feature]);

impl Columns<'_> {
    fn place(&self, name: &str) -> Option<Place> {
        if name == "symbol" {
            return Some(Place::Symbol);
        }
        let place = self.0.iter().position(|feature| feature.name() == name);
        place.map(Place::Feature)
    }

    fn name(&self, place: Place) -> &'static str {
        match place {
            Place::Symbol => "symbol",
            Place::Feature(place) => self.0[place].name(),
        }
    }

    /// A row of these cells.
    fn row<'c>(
        &self,
        number: usize,
        cells: impl Iterator<Item = (Place, &'c Json)>,
    ) -> Result<Row, Refusal> {
        let mut symbol = None;
        let mut values: Vec<Option<f64>> = vec![None; self.0.len()];
        for (place, cell) in cells {
            let wrong = |what: String| {
                let column = self.name(place);
                Refusal::unreadable(format!(
                    "Invalid input. Row {number}, column `{column}`: {what}"
                ))
            };
            match (place, cell) {
                (Place::Symbol, Json::Null) => {}
                (Place::Symbol, Json::Text(text)) => {
                    check_symbol(text).map_err(wrong)?;
                    symbol = Some(text.clone());
                }
                (Place::Symbol, other) => {
                    return Err(wrong(format!(
                        "a string is needed, and there is {}",
                        other.what()
                    )));
                }
                (Place::Feature(place), cell) => {
                    values[place] = Some(cell.number().map_err(wrong)?)
                }
            }
        }
        let missing: Vec<&str> = values
            .iter()
            .zip(self.0)
            .filter(|(value, _)| value.is_none())
            .map(|(_, feature)| feature.name())
            .collect();
        if !missing.is_empty() {
            return Err(Refusal::unreadable(format!(
                "Invalid input. Row {number}: the model is missing inputs {missing:?}"
            )));
        }
        Ok(Row {
            symbol,
            event_time: None,
            values: values.into_iter().flatten().collect(),
        })
    }

    /// Cells in the model's order.
    fn positional(&self, number: usize, cells: &[Json]) -> Result<Row, Refusal> {
        if cells.len() != self.0.len() {
            return Err(Refusal::unreadable(format!(
                "Invalid input. Row {number} has {} values, and the model takes {}",
                cells.len(),
                self.0.len()
            )));
        }
        let places = (0..self.0.len()).map(Place::Feature);
        self.row(number, places.zip(cells))
    }

    fn record(&self, number: usize, cells: &[(String, Json)]) -> Result<Row, Refusal> {
        let known = cells
            .iter()
            .filter_map(|(name, cell)| Some((self.place(name)?, cell)));
        self.row(number, known)
    }
}

fn bad(message: impl AsRef<str>) -> Refusal {
    Refusal::unreadable(format!("Invalid input. {}", message.as_ref()))
}

fn check_rows(n_rows: usize, max_rows: usize) -> Result<(), Refusal> {
    match n_rows <= max_rows {
        true => Ok(()),
        false => Err(bad(format!(
            "{n_rows} rows, and `api.max_rows` allows {max_rows}"
        ))),
    }
}

/// Reads a body of `application/json`.
///
/// # Errors
/// It is of none of the four shapes, a column is missing, a cell is no finite number.
pub(super) fn read_json(
    body: &[u8],
    features: &[Feature],
    max_rows: usize,
) -> Result<Vec<Row>, Refusal> {
    let columns = Columns(features);
    let Json::Object(entries) = Json::read(body)? else {
        return Err(bad(format!(
            "A JSON object with one of {FORMATS:?} is needed"
        )));
    };
    let mut input = None;
    for (key, value) in &entries {
        match (key.as_str(), value) {
            ("params", Json::Null) => {}
            ("params", Json::Object(params)) if params.is_empty() => {}
            ("params", _) => return Err(bad("the model takes no `params`")),
            (key, value) if FORMATS.contains(&key) => {
                if input.replace((key, value)).is_some() {
                    return Err(bad(format!("exactly one of {FORMATS:?} is needed")));
                }
            }
            (key, _) => {
                return Err(bad(format!(
                    "`{key}` is not known; exactly one of {FORMATS:?} is needed"
                )));
            }
        }
    }
    match input {
        None => Err(bad(format!("exactly one of {FORMATS:?} is needed"))),
        Some(("dataframe_split", value)) => split(value, &columns, max_rows),
        Some(("inputs", Json::Object(entries))) => by_column(entries, &columns, max_rows),
        Some((key, Json::Array(rows))) => {
            check_rows(rows.len(), max_rows)?;
            let is_frame = key == "dataframe_records";
            let row = |(number, row): (usize, &Json)| match row {
                Json::Object(cells) => columns.record(number, cells),
                Json::Array(cells) if !is_frame => columns.positional(number, cells),
                other => Err(bad(format!("`{key}[{number}]` is {}", other.what()))),
            };
            rows.iter().enumerate().map(row).collect()
        }
        Some((key, other)) => Err(bad(format!(
            "`{key}` must be a list of rows, and there is {}",
            other.what()
        ))),
    }
}

/// `{"columns": […], "data": [[…], …], "index": […]}`
fn split(value: &Json, columns: &Columns<'_>, max_rows: usize) -> Result<Vec<Row>, Refusal> {
    let Json::Object(entries) = value else {
        return Err(bad(format!(
            "`dataframe_split` must be an object, and there is {}",
            value.what()
        )));
    };
    let (mut names, mut data) = (None, None);
    for (key, value) in entries {
        match (key.as_str(), value) {
            ("columns", Json::Array(items)) => names = Some(items),
            ("data", Json::Array(items)) => data = Some(items),
            ("index", Json::Array(_) | Json::Null) => {}
            ("columns" | "data" | "index", other) => {
                return Err(bad(format!(
                    "`dataframe_split.{key}` must be a list, and there is {}",
                    other.what()
                )));
            }
            _ => return Err(bad(format!("`dataframe_split.{key}` is not known"))),
        }
    }
    let data = data.ok_or_else(|| bad("`dataframe_split.data` is missing"))?;
    let names = names.ok_or_else(|| bad("`dataframe_split.columns` is missing"))?;
    check_rows(data.len(), max_rows)?;
    let places: Vec<Option<Place>> = names
        .iter()
        .map(|name| match name {
            Json::Text(name) => columns.place(name),
            _ => None,
        })
        .collect();
    let row = |(number, row): (usize, &Json)| match row {
        Json::Array(cells) if cells.len() == places.len() => {
            let known = places
                .iter()
                .zip(cells)
                .filter_map(|(place, cell)| Some(((*place)?, cell)));
            columns.row(number, known)
        }
        Json::Array(cells) => Err(bad(format!(
            "`dataframe_split.data[{number}]` has {} values for {} columns",
            cells.len(),
            places.len()
        ))),
        other => Err(bad(format!(
            "`dataframe_split.data[{number}]` must be a list, and there is {}",
            other.what()
        ))),
    };
    data.iter().enumerate().map(row).collect()
}

/// `{"log_return": […], …}`; a column of one row may be a number.
fn by_column(
    entries: &[(String, Json)],
    columns: &Columns<'_>,
    max_rows: usize,
) -> Result<Vec<Row>, Refusal> {
    let mut known: Vec<(Place, &[Json])> = Vec::new();
    for (name, value) in entries {
        let Some(place) = columns.place(name) else {
            continue;
        };
        let cells = match value {
            Json::Array(cells) => &cells[..],
            single => std::slice::from_ref(single),
        };
        if let Some((first, before)) = known.first()
            && before.len() != cells.len()
        {
            return Err(bad(format!(
                "`inputs.{name}` has {} values, and `inputs.{}` has {}",
                cells.len(),
                columns.name(*first),
                before.len()
            )));
        }
        known.push((place, cells));
    }
    // A column that is missing is missing in a first row too, even where there is none.
    let n_rows = known.first().map_or(1, |(_, cells)| cells.len());
    check_rows(n_rows, max_rows)?;
    let row = |number| {
        columns.row(
            number,
            known.iter().map(|(place, cells)| (*place, &cells[number])),
        )
    };
    (0..n_rows).map(row).collect()
}

/// Reads a body of `text/csv` with a line of names, as `DataFrame.to_csv` writes it.
///
/// # Errors
/// It is no CSV, a column is missing, a cell is no finite number.
pub(super) fn read_csv(
    body: &[u8],
    features: &[Feature],
    max_rows: usize,
) -> Result<Vec<Row>, Refusal> {
    let columns = Columns(features);
    let mut reader = csv::Reader::from_reader(body);
    let no_csv = |error: csv::Error| bad(format!("the body is no CSV: {error}"));
    let names = reader.headers().map_err(no_csv)?;
    let places: Vec<Option<Place>> = names.iter().map(|name| columns.place(name)).collect();
    let mut rows = Vec::new();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(no_csv)? {
        check_rows(rows.len() + 1, max_rows)?;
        let cells: Vec<(Place, Json)> = places
            .iter()
            .zip(record.iter())
            .filter_map(|(place, cell)| Some(((*place)?, cell)))
            .map(|(place, cell)| (place, of_text(place, cell)))
            .collect();
        let row = columns.row(rows.len(), cells.iter().map(|(place, cell)| (*place, cell)))?;
        rows.push(row);
    }
    Ok(rows)
}

/// A cell of text, as JSON would have it.
fn of_text(place: Place, cell: &str) -> Json {
    match (place, cell.trim().parse::<f64>()) {
        _ if cell.is_empty() => Json::Null,
        (Place::Feature(_), Ok(number)) if number.is_finite() => Json::Number(number),
        _ => Json::Text(cell.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEATURES: [Feature; 2] = [Feature::PriceRange, Feature::LogReturn];

    fn read(text: &str) -> Result<Vec<Vec<f64>>, String> {
        let rows = read_json(text.as_bytes(), &FEATURES, 3);
        values(rows)
    }

    fn values(rows: Result<Vec<Row>, Refusal>) -> Result<Vec<Vec<f64>>, String> {
        rows.map(|rows| rows.into_iter().map(|row| row.values).collect())
            .map_err(|refusal| {
                let (status, message, _) = refusal.said();
                assert_eq!(status, 400);
                message.to_owned()
            })
    }

    #[test]
    fn every_shape_says_the_same() {
        let expected = Ok(vec![vec![1.0, 2.0], vec![3.0, 4.5]]);
        for text in [
            r#"{"dataframe_split":{"index":[0,1],"columns":["log_return","other","price_range"],"data":[[2,"x",1],[4.5,null,3]]}}"#,
            r#"{"dataframe_records":[{"log_return":2,"price_range":1},{"price_range":3,"log_return":4.5}]}"#,
            r#"{"instances":[{"log_return":2,"price_range":1},{"price_range":3,"log_return":4.5}]}"#,
            r#"{"instances":[[1,2],[3,4.5]]}"#,
            r#"{"inputs":[[1,2],[3,4.5]],"params":null}"#,
            r#"{"inputs":{"log_return":[2,4.5],"price_range":[1,3],"note":["a"]},"params":{}}"#,
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        let csv = ",log_return,price_range\n0,2.0,1.0\n1,4.5,3\n";
        assert_eq!(values(read_csv(csv.as_bytes(), &FEATURES, 3)), expected);
        assert_eq!(
            read(r#"{"inputs":{"log_return":2,"price_range":1}}"#),
            Ok(vec![vec![1.0, 2.0]])
        );
        assert_eq!(read(r#"{"dataframe_records":[]}"#), Ok(vec![]));
    }

    #[test]
    fn symbols_are_taken_where_they_are_given() {
        let text = r#"{"dataframe_split":{"columns":["symbol","price_range","log_return"],"data":[["A",1,2],[null,1,2]]}}"#;
        let rows = read_json(text.as_bytes(), &FEATURES, 3).unwrap();
        assert_eq!(
            (rows[0].symbol.as_deref(), rows[1].symbol.as_deref()),
            (Some("A"), None)
        );
        let csv = "symbol,price_range,log_return\n12,1,2\n";
        let rows = read_csv(csv.as_bytes(), &FEATURES, 3).unwrap();
        assert_eq!(rows[0].symbol.as_deref(), Some("12"));
    }

    #[test]
    fn what_is_wrong_is_refused_as_mlflow_does() {
        for (text, words) in [
            ("[1]", "A JSON object with one of"),
            ("{}", "exactly one of"),
            (r#"{"inputs":[],"instances":[]}"#, "exactly one of"),
            (r#"{"data":[]}"#, "`data` is not known"),
            (
                r#"{"inputs":[[1,2]],"params":{"a":1}}"#,
                "takes no `params`",
            ),
            (r#"{"inputs":7}"#, "`inputs` must be a list of rows"),
            (
                r#"{"inputs":[[1]]}"#,
                "Row 0 has 1 values, and the model takes 2",
            ),
            (
                r#"{"inputs":{"price_range":[1]}}"#,
                r#"missing inputs ["log_return"]"#,
            ),
            (
                r#"{"inputs":{"price_range":[1],"log_return":[1,2]}}"#,
                "has 2 values, and `inputs.price_range` has 1",
            ),
            (
                r#"{"dataframe_records":[[1,2]]}"#,
                "`dataframe_records[0]` is an array",
            ),
            (
                r#"{"dataframe_records":[{"price_range":1}]}"#,
                r#"Row 0: the model is missing inputs ["log_return"]"#,
            ),
            (
                r#"{"dataframe_split":{"data":[[1,2]]}}"#,
                "columns` is missing",
            ),
            (
                r#"{"dataframe_split":{"columns":["price_range","log_return"],"data":[[1]]}}"#,
                "has 1 values for 2 columns",
            ),
            (
                r#"{"dataframe_split":{"columns":["price_range","log_return"],"data":[[1,null]]}}"#,
                "Row 0, column `log_return`: a number is needed, and there is null",
            ),
            (
                r#"{"dataframe_split":{"columns":["price_range","log_return"],"data":[[1,"NaN"]]}}"#,
                "a finite number is needed",
            ),
            (
                r#"{"dataframe_split":{"columns":[],"data":[],"rows":1}}"#,
                "`dataframe_split.rows` is not known",
            ),
            (
                r#"{"instances":[[1,2],[1,2],[1,2],[1,2]]}"#,
                "`api.max_rows` allows 3",
            ),
            (
                r#"{"dataframe_records":[{"price_range":1,"log_return":2,"symbol":5}]}"#,
                "column `symbol`: a string",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        let csv = |text: &str| values(read_csv(text.as_bytes(), &FEATURES, 2)).unwrap_err();
        assert!(csv("price_range,log_return\n1\n").contains("no CSV"));
        assert!(csv("price_range,log_return\n1,x\n").contains("column `log_return`"));
        assert!(csv("price_range,log_return\n1,inf\n").contains("a finite number"));
        assert!(csv("price_range,log_return\n1,\n").contains("null"));
        assert!(csv("price_range\n1\n").contains("missing inputs"));
        assert!(csv("price_range,log_return\n1,1\n1,1\n1,1\n").contains("max_rows"));
    }
}
