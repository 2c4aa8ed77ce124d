//! The MLflow model folder: `MLmodel`, the native file, the model as ONNX, signature, input example.

mod mlmodel;

use detectors::OnnxModel;
use serde_json::{Value, json};

/// What goes into the folder.
#[derive(Debug)]
pub struct ModelFolder<'a> {
    /// The run that made it.
    pub run_id: &'a str,
    /// The detector's name in experiment files.
    pub detector: &'a str,
    /// Feature names, in model order.
    pub features: &'a [String],
    /// A few rows as an example, row-major (n_samples, n_features).
    pub example: &'a [Vec<f64>],
    /// Whose row the example is, where the model asks.
    pub example_symbol: &'a str,
    /// The native bytes.
    pub native: &'a [u8],
    /// The same as ONNX, if there is such a form.
    pub onnx: Option<&'a OnnxModel>,
    /// The feature engine's configuration, or null for tables.
    pub engine: &'a Value,
    /// What drift is measured against later.
    pub baseline: &'a Value,
    /// The threshold and how it came about.
    pub threshold: &'a Value,
    /// When it was made, RFC 3339 in UTC.
    pub created: &'a str,
    /// A random id, 32 hexadecimal digits.
    pub model_uuid: &'a str,
    /// Statistics that people read, of a detector that has such: (name, JSON).
    pub statistics: Vec<(String, String)>,
}

/// The native file's name.
pub const NATIVE_FILE: &str = "model.foreshock";

/// The ONNX model's name, as MLflow has it.
pub const ONNX_FILE: &str = "model.onnx";

/// The folder's files: (name, content).
///
/// # Errors
/// When a value can't be serialized.
pub fn files(folder: &ModelFolder<'_>) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let asks_symbol = folder.onnx.is_some_and(OnnxModel::takes_symbol);
    let mut columns: Vec<&str> = folder.features.iter().map(String::as_str).collect();
    let mut rows: Vec<Vec<Value>> = Vec::new();
    for row in folder.example {
        rows.push(row.iter().map(|value| json!(value)).collect());
    }
    if asks_symbol {
        columns.push("symbol");
        rows.iter_mut()
            .for_each(|row| row.push(json!(folder.example_symbol)));
    }
    let example = json!({ "columns": columns, "data": rows });
    let serving = json!({ "dataframe_split": example });
    let pretty = |value: &Value| serde_json::to_vec_pretty(value);
    let mut files = vec![
        (NATIVE_FILE.to_owned(), folder.native.to_vec()),
        ("input_example.json".to_owned(), pretty(&example)?),
        ("serving_input_example.json".to_owned(), pretty(&serving)?),
        (
            "features.json".to_owned(),
            pretty(
                &json!({ "features": folder.features, "engine": folder.engine, "threshold": folder.threshold }),
            )?,
        ),
        ("baseline.json".to_owned(), pretty(folder.baseline)?),
    ];
    let statistics = folder.statistics.iter();
    files.extend(statistics.map(|(name, text)| (name.clone(), text.clone().into_bytes())));
    if let Some(onnx) = folder.onnx {
        files.push((ONNX_FILE.to_owned(), onnx.bytes.clone()));
        let environment = mlmodel::environment().into_iter();
        files.extend(environment.map(|(name, text)| (name.to_owned(), text.into_bytes())));
    }
    let size = files.iter().map(|(_, content)| content.len()).sum();
    let text = mlmodel::text(folder, size)?;
    files.insert(0, ("MLmodel".to_owned(), text.into_bytes()));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use detectors::{OnnxColumn, OnnxKind};

    use super::*;

    fn written(features: &[String], onnx: Option<&OnnxModel>) -> Vec<(String, String)> {
        let folder = ModelFolder {
            run_id: "r",
            detector: "isolation_forest",
            features,
            example: &[vec![1.0, 2.5]],
            example_symbol: "BTCUSD",
            native: b"bytes",
            onnx,
            engine: &Value::Null,
            baseline: &Value::Null,
            threshold: &json!({ "neg_log10_tail": 3.0 }),
            created: "2026-01-01 00:00:00.000000",
            model_uuid: "u",
            statistics: Vec::new(),
        };
        let files = files(&folder).unwrap().into_iter();
        files
            .map(|(name, content)| (name, String::from_utf8(content).unwrap()))
            .collect()
    }

    /// A signature's columns, which are JSON in a text of YAML.
    fn columns(mlmodel: &str, which: &str) -> Value {
        let line = mlmodel
            .lines()
            .find_map(|line| line.trim().strip_prefix(which));
        let inner: String = serde_json::from_str(line.unwrap()).unwrap();
        serde_json::from_str(&inner).unwrap()
    }

    fn onnx(features: &[String], symbol: bool) -> OnnxModel {
        let column = |name: &str, kind| OnnxColumn {
            name: name.to_owned(),
            kind,
        };
        let mut inputs: Vec<_> = features
            .iter()
            .map(|name| column(name, OnnxKind::Double))
            .collect();
        if symbol {
            inputs.push(column("symbol", OnnxKind::Text));
        }
        OnnxModel {
            bytes: b"graph".to_vec(),
            inputs,
            outputs: vec![
                column("score", OnnxKind::Double),
                column("flag", OnnxKind::Flag),
            ],
        }
    }

    #[test]
    fn feature_names_of_any_kind_stay_valid_yaml_and_json() {
        let features = vec![
            "plain".to_owned(),
            "with \"quotes\" and: colons\n".to_owned(),
        ];
        let files = written(&features, None);
        let text = &files[0].1;
        let inputs = columns(text, "inputs: ");
        assert_eq!(inputs[1]["name"], features[1].as_str());
        assert_eq!(inputs[0]["type"], "double");
        assert!(!text.contains("python_function"), "{text}");
        let others = files[1..].iter().map(|(_, content)| content.len());
        let size = format!("model_size_bytes: {}\n", others.sum::<usize>());
        assert!(text.contains(&size), "{text}");
    }

    #[test]
    fn with_a_graph_it_is_a_python_function_whose_signature_is_the_graphs() {
        let features = vec!["a".to_owned(), "b".to_owned()];
        let graph = onnx(&features, false);
        let files = written(&features, Some(&graph));
        let text = &files[0].1;
        assert!(text.contains("    loader_module: mlflow.onnx\n"), "{text}");
        assert_eq!(columns(text, "outputs: ")[1]["type"], "boolean");
        assert_eq!(columns(text, "inputs: ")[1]["type"], "double");
        for name in [
            "model.onnx",
            "requirements.txt",
            "conda.yaml",
            "python_env.yaml",
        ] {
            assert!(files.iter().any(|(file, _)| file == name), "{name}");
        }
    }

    #[test]
    fn where_the_symbol_counts_it_is_in_signature_and_example() {
        let features = vec!["a".to_owned(), "b".to_owned()];
        let graph = onnx(&features, true);
        let files = written(&features, Some(&graph));
        let inputs = columns(&files[0].1, "inputs: ");
        assert_eq!(inputs[2]["name"], "symbol");
        assert_eq!(inputs[2]["tensor-spec"]["dtype"], "str");
        assert_eq!(inputs[0]["tensor-spec"]["dtype"], "float64");
        let (_, example) = files
            .iter()
            .find(|(name, _)| name == "input_example.json")
            .unwrap();
        let example: Value = serde_json::from_str(example).unwrap();
        assert_eq!(example["data"][0], json!([1.0, 2.5, "BTCUSD"]));
    }
}
