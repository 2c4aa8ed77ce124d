//! What a GraphQL document asks for: limits, fragments, variables, and the cut of an answer.

use std::collections::{HashMap, HashSet};

use graphql_parser::query::{
    Definition, Directive, Document, Field, FragmentDefinition, OperationDefinition, Selection,
    SelectionSet, Value as Literal, VariableDefinition,
};
use serde_json::{Map, Value};

use super::extract::snake_case_key;
use super::graphql_schema::{Kind, fields};

const MAX_DEPTH: usize = 10;
const MAX_SELECTIONS: usize = 1000;
const MAX_ROOT_FIELDS: usize = 10;
const MAX_ALIASES: usize = 10;

pub(super) type Set = SelectionSet<'static, String>;
pub(super) type Asked = Field<'static, String>;

/// An operation, its fragments and its variables.
pub(super) struct Operation<'d> {
    pub(super) mutation: bool,
    pub(super) root: &'d Set,
    fragments: HashMap<&'d str, &'d FragmentDefinition<'static, String>>,
    variables: HashMap<&'d str, Value>,
}

impl<'d> Operation<'d> {
    /// The operation of that name, or the only one.
    pub(super) fn find(
        document: &'d Document<'static, String>,
        name: Option<&str>,
        given: &Map<String, Value>,
    ) -> Result<Self, String> {
        let mut fragments = HashMap::new();
        let mut operations = Vec::new();
        for definition in &document.definitions {
            match definition {
                Definition::Fragment(fragment) => {
                    fragments.insert(fragment.name.as_str(), fragment);
                }
                Definition::Operation(operation) => operations.push(operation),
            }
        }
        let mut matching = operations.into_iter().filter(|operation| match name {
            None | Some("") => true,
            Some(name) => operation_name(operation) == Some(name),
        });
        let operation = match (matching.next(), matching.next()) {
            (Some(operation), None) => operation,
            (None, _) => return Err("Unknown operation.".to_owned()),
            (Some(_), Some(_)) => {
                return Err(
                    "Must provide operation name if query contains multiple operations.".to_owned(),
                );
            }
        };
        let (mutation, root, definitions): (_, _, &[VariableDefinition<'static, String>]) =
            match operation {
                OperationDefinition::SelectionSet(set) => (false, set, &[]),
                OperationDefinition::Query(query) => {
                    (false, &query.selection_set, &query.variable_definitions)
                }
                OperationDefinition::Mutation(mutation) => (
                    true,
                    &mutation.selection_set,
                    &mutation.variable_definitions,
                ),
                OperationDefinition::Subscription(_) => {
                    return Err(
                        "Schema is not configured to execute subscription operation.".to_owned(),
                    );
                }
            };
        let mut found = Self {
            mutation,
            root,
            fragments,
            variables: HashMap::new(),
        };
        for definition in definitions {
            let default = definition.default_value.as_ref();
            let value = given
                .get(&definition.name)
                .cloned()
                .or_else(|| default.map(|literal| found.value(literal)));
            if let Some(value) = value {
                found.variables.insert(&definition.name, value);
            }
        }
        found.check()?;
        Ok(found)
    }

    /// Refuses what costs too much: as MLflow does, so that one request is no batch.
    fn check(&self) -> Result<(), String> {
        let mut selections = 0;
        let root = self.visit(self.root, 1, &mut HashSet::new(), &mut selections)?;
        if root > MAX_ROOT_FIELDS {
            return Err(format!(
                "GraphQL queries should have at most {MAX_ROOT_FIELDS} root fields, got {root} \
                 root fields."
            ));
        }
        Ok(())
    }

    /// Counts what a set asks for, with its fragments; returns how many fields it has itself.
    fn visit(
        &self,
        set: &'d Set,
        depth: usize,
        open: &mut HashSet<&'d str>,
        selections: &mut usize,
    ) -> Result<usize, String> {
        if depth > MAX_DEPTH {
            return Err(format!("Query exceeds maximum depth of {MAX_DEPTH}"));
        }
        let mut asked = Vec::new();
        self.level(set, open, selections, &mut asked)?;
        let aliases = asked.iter().filter(|field| field.alias.is_some()).count();
        if aliases > MAX_ALIASES {
            return Err(format!(
                "queries should have at most {MAX_ALIASES} aliases, got {aliases} aliases."
            ));
        }
        for field in &asked {
            if !field.selection_set.items.is_empty() {
                self.visit(&field.selection_set, depth + 1, open, selections)?;
            }
        }
        Ok(asked.len())
    }

    fn level(
        &self,
        set: &'d Set,
        open: &mut HashSet<&'d str>,
        selections: &mut usize,
        asked: &mut Vec<&'d Asked>,
    ) -> Result<(), String> {
        for selection in &set.items {
            *selections += 1;
            if *selections > MAX_SELECTIONS {
                return Err(format!(
                    "Query exceeds maximum total selections of {MAX_SELECTIONS}"
                ));
            }
            match selection {
                Selection::Field(field) => asked.push(field),
                Selection::InlineFragment(inline) => {
                    self.level(&inline.selection_set, open, selections, asked)?;
                }
                Selection::FragmentSpread(spread) => {
                    let fragment = self
                        .fragments
                        .get(spread.fragment_name.as_str())
                        .ok_or_else(|| format!("Unknown fragment '{}'.", spread.fragment_name))?;
                    if !open.insert(&fragment.name) {
                        return Err(format!("Cannot spread fragment '{}' here.", fragment.name));
                    }
                    self.level(&fragment.selection_set, open, selections, asked)?;
                    open.remove(fragment.name.as_str());
                }
            }
        }
        Ok(())
    }

    /// The fields of a set, fragments opened, `@skip` and `@include` heeded.
    pub(super) fn asked(&self, set: &'d Set) -> Vec<&'d Asked> {
        let mut fields = Vec::new();
        for selection in &set.items {
            match selection {
                Selection::Field(field) if self.shown(&field.directives) => fields.push(field),
                Selection::InlineFragment(inline) if self.shown(&inline.directives) => {
                    fields.extend(self.asked(&inline.selection_set));
                }
                Selection::FragmentSpread(spread) if self.shown(&spread.directives) => {
                    if let Some(fragment) = self.fragments.get(spread.fragment_name.as_str()) {
                        fields.extend(self.asked(&fragment.selection_set));
                    }
                }
                _ => {}
            }
        }
        fields
    }

    fn shown(&self, directives: &[Directive<'static, String>]) -> bool {
        directives.iter().all(|directive| {
            let condition = directive
                .arguments
                .iter()
                .find(|(name, _)| name == "if")
                .is_some_and(|(_, value)| self.value(value) == Value::Bool(true));
            match directive.name.as_str() {
                "include" => condition,
                "skip" => !condition,
                _ => true,
            }
        })
    }

    /// Whether a field of that name is asked for, at any depth.
    pub(super) fn asks_for(&self, set: &'d Set, name: &str) -> bool {
        self.asked(set)
            .iter()
            .any(|field| field.name == name || self.asks_for(&field.selection_set, name))
    }

    /// The argument of that name.
    pub(super) fn argument(&self, field: &Asked, name: &str) -> Option<Value> {
        let (_, value) = field.arguments.iter().find(|(given, _)| given == name)?;
        Some(self.value(value))
    }

    fn value(&self, literal: &Literal<'static, String>) -> Value {
        match literal {
            Literal::Variable(name) => self
                .variables
                .get(name.as_str())
                .cloned()
                .unwrap_or_default(),
            Literal::Int(number) => number.as_i64().map_or(Value::Null, Value::from),
            Literal::Float(number) => Value::from(*number),
            Literal::String(text) => Value::from(text.as_str()),
            Literal::Boolean(truth) => Value::from(*truth),
            Literal::Null => Value::Null,
            Literal::Enum(name) => Value::from(name.as_str()),
            Literal::List(values) => values.iter().map(|value| self.value(value)).collect(),
            Literal::Object(fields) => fields
                .iter()
                .map(|(name, value)| (name.clone(), self.value(value)))
                .collect(),
        }
    }

    /// Cuts an answer to what is asked for.
    pub(super) fn cut(
        &self,
        type_name: &'static str,
        value: &Value,
        set: &'d Set,
    ) -> Result<Value, String> {
        if set.items.is_empty() {
            return Err(format!(
                "Field of type '{type_name}' must have a selection of subfields."
            ));
        }
        let mut cut = Map::new();
        for field in self.asked(set) {
            let shown = field.alias.as_ref().unwrap_or(&field.name).clone();
            if field.name == "__typename" {
                cut.insert(shown, type_name.into());
                continue;
            }
            let known = fields(type_name)
                .iter()
                .find(|(name, _)| *name == field.name);
            let Some((_, kind)) = known else {
                return Err(format!(
                    "Cannot query field '{}' on type '{type_name}'.",
                    field.name
                ));
            };
            let inner = &value[snake_case_key(&field.name)];
            let inner = self.cut_field(*kind, inner, field)?;
            match (cut.get_mut(&shown), inner) {
                // Asked for twice: both selections count.
                (Some(Value::Object(first)), Value::Object(second)) => first.extend(second),
                (_, inner) => {
                    cut.insert(shown, inner);
                }
            }
        }
        Ok(Value::Object(cut))
    }

    /// What is absent has protobuf's default, as the reference reads messages.
    fn cut_field(&self, kind: Kind, value: &Value, field: &'d Asked) -> Result<Value, String> {
        Ok(match kind {
            Kind::NoError => Value::Null,
            Kind::Text => Value::from(value.as_str().unwrap_or_default()),
            Kind::Enum => value.clone(),
            // Also where it is NaN, which is a text.
            Kind::Float if value.is_string() => Value::Null,
            Kind::Float => Value::from(value.as_f64().unwrap_or_default()),
            Kind::Truth => Value::from(value.as_bool().unwrap_or_default()),
            Kind::Long => Value::from(value.as_i64().unwrap_or_default().to_string()),
            Kind::Texts => Value::Array(value.as_array().cloned().unwrap_or_default()),
            Kind::One(type_name) => self.cut(type_name, value, &field.selection_set)?,
            Kind::Many(type_name) => value
                .as_array()
                .into_iter()
                .flatten()
                .map(|item| self.cut(type_name, item, &field.selection_set))
                .collect::<Result<Value, _>>()?,
        })
    }
}

fn operation_name<'d>(operation: &'d OperationDefinition<'static, String>) -> Option<&'d str> {
    match operation {
        OperationDefinition::SelectionSet(_) => None,
        OperationDefinition::Query(query) => query.name.as_deref(),
        OperationDefinition::Mutation(mutation) => mutation.name.as_deref(),
        OperationDefinition::Subscription(subscription) => subscription.name.as_deref(),
    }
}
