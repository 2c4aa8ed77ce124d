//! The symbol of a row: of its column, or of its file.

use crate::columns::Role;
use crate::error::{HistoryError, Result, near_names};
use crate::location::DataObject;
use crate::options::ReadOptions;
use crate::rows::Rows;

/// Finds the symbol of each row and whether it is wanted.
pub(crate) struct SymbolLookup<'a> {
    options: &'a ReadOptions,
    /// The file's symbol and whether it is wanted; `None` if there is a column.
    of_file: Option<(String, bool)>,
}

impl<'a> SymbolLookup<'a> {
    pub(crate) fn new(
        object: &DataObject,
        options: &'a ReadOptions,
        rows: &dyn Rows,
    ) -> Result<Self> {
        let of_file = if rows.has(Role::Symbol) {
            None
        } else {
            let symbol = symbol_of(object, options)?;
            let is_wanted = options.wants_symbol(&symbol);
            Some((symbol, is_wanted))
        };
        Ok(Self { options, of_file })
    }

    /// Whether the whole file is of a symbol that is not wanted.
    pub(crate) fn skips_file(&self) -> bool {
        matches!(self.of_file, Some((_, false)))
    }

    /// The current row's symbol; `None` if it is not wanted.
    pub(crate) fn wanted<'s>(&'s mut self, rows: &'s dyn Rows) -> Result<Option<&'s str>> {
        if let Some((symbol, is_wanted)) = &self.of_file {
            return Ok(is_wanted.then_some(symbol));
        }
        let symbol = rows.text(Role::Symbol)?;
        Ok(self.options.wants_symbol(symbol).then_some(symbol))
    }
}

/// Refuses when a symbol was asked for and no row has it.
pub(crate) fn check_symbols_found<'a>(
    objects: &[DataObject],
    options: &ReadOptions,
    found: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let found: Vec<&str> = found.collect();
    let Some(missing) = options
        .symbols
        .iter()
        .find(|symbol| !found.contains(&symbol.as_str()))
    else {
        return Ok(());
    };
    // Symbols of columns are not known here beyond those asked for; those of files are.
    let mut of_files: Vec<String> = objects
        .iter()
        .filter_map(|object| symbol_of(object, options).ok())
        .chain(found.iter().map(|symbol| (*symbol).to_owned()))
        .collect();
    of_files.sort();
    of_files.dedup();
    let first = objects.first().map_or("", |object| object.uri.as_str());
    Err(HistoryError::MissingSymbol {
        uri: first.to_owned(),
        others: match objects.len() {
            0 | 1 => String::new(),
            n_files => format!(" and {} more files", n_files - 1),
        },
        symbol: missing.clone(),
        hint: near_names(missing, of_files.iter().map(String::as_str)),
    })
}

/// From a `symbol=XXX/` folder, else from the file's name, else the default.
pub(crate) fn symbol_of(object: &DataObject, options: &ReadOptions) -> Result<String> {
    named_symbol(object)
        .or(options.default_symbol.as_deref())
        .map(str::to_owned)
        .ok_or_else(|| {
            HistoryError::format(
                &object.uri,
                "it names no symbol: there is neither a `symbol` column nor a `symbol=…` folder \
                 nor a symbol in the file's name, and no symbol was given",
            )
        })
}

/// From a `symbol=XXX/` folder, else from the file's name.
pub(crate) fn named_symbol(object: &DataObject) -> Option<&str> {
    from_folder(&object.uri).or_else(|| from_file_name(object.file_name()))
}

/// The symbol that a feature file's `symbol=XXX/` folder names.
pub(crate) fn file_symbol(object: &DataObject) -> Option<&str> {
    from_folder(&object.uri)
}

fn from_folder(uri: &str) -> Option<&str> {
    uri.split(['/', '\\'])
        .rev()
        .skip(1)
        .find_map(|folder| folder.strip_prefix("symbol="))
        .filter(|symbol| !symbol.is_empty())
}

/// `BTCUSDT-1m-2024-01.zip`, `NEBLBTC_2022-01-02T1701.csv.gz`, `raw_ETHUSDT_1h.csv`: the one part
/// that is written like a symbol, if there is exactly one.
fn from_file_name(name: &str) -> Option<&str> {
    let stem = name.split('.').next()?;
    let mut symbols = stem.split(['-', '_']).filter(|part| is_symbol(part));
    let symbol = symbols.next()?;
    symbols.next().is_none().then_some(symbol)
}

fn is_symbol(part: &str) -> bool {
    let is_upper = part
        .bytes()
        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    let n_letters = part.bytes().filter(u8::is_ascii_uppercase).count();
    is_upper && n_letters >= 3 && part.len() >= 5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_symbol_in_names() {
        for (name, symbol) in [
            ("BTCUSDT-1m-2024-01.zip", Some("BTCUSDT")),
            ("BTCUSDT-aggTrades-2024-01-05.zip", Some("BTCUSDT")),
            ("NEBLBTC_2022-01-02T1701.csv.gz", Some("NEBLBTC")),
            ("raw_ETHUSDT_1h.csv.gz", Some("ETHUSDT")),
            ("BTCUSD_2018.csv.gz", Some("BTCUSD")),
            ("1000PEPEUSDT-1m-2024-01.zip", Some("1000PEPEUSDT")),
            ("btcusd-1m.parquet", None),
            ("candles.csv", None),
            ("ETHUSDT_BTCUSDT.csv", None),
        ] {
            assert_eq!(from_file_name(name), symbol, "{name}");
        }
        assert_eq!(from_folder("a/symbol=ETHBTC/x=1/b.csv"), Some("ETHBTC"));
        assert_eq!(from_folder("a/symbol=ETHBTC"), None);
    }
}
