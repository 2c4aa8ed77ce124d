//! Watching the file, and putting its limits beside the model in force.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use streaming::Judge;
use terminal::interrupt::Interrupt;

use super::file::{Limits, LimitsError};
use super::judge::LimitedJudge;
use crate::model::causes;
use crate::telemetry::Telemetry;

/// The limits in force; `None` where no file was named.
#[derive(Debug, Clone, Default)]
pub struct LimitsInForce(Arc<RwLock<Option<Arc<Limits>>>>);

impl LimitsInForce {
    /// The limits.
    #[must_use]
    pub fn get(&self) -> Option<Arc<Limits>> {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }

    /// Puts others in their place.
    pub fn set(&self, limits: Limits) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(limits));
    }
}

/// A model with the limits in force beside it, made anew when one of the two changes.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    made: Option<Made>,
}

/// The judge that a model and limits made.
#[derive(Debug)]
struct Made {
    of: Arc<dyn Judge>,
    with: Arc<Limits>,
    judge: Arc<dyn Judge>,
}

impl Beside {
    /// The judge that the two make; the model alone where they don't fit. `telemetry` is told, where it is given.
    pub(crate) fn judge(
        &mut self,
        model: Arc<dyn Judge>,
        limits: &LimitsInForce,
        telemetry: Option<&Telemetry>,
    ) -> Arc<dyn Judge> {
        let Some(limits) = limits.get() else {
            return model;
        };
        if let Some(made) = &self.made
            && Arc::ptr_eq(&made.of, &model)
            && Arc::ptr_eq(&made.with, &limits)
        {
            return Arc::clone(&made.judge);
        }
        let judge: Arc<dyn Judge> = match LimitedJudge::new(Arc::clone(&model), &limits) {
            Ok(judge) => {
                if let Some(telemetry) = telemetry {
                    tracing::info!(limits = limits.digest, "limits are in force");
                    telemetry.limits("loaded");
                }
                Arc::new(judge)
            }
            Err(error) => {
                if let Some(telemetry) = telemetry {
                    let reason = causes(&error);
                    tracing::error!(reason, "the model judges without limits");
                    telemetry.limits("failed");
                }
                Arc::clone(&model)
            }
        };
        self.made = Some(Made {
            of: model,
            with: limits,
            judge: Arc::clone(&judge),
        });
        judge
    }
}

/// Watches a file until the program is asked to stop. One that can't be used changes nothing, and is said once.
pub fn watch(
    path: &Path,
    every: Duration,
    in_force: &LimitsInForce,
    telemetry: &Telemetry,
    interrupt: &Interrupt,
) {
    let mut refused: Option<String> = None;
    while !interrupt.is_asked() {
        look(path, in_force, telemetry, &mut refused);
        let until = Instant::now() + every;
        while Instant::now() < until && !interrupt.is_asked() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn look(
    path: &Path,
    in_force: &LimitsInForce,
    telemetry: &Telemetry,
    refused: &mut Option<String>,
) {
    let error: LimitsError = match Limits::read(path) {
        Ok(limits) => {
            *refused = None;
            if in_force
                .get()
                .is_none_or(|held| held.digest != limits.digest)
            {
                in_force.set(limits);
            }
            return;
        }
        Err(error) => error,
    };
    let reason = causes(&error);
    if refused.as_ref() != Some(&reason) {
        tracing::error!(reason, "limits can't be used; those before stay in force");
        telemetry.limits("failed");
        *refused = Some(reason);
    }
}

#[cfg(test)]
mod tests {
    use health::Health as _;

    use super::*;
    use crate::fixed::Fixed;

    fn text(limit: f64) -> String {
        format!(
            r#"{{"format":"foreshock-candle-statistics","version":1,"n_rows":10,
            "features":{{"price_range":{{"mean":0.01,"sd":0.01,"limit":{limit}}}}}}}"#
        )
    }

    fn limit(in_force: &LimitsInForce) -> f64 {
        let limits = in_force.get().unwrap();
        limits.candle_z.as_ref().unwrap().features["price_range"].limit
    }

    #[test]
    fn replaced_files_and_swapped_links_are_seen_and_broken_ones_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("limits.json");
        let telemetry = Telemetry::default();
        let in_force = LimitsInForce::default();
        let mut refused = None;
        let mut look = || look(&path, &in_force, &telemetry, &mut refused);

        std::fs::write(&path, text(3.0)).unwrap();
        look();
        assert_eq!(limit(&in_force), 3.0);
        let first = in_force.get().unwrap();
        look();
        assert!(Arc::ptr_eq(&first, &in_force.get().unwrap()));
        // Atomically replaced.
        let other = folder.path().join("other");
        std::fs::write(&other, text(4.0)).unwrap();
        std::fs::rename(&other, &path).unwrap();
        look();
        assert_eq!(limit(&in_force), 4.0);
        // Half of one, none at all.
        std::fs::write(&path, &text(5.0)[..60]).unwrap();
        look();
        std::fs::remove_file(&path).unwrap();
        look();
        assert_eq!(limit(&in_force), 4.0);
        // As a ConfigMap is mounted: a link to a folder that is swapped.
        #[cfg(unix)]
        {
            for (name, limit) in [("a", 6.0), ("b", 7.0)] {
                let of = folder.path().join(name);
                std::fs::create_dir(&of).unwrap();
                std::fs::write(of.join("limits.json"), text(limit)).unwrap();
            }
            let data = folder.path().join("data");
            std::os::unix::fs::symlink("a", &data).unwrap();
            std::os::unix::fs::symlink("data/limits.json", &path).unwrap();
            look();
            assert_eq!(limit(&in_force), 6.0);
            let swapped = folder.path().join("swapped");
            std::os::unix::fs::symlink("b", &swapped).unwrap();
            std::fs::rename(&swapped, &data).unwrap();
            look();
            assert_eq!(limit(&in_force), 7.0);
        }
        let text = telemetry.metrics().unwrap();
        assert!(
            text.contains("scorer_limits_reloads_total{result=\"failed\"} 2"),
            "{text}"
        );
    }

    #[test]
    fn model_and_limits_are_put_together_anew_when_one_of_them_changes() {
        let telemetry = Telemetry::default();
        let in_force = LimitsInForce::default();
        let mut beside = Beside::default();
        let first: Arc<dyn Judge> = Arc::new(Fixed::new("1", 1.0));
        let mut judge =
            |model: &Arc<dyn Judge>| beside.judge(Arc::clone(model), &in_force, Some(&telemetry));
        // Without limits it is the model itself.
        assert!(Arc::ptr_eq(&judge(&first), &first));
        let set = |text: &str| {
            let limits = Limits::parse(text).unwrap();
            let digest = limits.digest.clone();
            in_force.set(limits);
            digest
        };
        let digest = set(&text(3.0));
        let made = judge(&first);
        assert_eq!(made.limits(), Some(&*digest));
        assert!(Arc::ptr_eq(&made, &judge(&first)));
        let digest = set(&text(4.0));
        assert_eq!(judge(&first).limits(), Some(&*digest));
        let second: Arc<dyn Judge> = Arc::new(Fixed::new("2", 1.0));
        let made = judge(&second);
        assert_eq!(
            (&*made.model().version, made.limits()),
            ("2", Some(&*digest))
        );
        // Limits of what the model doesn't look at are left out, until one of the two changes.
        set(&text(5.0).replace("price_range", "volume_zscore"));
        assert!(Arc::ptr_eq(&judge(&second), &second));
        let digest = set(&text(6.0));
        assert_eq!(judge(&second).limits(), Some(&*digest));
        let said = telemetry.metrics().unwrap();
        for line in [
            "scorer_limits_reloads_total{result=\"loaded\"} 4",
            "scorer_limits_reloads_total{result=\"failed\"} 1",
        ] {
            assert!(said.contains(line), "{said}");
        }
    }
}
