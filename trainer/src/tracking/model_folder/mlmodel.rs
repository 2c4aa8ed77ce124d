//! `MLmodel`, and the files that say what Python needs.

use detectors::{OnnxColumn, OnnxKind};
use serde_json::{Value, json};

use super::{ModelFolder, NATIVE_FILE, ONNX_FILE};

/// The version of MLflow whose model format is written.
const MLFLOW_VERSION: &str = "3.17.2";
/// What the graphs were checked with; `tests/mlflow_client` installs the same.
const PYTHON_VERSION: &str = "3.11.7";
const ONNX_VERSION: &str = "1.23.2";
const REQUIREMENTS: [&str; 5] = [
    "mlflow==3.17.2",
    "numpy==2.4.6",
    "onnx==1.23.2",
    "onnxruntime==1.31.1",
    "pandas==3.1.1",
];

/// Files about the environment: (name, content), as `mlflow.onnx.save_model` writes them.
pub(super) fn environment() -> Vec<(&'static str, String)> {
    let pip = REQUIREMENTS.map(|line| format!("  - {line}\n")).concat();
    vec![
        ("requirements.txt", REQUIREMENTS.join("\n")),
        (
            "conda.yaml",
            format!(
                "channels:\n- conda-forge\ndependencies:\n- python={PYTHON_VERSION}\n\
                 - pip<=23.2.1\n- pip:\n{pip}name: mlflow-env\n"
            ),
        ),
        (
            "python_env.yaml",
            format!(
                "python: {PYTHON_VERSION}\nbuild_dependencies:\n- pip==23.2.1\n\
                 - setuptools==65.5.0\n- wheel\ndependencies:\n- -r requirements.txt\n"
            ),
        ),
    ]
}

/// `MLmodel` is YAML; each value below is JSON, which is YAML too, so nothing needs another quoting.
pub(super) fn text(folder: &ModelFolder<'_>, size: usize) -> anyhow::Result<String> {
    let text = |value: &str| serde_json::to_string(value);
    let (inputs, outputs) = signature(folder);
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
         {python}\
         is_signature_from_type_hint: false\n\
         mlflow_version: {mlflow}\n\
         model_id: null\n\
         model_size_bytes: {size}\n\
         model_uuid: {uuid}\n\
         prompts: null\n\
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
         type_hint_from_example: false\n\
         utc_time_created: {created}\n",
        native = NATIVE_FILE,
        detector = text(folder.detector)?,
        version = text(env!("CARGO_PKG_VERSION"))?,
        python = folder.onnx.map_or_else(String::new, |_| python_flavors()),
        mlflow = text(MLFLOW_VERSION)?,
        uuid = text(folder.model_uuid)?,
        run_id = text(folder.run_id)?,
        created = text(folder.created)?,
    ))
}

/// As `mlflow.onnx.save_model(onnx_execution_providers=["CPUExecutionProvider"])` declares a model.
fn python_flavors() -> String {
    format!(
        "\x20 onnx:\n\
         \x20   code: null\n\
         \x20   data: {ONNX_FILE}\n\
         \x20   onnx_session_options: null\n\
         \x20   onnx_version: {ONNX_VERSION}\n\
         \x20   providers:\n\
         \x20   - CPUExecutionProvider\n\
         \x20 python_function:\n\
         \x20   data: {ONNX_FILE}\n\
         \x20   env:\n\
         \x20     conda: conda.yaml\n\
         \x20     virtualenv: python_env.yaml\n\
         \x20   loader_module: mlflow.onnx\n\
         \x20   python_version: {PYTHON_VERSION}\n"
    )
}

/// Inputs and outputs as MLflow writes them.
///
/// A model that asks for the symbol is declared by tensors, and any other by columns: MLflow hands a
/// column of texts to onnxruntime as pandas holds it, which onnxruntime refuses since pandas 3; of tensors
/// it makes NumPy arrays.
fn signature(folder: &ModelFolder<'_>) -> (Vec<Value>, Vec<Value>) {
    let column = |name: &str, kind: &str| json!({ "type": kind, "name": name, "required": true });
    let Some(onnx) = folder.onnx else {
        let inputs = folder.features.iter();
        let outputs = ["score", "raw_score"];
        return (
            inputs.map(|name| column(name, "double")).collect(),
            outputs.map(|name| column(name, "double")).into(),
        );
    };
    let by_tensors = onnx.takes_symbol();
    let of = |columns: &[OnnxColumn]| -> Vec<Value> {
        let columns = columns.iter();
        columns
            .map(|OnnxColumn { name, kind }| {
                let (as_column, as_tensor) = match kind {
                    OnnxKind::Double => ("double", "float64"),
                    OnnxKind::Text => ("string", "str"),
                    OnnxKind::Flag => ("boolean", "bool"),
                };
                if by_tensors {
                    json!({
                        "type": "tensor",
                        "tensor-spec": { "dtype": as_tensor, "shape": [-1] },
                        "name": name,
                    })
                } else {
                    column(name, as_column)
                }
            })
            .collect()
    };
    (of(&onnx.inputs), of(&onnx.outputs))
}
