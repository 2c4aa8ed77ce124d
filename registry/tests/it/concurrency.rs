use std::sync::Arc;

use mlflow_api::types::{KeyValue, Metric};

use crate::harness::{Server, serve, serve_in};

const TASKS: usize = 32;

/// Logs the same keys in another order from every task, and creates versions in between; through
/// the servers in turns.
async fn hammer(servers: &[Arc<Server>]) {
    let first = &servers[0];
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(first.run().await.info);
    }
    first.client.ensure_registered_model("m").await.unwrap();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let server = Arc::clone(&servers[task % servers.len()]);
            let runs = runs.clone();
            tokio::spawn(async move {
                for round in 0..5_usize {
                    let run = &runs[(task + round) % runs.len()];
                    let mut keys: Vec<usize> = (0..20).collect();
                    keys.rotate_left((task * 7 + round) % 20);
                    if task % 2 == 0 {
                        keys.reverse();
                    }
                    let step = (task * 100 + round) as i64;
                    let metrics: Vec<_> = keys
                        .iter()
                        .map(|k| Metric::new(format!("k{k}"), 1.0, step, step))
                        .collect();
                    let pairs: Vec<_> = keys
                        .iter()
                        .map(|k| KeyValue::new(format!("k{k}"), "v"))
                        .collect();
                    server
                        .client
                        .log_batch(&run.run_id, &metrics, &pairs, &pairs)
                        .await
                        .unwrap();
                    let source = run.artifact_uri.as_deref().unwrap();
                    let version = server
                        .client
                        .create_model_version("m", source, Some(&run.run_id), vec![], None)
                        .await
                        .unwrap();
                    for alias in ["champion", "challenger"] {
                        server
                            .client
                            .set_alias("m", alias, &version.version)
                            .await
                            .unwrap();
                    }
                    server
                        .client
                        .search_runs(&["1".into()], "metrics.k1 > 0", &[], 5)
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut versions: Vec<i64> = first
        .client
        .search_model_versions("name = 'm'")
        .await
        .unwrap()
        .iter()
        .map(|version| version.version.parse().unwrap())
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=(TASKS * 5) as i64).collect::<Vec<_>>());
    for alias in ["champion", "challenger"] {
        first.client.get_by_alias("m", alias).await.unwrap();
    }
    let mut points = 0;
    for run in &runs {
        let history = first
            .client
            .get_metric_history(&run.run_id, "k7")
            .await
            .unwrap();
        points += history.len();
        let latest = first
            .client
            .get_run(&run.run_id)
            .await
            .unwrap()
            .data
            .metrics;
        let newest = history.iter().map(|point| point.step).max().unwrap();
        assert!(latest.iter().all(|metric| metric.step == newest));
    }
    assert_eq!(points, TASKS * 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_writers_lose_nothing() {
    hammer(&[Arc::new(serve().await)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_share_one_database() {
    let first = serve().await;
    let second = serve_in(&first.folder).await;
    hammer(&[Arc::new(first), Arc::new(second)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_open_a_new_database_at_once() {
    let temp = tempfile::tempdir().unwrap();
    let servers: Vec<_> = (0..6)
        .map(|_| {
            let folder = temp.path().to_owned();
            tokio::spawn(async move { serve_in(&folder).await })
        })
        .collect();
    for server in servers {
        server
            .await
            .unwrap()
            .client
            .get_experiment("0")
            .await
            .unwrap();
    }
}

/// A client that goes away cancels its request wherever that is, also in the middle of a
/// transaction: the one writing connection must come back clean.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_go_away_block_nobody() {
    let server = serve().await;
    let id = server.run().await.info.run_id;
    let metrics: Vec<_> = (0..300)
        .map(|k| Metric::new(format!("k{k}"), 1.0, 1, 1))
        .collect();
    for micros in 0..100_u64 {
        let (client, id, metrics) = (server.client.clone(), id.clone(), metrics.clone());
        let task = tokio::spawn(async move { client.log_batch(&id, &metrics, &[], &[]).await });
        tokio::time::sleep(std::time::Duration::from_micros(micros * 150)).await;
        task.abort();
        task.await.ok();
    }
    let write = server.client.log_metric(&id, "after", 1.0, 1, 1);
    tokio::time::timeout(std::time::Duration::from_secs(20), write)
        .await
        .unwrap()
        .unwrap();
    server
        .client
        .log_batch(&id, &metrics, &[], &[])
        .await
        .unwrap();
    assert_eq!(
        server.client.get_run(&id).await.unwrap().data.metrics.len(),
        301
    );
}
