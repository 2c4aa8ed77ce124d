//! `registry gc`.

use anyhow::anyhow;
use clap::Args as ClapArgs;
use registry::gc::{GcOptions, gc};
use registry::store::PurgeFilter;

use super::place::{Place, print, rows};
use super::{Failure, Output};

const LONG: &str = "Purge what was deleted: runs, logged models and experiments, with their metrics and files.

Deleting through the API or the UI only marks things as deleted, and they can be restored. This
command removes them for good, as `mlflow gc` does; afterwards the names of purged experiments can
be used again. Experiment 0 stays.

Runs and logged models whose files a registered version needs are kept, unless
--including-registered says otherwise. A server may run meanwhile. What is interrupted is finished by
the next call.";

#[derive(Debug, ClapArgs)]
#[command(long_about = LONG)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Say what would be purged, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Purge only what was deleted longer ago: 30d, 12h, 1d2h30m, 45s.
    #[arg(long, value_name = "TIME", value_parser = age)]
    older_than: Option<i64>,
    /// Purge these deleted experiments only, with all that they hold, by commas.
    #[arg(long, value_delimiter = ',', value_name = "IDS")]
    experiment_ids: Vec<String>,
    /// Purge these deleted runs only, by commas.
    #[arg(long, value_delimiter = ',', value_name = "IDS")]
    run_ids: Vec<String>,
    /// Purge also what a registered version needs: the version can't be loaded any more.
    #[arg(long)]
    including_registered: bool,
}

#[allow(clippy::print_stderr, reason = "this is the command line")]
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let registry = args.place.open_existing().await?;
    let options = GcOptions {
        filter: PurgeFilter {
            before: args.older_than.map(|age| now().saturating_sub(age)),
            experiment_ids: args.experiment_ids,
            run_ids: args.run_ids,
        },
        including_registered: args.including_registered,
        dry_run: args.dry_run,
    };
    let verb = if args.dry_run {
        "would purge"
    } else {
        "purged"
    };
    let report = gc(&registry, &options, |done| {
        eprintln!("{verb} {} {} {}", done.kind, done.id, done.note);
    })
    .await;
    registry.store().close().await;
    let report = report.map_err(|error| Failure::Work(error.into()))?;
    print(output, &report, |report| {
        let things = report.purged.iter().map(|thing| (verb, thing));
        let kept = report.kept.iter().map(|thing| ("kept", thing));
        let lines: Vec<[String; 4]> = things
            .chain(kept)
            .map(|(verb, thing)| {
                [
                    verb.to_owned(),
                    thing.kind.to_owned(),
                    thing.id.clone(),
                    thing.note.clone(),
                ]
            })
            .collect();
        if lines.is_empty() {
            "nothing to purge".to_owned()
        } else {
            rows(&["", "what", "id", "note"], lines)
        }
    })
}

fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_millis()).ok())
        .unwrap_or(0)
}

/// `1d2h30m45s`, as `mlflow gc` reads it, in ms; units in this order, each at most once.
fn age(text: &str) -> anyhow::Result<i64> {
    let wrong = || anyhow!("`{text}` is no time like 30d, 12h or 1d2h30m45s");
    let mut units = [
        ('d', 86_400_000),
        ('h', 3_600_000),
        ('m', 60_000),
        ('s', 1000),
    ]
    .iter();
    let mut total: i64 = 0;
    let mut digits = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let (_, factor) = units.find(|(unit, _)| *unit == c).ok_or_else(wrong)?;
        let count: i64 = digits.parse().map_err(|_| wrong())?;
        total = count
            .checked_mul(*factor)
            .and_then(|more| total.checked_add(more))
            .ok_or_else(wrong)?;
        digits.clear();
    }
    if text.is_empty() || !digits.is_empty() {
        return Err(wrong());
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn times_are_read_as_mlflow_reads_them() {
        for (text, ms) in [
            ("30d", 30 * 86_400_000),
            ("1d2h30m45s", 95_445_000),
            ("0s", 0),
            ("12h", 43_200_000),
        ] {
            assert_eq!(age(text).ok(), Some(ms), "{text}");
        }
        for bad in [
            "",
            "30",
            "d",
            "2h1d",
            "1d1d",
            "-1d",
            "1.5h",
            "1 d",
            "99999999999999999d",
        ] {
            assert!(age(bad).is_err(), "{bad}");
        }
    }
}
