//! The core under a simulated world: seeded crashes at every step, snapshots of any age, damaged ones among them,
//! models promoted at any moment. Whatever happens, what is committed must be what one undisturbed run says.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use detectors::DriftBaseline;
use detectors::drift::{DriftConfig, DriftPolicy, FeatureReference, ScoreReference};
use market::{Feature, FeatureConfig, Interval, Side, Trade, TradeWriter};
use ndarray::ArrayView2;
use rand::{RngExt as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;
use streaming::{
    Channel, Committed, Frozen, Judge, JudgeError, Log, ModelId, Outputs, Pipeline, Record, Score,
    Settings, Stored, Vote, restore,
};

type Random = Xoshiro256PlusPlus;
type Said = (Channel, Vec<u8>, Vec<u8>);
/// Key and value.
type Raw = (Option<Vec<u8>>, Option<Vec<u8>>);
type ByChannel<'a> = BTreeMap<Channel, Vec<(&'a [u8], &'a [u8])>>;

/// A model that is quick to judge by, and whose versions differ.
#[derive(Debug)]
struct Toy {
    id: ModelId,
    version: f64,
    baseline: Option<Arc<DriftBaseline>>,
}

const LOOKS_AT: [Feature; 2] = [Feature::LogReturnZscore, Feature::VolumeZscore];

impl Toy {
    /// One of the five versions; the third has no baseline.
    fn of(version: u32) -> Toy {
        static BASELINES: LazyLock<Vec<Option<Arc<DriftBaseline>>>> = LazyLock::new(|| {
            let without = |version| Toy::with(version, None);
            let fit = |version| (version != 3).then(|| Arc::new(baseline(&without(version))));
            (1..=5).map(fit).collect()
        });
        Toy::with(version, BASELINES[version as usize - 1].clone())
    }

    fn with(version: u32, baseline: Option<Arc<DriftBaseline>>) -> Toy {
        Toy {
            id: ModelId {
                name: "toy".to_owned(),
                version: version.to_string(),
                run_id: String::new(),
            },
            version: f64::from(version),
            baseline,
        }
    }
}

/// What rows of calm worlds look like to a model.
fn baseline(toy: &Toy) -> DriftBaseline {
    let names = ["AAA".to_owned(), "BBB".to_owned()];
    let (mut values, mut symbols, mut scores, mut flags) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for seed in 0..20 {
        let mut random = Random::seed_from_u64(seed);
        let settings = Arc::new(settings(&mut random));
        let world = World {
            records: records(&mut random, 0.03),
            ..World::default()
        };
        let mut pipeline = Pipeline::new(settings, 0);
        let mut outputs = Outputs::default();
        for offset in 0..world.end() {
            pipeline.push(&world.record(offset), &mut outputs);
        }
        pipeline.judge(toy, &mut outputs, |row| {
            let symbol = names.iter().position(|name| **name == **row.symbol);
            if let (Some(symbol), Some(score), false) = (symbol, row.score, row.is_open) {
                values.extend(LOOKS_AT.map(|feature| row.row.value(feature)));
                symbols.push(symbol as u32);
                scores.push(score.score);
                flags.push(score.flagged);
            }
        });
    }
    let rows = ArrayView2::from_shape((symbols.len(), LOOKS_AT.len()), &values).unwrap();
    let config = DriftConfig {
        run_length: 10.0,
        windows: vec![100],
        memory_us: 60_000_000,
        silence_us: 290_000_000,
        ..DriftConfig::default()
    };
    DriftBaseline::fit(
        &FeatureReference {
            time: None,
            symbol: &symbols,
            rows,
        },
        &LOOKS_AT.map(|feature| feature.name().to_owned()),
        &ScoreReference {
            time: None,
            symbol: &symbols,
            score: &scores,
            flagged: &flags,
        },
        &names,
        &config,
    )
    .unwrap()
}

impl Judge for Toy {
    fn model(&self) -> &ModelId {
        &self.id
    }

    fn features(&self) -> &[Feature] {
        &LOOKS_AT
    }

    fn threshold(&self) -> f64 {
        1.5 + self.version / 8.0
    }

    fn score(
        &self,
        symbols: &[Arc<str>],
        rows: ArrayView2<'_, f64>,
        out: &mut Vec<Result<Score, JudgeError>>,
    ) {
        for (symbol, row) in symbols.iter().zip(rows.rows()) {
            out.push(match &**symbol {
                "UNKNOWN" => Err(JudgeError::Row("no detector for it".to_owned())),
                _ => {
                    let raw = row.iter().map(|value| value.abs()).sum::<f64>() + self.version;
                    let score = raw / 2.0;
                    Ok(Score {
                        raw,
                        score,
                        flagged: score > self.threshold(),
                    })
                }
            });
        }
    }

    fn votes(&self, _: &str, _: &[f64], score: &Score) -> Result<Vec<Vote>, JudgeError> {
        Ok(vec![Vote {
            detector: "toy".to_owned(),
            score: score.score,
            threshold: self.threshold(),
            flag: score.flagged,
        }])
    }

    fn shares(&self, _: &str, row: &[f64]) -> Result<Vec<f64>, JudgeError> {
        let sum: f64 = row.iter().map(|value| value.abs()).sum();
        Ok(row.iter().map(|value| value.abs() / sum).collect())
    }

    fn drift_baseline(&self) -> Option<&Arc<DriftBaseline>> {
        self.baseline.as_ref()
    }
}

fn settings(random: &mut Random) -> Settings {
    let features = FeatureConfig {
        window: 4,
        momentum: 2,
        max_gap: 3,
        allowed_lateness: 2_000_000,
        macro_window: 40_000_000,
        macro_baseline: 80_000_000,
        ..FeatureConfig::new(Interval::TEN_SECONDS)
    };
    Settings {
        idle: 15_000_000,
        quiet: 30_000_000,
        max_jump: 120_000_000,
        max_symbols: 4,
        early: random.random_bool(0.5).then_some(1_000_000),
        drift: Some(DriftPolicy {
            cooldown_us: 60_000_000,
            max_cooldown_us: 600_000_000,
        }),
        ..Settings::new(features.check().unwrap())
    }
}

/// Records of a partition: several symbols, late and repeated trades, silent symbols, gaps, wrong clocks, garbage; and
/// such a share of wild trades.
fn records(random: &mut Random, wild: f64) -> Vec<Raw> {
    let names = ["AAA", "BBB", "UNKNOWN", "QUIET"];
    let mut time = 1_700_000_000_000_000_i64;
    let mut ids: BTreeMap<&str, u64> = BTreeMap::new();
    let mut all: Vec<Raw> = Vec::new();
    // Long enough for several windows now and then.
    let most = if random.random_bool(0.15) { 2_000 } else { 400 };
    for _ in 0..random.random_range(100..most) {
        time += match random.random_range(0..100) {
            0 => 300_000_000,
            1..5 => 30_000_000,
            _ => random.random_range(0..3_000_000),
        };
        let place = match random.random_range(0..40) {
            0..20 => 0,
            20..35 => 1,
            35..39 => 2,
            _ => 3,
        };
        let symbol = names[place];
        let id = ids.entry(symbol).or_default();
        *id += 1;
        let wild = if random.random_bool(wild) { 30.0 } else { 1.0 };
        let off = match random.random_range(0..60) {
            0 => -8_000_000,
            1 => 7 * 86_400_000_000,
            2..8 => -1_500_000,
            _ => 0,
        };
        let trade = Trade {
            event_time: time + off,
            trade_id: random.random_bool(0.9).then_some(*id),
            price: 100.0 + wild * random.random::<f64>(),
            quantity: wild * (0.1 + random.random::<f64>()),
            side: if random.random() {
                Side::Buy
            } else {
                Side::Sell
            },
            event: None,
        };
        let label = random.random_bool(0.05).then_some("pump");
        let mut value = Vec::new();
        TradeWriter::new(symbol).write(&trade, label, &mut value);
        all.push((Some(symbol.as_bytes().to_vec()), Some(value)));
        match random.random_range(0..60) {
            0 => all.push(all.last().unwrap().clone()),
            1 => all.push((None, Some(b"{\"symbol\":".to_vec()))),
            2 => all.push((Some(b"AAA".to_vec()), None)),
            3 => all.push((
                Some(b"FIFTH".to_vec()),
                Some(br#"{"timestamp":1700000000.5,"price":1,"volume":1}"#.to_vec()),
            )),
            _ => {}
        }
    }
    all
}

/// What outlives a crash.
#[derive(Default)]
struct World {
    records: Vec<Raw>,
    committed: i64,
    memory: Option<Vec<u8>>,
    /// Where each committed batch ended, and the version that judged it.
    batches: Vec<(i64, u32)>,
    said: Vec<Said>,
    snapshots: BTreeMap<i64, Vec<u8>>,
    /// Those of them that are damaged.
    damaged: BTreeSet<i64>,
    /// Records before this offset are gone.
    first: i64,
}

impl World {
    /// A calm one, or one that is not what models were trained on.
    fn of(random: &mut Random) -> World {
        let wild = if random.random() { 0.03 } else { 0.3 };
        World {
            records: records(random, wild),
            ..World::default()
        }
    }

    fn record(&self, offset: i64) -> Record<'_> {
        let (key, value) = &self.records[offset as usize];
        Record {
            offset,
            key: key.as_deref(),
            value: value.as_deref(),
        }
    }

    fn end(&self) -> i64 {
        self.records.len() as i64
    }
}

impl Log for &World {
    type Error = Infallible;

    fn snapshots(&mut self) -> Result<Vec<Stored>, Infallible> {
        let stored = |offset: &i64| Stored {
            next_offset: *offset,
            name: offset.to_string(),
        };
        Ok(self.snapshots.keys().map(stored).collect())
    }

    fn snapshot(&mut self, stored: &Stored) -> Result<Vec<u8>, Infallible> {
        Ok(self.snapshots[&stored.next_offset].clone())
    }

    fn first_offset(&mut self) -> Result<i64, Infallible> {
        Ok(self.first)
    }

    fn read(
        &mut self,
        from: i64,
        to: i64,
        visit: &mut dyn FnMut(&Record<'_>),
    ) -> Result<(), Infallible> {
        (from..to).for_each(|offset| visit(&self.record(offset)));
        Ok(())
    }
}

fn collect(outputs: &Outputs) -> Vec<Said> {
    let owned = |bytes: Option<&[u8]>| bytes.unwrap_or_default().to_vec();
    outputs
        .iter()
        .map(|output| {
            let mut key = owned(output.key);
            if let Some((word, text)) = output.reason {
                key.extend_from_slice(format!("{word}: {text}").as_bytes());
            }
            (output.channel, key, owned(output.value))
        })
        .collect()
}

/// One run without crashes, of these batches, each with the version that judges it.
fn undisturbed(
    settings: &Arc<Settings>,
    world: &World,
    batches: impl Iterator<Item = (i64, u32)>,
) -> (Vec<Said>, Vec<u8>) {
    let mut pipeline = Pipeline::new(Arc::clone(settings), 0);
    let mut outputs = Outputs::default();
    let mut offset = 0;
    for (until, version) in batches {
        for offset in offset..until {
            pipeline.push(&world.record(offset), &mut outputs);
        }
        pipeline.judge(&Toy::of(version), &mut outputs, |_| ());
        offset = until;
    }
    assert_eq!(offset, world.end());
    (collect(&outputs), pipeline.snapshot().unwrap())
}

/// Each record judged at once by one version.
fn one_by_one(world: &World, version: u32) -> impl Iterator<Item = (i64, u32)> + use<> {
    (1..=world.end()).map(move |until| (until, version))
}

/// What was said, topic by topic: within one, order is promised.
fn by_channel(said: &[Said]) -> ByChannel<'_> {
    let mut channels: ByChannel<'_> = BTreeMap::new();
    for (channel, key, value) in said {
        channels.entry(*channel).or_default().push((key, value));
    }
    channels
}

/// How a life with crashes ended.
struct Lived {
    /// The last state, where the model in force had judged something since the last crash.
    state: Option<Vec<u8>>,
    crashes: u32,
}

/// Lives through `world` with crashes; `version` tells the model that is in force in each batch.
fn disturbed(
    random: &mut Random,
    settings: &Arc<Settings>,
    world: &mut World,
    mut version: impl FnMut(&mut Random) -> u32,
) -> Lived {
    let mut crashes = 0;
    loop {
        let in_force = version(random);
        let toy = Toy::of(in_force);
        let committed = Committed {
            partition: 0,
            next_offset: world.committed,
            memory: world.memory.as_deref(),
            judge: Some(&toy),
        };
        let restored = restore(settings, committed, &mut &*world).unwrap();
        assert_eq!((restored.missing, &restored.drift_lost), (0, &None));
        let is_damaged = |stored: &Stored| world.damaged.contains(&stored.next_offset);
        assert!(
            restored
                .unusable
                .iter()
                .all(|(stored, _)| is_damaged(stored))
        );
        assert!(
            restored
                .snapshot
                .as_ref()
                .is_none_or(|stored| !is_damaged(stored))
        );
        let mut pipeline = restored.pipeline;
        let end = world.end();
        let mut next = world.committed;
        let mut has_judged = false;
        // A snapshot that somebody else writes while this goes on.
        let mut frozen: Option<(i64, Frozen, Vec<u8>)> = None;
        let crashed = loop {
            if next == end {
                break false;
            }
            let judged_by = version(random);
            let toy = Toy::of(judged_by);
            let mut outputs = Outputs::default();
            let until = end.min(next + random.random_range(1..60));
            for offset in next..until {
                pipeline.push(&world.record(offset), &mut outputs);
                if offset > 0 && random.random_bool(0.02) {
                    // What was seen already comes again.
                    let again = random.random_range(0..=offset);
                    pipeline.push(&world.record(again), &mut outputs);
                }
            }
            if let Some((at, frozen, as_it_was)) = frozen.take_if(|_| random.random_bool(0.3)) {
                let mut bytes = frozen.into_bytes().unwrap();
                assert!(
                    bytes == as_it_was,
                    "what came after a snapshot has changed it"
                );
                world.damaged.remove(&at);
                if random.random_bool(0.2) {
                    let place = random.random_range(0..bytes.len());
                    bytes[place] ^= 1 << random.random_range(0..8);
                    world.damaged.insert(at);
                }
                world.snapshots.insert(at, bytes);
            }
            // Before anything is said, after it was said but not committed, and after the commit.
            if random.random_bool(0.04) {
                break true;
            }
            pipeline.judge(&toy, &mut outputs, |_| ());
            let memory = pipeline.take_memory().unwrap();
            if random.random_bool(0.03) {
                // Of a transaction that never was.
                let ahead = pipeline.snapshot().unwrap();
                world.damaged.remove(&until);
                world.snapshots.insert(until, ahead);
                break true;
            }
            if random.random_bool(0.04) {
                break true;
            }
            world.said.extend(collect(&outputs));
            world.committed = until;
            world.batches.push((until, judged_by));
            if memory.is_some() {
                world.memory = memory;
            }
            next = until;
            has_judged = true;
            if random.random_bool(0.04) {
                break true;
            }
            if random.random_bool(0.2) {
                frozen = Some((until, pipeline.freeze(), pipeline.snapshot().unwrap()));
            }
            if random.random_bool(0.05) && world.snapshots.len() > 2 {
                world.snapshots.pop_first();
            }
        };
        if !crashed {
            // Taken up once more by a model that had nothing left to judge, it watches nothing yet.
            let is_whole = world
                .batches
                .last()
                .is_none_or(|(_, version)| has_judged || *version == in_force);
            return Lived {
                state: is_whole.then(|| pipeline.snapshot().unwrap()),
                crashes,
            };
        }
        crashes += 1;
    }
}

/// Seeds of the short run; `FORESHOCK_SEEDS` asks for more, `FORESHOCK_SEED` for one.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match (number("FORESHOCK_SEED"), number("FORESHOCK_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(n_seeds)) => 0..n_seeds,
        (None, None) => 0..1_500,
    }
}

#[test]
fn crashes_change_nothing_that_is_said() {
    let (mut crashes, mut alerts, mut refused, mut late, mut drift) = (0, 0, 0, 0, 0);
    for seed in seeds() {
        let mut random = Random::seed_from_u64(seed);
        let settings = Arc::new(settings(&mut random));
        let mut world = World::of(&mut random);
        let (expected, state) = undisturbed(&settings, &world, one_by_one(&world, 1));
        let lived = disturbed(&mut random, &settings, &mut world, |_| 1);
        assert_eq!(
            by_channel(&world.said),
            by_channel(&expected),
            "FORESHOCK_SEED={seed}"
        );
        assert_eq!(lived.state, Some(state), "FORESHOCK_SEED={seed}");
        crashes += lived.crashes;
        let count = |channel| expected.iter().filter(|said| said.0 == channel).count();
        alerts += count(Channel::Alerts);
        refused += count(Channel::DeadLetters);
        late += count(Channel::Late);
        drift += count(Channel::Drift);
    }
    if seeds().end >= 1_500 {
        // The world is as wild as it was meant to be.
        assert!(crashes > 1_500 && alerts > 1_500 && refused > 1_500 && late > 1_500);
        assert!(drift > 150, "{drift}");
    }
}

#[test]
fn with_models_promoted_meanwhile_every_row_is_scored_once_by_the_version_it_names() {
    let mut drift = 0;
    for seed in seeds() {
        let mut random = Random::seed_from_u64(!seed);
        let settings = Arc::new(settings(&mut random));
        let mut world = World::of(&mut random);
        let mut version = 1;
        let lived = disturbed(&mut random, &settings, &mut world, |random| {
            version = (version + u32::from(random.random_bool(0.1))).min(5);
            version
        });
        let found = by_channel(&world.said);
        let features = |said: &ByChannel<'_>| -> Vec<Vec<u8>> {
            let rows = said.get(&Channel::Features).into_iter().flatten();
            rows.map(|(_, value)| value.to_vec()).collect()
        };
        let all: Vec<_> = (1..=5)
            .map(|version| undisturbed(&settings, &world, one_by_one(&world, version)))
            .collect();
        let by_version: Vec<Vec<Vec<u8>>> = all
            .iter()
            .map(|(said, _)| features(&by_channel(said)))
            .collect();
        for (place, row) in features(&found).iter().enumerate() {
            let json: serde_json::Value = serde_json::from_slice(row).unwrap();
            let version: usize = json["model"]["version"].as_str().unwrap().parse().unwrap();
            assert_eq!(
                row,
                &by_version[version - 1][place],
                "FORESHOCK_SEED={seed}"
            );
        }
        assert_eq!(features(&found).len(), by_version[0].len());
        // Drift is watched as if the same models had come and gone without any crash.
        let (expected, state) = undisturbed(&settings, &world, world.batches.iter().copied());
        let expected = by_channel(&expected);
        assert_eq!(
            found.get(&Channel::Drift),
            expected.get(&Channel::Drift),
            "FORESHOCK_SEED={seed}"
        );
        drift += expected.get(&Channel::Drift).map_or(0, Vec::len);
        if let Some(found) = lived.state {
            assert_eq!(found, state, "FORESHOCK_SEED={seed}");
        }
        // No alert twice, each of an incident that was opened before it.
        let mut ids = BTreeSet::new();
        for (_, value) in found.get(&Channel::Alerts).into_iter().flatten() {
            let alert: streaming::Alert = serde_json::from_slice(value).unwrap();
            assert!(ids.insert(alert.alert_id.clone()), "FORESHOCK_SEED={seed}");
            assert!(ids.contains(&alert.incident_id), "FORESHOCK_SEED={seed}");
            assert_eq!(alert.sequence == 1, alert.incident_id == alert.alert_id);
        }
    }
    if seeds().end >= 1_500 {
        assert!(drift > 150, "{drift}");
    }
}
