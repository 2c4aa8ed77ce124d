//! Load for a tracking server: the same requests for any that speaks the MLflow REST dialect.
//!
//! `load URL [--seconds 5] [--connections 1,16] [--runs 10000] [--pid PID] [--only NAME]
//! [--prepared FILE]` prints a line of JSON per scenario and number of connections: requests per
//! second, the median and the 99th percentile in ms, and the processor time of the server (of `PID`
//! and its children) per request in µs. What the scenarios need is made first, once where `FILE`
//! remembers it; `--seconds 0` makes it and measures nothing. Each connection is a thread with one
//! keep-alive socket, so that the generator itself takes little. See `benches/registry/run.sh`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring program: any surprise ends it"
)]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn main() {
    let options = Options::read();
    let mut http = Http::connect(&options.authority);
    let prepared = Arc::new(Prepared::of(&mut http, &options));
    if options.seconds == 0.0 {
        return;
    }
    for (name, scenario) in SCENARIOS {
        if options
            .only
            .as_deref()
            .is_some_and(|only| !name.contains(only))
        {
            continue;
        }
        for &connections in &options.connections {
            measure(name, *scenario, connections, &prepared, &options);
        }
    }
    if options
        .only
        .as_deref()
        .is_none_or(|only| "artifact".contains(only))
    {
        artifacts(&options);
    }
}

struct Options {
    authority: String,
    seconds: f64,
    connections: Vec<usize>,
    runs: usize,
    pid: Option<u32>,
    only: Option<String>,
    prepared: Option<String>,
}

impl Options {
    fn read() -> Self {
        let mut options = Self {
            authority: String::new(),
            seconds: 5.0,
            connections: vec![1, 16],
            runs: 10_000,
            pid: None,
            only: None,
            prepared: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap();
            match argument.as_str() {
                "--seconds" => options.seconds = value().parse().unwrap(),
                "--connections" => {
                    options.connections = value().split(',').map(|n| n.parse().unwrap()).collect();
                }
                "--runs" => options.runs = value().parse().unwrap(),
                "--pid" => options.pid = Some(value().parse().unwrap()),
                "--only" => options.only = Some(value()),
                "--prepared" => options.prepared = Some(value()),
                url => {
                    let rest = url.strip_prefix("http://").unwrap();
                    options.authority = rest.trim_end_matches('/').to_owned();
                }
            }
        }
        assert!(!options.authority.is_empty(), "give the server's URL");
        options
    }
}

/// What the scenarios need to be there.
struct Prepared {
    experiment: String,
    /// An experiment with many runs of ten metrics.
    searched: String,
    /// Runs to log to.
    runs: Vec<String>,
    model: String,
    /// A run with a metric of 100,000 points.
    long: String,
}

/// A request of a scenario: the thread's number and the request's number in it make it unique.
type Scenario = fn(&Prepared, usize, u64, &mut String) -> (&'static str, String);

const SCENARIOS: &[(&str, Scenario)] = &[
    ("create-run", |p, _, _, body| {
        write!(body, r#"{{"experiment_id":"{}","start_time":1700000000000,"tags":[{{"key":"mlflow.user","value":"load"}}]}}"#, p.experiment).unwrap();
        ("POST", "/api/2.0/mlflow/runs/create".to_owned())
    }),
    ("log-metric", |p, thread, n, body| {
        write!(
            body,
            r#"{{"run_id":"{}","key":"loss","value":0.{n},"timestamp":{},"step":{n}}}"#,
            p.run(thread),
            now()
        )
        .unwrap();
        ("POST", "/api/2.0/mlflow/runs/log-metric".to_owned())
    }),
    ("log-batch-100", |p, thread, n, body| {
        batch(body, p.run(thread), 100, n);
        ("POST", "/api/2.0/mlflow/runs/log-batch".to_owned())
    }),
    ("log-batch-1000", |p, thread, n, body| {
        batch(body, p.run(thread), 1000, n);
        ("POST", "/api/2.0/mlflow/runs/log-batch".to_owned())
    }),
    ("get-run", |p, _, n, _| {
        let run = p.run(usize::try_from(n).unwrap() % 7);
        ("GET", format!("/api/2.0/mlflow/runs/get?run_id={run}"))
    }),
    ("alias", |p, _, _, _| {
        (
            "GET",
            format!(
                "/api/2.0/mlflow/registered-models/alias?name={}&alias=champion",
                p.model
            ),
        )
    }),
    ("search-runs", |p, _, n, body| {
        let limit = 0.9 + (n % 50) as f64 / 1000.0;
        write!(body, r#"{{"experiment_ids":["{}"],"filter":"metrics.m3 > {limit} AND params.p1 = 'v7'","order_by":["metrics.m3 DESC"],"max_results":100}}"#, p.searched).unwrap();
        ("POST", "/api/2.0/mlflow/runs/search".to_owned())
    }),
    ("history-100000", |p, _, _, _| {
        (
            "GET",
            format!(
                "/api/2.0/mlflow/metrics/get-history?run_id={}&metric_key=long",
                p.long
            ),
        )
    }),
    ("search-versions", |p, _, n, _| {
        let run = n % 97;
        (
            "GET",
            format!(
                "/api/2.0/mlflow/model-versions/search?filter=name%3D%27{}-many%27%20AND%20tags.k%3D%27v{run}%27&max_results=100",
                p.model
            ),
        )
    }),
];

/// How long a scenario runs before it is measured.
const WARM: Duration = Duration::from_millis(700);
/// Bytes of an artifact.
const ARTIFACT: usize = 64 << 20;

/// The whole of 64 MiB, up and down, by one connection.
fn artifacts(options: &Options) {
    let mut http = Http::connect(&options.authority);
    let content = vec![7_u8; ARTIFACT];
    let path = format!("/api/2.0/mlflow-artifacts/artifacts/0/load-{}/file", now());
    for (name, method, body) in [
        ("artifact-up", "PUT", &content[..]),
        ("artifact-down", "GET", &[]),
    ] {
        let began = Instant::now();
        let cpu = options.pid.map(cpu_seconds);
        let mut times = Vec::new();
        while times.len() < 5 || began.elapsed().as_secs_f64() < options.seconds {
            let began = Instant::now();
            http.send(method, &path, "application/octet-stream", body);
            times.push(began.elapsed());
        }
        let cpu = cpu.zip(options.pid.map(cpu_seconds)).map(|(a, b)| b - a);
        report(name, 1, times, began.elapsed(), cpu);
    }
}

impl Prepared {
    /// What the file remembers, or else what is made now.
    fn of(http: &mut Http, options: &Options) -> Self {
        let known = options
            .prepared
            .as_ref()
            .and_then(|file| std::fs::read_to_string(file).ok());
        if let Some(known) = known {
            let mut lines = known.lines().map(str::to_owned);
            let mut line = || lines.next().unwrap();
            return Self {
                experiment: line(),
                searched: line(),
                model: line(),
                long: line(),
                runs: lines.collect(),
            };
        }
        let made = prepare(http, options);
        if let Some(file) = &options.prepared {
            let heads = [&made.experiment, &made.searched, &made.model, &made.long];
            let lines: Vec<&str> = heads
                .into_iter()
                .chain(&made.runs)
                .map(String::as_str)
                .collect();
            std::fs::write(file, lines.join("\n")).unwrap();
        }
        made
    }

    fn run(&self, thread: usize) -> &str {
        &self.runs[thread % self.runs.len()]
    }
}

fn batch(body: &mut String, run: &str, points: usize, n: u64) {
    write!(body, r#"{{"run_id":"{run}","metrics":["#).unwrap();
    let now = now();
    for i in 0..points {
        let comma = if i > 0 { "," } else { "" };
        // Ten metrics, so many steps of each.
        let step = n * (points as u64 / 10) + i as u64 / 10;
        write!(
            body,
            r#"{comma}{{"key":"m{}","value":0.{}{i},"timestamp":{now},"step":{step}}}"#,
            i % 10,
            n % 1000
        )
        .unwrap();
    }
    body.push_str("]}");
}

fn now() -> u128 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis()
}

fn prepare(http: &mut Http, options: &Options) -> Prepared {
    let id = now();
    let experiment = http.create_experiment(&format!("load-{id}"));
    let searched = http.create_experiment(&format!("searched-{id}"));
    let runs: Vec<String> = (0..16).map(|_| http.create_run(&experiment)).collect();
    for run in &runs {
        let mut body = format!(r#"{{"run_id":"{run}","metrics":["#);
        for i in 0..10 {
            let comma = if i > 0 { "," } else { "" };
            write!(
                body,
                r#"{comma}{{"key":"m{i}","value":0.5,"timestamp":1,"step":0}}"#
            )
            .unwrap();
        }
        body.push_str(r#"],"params":["#);
        for i in 0..10 {
            let comma = if i > 0 { "," } else { "" };
            write!(body, r#"{comma}{{"key":"p{i}","value":"v"}}"#).unwrap();
        }
        body.push_str("]}");
        http.post("/api/2.0/mlflow/runs/log-batch", &body);
    }
    let wanted = |name: &str| {
        options
            .only
            .as_deref()
            .is_none_or(|only| name.contains(only))
    };
    if wanted("search-runs") {
        for r in 0..options.runs {
            let run = http.create_run(&searched);
            let mut body = format!(r#"{{"run_id":"{run}","metrics":["#);
            for i in 0..10 {
                let comma = if i > 0 { "," } else { "" };
                // A number from 0 to 1 that looks drawn.
                let value = ((r * 7919 + i * 104_729) % 10_007) as f64 / 10_007.0;
                write!(
                    body,
                    r#"{comma}{{"key":"m{i}","value":{value},"timestamp":1,"step":0}}"#
                )
                .unwrap();
            }
            write!(
                body,
                r#"],"params":[{{"key":"p1","value":"v{}"}},{{"key":"p2","value":"w"}}]}}"#,
                r % 10
            )
            .unwrap();
            http.post("/api/2.0/mlflow/runs/log-batch", &body);
        }
    }
    let long = http.create_run(&experiment);
    if wanted("history-100000") {
        for part in 0..100 {
            let mut body = format!(r#"{{"run_id":"{long}","metrics":["#);
            for i in 0..1000 {
                let comma = if i > 0 { "," } else { "" };
                let step = part * 1000 + i;
                write!(
                    body,
                    r#"{comma}{{"key":"long","value":0.{step},"timestamp":{step},"step":{step}}}"#
                )
                .unwrap();
            }
            body.push_str("]}");
            http.post("/api/2.0/mlflow/runs/log-batch", &body);
        }
    }
    let model = format!("model-{id}");
    for name in [model.clone(), format!("{model}-many")] {
        http.post(
            "/api/2.0/mlflow/registered-models/create",
            &format!(r#"{{"name":"{name}"}}"#),
        );
    }
    let versions = if wanted("search-versions") { 5000 } else { 1 };
    for (name, count) in [(model.clone(), 1), (format!("{model}-many"), versions)] {
        for v in 0..count {
            http.post("/api/2.0/mlflow/model-versions/create", &format!(
                r#"{{"name":"{name}","source":"mlflow-artifacts:/{experiment}/{0}/artifacts/model","run_id":"{0}","tags":[{{"key":"k","value":"v{1}"}}]}}"#,
                runs[0], v % 97
            ));
        }
    }
    http.post(
        "/api/2.0/mlflow/registered-models/alias",
        &format!(r#"{{"name":"{model}","alias":"champion","version":"1"}}"#),
    );
    Prepared {
        experiment,
        searched,
        runs,
        model,
        long,
    }
}

fn measure(
    name: &str,
    scenario: Scenario,
    connections: usize,
    prepared: &Arc<Prepared>,
    options: &Options,
) {
    let stop = Arc::new(AtomicBool::new(false));
    let counts = Arc::new(AtomicBool::new(false));
    let offset = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..connections)
        .map(|thread| {
            let (stop, counts) = (stop.clone(), counts.clone());
            let (prepared, offset) = (prepared.clone(), offset.clone());
            let authority = options.authority.clone();
            std::thread::spawn(move || {
                let mut http = Http::connect(&authority);
                let mut times = Vec::new();
                let mut body = String::new();
                // One at least, however long it takes.
                while !stop.load(Ordering::Relaxed) || times.is_empty() {
                    let n = offset.fetch_add(1, Ordering::Relaxed);
                    body.clear();
                    let (method, path) = scenario(&prepared, thread, n, &mut body);
                    let counted = counts.load(Ordering::Relaxed);
                    let began = Instant::now();
                    http.request(method, &path, &body);
                    if counted {
                        times.push(began.elapsed());
                    }
                }
                times
            })
        })
        .collect();
    // Every worker of a server has answered before it counts.
    std::thread::sleep(WARM);
    let cpu = options.pid.map(cpu_seconds);
    let began = Instant::now();
    counts.store(true, Ordering::Relaxed);
    std::thread::sleep(Duration::from_secs_f64(options.seconds));
    stop.store(true, Ordering::Relaxed);
    let times: Vec<Duration> = threads
        .into_iter()
        .flat_map(|t| t.join().unwrap())
        .collect();
    let elapsed = began.elapsed();
    let cpu = cpu.zip(options.pid.map(cpu_seconds)).map(|(a, b)| b - a);
    report(name, connections, times, elapsed, cpu);
}

fn report(
    name: &str,
    connections: usize,
    mut times: Vec<Duration>,
    elapsed: Duration,
    cpu: Option<f64>,
) {
    times.sort_unstable();
    let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e3;
    println!(
        r#"{{"scenario":"{name}","connections":{connections},"per_second":{:.1},"p50_ms":{:.3},"p99_ms":{:.3},"cpu_us":{:.0}}}"#,
        times.len() as f64 / elapsed.as_secs_f64(),
        at(0.5),
        at(0.99),
        cpu.unwrap_or(f64::NAN) / times.len() as f64 * 1e6,
    );
}

/// Processor time of a process and all its living descendants.
fn cpu_seconds(pid: u32) -> f64 {
    let mut pids = vec![pid.to_string()];
    let mut ticks = 0.0;
    while let Some(pid) = pids.pop() {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let used = fields.split_whitespace().skip(11).take(2);
        ticks += used.map(|t| t.parse::<f64>().unwrap()).sum::<f64>();
        // Each thread has its own children.
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let children = std::fs::read_to_string(thread.path().join("children"));
            pids.extend(
                children
                    .unwrap_or_default()
                    .split_whitespace()
                    .map(str::to_owned),
            );
        }
    }
    // The kernel counts in hundredths of a second.
    ticks / 100.0
}

struct Http {
    authority: String,
    socket: BufReader<TcpStream>,
    answer: Vec<u8>,
}

impl Http {
    fn connect(authority: &str) -> Self {
        let socket = TcpStream::connect(authority).unwrap();
        socket.set_nodelay(true).unwrap();
        Self {
            authority: authority.to_owned(),
            socket: BufReader::with_capacity(1 << 16, socket),
            answer: Vec::new(),
        }
    }

    fn create_experiment(&mut self, name: &str) -> String {
        self.post(
            "/api/2.0/mlflow/experiments/create",
            &format!(r#"{{"name":"{name}"}}"#),
        );
        self.field("experiment_id")
    }

    fn create_run(&mut self, experiment: &str) -> String {
        self.post(
            "/api/2.0/mlflow/runs/create",
            &format!(r#"{{"experiment_id":"{experiment}","start_time":1700000000000}}"#),
        );
        self.field("run_id")
    }

    /// A text of the last answer.
    fn field(&self, name: &str) -> String {
        let answer = String::from_utf8_lossy(&self.answer).replace(": ", ":");
        let start = answer.find(&format!("\"{name}\":\"")).unwrap() + name.len() + 4;
        answer[start..].split('"').next().unwrap().to_owned()
    }

    fn post(&mut self, path: &str, body: &str) {
        self.request("POST", path, body);
    }

    fn request(&mut self, method: &str, path: &str, body: &str) {
        self.send(method, path, "application/json", body.as_bytes());
    }

    /// Acknowledges at once what came. A server that sends an answer in two parts would otherwise
    /// wait 40 ms for it, which would be measured instead of the server.
    fn acknowledge(&mut self) {
        #[cfg(target_os = "linux")]
        rustix::net::sockopt::set_tcp_quickack(self.socket.get_ref(), true).unwrap();
    }

    /// Sends a request and reads the whole answer; anything but 200 ends the program.
    fn send(&mut self, method: &str, path: &str, kind: &str, body: &[u8]) {
        let mut request = Vec::with_capacity(200 + body.len().min(1 << 16));
        write!(
            request,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n",
            self.authority
        )
        .unwrap();
        if !body.is_empty() {
            write!(
                request,
                "Content-Type: {kind}\r\nContent-Length: {}\r\n",
                body.len()
            )
            .unwrap();
        }
        request.extend_from_slice(b"\r\n");
        let socket = self.socket.get_mut();
        if body.len() < 1 << 16 {
            request.extend_from_slice(body);
            socket.write_all(&request).unwrap();
        } else {
            socket.write_all(&request).unwrap();
            socket.write_all(body).unwrap();
        }
        let mut line = String::new();
        self.socket.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let (mut length, mut chunked) = (0, false);
        loop {
            line.clear();
            self.socket.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            chunked |= lower.starts_with("transfer-encoding:") && lower.contains("chunked");
        }
        self.acknowledge();
        self.answer.clear();
        if chunked {
            loop {
                line.clear();
                self.socket.read_line(&mut line).unwrap();
                let size = usize::from_str_radix(line.trim(), 16).unwrap();
                let start = self.answer.len();
                self.answer.resize(start + size, 0);
                self.socket.read_exact(&mut self.answer[start..]).unwrap();
                self.socket.read_exact(&mut [0; 2]).unwrap();
                if size == 0 {
                    break;
                }
            }
        } else {
            self.answer.resize(length, 0);
            self.socket.read_exact(&mut self.answer).unwrap();
        }
        let answer = String::from_utf8_lossy(&self.answer[..self.answer.len().min(500)]);
        assert_eq!(status, "200", "{method} {path}: {answer}");
    }
}
