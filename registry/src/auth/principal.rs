//! A user who was recognized.

use std::collections::HashMap;

use super::Role;

/// A user who was recognized, with what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) user_id: i64,
    pub(crate) name: String,
    /// Where no grant says otherwise.
    pub(crate) role: Role,
    pub(crate) grants: Grants,
}

/// What a user may do with single experiments and models.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Grants {
    pub(crate) experiments: HashMap<i64, Role>,
    pub(crate) models: HashMap<String, Role>,
}

impl Principal {
    /// Whether one role holds everywhere, so that nothing has to be looked up.
    pub(crate) fn is_plain(&self) -> bool {
        self.role == Role::Admin
            || (self.grants.experiments.is_empty() && self.grants.models.is_empty())
    }

    /// What they may do with an experiment.
    pub(crate) fn on_experiment(&self, experiment: i64) -> Role {
        self.narrowed(self.grants.experiments.get(&experiment))
    }

    /// What they may do with a registered model.
    pub(crate) fn on_model(&self, name: &str) -> Role {
        self.narrowed(self.grants.models.get(name))
    }

    /// The narrower grant wins; an admin of everything is one of each thing.
    fn narrowed(&self, grant: Option<&Role>) -> Role {
        match grant {
            Some(grant) if self.role < Role::Admin => *grant,
            _ => self.role,
        }
    }

    /// Whether there is nothing that they may not read.
    pub(crate) fn reads_everything(&self) -> bool {
        let mut grants = self
            .grants
            .experiments
            .values()
            .chain(self.grants.models.values());
        self.role == Role::Admin
            || (self.role >= Role::Reader && grants.all(|grant| *grant >= Role::Reader))
    }
}
