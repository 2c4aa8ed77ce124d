//! Points through the log, the folder and the chunks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use mlflow_api::types::{KeyValue, Metric};
use serde_json::json;

use crate::harness::{database_of, on_postgres, serve, serve_in};

/// Readers see each acknowledged point once, whether it is in the log, in a chunk, or on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_point_is_seen_once_while_points_are_folded() {
    let server = Arc::new(serve().await);
    let id = server.run().await.info.run_id;
    let acknowledged = Arc::new(AtomicI64::new(-1));
    let writer = tokio::spawn({
        let (server, id, acknowledged) = (server.clone(), id.clone(), acknowledged.clone());
        async move {
            for step in 0..1200 {
                server
                    .client
                    .log_metric(&id, "loss", step as f64, 5, step)
                    .await
                    .unwrap();
                acknowledged.store(step, Ordering::SeqCst);
            }
        }
    });
    while !writer.is_finished() {
        let at_least = acknowledged.load(Ordering::SeqCst);
        let history = server.client.get_metric_history(&id, "loss").await.unwrap();
        let steps: Vec<i64> = history.iter().map(|point| point.step).collect();
        assert_eq!(steps, (0..steps.len() as i64).collect::<Vec<_>>());
        assert!(steps.len() as i64 > at_least);
        let at_least = acknowledged.load(Ordering::SeqCst);
        let run = server.client.get_run(&id).await.unwrap();
        let latest = run.data.metrics.first().map_or(-1, |point| point.step);
        assert!(latest >= at_least, "{latest} {at_least}");
        let filter = format!("metrics.loss >= {at_least}");
        let found = server
            .client
            .search_runs(&[run.info.experiment_id], &filter, &[], 5)
            .await
            .unwrap();
        assert!(at_least < 0 || found.len() == 1, "{filter}");
    }
    writer.await.unwrap();
}

#[tokio::test]
async fn replays_of_a_point_are_one_point_also_after_folding() {
    let server = serve().await;
    let id = server.run().await.info.run_id;
    let points: Vec<_> = [f64::NAN, f64::INFINITY, 0.0, -0.0, -1.5]
        .into_iter()
        .map(|value| Metric::new("é/m", value, 7, 3))
        .collect();
    for _ in 0..3 {
        server
            .client
            .log_batch(&id, &points, &[], &[])
            .await
            .unwrap();
        // A search by metric folds first.
        server
            .client
            .search_runs(&["1".into()], "metrics.`é/m` > 0", &[], 5)
            .await
            .unwrap();
        let history = server.client.get_metric_history(&id, "é/m").await.unwrap();
        let values: Vec<_> = history.iter().map(|p| format!("{:?}", p.value)).collect();
        assert_eq!(values, ["-1.5", "0.0", "NaN", "1.7976931348623157e308"],);
    }
}

#[tokio::test]
async fn a_deleted_or_unknown_run_takes_no_points() {
    let server = serve().await;
    let id = server.run().await.info.run_id;
    let metric = |id: &str| json!({"run_id": id, "key": "a", "value": 1, "timestamp": 1});
    let (status, body) = server.post("runs/log-metric", metric("nobody")).await;
    assert_eq!(
        (status, &body["error_code"]),
        (404, &json!("RESOURCE_DOES_NOT_EXIST"))
    );
    server.post("runs/delete", json!({"run_id": id})).await;
    let (status, body) = server.post("runs/log-metric", metric(&id)).await;
    assert_eq!(
        (status, &body["error_code"]),
        (400, &json!("INVALID_PARAMETER_VALUE"))
    );
    let (status, body) = server.post("runs/log-metric", metric("a\u{0}b")).await;
    assert!(status == 400 || status == 404, "{body}");
    server.post("runs/restore", json!({"run_id": id})).await;
    let history = server.client.get_metric_history(&id, "a").await.unwrap();
    assert!(history.is_empty());
}

/// What an older program wrote, a row a point, is there after the upgrade.
#[tokio::test]
async fn rows_of_an_older_program_are_packed() {
    let temp = tempfile::tempdir().unwrap();
    let server = serve_in(temp.path()).await;
    let id = server.run().await.info.run_id;
    let (uri, _postgres) = database_of(temp.path());
    let insert = format!(
        "INSERT INTO metrics (run_id, key, timestamp, step, value, is_nan) VALUES \
         ('{id}', 'a', 1, 1, 0.5, 0), ('{id}', 'a', 2, 2, 0, 1), ('{id}', 'b', 3, 3, 7, 0); \
         INSERT INTO latest_metrics (run_id, key, timestamp, step, value, is_nan) VALUES \
         ('{id}', 'a', 2, 2, 0, 1), ('{id}', 'b', 3, 3, 7, 0);"
    );
    if on_postgres() {
        let pool = sqlx::PgPool::connect(&uri).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(insert))
            .execute(&pool)
            .await
            .unwrap();
    } else {
        let uri = uri.replacen("sqlite:///", "sqlite://", 1);
        let pool = sqlx::SqlitePool::connect(&uri).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(insert))
            .execute(&pool)
            .await
            .unwrap();
    }
    let server = serve_in(temp.path()).await;
    server
        .client
        .log_metric(&id, "a", 0.25, 4, 4)
        .await
        .unwrap();
    server
        .client
        .log_batch(&id, &[], &[KeyValue::new("p", "1")], &[])
        .await
        .unwrap();
    let steps: Vec<_> = server
        .client
        .get_metric_history(&id, "a")
        .await
        .unwrap()
        .iter()
        .map(|p| (p.step, p.value.is_nan()))
        .collect();
    assert_eq!(steps, [(1, false), (2, true), (4, false)]);
    let found = server
        .client
        .search_runs(&["1".into()], "metrics.b = 7 AND metrics.a = 0.25", &[], 5)
        .await
        .unwrap();
    let keys: BTreeSet<_> = found[0].data.metrics.iter().map(|m| &m.key).collect();
    assert_eq!(keys.len(), 2);
}

/// More than one turn of folding takes: a search sees all of it.
#[tokio::test]
async fn a_large_log_is_folded_to_its_end() {
    let server = serve().await;
    let run = server.run().await.info;
    // Keys of 250 bytes make large entries of few points.
    let points = |step: i64| -> Vec<_> {
        (0..1000)
            .map(|i| Metric::new(format!("{i:0>250}"), step as f64, step, step))
            .collect()
    };
    for step in 0..20 {
        server
            .client
            .log_batch(&run.run_id, &points(step), &[], &[])
            .await
            .unwrap();
    }
    for i in [0, 500, 999] {
        let filter = format!("metrics.`{i:0>250}` = 19");
        let found = server
            .client
            .search_runs(std::slice::from_ref(&run.experiment_id), &filter, &[], 5)
            .await
            .unwrap();
        assert_eq!(found.len(), 1, "{i}");
    }
    let history = server
        .client
        .get_metric_history(&run.run_id, &format!("{:0>250}", 7))
        .await
        .unwrap();
    assert_eq!(history.len(), 20);
}

/// Purging runs while points are folded: neither waits for the other for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_purged_while_points_are_folded() {
    let server = Arc::new(serve().await);
    let experiment = server.run().await.info.experiment_id;
    let registry = super::import::open(&server.folder).await;
    let searcher = tokio::spawn({
        let (server, experiment) = (server.clone(), experiment.clone());
        async move {
            loop {
                server
                    .client
                    .search_runs(std::slice::from_ref(&experiment), "metrics.a > 0", &[], 5)
                    .await
                    .unwrap();
            }
        }
    });
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (server, experiment) = (server.clone(), experiment.clone());
            let registry = registry.clone();
            tokio::spawn(async move {
                for _ in 0..15 {
                    let run = server
                        .client
                        .create_run(&experiment, None, 1, Vec::new())
                        .await
                        .unwrap();
                    let id = run.info.run_id;
                    for step in 0..5 {
                        server
                            .client
                            .log_metric(&id, "a", 1.0, step, step)
                            .await
                            .unwrap();
                    }
                    let (status, _) = server.post("runs/delete", json!({"run_id": id})).await;
                    assert_eq!(status, 200);
                    let options = registry::gc::GcOptions {
                        filter: registry::store::PurgeFilter {
                            run_ids: vec![id.clone()],
                            ..Default::default()
                        },
                        ..Default::default()
                    };
                    registry::gc::gc(&registry, &options, |_| {}).await.unwrap();
                    assert!(server.client.get_run(&id).await.is_err());
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(!searcher.is_finished(), "{:?}", searcher.await);
    searcher.abort();
}
