//! Writing an ONNX graph: values, constants that are kept once, nodes, bodies of loops.

use std::collections::{BTreeMap, BTreeSet};

use super::proto::{
    Attribute, Dimension, Extent, Graph as GraphProto, Node, Shape, Tensor, TensorType, Type,
    ValueInfo, number,
};

/// A tensor of a graph, by name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value(pub(super) String);

/// What a tensor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Float,
    Double,
    Int,
    Bool,
    Text,
}

impl Kind {
    fn number(self) -> i32 {
        match self {
            Self::Float => number::FLOAT,
            Self::Double => number::DOUBLE,
            Self::Int => number::INT64,
            Self::Bool => number::BOOL,
            Self::Text => number::STRING,
        }
    }
}

/// An attribute of a node.
pub(super) enum Setting {
    Int(i64),
    Ints(Vec<i64>),
    Text(&'static str),
    Texts(Vec<String>),
    Doubles(Vec<f64>),
    One(Kind, f64),
    Body(GraphProto),
}

/// A graph that is being written.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    constants: Vec<Tensor>,
    /// Constants by type, shape and bytes.
    known: BTreeMap<(Kind, Vec<i64>, Vec<u8>), Value>,
    n_names: usize,
    n_bytes: usize,
}

impl Graph {
    /// Bytes of all constants so far.
    pub(super) fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    fn name(&mut self) -> String {
        self.n_names += 1;
        // No feature has such a name: those are refused.
        format!("/{}", self.n_names)
    }

    fn constant(&mut self, kind: Kind, shape: &[usize], bytes: Vec<u8>) -> Value {
        let dims: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
        // Large ones are hardly ever alike.
        let key = (bytes.len() <= 4_096).then(|| (kind, dims.clone(), bytes.clone()));
        if let Some(value) = key.as_ref().and_then(|key| self.known.get(key)) {
            return value.clone();
        }
        let name = self.name();
        self.n_bytes += bytes.len();
        self.constants.push(Tensor {
            dims,
            data_type: kind.number(),
            name: name.clone(),
            raw_data: bytes,
        });
        if let Some(key) = key {
            self.known.insert(key, Value(name.clone()));
        }
        Value(name)
    }

    pub(super) fn doubles(&mut self, values: &[f64], shape: &[usize]) -> Value {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(Kind::Double, shape, bytes)
    }

    pub(super) fn floats(&mut self, values: &[f32], shape: &[usize]) -> Value {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(Kind::Float, shape, bytes)
    }

    pub(super) fn ints(&mut self, values: &[i64], shape: &[usize]) -> Value {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(Kind::Int, shape, bytes)
    }

    pub(super) fn double(&mut self, value: f64) -> Value {
        self.doubles(&[value], &[])
    }

    pub(super) fn float(&mut self, value: f32) -> Value {
        self.floats(&[value], &[])
    }

    pub(super) fn int(&mut self, value: i64) -> Value {
        self.ints(&[value], &[])
    }

    /// The constant that is true.
    pub(super) fn truth(&mut self) -> Value {
        self.constant(Kind::Bool, &[], vec![1])
    }

    /// A shape, or indices in one dimension.
    pub(super) fn list(&mut self, values: &[i64]) -> Value {
        self.ints(values, &[values.len()])
    }

    /// A node with one result.
    pub(super) fn op(&mut self, op: &str, inputs: &[&Value]) -> Value {
        self.op_with(op, inputs, Vec::new())
    }

    pub(super) fn op_with(
        &mut self,
        op: &str,
        inputs: &[&Value],
        settings: Vec<(&str, Setting)>,
    ) -> Value {
        let name = self.name();
        self.push("", op, inputs, &[&name], settings, None);
        Value(name)
    }

    /// An operator of `ai.onnx.ml`.
    pub(super) fn ml(
        &mut self,
        op: &str,
        inputs: &[&Value],
        settings: Vec<(&str, Setting)>,
    ) -> Value {
        let name = self.name();
        self.push("ai.onnx.ml", op, inputs, &[&name], settings, None);
        Value(name)
    }

    /// A node that errors name, or whose result has a name of its own.
    pub(super) fn named(&mut self, op: &str, inputs: &[&Value], node: &str, output: &str) -> Value {
        self.push("", op, inputs, &[output], Vec::new(), Some(node));
        Value(output.to_owned())
    }

    /// A name for [`named`](Self::named)'s output.
    pub(super) fn fresh(&mut self) -> String {
        self.name()
    }

    /// A node with two results.
    pub(super) fn pair(
        &mut self,
        op: &str,
        inputs: &[&Value],
        settings: Vec<(&str, Setting)>,
    ) -> (Value, Value) {
        let (a, b) = (self.name(), self.name());
        self.push("", op, inputs, &[&a, &b], settings, None);
        (Value(a), Value(b))
    }

    fn push(
        &mut self,
        domain: &str,
        op: &str,
        inputs: &[&Value],
        outputs: &[&str],
        settings: Vec<(&str, Setting)>,
        name: Option<&str>,
    ) {
        let name = match name {
            Some(name) => name.to_owned(),
            None => format!("{op}{}", outputs.first().copied().unwrap_or_default()),
        };
        self.nodes.push(Node {
            input: inputs.iter().map(|value| value.0.clone()).collect(),
            output: outputs.iter().map(|name| (*name).to_owned()).collect(),
            name,
            op_type: op.to_owned(),
            attribute: settings
                .into_iter()
                .map(|(name, setting)| attribute(name, setting))
                .collect(),
            domain: domain.to_owned(),
        });
    }

    /// The body of a `Scan` or `Loop`: `write` is handed its inputs, the first `n_scalars` of which are
    /// single numbers, and gives its outputs. Constants go to the graph around it.
    pub(super) fn body(
        &mut self,
        inputs: &[Kind],
        n_scalars: usize,
        outputs: &[Kind],
        write: impl FnOnce(&mut Self, &[Value]) -> Vec<Value>,
    ) -> GraphProto {
        let around = std::mem::take(&mut self.nodes);
        let values: Vec<Value> = inputs.iter().map(|_| Value(self.name())).collect();
        let results = write(self, &values);
        // An output must be what a node of the body gives.
        let results: Vec<Value> = results.iter().map(|v| self.op("Identity", &[v])).collect();
        let node = std::mem::replace(&mut self.nodes, around);
        let infos = |values: &[Value], kinds: &[Kind], n_scalars: usize| -> Vec<ValueInfo> {
            let both = values.iter().zip(kinds).enumerate();
            let scalar: Option<&[Option<i64>]> = Some(&[]);
            both.map(|(i, (value, kind))| {
                value_info(&value.0, *kind, scalar.filter(|_| i < n_scalars))
            })
            .collect()
        };
        GraphProto {
            name: format!("body{}", self.name()),
            input: infos(&values, inputs, n_scalars),
            output: infos(&results, outputs, 0),
            node,
            initializer: Vec::new(),
        }
    }

    /// The finished graph.
    pub(super) fn finish(
        self,
        name: &str,
        input: Vec<ValueInfo>,
        output: Vec<ValueInfo>,
    ) -> GraphProto {
        let mut used = BTreeSet::new();
        collect_inputs(&self.nodes, &mut used);
        let used: BTreeSet<String> = used.into_iter().map(str::to_owned).collect();
        let constants = self.constants.into_iter();
        GraphProto {
            node: self.nodes,
            name: name.to_owned(),
            initializer: constants.filter(|c| used.contains(&c.name)).collect(),
            input,
            output,
        }
    }
}

/// What nodes take, and those of their bodies.
fn collect_inputs<'a>(nodes: &'a [Node], used: &mut BTreeSet<&'a str>) {
    for node in nodes {
        used.extend(node.input.iter().map(String::as_str));
        for body in node.attribute.iter().filter_map(|a| a.g.as_ref()) {
            collect_inputs(&body.node, used);
        }
    }
}

/// An input or output; of dimensions `None` is the number of rows.
pub(super) fn value_info(name: &str, kind: Kind, shape: Option<&[Option<i64>]>) -> ValueInfo {
    let dimension = |extent: &Option<i64>| Dimension {
        value: Some(match extent {
            Some(n) => Extent::Known(*n),
            None => Extent::Named("n_samples".to_owned()),
        }),
    };
    ValueInfo {
        name: name.to_owned(),
        r#type: Some(Type {
            tensor_type: Some(TensorType {
                elem_type: kind.number(),
                shape: shape.map(|shape| Shape {
                    dim: shape.iter().map(dimension).collect(),
                }),
            }),
        }),
    }
}

fn attribute(name: &str, setting: Setting) -> Attribute {
    let mut attribute = Attribute {
        name: name.to_owned(),
        ..Attribute::default()
    };
    let bytes = |values: &[f64]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
    attribute.r#type = match setting {
        Setting::Int(value) => {
            attribute.i = Some(value);
            number::ATTRIBUTE_INT
        }
        Setting::Ints(values) => {
            attribute.ints = values;
            number::ATTRIBUTE_INTS
        }
        Setting::Text(text) => {
            attribute.s = Some(text.as_bytes().to_vec());
            number::ATTRIBUTE_STRING
        }
        Setting::Texts(texts) => {
            attribute.strings = texts.into_iter().map(String::into_bytes).collect();
            number::ATTRIBUTE_STRINGS
        }
        Setting::Doubles(values) => {
            attribute.t = Some(Tensor {
                dims: vec![values.len() as i64],
                data_type: number::DOUBLE,
                name: String::new(),
                raw_data: bytes(&values),
            });
            number::ATTRIBUTE_TENSOR
        }
        Setting::One(kind, value) => {
            attribute.t = Some(Tensor {
                dims: vec![1],
                data_type: kind.number(),
                name: String::new(),
                raw_data: match kind {
                    Kind::Int => (value as i64).to_le_bytes().to_vec(),
                    Kind::Float => (value as f32).to_le_bytes().to_vec(),
                    _ => value.to_le_bytes().to_vec(),
                },
            });
            number::ATTRIBUTE_TENSOR
        }
        Setting::Body(graph) => {
            attribute.g = Some(graph);
            number::ATTRIBUTE_GRAPH
        }
    };
    attribute
}
