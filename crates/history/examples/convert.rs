//! Converts a history of trades or candles to Parquet.
//!
//! ```text
//! cargo run -p history --example convert -- \
//!     candles:1m BTCUSD_2018.csv.gz btcusd-1m.parquet BTCUSD 2018-01-01 2018-03-01
//! ```
//!
//! `INPUT` and `OUTPUT` may be `s3://` URIs, `INPUT` a folder or a glob too. `SYMBOL` names the
//! rows of files that name no symbol; `-` stands for "none". `FROM` and `TO` (excluded) are dates
//! or ISO 8601 times in UTC.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use history::{Location, ReadOptions, Storage, convert_candles, convert_trades};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const USAGE: &str = "usage: convert trades|candles[:INTERVAL] INPUT OUTPUT [SYMBOL [FROM [TO]]]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [kind, input, output, rest @ ..] = args.as_slice() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match convert(kind, input, output, rest) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  caused by: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn convert(
    kind: &str,
    input: &str,
    output: &str,
    rest: &[String],
) -> Result<String, Box<dyn Error>> {
    let storage = Storage::from_env();
    let options = ReadOptions {
        default_symbol: rest.first().filter(|symbol| *symbol != "-").cloned(),
        from: rest.get(1).map(|text| micros(text)).transpose()?,
        to: rest.get(2).map(|text| micros(text)).transpose()?,
        ..ReadOptions::default()
    };
    let objects = Location::parse(input, Path::new(""))?.resolve(&storage)?;
    let (kind, interval) = kind.split_once(':').unwrap_or((kind, "1m"));
    let converted = match kind {
        "trades" => convert_trades(&objects, &options, &storage, output)?,
        "candles" => convert_candles(&objects, interval.parse()?, &options, &storage, output)?,
        _ => return Err(format!("`{kind}` is neither `trades` nor `candles`; {USAGE}").into()),
    };
    Ok(format!(
        "{} rows of {} symbols from {} files, {} repeated trades dropped: `{output}`",
        converted.n_rows,
        converted.n_symbols,
        objects.len(),
        converted.n_duplicates
    ))
}

fn micros(text: &str) -> Result<i64, Box<dyn Error>> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp.as_microsecond());
    }
    let civil: DateTime = text
        .parse()
        .map_err(|_| format!("`{text}` is not a time"))?;
    Ok(civil.to_zoned(TimeZone::UTC)?.timestamp().as_microsecond())
}
