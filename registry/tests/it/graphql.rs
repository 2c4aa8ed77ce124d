//! The queries of the web page.

use serde_json::{Value, json};

use crate::harness::{Server, serve};

async fn ask(server: &Server, query: &str, variables: Value) -> Value {
    let body = json!({"query": query, "variables": variables});
    let (status, answer) = server.send("POST", "/graphql", body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// As the page of a run asks, shortened.
const GET_RUN: &str = "query GetRun($data: MlflowGetRunInput!) @component(name: \"MLflow.Run\") {
  mlflowGetRun(input: $data) {
    apiError { helpUrl code message __typename }
    run { ...Detail experiment { experimentId name __typename } modelVersions { name } __typename }
    __typename
  }
}
fragment Detail on MlflowRun {
  info { runName status runUuid endTime startTime __typename }
  data { metrics { key value step timestamp } params { key value } tags { key value } }
  inputs { datasetInputs { dataset { name schema } tags { key value } } modelInputs { modelId } }
}";

#[tokio::test]
async fn the_page_of_a_run_is_answered() {
    let server = serve().await;
    let run = server.run().await.info;
    let batch = json!({
        "run_id": run.run_id,
        "metrics": [
            {"key": "auc", "value": 0.5, "timestamp": 9007199254740993_i64, "step": 3},
            {"key": "bad", "value": "NaN", "timestamp": 1, "step": 0},
        ],
        "params": [{"key": "lr", "value": "0.1"}],
    });
    assert_eq!(server.post("runs/log-batch", batch).await.0, 200);
    let answer = ask(&server, GET_RUN, json!({"data": {"runId": run.run_id}})).await;
    assert_eq!(answer["errors"], Value::Null, "{answer}");
    let found = &answer["data"]["mlflowGetRun"]["run"];
    assert_eq!(found["__typename"], "MlflowRunExtension");
    assert_eq!(found["info"]["status"], "RUNNING");
    assert_eq!(found["info"]["endTime"], "0");
    assert_eq!(
        found["data"]["metrics"],
        json!([
            {"key": "auc", "value": 0.5, "step": "3", "timestamp": "9007199254740993"},
            {"key": "bad", "value": null, "step": "0", "timestamp": "1"},
        ])
    );
    assert_eq!(
        found["data"]["params"],
        json!([{"key": "lr", "value": "0.1"}])
    );
    assert_eq!(
        found["inputs"],
        json!({"datasetInputs": [], "modelInputs": []})
    );
    assert_eq!(found["experiment"]["experimentId"], run.experiment_id);
    assert_eq!(found["modelVersions"], json!([]));
    assert_eq!(found.get("outputs"), None);
}

#[tokio::test]
async fn every_root_field_is_answered() {
    let server = serve().await;
    let run = server.run().await.info;
    let query = "query($e: [String], $r: String!, $full: Boolean = false) {
      first: mlflowGetExperiment(input: {experimentId: \"0\"}) { experiment { name } }
      mlflowSearchRuns(input: {experimentIds: $e, runViewType: ALL, maxResults: 1}) {
        runs { info { runId } data @include(if: $full) { tags { key } } }
      }
      mlflowListArtifacts(input: {runId: $r}) { rootUri files { path } }
      mlflowGetMetricHistoryBulkInterval(input: {runIds: [$r], metricKey: \"a\"}) { metrics { key } }
      mlflowSearchModelVersions(input: {filter: \"name = 'x'\"}) { modelVersions { version } }
      missing: mlflowGetExperiment(input: {experimentId: \"999\"}) { experiment { name } }
    }";
    let variables = json!({"e": [run.experiment_id], "r": run.run_id});
    let answer = ask(&server, query, variables).await;
    let data = &answer["data"];
    assert_eq!(data["first"], json!({"experiment": {"name": "Default"}}));
    assert_eq!(
        data["mlflowSearchRuns"],
        json!({"runs": [{"info": {"runId": run.run_id}}]})
    );
    assert_eq!(data["mlflowListArtifacts"]["files"], json!([]));
    assert_eq!(
        data["mlflowGetMetricHistoryBulkInterval"],
        json!({"metrics": []})
    );
    assert_eq!(
        data["mlflowSearchModelVersions"],
        json!({"modelVersions": []})
    );
    assert_eq!(data["missing"], Value::Null);
    assert_eq!(
        answer["errors"],
        json!(["No Experiment with id=999 exists"])
    );
}

#[tokio::test]
async fn what_costs_too_much_or_is_unknown_is_refused() {
    let server = serve().await;
    let many = |field: &str| -> String {
        let fields: Vec<_> = (0..11)
            .map(|i| field.replace('#', &i.to_string()))
            .collect();
        fields.join(" ")
    };
    let deep = "{ mlflowGetRun { ".to_owned() + &"run { ".repeat(10) + "x" + &" }".repeat(12);
    for (query, part) in [
        (
            format!(
                "{{ {} }}",
                many("a#: mlflowGetRun(input: {runId: \"x\"}) { apiError }")
            ),
            "at most 10",
        ),
        (
            format!(
                "{{ mlflowGetRun(input: {{runId: \"x\"}}) {{ {} }} }}",
                many("a#: apiError { code }")
            ),
            "aliases",
        ),
        (deep, "maximum depth"),
        (
            "{ nothing { x } }".to_owned(),
            "Cannot query field 'nothing'",
        ),
        (
            "{ mlflowGetExperiment(input: {experimentId: \"0\"}) { nothing } }".to_owned(),
            "Cannot query field 'nothing'",
        ),
        (
            "{ ...A } fragment A on Query { ...A }".to_owned(),
            "Cannot spread",
        ),
        ("{ mlflowGetRun(".to_owned(), "Syntax Error"),
        ("subscription { a }".to_owned(), "subscription"),
    ] {
        let answer = ask(&server, &query, Value::Null).await;
        assert_eq!(answer["data"], Value::Null, "{query}");
        let error = answer["errors"][0].as_str().unwrap();
        assert!(error.contains(part), "{query}: {error}");
    }
    let (status, _) = server.send("POST", "/graphql", json!({"query": 1})).await;
    assert_eq!(status, 400);
}
