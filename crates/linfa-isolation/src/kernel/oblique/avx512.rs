use super::{Block, Model, ObliqueSplits, Trees};
#[derive(Debug, Clone)]
pub(super) struct Forest;
impl Forest {
    pub(super) fn new(_: &Model, _: &ObliqueSplits, _: &Trees, _: usize) -> Option<Self> {
        None
    }
    pub(super) fn add(&self, _: &[(f64, f64)], _: &Block, _: &mut Vec<f32>, _: &mut [f64]) {}
}
