//! Kills in the middle of the work: what was acknowledged is there, what was not is there as a whole
//! or not at all.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mlflow_api::types::{KeyValue, Metric};
use mlflow_api::{Client, ClientOptions, Credentials};
use test_stack::PostgresServer;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::harness::{database_of, on_postgres};

/// Points of a batch, each of another metric.
const KEYS: usize = 20;
const WRITERS: usize = 6;

struct Program {
    child: Child,
    client: Client,
}

impl Program {
    async fn start(folder: &Path, database: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_registry"))
            .args(["serve", "--port", "0", "--backend-store-uri", database])
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .await
            .unwrap();
        let url = line.trim().strip_prefix("registry at ").unwrap();
        let options = ClientOptions {
            max_retries: 0,
            ..ClientOptions::default()
        };
        Self {
            child,
            client: Client::new(url, Credentials::None, options).unwrap(),
        }
    }
}

/// What was acknowledged so far: the steps, by writer.
type Acknowledged = BTreeMap<usize, Vec<i64>>;

/// Logs batches until the server is gone or `stop` is set; counts the acknowledged ones.
async fn write(
    client: Client,
    run: String,
    writer: usize,
    round: usize,
    count: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> Vec<i64> {
    let mut acknowledged = Vec::new();
    for n in 0..100_000_i64 {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let step = (round as i64 * 100_000 + n) * WRITERS as i64 + writer as i64;
        let metrics: Vec<_> = (0..KEYS)
            .map(|k| Metric::new(format!("k{k}"), step as f64, 1, step))
            .collect();
        // Every third one takes the other way into the database, through a transaction.
        let params = if n % 3 == 0 {
            vec![KeyValue::new(format!("p{step}"), "v")]
        } else {
            vec![]
        };
        match client.log_batch(&run, &metrics, &params, &[]).await {
            Ok(()) => {
                acknowledged.push(step);
                count.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) if !stop.load(Ordering::Relaxed) => {
                // A database that is away comes back; a server that is away does not.
                tokio::time::sleep(Duration::from_millis(20)).await;
                if client
                    .get_experiment("0")
                    .await
                    .is_err_and(|e| e.to_string().contains("connect"))
                {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    acknowledged
}

/// All acknowledged steps are in each metric's history; every other step is in all or in none.
async fn check(client: &Client, run: &str, acknowledged: &Acknowledged) {
    let mut seen: BTreeMap<i64, usize> = BTreeMap::new();
    for k in 0..KEYS {
        for point in client
            .get_metric_history(run, &format!("k{k}"))
            .await
            .unwrap()
        {
            *seen.entry(point.step).or_default() += 1;
        }
    }
    for step in acknowledged.values().flatten() {
        assert_eq!(seen.get(step), Some(&KEYS), "acknowledged step {step}");
    }
    let torn: Vec<_> = seen.iter().filter(|(_, keys)| **keys != KEYS).collect();
    assert!(torn.is_empty(), "{torn:?}");
    let newest = seen.keys().max().copied();
    let latest = client.get_run(run).await.unwrap().data;
    assert!(
        latest
            .metrics
            .iter()
            .all(|metric| Some(metric.step) == newest)
    );
    for param in latest.params {
        let step: i64 = param.key[1..].parse().unwrap();
        assert_eq!(
            seen.get(&step),
            Some(&KEYS),
            "the points beside {}",
            param.key
        );
    }
}

async fn wait_for(count: &AtomicUsize, more: usize) {
    let from = count.load(Ordering::Relaxed);
    for _ in 0..3000 {
        if count.load(Ordering::Relaxed) >= from + more {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing is written any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_keeps_what_it_acknowledged() {
    let temp = tempfile::tempdir().unwrap();
    let (database, _postgres) = database_of(temp.path());
    let mut acknowledged = Acknowledged::new();
    let mut run = None;
    for round in 0..4 {
        let mut program = Program::start(temp.path(), &database).await;
        let id = match &run {
            Some(id) => String::clone(id),
            None => {
                let new = program
                    .client
                    .create_run("0", None, 1, vec![])
                    .await
                    .unwrap();
                run.insert(new.info.run_id).clone()
            }
        };
        check(&program.client, &id, &acknowledged).await;
        let count = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (client, id) = (program.client.clone(), id.clone());
                tokio::spawn(write(
                    client,
                    id,
                    writer,
                    round,
                    count.clone(),
                    stop.clone(),
                ))
            })
            .collect();
        // Later rounds live long enough to fold.
        wait_for(&count, 30 + round * 150).await;
        program.child.kill().await.unwrap();
        stop.store(true, Ordering::Relaxed);
        for (writer, task) in writers.into_iter().enumerate() {
            let steps = task.await.unwrap();
            acknowledged.entry(writer).or_default().extend(steps);
        }
    }
    let program = Program::start(temp.path(), &database).await;
    check(&program.client, &run.unwrap(), &acknowledged).await;
}

/// The registry outlives its database, says meanwhile that it is away, and goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_postgresql_keeps_what_was_acknowledged() {
    if !on_postgres() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let mut postgres = PostgresServer::start().unwrap();
    let database = postgres.create_database().unwrap();
    let program = Program::start(temp.path(), &database).await;
    let run = program
        .client
        .create_run("0", None, 1, vec![])
        .await
        .unwrap();
    let id = run.info.run_id;
    let count = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (client, id) = (program.client.clone(), id.clone());
            tokio::spawn(write(client, id, writer, 0, count.clone(), stop.clone()))
        })
        .collect();
    for _ in 0..3 {
        wait_for(&count, 100).await;
        postgres.kill().unwrap();
        let away = program.client.get_run(&id).await.unwrap_err().to_string();
        assert!(away.contains("TEMPORARILY_UNAVAILABLE"), "{away}");
        postgres.restart().unwrap();
    }
    wait_for(&count, 100).await;
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Acknowledged::new();
    for (writer, task) in writers.into_iter().enumerate() {
        acknowledged.insert(writer, task.await.unwrap());
    }
    check(&program.client, &id, &acknowledged).await;
}
