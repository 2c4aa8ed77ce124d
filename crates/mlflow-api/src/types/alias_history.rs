//! Who moved which alias, when, why, from where to where: an addition to MLflow's dialect.

crate::wire::wire! {
    /// One change of an alias; also the data of an `alias` event.
    pub struct AliasChange {
        /// Its number: changes are counted 1, 2, 3, … over all models, in the order in which they
        /// became visible.
        pub sequence: i64,
        /// The model.
        pub name: String,
        /// The alias.
        pub alias: String,
        /// The version that it named before; absent when the alias was new.
        pub from_version: Option<String>,
        /// The version that it names now; absent when the alias was deleted.
        pub to_version: Option<String>,
        /// Who did it.
        pub user: String,
        /// When, ms since the epoch.
        pub time: i64,
        /// Why, where somebody said so.
        pub reason: Option<String>,
        /// How it came about: `set`, `deleted`, `version_deleted`, `model_deleted`, `rolled_back`
        /// or `imported`.
        pub cause: String,
    }

    /// `foreshock/registered-models/alias-history`.
    pub struct GetAliasHistory {
        /// The model.
        pub name: String,
        /// One of its aliases; all when absent.
        pub alias: Option<String>,
        /// The page's size; 100 when absent.
        pub max_results: Option<i64>,
        /// Where to go on.
        pub page_token: Option<String>,
    }

    /// The answer to [`GetAliasHistory`].
    pub struct AliasHistoryResponse {
        /// The changes, the newest first.
        pub changes: Vec<AliasChange>,
        /// Where to go on; absent on the last page.
        pub next_page_token: Option<String>,
    }

    /// `foreshock/registered-models/alias-rollback`: undoes the alias's last change.
    pub struct RollbackAlias {
        /// The model.
        pub name: String,
        /// The alias.
        pub alias: String,
        /// Why.
        pub reason: Option<String>,
    }

    /// The answer to [`RollbackAlias`].
    pub struct RollbackAliasResponse {
        /// What was done.
        pub change: AliasChange,
    }
}
