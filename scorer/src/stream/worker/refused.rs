//! Whether too many of the last records can't be taken.

use std::collections::VecDeque;

/// Which of the last records could not be taken.
#[derive(Debug)]
pub(super) struct Refused {
    last: VecDeque<bool>,
    pub(super) window: usize,
    pub(super) n_refused: usize,
    max_share: f64,
}

impl Refused {
    pub(super) fn new(window: usize, max_share: f64) -> Self {
        Self {
            last: VecDeque::new(),
            window,
            n_refused: 0,
            max_share,
        }
    }

    pub(super) fn push(&mut self, is_refused: bool) {
        if self.last.len() >= self.window {
            self.n_refused -= usize::from(self.last.pop_front() == Some(true));
        }
        self.last.push_back(is_refused);
        self.n_refused += usize::from(is_refused);
    }

    pub(super) fn is_too_much(&self) -> bool {
        self.last.len() >= self.window
            && self.n_refused as f64 > self.max_share * self.window as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_is_more_than_the_share_of_a_full_window() {
        let mut refused = Refused::new(10, 0.2);
        for is_refused in [true, true, true, false, false, false, false, false, false] {
            refused.push(is_refused);
            assert!(!refused.is_too_much());
        }
        refused.push(false);
        assert!(refused.is_too_much());
        refused.push(false);
        assert!(!refused.is_too_much());
        assert_eq!((refused.n_refused, refused.last.len()), (2, 10));
    }
}
