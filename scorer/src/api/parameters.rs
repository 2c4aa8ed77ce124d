//! Parameters of a query: each is known, stands there once, and has a value that makes sense.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use super::error::{FieldError, Refusal};
use super::rows::check_symbol;

/// The parameters that are left to be read.
#[derive(Debug)]
pub(super) struct Parameters {
    left: BTreeMap<String, String>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Query(pairs) =
            pairs.map_err(|error: QueryRejection| Refusal::unreadable(error.body_text()))?;
        Ok(Self::of(pairs))
    }
}

impl Parameters {
    pub(super) fn of(pairs: Vec<(String, String)>) -> Self {
        let mut parameters = Self {
            left: BTreeMap::new(),
            known: Vec::new(),
            errors: Vec::new(),
        };
        for (name, value) in pairs {
            if parameters.left.insert(name.clone(), value).is_some() {
                parameters.error(name, "it stands there twice");
            }
        }
        parameters
    }

    fn error(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.errors.push(FieldError {
            field: field.into(),
            message: message.into(),
        });
    }

    /// A text; an empty one is none.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        self.left.remove(name).filter(|text| !text.is_empty())
    }

    /// A value that `need` describes.
    pub(super) fn value<T: FromStr>(&mut self, name: &'static str, need: &str) -> Option<T> {
        let text = self.text(name)?;
        let value = text.parse().ok();
        if value.is_none() {
            self.error(name, format!("{need} is needed, and there is `{text}`"));
        }
        value
    }

    pub(super) fn symbol(&mut self) -> Option<String> {
        let symbol = self.text("symbol")?;
        if let Err(message) = check_symbol(&symbol) {
            self.error("symbol", message);
        }
        Some(symbol)
    }

    /// A moment, ms since the epoch, as µs.
    pub(super) fn moment(&mut self, name: &'static str) -> Option<i64> {
        let milliseconds: i64 =
            self.value(name, "a whole number of milliseconds since the epoch")?;
        Some(milliseconds.saturating_mul(1_000))
    }

    /// A number from `least` to `most`.
    pub(super) fn limit(&mut self, name: &'static str, usual: usize, most: usize) -> usize {
        let need = format!("a whole number from 1 to {most}");
        let number = self.value(name, &need).unwrap_or(usual);
        if !(1..=most).contains(&number) {
            self.error(name, format!("{need} is needed, and there is {number}"));
        }
        number
    }

    /// A number that isn't NaN or infinite.
    pub(super) fn finite(&mut self, name: &'static str) -> Option<f64> {
        let number: f64 = self.value(name, "a number")?;
        if !number.is_finite() {
            self.error(name, "a finite number is needed");
        }
        Some(number)
    }

    /// Something is wrong with a parameter.
    pub(super) fn refuse(&mut self, name: &'static str, message: impl Into<String>) {
        self.error(name, message);
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// All that was wrong.
    pub(super) fn finish(mut self) -> Result<(), Refusal> {
        let known = self.known.join("`, `");
        let left: Vec<String> = std::mem::take(&mut self.left).into_keys().collect();
        for name in left {
            self.error(name, format!("not known; there is `{known}`"));
        }
        match self.errors.is_empty() {
            true => Ok(()),
            false => Err(Refusal::fields(self.errors)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &[(&str, &str)]) -> Parameters {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Parameters::of(query.iter().map(own).collect())
    }

    #[test]
    fn each_is_known_once_and_makes_sense() {
        let mut good = of(&[
            ("symbol", "A"),
            ("since", "5"),
            ("flagged", "true"),
            ("x", ""),
        ]);
        assert_eq!(good.symbol().as_deref(), Some("A"));
        assert_eq!(good.moment("since"), Some(5_000));
        assert_eq!(good.value::<bool>("flagged", "true or false"), Some(true));
        assert_eq!(good.text("x"), None);
        assert_eq!(good.limit("limit", 7, 9), 7);
        good.finish().unwrap();

        let mut bad = of(&[
            ("flagged", "yes"),
            ("limit", "0"),
            ("min_score", "NaN"),
            ("sinze", "1"),
            ("a", "1"),
            ("a", "2"),
        ]);
        assert_eq!(bad.value::<bool>("flagged", "true or false"), None);
        bad.limit("limit", 7, 9);
        bad.finite("min_score");
        bad.text("a");
        let refusal = bad.finish().unwrap_err();
        let (status, _, fields) = refusal.said();
        let names: Vec<&str> = fields.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(
            (status, names),
            (422, vec!["a", "flagged", "limit", "min_score", "sinze"])
        );
    }
}
