//! Looking on while a detector is fitted.

/// The mean squared reconstruction errors after one pass over the training rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// From 1.
    pub number: usize,
    /// On the rows it learns from, while it learns.
    pub train_loss: f64,
    /// On the rows held out to stop by; absent where there are none.
    pub validation_loss: Option<f64>,
}

/// Hears how a fit goes, and may end it. Nothing it does changes what is fitted.
pub trait FitObserver {
    /// Something that was found, by a dotted name such as `dbscan.eps`.
    fn fact(&mut self, _name: &'static str, _value: f64) {}

    /// An epoch is over.
    fn epoch(&mut self, _epoch: &Epoch) {}

    /// Asked between steps of long fits; `true` ends the fit with
    /// [`Error::Stopped`](crate::Error::Stopped).
    fn should_stop(&mut self) -> bool {
        false
    }
}

/// Hears nothing.
impl FitObserver for () {}

/// Keeps what it hears.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FitRecord {
    /// All facts, in order.
    pub facts: Vec<(&'static str, f64)>,
    /// All epochs, in order.
    pub epochs: Vec<Epoch>,
}

impl FitObserver for FitRecord {
    fn fact(&mut self, name: &'static str, value: f64) {
        self.facts.push((name, value));
    }

    fn epoch(&mut self, epoch: &Epoch) {
        self.epochs.push(*epoch);
    }
}
