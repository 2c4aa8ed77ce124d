//! Names as small numbers.

use std::collections::HashMap;
use std::sync::Arc;

/// Names and their places.
#[derive(Debug, Default)]
pub(super) struct Names {
    places: HashMap<String, u32>,
    names: Vec<Arc<str>>,
    last: u32,
}

impl Names {
    /// The place of a name; a new one is added to `new`, too.
    pub(super) fn place(&mut self, name: &str, new: &mut Vec<String>) -> u32 {
        if let Some(last) = self.names.get(self.last as usize)
            && **last == *name
        {
            return self.last;
        }
        let place = match self.places.get(name) {
            Some(place) => *place,
            None => {
                let place = self.names.len() as u32;
                self.places.insert(name.to_owned(), place);
                self.names.push(name.into());
                new.push(name.to_owned());
                place
            }
        };
        self.last = place;
        place
    }

    /// The name at a place.
    pub(super) fn name(&self, place: u32) -> &Arc<str> {
        &self.names[place as usize]
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}
