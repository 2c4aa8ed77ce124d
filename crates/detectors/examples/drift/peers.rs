//! The rules that people use otherwise, on the same windows. Each is written here from its
//! documentation, and works on counts between 200 quantiles of the reference.

use crate::world::Rows;

const GRID: usize = 200;
/// Rows between the first rows of reference windows.
const STRIDE: usize = 1_250;

pub(crate) const NAMES: [&str; 5] = [
    "PSI over its median, 2 of 3 (the prototype)",
    "PSI > 0.2 of any feature (textbook)",
    "KS with Bonferroni (alibi-detect's KSDrift)",
    "Wasserstein > 0.1 sd, half of the features (Evidently)",
    "JS beyond mean + 3 sd of reference chunks (NannyML)",
];

/// All rules, fitted on a reference.
pub(crate) struct Peers {
    window: usize,
    n_rows: f64,
    /// By feature: the inner quantiles.
    edges: Vec<Vec<f64>>,
    sd: Vec<f64>,
    psi_median: Vec<f64>,
    psi_limit: f64,
    js_limit: Vec<f64>,
}

type Counts = Vec<[u32; GRID]>;

impl Peers {
    pub(crate) fn fit(reference: &Rows, window: usize) -> Self {
        let (n, d) = (reference.len(), reference.n_features);
        let (mut edges, mut sd) = (Vec::new(), Vec::new());
        for feature in 0..d {
            let mut column: Vec<f64> = (0..n).map(|at| reference.row(at)[feature]).collect();
            let mean = column.iter().sum::<f64>() / n as f64;
            let variance = column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
            sd.push(variance.sqrt());
            column.sort_unstable_by(f64::total_cmp);
            edges.push((1..GRID).map(|k| column[k * (n - 1) / GRID]).collect());
        }
        let mut peers = Self {
            window,
            n_rows: n as f64,
            edges,
            sd,
            psi_median: vec![1.0; d],
            psi_limit: f64::INFINITY,
            js_limit: vec![f64::INFINITY; d],
        };
        // Sliding windows, whose counts are put together from strides.
        let strides: Vec<Counts> = (0..n / STRIDE)
            .map(|stride| peers.count(reference, stride * STRIDE, (stride + 1) * STRIDE))
            .collect();
        let windows: Vec<Counts> = strides.windows(window / STRIDE).map(sum).collect();
        let psi: Vec<Vec<f64>> = windows.iter().map(|counts| peers.psi(counts)).collect();
        let js: Vec<Vec<f64>> = windows.iter().map(|counts| peers.js(counts)).collect();
        for feature in 0..d {
            let mut of: Vec<f64> = psi.iter().map(|psi| psi[feature]).collect();
            of.sort_unstable_by(f64::total_cmp);
            peers.psi_median[feature] = of[of.len() / 2].max(1e-9);
            let m = js.len() as f64;
            let mean = js.iter().map(|js| js[feature]).sum::<f64>() / m;
            let variance = js
                .iter()
                .map(|js| (js[feature] - mean).powi(2))
                .sum::<f64>()
                / m;
            peers.js_limit[feature] = mean + 3.0 * variance.sqrt();
        }
        let mut largest: Vec<f64> = psi.iter().map(|psi| peers.over_median(psi)).collect();
        largest.sort_unstable_by(f64::total_cmp);
        peers.psi_limit = largest[largest.len() * 99 / 100];
        peers
    }

    /// Which rules are raised, window by window.
    pub(crate) fn watch(&self, stream: &Rows) -> Vec<[bool; NAMES.len()]> {
        let mut beyond = [false; 3];
        (0..stream.len() / self.window)
            .map(|window| {
                let first = window * self.window;
                let counts = self.count(stream, first, first + self.window);
                let psi = self.psi(&counts);
                beyond = [
                    beyond[1],
                    beyond[2],
                    self.over_median(&psi) > self.psi_limit,
                ];
                let js = self.js(&counts);
                let (ks, wasserstein) = self.distances(&counts);
                let n = self.window as f64;
                // The asymptotic limit of Kolmogorov and Smirnov.
                let alpha = 0.05 / self.edges.len() as f64;
                let ks_limit = ((2.0 / alpha).ln() / 2.0 * (1.0 / n + 1.0 / self.n_rows)).sqrt();
                let n_far = wasserstein.iter().filter(|w| **w > 0.1).count();
                [
                    beyond.iter().filter(|beyond| **beyond).count() >= 2,
                    psi.iter().any(|psi| *psi > 0.2),
                    ks.iter().any(|ks| *ks > ks_limit),
                    2 * n_far >= self.edges.len(),
                    js.iter().zip(&self.js_limit).any(|(js, limit)| js > limit),
                ]
            })
            .collect()
    }

    fn count(&self, rows: &Rows, from: usize, to: usize) -> Counts {
        let mut counts = vec![[0; GRID]; self.edges.len()];
        for at in from..to {
            for ((value, edges), counts) in rows.row(at).iter().zip(&self.edges).zip(&mut counts) {
                counts[edges.partition_point(|edge| edge <= value)] += 1;
            }
        }
        counts
    }

    fn psi(&self, counts: &Counts) -> Vec<f64> {
        let of = |counts: &[u32; GRID]| -> f64 {
            shares(counts, GRID / 10)
                .map(|share| {
                    let share = share.max(1e-4);
                    (share - 0.1) * (share / 0.1).ln()
                })
                .sum()
        };
        counts.iter().map(of).collect()
    }

    fn js(&self, counts: &Counts) -> Vec<f64> {
        let of = |counts: &[u32; GRID]| -> f64 {
            let q = 1.0 / 40.0;
            let term = |p: f64, m: f64| if p > 0.0 { p * (p / m).log2() } else { 0.0 };
            shares(counts, GRID / 40)
                .map(|p| {
                    let m = (p + q) / 2.0;
                    (term(p, m) + term(q, m)) / 2.0
                })
                .sum::<f64>()
                .max(0.0)
                .sqrt()
        };
        counts.iter().map(of).collect()
    }

    /// Kolmogorov and Smirnov's, and Wasserstein's in standard deviations.
    fn distances(&self, counts: &Counts) -> (Vec<f64>, Vec<f64>) {
        let features = counts.iter().zip(&self.edges).zip(&self.sd);
        features
            .map(|((counts, edges), sd)| {
                let n: u32 = counts.iter().sum();
                let (mut below, mut ks, mut wasserstein) = (0_u32, 0.0_f64, 0.0);
                for k in 0..GRID - 1 {
                    below += counts[k];
                    let difference =
                        (f64::from(below) / f64::from(n) - (k + 1) as f64 / GRID as f64).abs();
                    ks = ks.max(difference);
                    let width = edges.get(k + 1).map_or(0.0, |next| next - edges[k]);
                    wasserstein += difference * width;
                }
                (ks, wasserstein / sd.max(1e-12))
            })
            .unzip()
    }

    fn over_median(&self, psi: &[f64]) -> f64 {
        let ratios = psi.iter().zip(&self.psi_median);
        ratios.map(|(psi, median)| psi / median).fold(0.0, f64::max)
    }
}

fn sum(strides: &[Counts]) -> Counts {
    let mut sum = strides[0].clone();
    for stride in &strides[1..] {
        for (sum, counts) in sum.iter_mut().zip(stride) {
            sum.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
        }
    }
    sum
}

fn shares(counts: &[u32; GRID], per_bin: usize) -> impl Iterator<Item = f64> {
    let n: u32 = counts.iter().sum();
    counts
        .chunks(per_bin)
        .map(move |of| f64::from(of.iter().sum::<u32>()) / f64::from(n))
}
