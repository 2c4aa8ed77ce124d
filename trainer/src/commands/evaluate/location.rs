//! A location of data in place of an experiment file: what such a file would say of it.
//!
//! Nothing is trained, so nearly half of the time calibrates and half is measured. What a model of ours
//! remembers of its features' computation is taken over; `--set` changes everything.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, bail};
use history::{DataObject, FeatureOptions, FeatureScan, Location, Storage};
use market::FeatureConfig;

use crate::config::{self, DataKind, ExperimentFile};
use crate::pipeline::table::LABEL_NAMES;
use crate::progress::list;

/// What messages call the file that isn't there.
const NAME: &str = "--data";
/// Columns that are taken for the time, the symbol.
const TIME_NAMES: [&str; 5] = ["time", "timestamp", "open_time", "event_time", "at"];
const SYMBOL_NAME: &str = "symbol";
/// The column in which scorers say how features were computed.
const ENGINE_NAME: &str = "engine";

/// What a model says of the data that it judges.
#[derive(Debug, Clone)]
pub(super) struct Wanted<'a> {
    /// The model's name.
    pub(super) model: &'a str,
    /// Its features, where it names them.
    pub(super) features: Option<&'a [String]>,
    /// How they were computed from candles, where they were.
    pub(super) engine: Option<FeatureConfig>,
}

/// Whether `data` is an experiment file rather than a location.
pub(super) fn is_experiment(data: &str) -> bool {
    Path::new(data)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}

/// The experiment on `data` (file, folder, glob or `s3://` URI, relative to the current folder) that judges
/// the model `wanted`; of `kind`, or of what the columns look like; changed by `set`.
///
/// # Errors
/// Data that can't be read, or whose columns aren't what the model needs; what `set` makes impossible.
pub(super) fn experiment(
    data: &str,
    kind: Option<DataKind>,
    wanted: &Wanted<'_>,
    set: &[String],
) -> anyhow::Result<ExperimentFile> {
    let objects = Location::parse(data, Path::new("."))?.resolve(&Storage::from_env())?;
    let columns = Columns::of(&objects);
    let kind = match kind {
        Some(kind) => kind,
        None => columns.kind(data, wanted)?,
    };
    let source = if data.contains("://") {
        data.to_owned()
    } else {
        std::path::absolute(data)?.display().to_string()
    };
    let text = written(&source, kind, wanted, &columns)?;
    Ok(config::parse(Path::new(NAME), text, set)?)
}

/// The names of the first file's columns.
#[derive(Debug, Default)]
struct Columns {
    names: Vec<String>,
    /// Why there are none.
    reason: Option<history::HistoryError>,
}

impl Columns {
    fn of(objects: &[DataObject]) -> Self {
        let first = &objects[..objects.len().min(1)];
        match FeatureScan::open(first, &FeatureOptions::default()) {
            Ok(scan) => Self {
                names: [scan.columns(), scan.left_out()].concat(),
                reason: None,
            },
            // Dumps of exchanges have no header: what they are must be said.
            Err(reason) => Self {
                names: Vec::new(),
                reason: Some(reason),
            },
        }
    }

    fn find(&self, name: &str) -> Option<&str> {
        let mut names = self.names.iter().map(String::as_str);
        names.find(|other| other.eq_ignore_ascii_case(name))
    }

    fn has(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.find(name).is_some())
    }

    /// What the data hold, by their columns.
    fn kind(&self, data: &str, wanted: &Wanted<'_>) -> anyhow::Result<DataKind> {
        let say = "say which by `--kind trades`, `candles` or `features`";
        if let Some(reason) = &self.reason {
            bail!("what `{data}` holds can't be told from its columns ({reason}); {say}");
        }
        let all_there = |features: &[String]| features.iter().all(|f| self.names.contains(f));
        // A model that names no columns takes a table's as they stand.
        if wanted.features.map_or(wanted.engine.is_none(), all_there) {
            return Ok(DataKind::Features);
        }
        if self.has(&["open", "high", "low", "close"]) {
            return Ok(DataKind::Candles);
        }
        if self.has(&["price"]) {
            return Ok(DataKind::Trades);
        }
        bail!(
            "`{data}` has neither the model's features ({}) nor the columns of candles (open, high, low, \
             close) or trades (price); it has {}; {say}",
            list(wanted.features.unwrap_or_default()),
            list(&self.names)
        )
    }
}

/// The text of the file.
fn written(
    source: &str,
    kind: DataKind,
    wanted: &Wanted<'_>,
    columns: &Columns,
) -> anyhow::Result<String> {
    let text = |value: &str| serde_json::to_string(value).context("a text can't be written");
    let mut out = String::new();
    writeln!(out, "[experiment]\nname = {}", text(wanted.model)?)?;
    let kind_name = text(kind.as_str())?;
    writeln!(
        out,
        "[data]\nsource = {}\nkind = {kind_name}",
        text(source)?
    )?;
    let mut has_time = true;
    if kind == DataKind::Features {
        let among = |names: &[&str]| names.iter().find_map(|name| columns.find(name));
        let own = |name: &str| {
            let features = wanted.features.unwrap_or_default();
            features.iter().any(|feature| feature == name)
        };
        let found = [
            ("time", among(&TIME_NAMES)),
            ("symbol_column", among(&[SYMBOL_NAME])),
            ("label", among(&LABEL_NAMES)),
        ];
        has_time = found[0].1.is_some_and(|name| !own(name));
        for (key, column) in found {
            // What the model looks at is a feature, whatever it is called.
            if let Some(column) = column.filter(|column| !own(column)) {
                writeln!(out, "{key} = {}", text(column)?)?;
            }
        }
    }
    let archived = columns.find(ENGINE_NAME);
    let engine = wanted.engine.as_ref();
    let engine = engine.filter(|_| kind != DataKind::Features || archived.is_some());
    if let Some(engine) = engine {
        writeln!(out, "interval = \"{}\"", engine.interval)?;
        if let Some(column) = archived.filter(|_| kind == DataKind::Features) {
            writeln!(out, "engine = {}", text(column)?)?;
        }
    }
    if let Some(features) = wanted.features {
        let names = features.iter().map(|name| text(name));
        let names: Vec<String> = names.collect::<anyhow::Result<_>>()?;
        writeln!(out, "[features]\nuse = [{}]", names.join(", "))?;
    } else {
        writeln!(out, "[features]")?;
    }
    if let Some(engine) = engine {
        let gap = engine.max_gap as i64 * engine.interval.micros();
        writeln!(
            out,
            "window = {}\nmomentum = {}",
            engine.window, engine.momentum
        )?;
        for (key, micros) in [
            ("max_gap", gap),
            ("allowed_lateness", engine.allowed_lateness),
            ("macro_window", engine.macro_window),
            ("macro_baseline", engine.macro_baseline),
        ] {
            writeln!(out, "{key} = \"{micros}us\"")?;
        }
    }
    if has_time {
        writeln!(
            out,
            "[split]\nmethod = \"time\"\ntrain = 0.02\nvalidation = 0.48"
        )?;
    }
    // A file needs a candidate; this one is never fitted.
    writeln!(out, "[[candidates]]\ndetector = \"max_z\"")?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(features: &[String]) -> Wanted<'_> {
        Wanted {
            model: "m",
            features: Some(features),
            engine: None,
        }
    }

    fn columns(names: &[&str]) -> Columns {
        Columns {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            reason: None,
        }
    }

    #[test]
    fn what_data_are_is_told_by_their_columns() {
        let features = ["return".to_owned(), "price_range".to_owned()];
        let wanted = wanted(&features);
        for (names, kind) in [
            (&["time", "return", "price_range"][..], DataKind::Features),
            (&["ts", "Open", "High", "Low", "Close"], DataKind::Candles),
            (&["price", "quantity"], DataKind::Trades),
        ] {
            assert_eq!(
                columns(names).kind("x", &wanted).unwrap(),
                kind,
                "{names:?}"
            );
        }
        let error = columns(&["width"])
            .kind("x", &wanted)
            .unwrap_err()
            .to_string();
        for part in ["`return`, `price_range`", "`x`", "width", "--kind"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn the_file_is_one_and_says_how_features_are_computed() {
        let features = ["return".to_owned(), "macro_return_std".to_owned()];
        let mut engine = FeatureConfig::new("1m".parse().unwrap());
        engine.window = 33;
        engine.max_gap = 7;
        engine.macro_window = 7_200_000_000;
        let wanted = Wanted {
            engine: Some(engine),
            ..wanted(&features)
        };
        let text = written("a \"b\".csv", DataKind::Candles, &wanted, &columns(&[])).unwrap();
        let file = config::parse(Path::new(NAME), text, &[]).unwrap();
        assert_eq!(file.experiment.data.source, ["a \"b\".csv"]);
        assert_eq!(file.experiment.features.config, Some(engine));
    }

    #[test]
    fn time_symbol_and_label_are_taken_from_a_table_unless_they_are_features() {
        let features = ["width".to_owned(), "label".to_owned()];
        let there = columns(&["open_time", "symbol", "width", "label", "is_anomaly"]);
        let text = written("t", DataKind::Features, &wanted(&features), &there).unwrap();
        let data = config::parse(Path::new(NAME), text, &[])
            .unwrap()
            .experiment
            .data;
        assert_eq!(data.time.as_deref(), Some("open_time"));
        assert_eq!(data.symbol_column.as_deref(), Some("symbol"));
        assert_eq!(data.label, None);
        let only = ["width".to_owned()];
        let text = written("t", DataKind::Features, &wanted(&only), &there).unwrap();
        let data = config::parse(Path::new(NAME), text, &[])
            .unwrap()
            .experiment
            .data;
        assert_eq!(data.label.as_deref(), Some("label"));
    }

    #[test]
    fn what_a_scorer_archived_is_held_to_how_the_model_wants_it_computed() {
        let features = ["return".to_owned()];
        let mut engine = FeatureConfig::new("10s".parse().unwrap());
        engine.window = 33;
        let wanted = Wanted {
            engine: Some(engine),
            ..wanted(&features)
        };
        let of = |names: &[&str]| {
            let text = written("t", DataKind::Features, &wanted, &columns(names)).unwrap();
            config::parse(Path::new(NAME), text, &[])
                .unwrap()
                .experiment
        };
        let archived = of(&["open_time", "return", "engine"]);
        assert_eq!(archived.data.engine.as_deref(), Some("engine"));
        assert_eq!(archived.features.config, Some(engine));
        assert_eq!(of(&["open_time", "return"]).features.config, None);
    }
}
