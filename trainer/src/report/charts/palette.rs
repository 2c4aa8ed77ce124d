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

/// Which of [`Ink::Nth`] kinds of events have, in this order. Prices and scores are blue, and drawn over events: no
/// kind is.
pub(super) const KINDS: [usize; CYCLE - 1] = [4, 2, 3, 1, 6, 5];

/// How much of an event's colour covers the ground below prices and scores.
pub(super) const EVENT: f64 = 0.26;

/// How much of the price's colour covers the ground between lows and highs; a lone spike must show.
pub(super) const LOW_HIGH: f64 = 0.4;

/// How much of an event's colour a legend shows.
pub(super) const EVENT_SIGN: f64 = 0.45;

type Rgb = (u8, u8, u8);

/// On light and on dark ground. No two light colours are equal: the page's style sheet finds them by value.
const NTH: [(Rgb, Rgb); CYCLE] = [
    ((0, 114, 178), (86, 180, 233)),
    ((213, 94, 0), (255, 140, 66)),
    ((0, 158, 115), (38, 208, 160)),
    ((204, 121, 167), (231, 158, 199)),
    ((230, 159, 0), (255, 194, 61)),
    ((152, 56, 136), (200, 130, 225)),
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

    /// The colour of `paint` on white.
    fn on_page(ink: Ink, alpha: f64) -> [f64; 3] {
        let (r, g, b) = ink.light();
        [r, g, b].map(|part| 255.0 - alpha * (255.0 - f64::from(part)))
    }

    /// Relative luminance, as of WCAG 2.
    fn luminance(colour: [f64; 3]) -> f64 {
        let [r, g, b] = colour.map(|part| {
            let part = part / 255.0;
            if part <= 0.040_45 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055).powf(2.4)
            }
        });
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    #[test]
    fn prices_stand_out_from_events() {
        let shading = on_page(Ink::Normal, LOW_HIGH);
        for kind in KINDS {
            let tint = on_page(Ink::Nth(kind), EVENT);
            let line = on_page(Ink::Normal, 1.0);
            let contrast = (luminance(tint) + 0.05) / (luminance(line) + 0.05);
            assert!(contrast >= 3.0, "kind {kind}: {contrast}");
            // Blue against yellow is what all readers see: the shading of prices is bluer than any event.
            let blueness = |[r, g, b]: [f64; 3]| b - (r + g) / 2.0;
            let distance = blueness(shading) - blueness(tint);
            assert!(distance > 10.0, "kind {kind}: {distance}");
        }
    }

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
