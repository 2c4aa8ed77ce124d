//! A challenger in shadow: it scores what the champion scored, and never alerts.

use detectors::Model;
use reqwest::Method;
use serde_json::Value;

use crate::http::Caller;
use crate::promote::Models;
use crate::support::{Bench, Running, kafka, model, records, send, values};

#[test]
fn a_challenger_scores_the_same_rows_and_never_alerts() {
    let kafka = kafka();
    let bench = Bench::new(41, 60);
    let models = Models::start(&bench);
    let bytes = model(&bench.symbols, 2);
    let first = models.register(model(&bench.symbols, 1));
    let second = models.register(bytes.clone());
    let broken = models.register(b"no model at all".to_vec());
    let prefix = "shadow.";
    let topic = |name: &str| format!("{prefix}{name}");
    kafka.create_topic(&topic("raw-trades"), 2).unwrap();
    let config = bench.configure(&kafka, "shadow", "rate_limit = 0\n");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text
        .replace(
            "uri = \"model\"",
            "uri = \"models:/m@champion\"\nchallenger = \"challenger\"\npoll = \"200ms\"",
        )
        .replace(
            "[kafka]\n",
            &format!(
                "[registry]\nuri = \"{}\"\n[kafka]\ntopic_prefix = \"{prefix}\"\n",
                models.uri
            ),
        );
    std::fs::write(&config, text).unwrap();
    let running = Running::start(&config);
    let caller = Caller::of(&running, None);

    // Before there is a model nothing is scored, and it is said why.
    let waiting = caller.until("/v1/model", |model| {
        model["champion"]["last_failure"].is_object()
    });
    let reason = waiting["champion"]["last_failure"]["reason"]
        .as_str()
        .unwrap();
    assert!(
        reason.contains("there is no model `m` with the alias `champion`"),
        "{reason}"
    );
    let answer = caller.post("/v1/predict", "{}");
    assert_eq!((answer.status, answer.retry_after.is_some()), (503, true));
    assert!(
        answer.text.contains("there is no model yet: "),
        "{}",
        answer.text
    );
    assert_eq!(caller.get("/ping").status, 503);
    let health = caller.get("/v1/health");
    assert_eq!(
        (health.status, &health.json()["status"]),
        (503, &Value::from("down"))
    );

    models.promote(&first);
    models.alias("challenger", &second);
    let is_version = |version: &str, of: &'static str| {
        let version = version.to_owned();
        move |models: &Value| models[of]["model"]["version"] == *version
    };
    caller.until("/v1/model", is_version(&first, "champion"));
    caller.until("/v1/model", is_version(&second, "challenger"));
    caller.until("/v1/health", |health| {
        health["status"] == "ok" && health["registry"]["status"] == "ok"
    });
    let mut stream = caller.listen("/v1/events?types=challenger");
    send(&kafka, &topic("raw-trades"), &records(&bench.symbols));

    // All rows are there once nothing more is committed; then the challenger catches up.
    let expected = bench.replayed().len();
    values(&kafka, &topic("alerts"), expected, &[&running]);
    let stats = caller.until("/v1/stats", |stats| {
        let scored = &stats["counts"]["rows_scored"];
        scored.as_u64() > Some(0) && stats["challenger"]["comparison"]["compared"] == *scored
    });
    let mut remembered = Vec::new();
    let mut token = String::new();
    loop {
        let path = format!("/v1/predictions?limit=1000&page_token={token}");
        let page = caller.read(&path);
        remembered.extend(page["predictions"].as_array().unwrap().iter().cloned());
        match page["next_page_token"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(stats["counts"]["rows_scored"], remembered.len());

    // Each score is the one that the second version gives for that row, bit for bit.
    let judge = Model::from_bytes(&bytes).unwrap();
    let (mut both, mut champion, mut challenger) = (0_u64, 0_u64, 0_u64);
    for row in &remembered {
        let values: Vec<f64> = judge
            .feature_names
            .iter()
            .map(|name| row["features"][name].as_f64().unwrap())
            .collect();
        let score = judge
            .score_one(row["symbol"].as_str().unwrap(), &values)
            .unwrap();
        let said = &row["challenger"];
        assert_eq!(said["score"].as_f64(), Some(score.neg_log10_tail), "{row}");
        assert_eq!(said["raw_score"].as_f64(), Some(score.raw));
        assert_eq!(said["flagged"], score.flagged);
        assert_eq!(said["version"], *second);
        match (row["flagged"] == true, score.flagged) {
            (true, true) => both += 1,
            (true, false) => champion += 1,
            (false, true) => challenger += 1,
            (false, false) => {}
        }
    }
    let comparison = &stats["challenger"]["comparison"];
    assert_eq!(comparison["flagged"]["both"], both);
    assert_eq!(comparison["flagged"]["champion"], champion);
    assert_eq!(comparison["flagged"]["challenger"], challenger);
    assert!(both > 0 && champion + challenger > 0);
    assert!(comparison["rank_correlation"].as_f64().unwrap() > 0.8);
    assert_eq!(stats["challenger"]["dropped"], 0);
    let metrics = caller.get("/metrics").text;
    for line in [
        format!("scorer_shadow_rows_total {}", remembered.len()),
        format!("scorer_shadow_flagged_total{{by=\"both\"}} {both}"),
        "scorer_shadow_dropped_total 0".to_owned(),
        format!("scorer_model_info{{alias=\"challenger\",name=\"m\",version=\"{second}\"}} 1"),
    ] {
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    let event = stream.next(&caller).unwrap();
    let word: Value = serde_json::from_str(&event.data).unwrap();
    assert_eq!(
        (event.name.as_str(), &word["model"]["version"]),
        ("challenger", &Value::from(&*second))
    );

    // No alert is the challenger's.
    let alerts = kafka.records(&topic("alerts")).unwrap();
    assert_eq!(alerts.len() as u64, both + champion);
    for alert in alerts {
        let alert: Value = serde_json::from_slice(&alert.value).unwrap();
        assert_eq!(alert["model"]["version"], *first);
    }

    // A broken one changes nothing, and without its alias there is none.
    models.alias("challenger", &broken);
    let models_now = caller.until("/v1/model", |models| {
        models["challenger"]["last_failure"].is_object()
    });
    let failure = &models_now["challenger"]["last_failure"];
    assert_eq!(failure["version"], *broken);
    assert!(
        failure["reason"]
            .as_str()
            .unwrap()
            .contains("it is no sound model")
    );
    assert_eq!(models_now["challenger"]["model"]["version"], *second);
    let alias = format!("{}/api/2.0/mlflow/registered-models/alias", models.uri);
    let gone = reqwest::Client::new()
        .request(Method::DELETE, alias)
        .header("content-type", "application/json")
        .body(r#"{"name":"m","alias":"challenger"}"#)
        .send();
    assert!(models.runtime.block_on(gone).unwrap().status().is_success());
    caller.until("/v1/model", |models| {
        models["challenger"]["model"].is_null()
    });
    assert_eq!(running.stop(), Some(0));
}
