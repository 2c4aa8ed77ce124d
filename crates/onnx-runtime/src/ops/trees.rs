//! `TreeEnsembleRegressor`.

use std::collections::HashMap;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::{ints, numbers, text, texts};

/// How a node compares; `x` goes to the first child where it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Mode {
    AtMost,
    Below,
    AtLeast,
    Above,
    Equal,
    Other,
    Leaf,
}

impl Mode {
    fn parse(name: &str) -> TractResult<Self> {
        Ok(match name {
            "BRANCH_LEQ" => Self::AtMost,
            "BRANCH_LT" => Self::Below,
            "BRANCH_GTE" => Self::AtLeast,
            "BRANCH_GT" => Self::Above,
            "BRANCH_EQ" => Self::Equal,
            "BRANCH_NEQ" => Self::Other,
            "LEAF" => Self::Leaf,
            other => bail!("a node's mode is `{other}`"),
        })
    }

    #[expect(clippy::float_cmp, reason = "the operator asks whether they are equal")]
    fn holds(self, x: f64, value: f64) -> bool {
        match self {
            Self::AtMost => x <= value,
            Self::Below => x < value,
            Self::AtLeast => x >= value,
            Self::Above => x > value,
            Self::Equal => x == value,
            Self::Other => x != value,
            Self::Leaf => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Node {
    mode: Mode,
    feature: usize,
    /// Bits of the `f64`.
    value: u64,
    /// Where the comparison holds, and where it doesn't.
    next: [usize; 2],
    missing_is_first: bool,
    /// Of a leaf: (target, bits of the weight).
    weights: Vec<(usize, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Aggregate {
    Sum,
    Average,
    Least,
    Largest,
}

/// Trees whose leaves add to targets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct TreeEnsembleRegressor {
    nodes: Vec<Node>,
    roots: Vec<usize>,
    n_targets: usize,
    n_features: usize,
    aggregate: Aggregate,
    /// Bits.
    base: Vec<u64>,
}

pub(super) fn build(
    _ctx: &ParsingContext<'_>,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    Ok((expand(TreeEnsembleRegressor::parse(node)?), vec![]))
}

impl TreeEnsembleRegressor {
    fn parse(node: &NodeProto) -> TractResult<Self> {
        let n_targets = super::attribute(node, "n_targets").map_or(1, |a| a.i);
        let n_targets = usize::try_from(n_targets).unwrap_or(0);
        ensure!((1..=1 << 20).contains(&n_targets), "{n_targets} targets");
        let transform = text(node, "post_transform", "NONE");
        ensure!(
            transform == "NONE",
            "post_transform is `{transform}`, only `NONE` is known"
        );
        let aggregate = match text(node, "aggregate_function", "SUM") {
            "SUM" => Aggregate::Sum,
            "AVERAGE" => Aggregate::Average,
            "MIN" => Aggregate::Least,
            "MAX" => Aggregate::Largest,
            other => bail!("aggregate_function is `{other}`"),
        };
        let index = |name: &str| -> TractResult<Vec<usize>> {
            let values = ints(node, name).into_iter();
            values
                .map(|v| usize::try_from(v).map_err(|_| format_err!("{name} holds {v}")))
                .collect()
        };
        let trees = index("nodes_treeids")?;
        let ids = index("nodes_nodeids")?;
        let features = index("nodes_featureids")?;
        let [yes, no] = [index("nodes_truenodeids")?, index("nodes_falsenodeids")?];
        let values = numbers(node, "nodes_values");
        let modes = texts(node, "nodes_modes");
        let missing = ints(node, "nodes_missing_value_tracks_true");
        let n = trees.len();
        let lengths = [
            ids.len(),
            features.len(),
            yes.len(),
            no.len(),
            values.len(),
            modes.len(),
        ];
        ensure!(
            n > 0 && lengths.iter().all(|l| *l == n),
            "its nodes' attributes differ in length"
        );
        let places: HashMap<(usize, usize), usize> = trees
            .iter()
            .copied()
            .zip(ids.iter().copied())
            .zip(0..)
            .collect();
        ensure!(places.len() == n, "a node is there twice");
        let mut nodes = Vec::with_capacity(n);
        let mut is_child = vec![false; n];
        for i in 0..n {
            let mode = Mode::parse(modes[i])?;
            let mut next = [i, i];
            if mode != Mode::Leaf {
                for (next, id) in next.iter_mut().zip([yes[i], no[i]]) {
                    *next = *places
                        .get(&(trees[i], id))
                        .with_context(|| format!("node {id} of tree {} is missing", trees[i]))?;
                    // Each node has one parent, so walks end.
                    ensure!(!is_child[*next], "node {id} has two parents");
                    is_child[*next] = true;
                }
            }
            nodes.push(Node {
                mode,
                feature: features[i],
                value: values[i].to_bits(),
                next,
                missing_is_first: missing.get(i) == Some(&1),
                weights: Vec::new(),
            });
        }
        let roots: Vec<usize> = (0..n).filter(|i| !is_child[*i]).collect();
        ensure!(!roots.is_empty(), "no tree has a root");
        let [target_trees, target_nodes] = [index("target_treeids")?, index("target_nodeids")?];
        let targets = index("target_ids")?;
        let weights = numbers(node, "target_weights");
        let same = [target_nodes.len(), targets.len(), weights.len()];
        ensure!(
            same.iter().all(|l| *l == target_trees.len()),
            "its leaves' attributes differ in length"
        );
        for (((tree, id), target), weight) in target_trees
            .iter()
            .zip(&target_nodes)
            .zip(targets)
            .zip(weights)
        {
            ensure!(
                target < n_targets,
                "a leaf adds to target {target} of {n_targets}"
            );
            let place = places.get(&(*tree, *id));
            let place = place.with_context(|| format!("leaf {id} of tree {tree} is missing"))?;
            nodes[*place].weights.push((target, weight.to_bits()));
        }
        let base = numbers(node, "base_values");
        ensure!(
            base.is_empty() || base.len() == n_targets,
            "{} base_values",
            base.len()
        );
        let inner = nodes.iter().filter(|node| node.mode != Mode::Leaf);
        Ok(Self {
            n_features: inner.map(|node| node.feature + 1).max().unwrap_or(0),
            nodes,
            roots,
            n_targets,
            aggregate,
            base: base.into_iter().map(f64::to_bits).collect(),
        })
    }

    fn score(&self, row: &[f64], out: &mut [f32], room: &mut [(f64, usize)]) {
        room.fill((0.0, 0));
        for root in &self.roots {
            let mut node = &self.nodes[*root];
            while node.mode != Mode::Leaf {
                let x = row[node.feature];
                let first = if x.is_nan() {
                    node.missing_is_first
                } else {
                    node.mode.holds(x, f64::from_bits(node.value))
                };
                node = &self.nodes[node.next[usize::from(!first)]];
            }
            for (target, weight) in &node.weights {
                let weight = f64::from_bits(*weight);
                let (so_far, n) = &mut room[*target];
                *so_far = match self.aggregate {
                    Aggregate::Least if *n > 0 => so_far.min(weight),
                    Aggregate::Largest if *n > 0 => so_far.max(weight),
                    _ => *so_far + weight,
                };
                *n += 1;
            }
        }
        for (target, (out, (sum, _))) in out.iter_mut().zip(&*room).enumerate() {
            let base = self
                .base
                .get(target)
                .map_or(0.0, |bits| f64::from_bits(*bits));
            let value = match self.aggregate {
                Aggregate::Average => sum / self.roots.len() as f64,
                _ => *sum,
            };
            *out = (value + base) as f32;
        }
    }
}

impl Expansion for TreeEnsembleRegressor {
    fn name(&self) -> StaticName {
        "TreeEnsembleRegressor".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        s.equals(&outputs[0].datum_type, DatumType::F32)?;
        s.equals(&inputs[0].rank, 2)?;
        s.equals(&outputs[0].rank, 2)?;
        s.equals(&outputs[0].shape[0], &inputs[0].shape[0])?;
        s.equals(&outputs[0].shape[1], self.n_targets.to_dim())?;
        Ok(())
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl Op for TreeEnsembleRegressor {
    fn name(&self) -> StaticName {
        "TreeEnsembleRegressor".into()
    }

    op_as_typed_op!();
}

impl EvalOp for TreeEnsembleRegressor {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let input = input.cast_to::<f64>()?;
        let rows = input
            .to_plain_array_view::<f64>()?
            .into_dimensionality::<tract_ndarray::Ix2>()?;
        ensure!(
            rows.ncols() >= self.n_features,
            "a tree asks for column {}, rows have {}",
            self.n_features - 1,
            rows.ncols()
        );
        let mut out = tract_ndarray::Array2::<f32>::zeros((rows.nrows(), self.n_targets));
        let mut room = vec![(0.0, 0); self.n_targets];
        let mut scores = vec![0.0; self.n_targets];
        for (row, mut out) in rows.rows().into_iter().zip(out.rows_mut()) {
            self.score(&row.to_vec(), &mut scores, &mut room);
            out.iter_mut()
                .zip(&scores)
                .for_each(|(out, score)| *out = *score);
        }
        Ok(tvec!(out.into_tvalue()))
    }
}

impl TypedOp for TreeEnsembleRegressor {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let n = &inputs[0].shape[0];
        Ok(tvec!(f32::fact([n.clone(), self.n_targets.into()])))
    }

    as_op!();
}
