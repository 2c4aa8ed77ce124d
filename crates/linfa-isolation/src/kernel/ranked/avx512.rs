use super::{Block, Ranked, Simd};
#[derive(Debug, Clone)]
pub(super) struct Forest;
impl Ranked<u16> {
    pub(super) fn vectorize(&mut self, _: Simd) {}
    pub(super) fn add_by_vectors(&self, _: &Block, _: &mut Vec<u16>, _: &mut [f64]) -> bool {
        false
    }
}
