//! The MLflow model folder: `MLmodel`, the native file, signature, input example.

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
    /// The native bytes.
    pub native: &'a [u8],
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

/// The version of MLflow whose model format is written.
const MLFLOW_VERSION: &str = "3.17.2";

/// The folder's files: (name, content).
///
/// # Errors
/// When a value can't be serialized.
pub fn files(folder: &ModelFolder<'_>) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let example = json!({ "columns": folder.features, "data": folder.example });
    let serving = json!({ "dataframe_split": example });
    let pretty = |value: &Value| serde_json::to_vec_pretty(value);
    let mut files = vec![
        ("MLmodel".to_owned(), mlmodel(folder)?.into_bytes()),
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
    Ok(files)
}

/// `MLmodel` is YAML; each value below is JSON, which is YAML too, so nothing needs another quoting.
fn mlmodel(folder: &ModelFolder<'_>) -> anyhow::Result<String> {
    let column = |name: &String| json!({ "type": "double", "name": name, "required": true });
    let inputs: Vec<Value> = folder.features.iter().map(column).collect();
    let outputs: Vec<Value> = ["score", "neg_log10_tail"]
        .iter()
        .map(|name| column(&(*name).to_owned()))
        .collect();
    let text = |value: &str| serde_json::to_string(value);
    // MLflow keeps a signature's columns as JSON inside of a string.
    let inputs = text(&serde_json::to_string(&inputs)?)?;
    let outputs = text(&serde_json::to_string(&outputs)?)?;
    Ok(format!(
        "artifact_path: model\n\
         flavors:\n\
         \x20 foreshock:\n\
         \x20   data: {native}\n\
         \x20   detector: {detector}\n\
         \x20   format_version: 1\n\
         \x20   foreshock_version: {version}\n\
         mlflow_version: {mlflow}\n\
         model_size_bytes: {size}\n\
         model_uuid: {uuid}\n\
         run_id: {run_id}\n\
         saved_input_example_info:\n\
         \x20 artifact_path: input_example.json\n\
         \x20 pandas_orient: split\n\
         \x20 serving_input_path: serving_input_example.json\n\
         \x20 type: dataframe\n\
         signature:\n\
         \x20 inputs: {inputs}\n\
         \x20 outputs: {outputs}\n\
         \x20 params: null\n\
         utc_time_created: {created}\n",
        native = NATIVE_FILE,
        detector = text(folder.detector)?,
        version = text(env!("CARGO_PKG_VERSION"))?,
        mlflow = text(MLFLOW_VERSION)?,
        size = folder.native.len(),
        uuid = text(folder.model_uuid)?,
        run_id = text(folder.run_id)?,
        created = text(folder.created)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feature_names_of_any_kind_stay_valid_yaml_and_json() {
        let features = vec![
            "plain".to_owned(),
            "with \"quotes\" and: colons\n".to_owned(),
        ];
        let folder = ModelFolder {
            run_id: "r",
            detector: "isolation_forest",
            features: &features,
            example: &[vec![1.0, 2.5]],
            native: b"bytes",
            engine: &Value::Null,
            baseline: &Value::Null,
            threshold: &json!({ "neg_log10_tail": 3.0 }),
            created: "2026-01-01 00:00:00.000000",
            model_uuid: "u",
            statistics: Vec::new(),
        };
        let files = files(&folder).unwrap();
        let text = String::from_utf8(files[0].1.clone()).unwrap();
        let inputs = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("inputs: "))
            .unwrap();
        let inner: String = serde_json::from_str(inputs).unwrap();
        let columns: Value = serde_json::from_str(&inner).unwrap();
        assert_eq!(columns[1]["name"], features[1].as_str());
        assert_eq!(columns[0]["type"], "double");
        assert!(text.contains("model_size_bytes: 5\n"), "{text}");
    }
}
