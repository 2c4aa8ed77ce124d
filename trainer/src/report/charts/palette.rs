//! Colours of charts, by what they mean. The hues are those of Okabe and Ito, which colour-blind readers tell apart.

/// What a colour stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    Text,
    Muted,
    Grid,
    Page,
    /// Rows without label, prices, scores.
    Normal,
    /// Rows with label.
    Anomalous,
    Threshold,
    FalseAlert,
    Baseline,
    Rise,
    Fall,
    /// The n-th of several: models, kinds of anomaly. Repeats after [`CYCLE`].
    Nth(usize),
}

/// Distinct colours of [`Ink::Nth`].
pub(super) const CYCLE: usize = 7;

type Rgb = (u8, u8, u8);

/// On light and on dark ground. No two light colours are equal: the page's style sheet finds them by value.
const NTH: [(Rgb, Rgb); CYCLE] = [
    ((0, 114, 178), (86, 180, 233)),
    ((213, 94, 0), (255, 140, 66)),
    ((0, 158, 115), (38, 208, 160)),
    ((204, 121, 167), (231, 158, 199)),
    ((230, 159, 0), (255, 194, 61)),
    ((100, 84, 172), (166, 150, 240)),
    ((122, 92, 62), (205, 170, 130)),
];

impl Ink {
    pub(super) const FIXED: [Self; 11] = [
        Self::Text,
        Self::Muted,
        Self::Grid,
        Self::Page,
        Self::Normal,
        Self::Anomalous,
        Self::Threshold,
        Self::FalseAlert,
        Self::Baseline,
        Self::Rise,
        Self::Fall,
    ];

    fn pair(self) -> (Rgb, Rgb) {
        match self {
            Self::Text => ((31, 35, 40), (230, 237, 243)),
            Self::Muted => ((89, 99, 110), (158, 168, 179)),
            Self::Grid => ((226, 230, 235), (48, 54, 61)),
            Self::Page => ((255, 255, 255), (22, 27, 34)),
            Self::Normal => ((46, 98, 150), (121, 174, 224)),
            Self::Anomalous => ((212, 92, 8), (250, 142, 70)),
            Self::Threshold => ((176, 30, 70), (255, 110, 140)),
            Self::FalseAlert => ((60, 64, 70), (201, 209, 217)),
            Self::Baseline => ((128, 134, 142), (139, 148, 158)),
            Self::Rise => ((1, 133, 113), (53, 196, 165)),
            Self::Fall => ((194, 84, 44), (240, 132, 92)),
            Self::Nth(i) => NTH[i % CYCLE],
        }
    }

    pub(super) fn light(self) -> Rgb {
        self.pair().0
    }

    pub(super) fn alpha(self, alpha: f64) -> Paint {
        Paint { ink: self, alpha }
    }

    pub(super) fn css(self) -> (String, String) {
        let hex = |(r, g, b): Rgb| format!("#{r:02X}{g:02X}{b:02X}");
        let (light, dark) = self.pair();
        (hex(light), hex(dark))
    }
}

/// A colour and how much of it covers what is below.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Paint {
    pub(super) ink: Ink,
    pub(super) alpha: f64,
}

impl From<Ink> for Paint {
    fn from(ink: Ink) -> Self {
        Self { ink, alpha: 1.0 }
    }
}

/// Rules that give charts their colours on dark ground.
pub(in crate::report) fn dark_css() -> String {
    let mut css = String::new();
    for ink in Ink::FIXED.into_iter().chain((0..CYCLE).map(Ink::Nth)) {
        let (light, dark) = ink.css();
        css.push_str(&format!(
            ".chart [fill=\"{light}\"]{{fill:{dark}}}.chart [stroke=\"{light}\"]{{stroke:{dark}}}\n"
        ));
    }
    css
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn light_colours_are_distinct() {
        let inks: Vec<Ink> = Ink::FIXED
            .into_iter()
            .chain((0..CYCLE).map(Ink::Nth))
            .collect();
        for (i, a) in inks.iter().enumerate() {
            for b in &inks[i + 1..] {
                assert_ne!(a.light(), b.light(), "{a:?} and {b:?}");
            }
        }
    }
}
