//! Pages of a search.

use super::StoreError;

/// One page.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next begins; absent on the last page.
    pub next_page_token: Option<String>,
}

/// Which page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// How many things fit on it.
    pub max_results: i64,
    offset: i64,
}

impl PageRequest {
    /// A page of `max_results`, from where `token` says or from the start.
    ///
    /// # Errors
    /// When the token is not one that a page gave.
    pub fn new(max_results: i64, token: Option<&str>) -> Result<Self, StoreError> {
        let offset = match token {
            None | Some("") => 0,
            Some(token) => {
                decode(token).ok_or_else(|| StoreError::Invalid("Invalid page token".to_owned()))?
            }
        };
        Ok(Self {
            max_results,
            offset,
        })
    }

    /// One more than fits: whether there is a next page shows in the same query.
    pub(super) fn limit(&self) -> i64 {
        self.max_results.saturating_add(1)
    }

    pub(super) fn offset(&self) -> i64 {
        self.offset
    }

    /// Cuts what a query with [`Self::limit`] found to its page.
    pub(super) fn page<T>(&self, mut items: Vec<T>) -> Page<T> {
        let fits = usize::try_from(self.max_results).unwrap_or(usize::MAX);
        let more = items.len() > fits;
        items.truncate(fits);
        let next = self.offset.saturating_add(self.max_results);
        Page {
            items,
            next_page_token: more.then(|| format!("{next:016x}")),
        }
    }
}

fn decode(token: &str) -> Option<i64> {
    let hex = token.len() == 16 && token.bytes().all(|byte| byte.is_ascii_hexdigit());
    i64::from_str_radix(token, 16).ok().filter(|_| hex)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_leads_to_the_next_page() {
        let first = PageRequest::new(2, None).unwrap().page(vec![1, 2, 3]);
        assert_eq!(first.items, [1, 2]);
        let second = PageRequest::new(2, first.next_page_token.as_deref()).unwrap();
        assert_eq!(second.offset(), 2);
        assert_eq!(second.page(vec![3]).next_page_token, None);
    }

    proptest! {
        #[test]
        fn garbage_is_refused(token in "[^0-9a-f]{1,20}|.{17,30}|[0-9a-f]{1,15}|[89a-f][0-9a-f]{15}") {
            prop_assert!(PageRequest::new(1, Some(&token)).is_err());
        }
    }
}
