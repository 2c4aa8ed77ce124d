//! An Apache Kafka broker of its own: the real one, one node in KRaft mode.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use tempfile::TempDir;

const START: Duration = Duration::from_secs(90);
const ANSWER: Duration = Duration::from_secs(20);
/// Any id will do; a cluster of one has nobody to tell apart.
const CLUSTER_ID: &str = "Zm9yZXNob2NrLXRlc3Qtaw";
const CONFIGURATION: &str = include_str!("kafka.properties");
const LOGGING: &str = include_str!("kafka-log4j2.properties");
const POM: &str = include_str!("../kafka/pom.xml");

/// A running broker; stopped, and its data removed, on drop.
///
/// Topics aren't made by being written to: a program that forgets to create one fails.
#[derive(Debug)]
pub struct KafkaServer {
    jars: PathBuf,
    folder: TempDir,
    port: u16,
    java: JavaOptions,
    process: Option<Child>,
}

/// One record as it lies in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaRecord {
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes.
    pub value: Vec<u8>,
    /// The headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// How the broker's virtual machine runs.
#[derive(Clone, Copy, Debug)]
struct JavaOptions(&'static [&'static str]);

/// Starts soon, needs little.
const FOR_TESTS: JavaOptions = JavaOptions(&[
    "-Xms64m",
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
]);
/// As Kafka's own start script has it.
const FOR_LOAD: JavaOptions = JavaOptions(&[
    "-Xms1g",
    "-Xmx1g",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
]);

impl KafkaServer {
    /// Starts a broker on free ports without any topic.
    ///
    /// # Errors
    /// When Java or the broker's jars are missing (the message says how to get them) or it doesn't
    /// start.
    pub fn start() -> Result<Self> {
        Self::start_with(FOR_TESTS)
    }

    /// A broker that tests which run at the same time share; topics have prefixes of their own. It
    /// stops with the last of them.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn shared() -> Result<Arc<Self>> {
        static SHARED: Mutex<Weak<KafkaServer>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Ok(server);
        }
        let server = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&server);
        Ok(server)
    }

    /// As [`start`](Self::start), with the memory and the compiler that a broker under load has.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_for_load() -> Result<Self> {
        Self::start_with(FOR_LOAD)
    }

    fn start_with(java: JavaOptions) -> Result<Self> {
        let jars = jars()?;
        let folder = TempDir::with_prefix("foreshock-kafka-").context("create a folder")?;
        let [port, controller_port] = free_ports()?;
        let configuration = CONFIGURATION
            .replace("@PORT@", &port.to_string())
            .replace("@CONTROLLER_PORT@", &controller_port.to_string())
            .replace("@FOLDER@", &folder.path().to_string_lossy());
        fs::write(folder.path().join("server.properties"), configuration)?;
        fs::write(folder.path().join("log4j2.properties"), LOGGING)?;
        let mut server = Self {
            jars,
            folder,
            port,
            java,
            process: None,
        };
        let output = server
            .java("kafka.tools.StorageTool")
            .args(["format", "--cluster-id", CLUSTER_ID, "--config"])
            .arg(server.folder.path().join("server.properties"))
            .output()
            .context("run Java (Debian: apt-get install default-jre-headless)")?;
        ensure!(
            output.status.success(),
            "the broker's folder could not be formatted: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        server.restart()?;
        Ok(server)
    }

    /// Where clients connect to: `127.0.0.1:PORT`.
    #[must_use]
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills the broker as a crash would. What it had acknowledged is in its files.
    ///
    /// # Errors
    /// When there is no process to kill.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the broker isn't running")?;
        process.kill().context("kill the broker")?;
        process.wait()?;
        Ok(())
    }

    /// Stops the broker in order; it answers nobody until [`restart`](Self::restart).
    ///
    /// # Errors
    /// When it isn't running.
    pub fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the broker isn't running")?;
        let pid = process.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        if !asked.is_ok_and(|status| status.success()) {
            process.kill().context("kill the broker")?;
        }
        process.wait()?;
        Ok(())
    }

    /// Starts it again, with the same data and ports.
    ///
    /// # Errors
    /// When it does not start, or is still running.
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the broker is still running");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))?;
        let process = self
            .java("kafka.Kafka")
            .arg(self.folder.path().join("server.properties"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("run Java (Debian: apt-get install default-jre-headless)")?;
        self.process = Some(process);
        self.wait()
    }

    /// Creates a topic with so many partitions.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(ANSWER));
        // On a thread of its own: a test may be in a runtime already.
        let results = std::thread::scope(|scope| {
            let created = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build()?;
                anyhow::Ok(runtime.block_on(admin.create_topics([&new], &options))?)
            });
            created.join().unwrap_or_else(|_| bail!("the thread ended"))
        })?;
        for result in results {
            if let Err((topic, code)) = result {
                bail!("create the topic `{topic}`: {code}");
            }
        }
        Ok(())
    }

    /// The number of partitions of a topic; 0 if there is none of that name.
    ///
    /// # Errors
    /// When the broker doesn't answer.
    pub fn partitions(&self, topic: &str) -> Result<usize> {
        let consumer: BaseConsumer = self.client().create()?;
        let metadata = consumer.fetch_metadata(None, ANSWER)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        Ok(found.map_or(0, |found| found.partitions().len()))
    }

    /// All records of a topic up to its present end, by partition and offset. Aborted
    /// transactions are left out.
    ///
    /// # Errors
    /// When the broker doesn't answer or there is no such topic.
    pub fn records(&self, topic: &str) -> Result<Vec<KafkaRecord>> {
        let consumer: BaseConsumer = self
            .client()
            .set("group.id", "test-reader")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("check.crcs", "true")
            .create()?;
        let n_partitions = self.partitions(topic)?;
        ensure!(n_partitions > 0, "there is no topic `{topic}`");
        let mut assigned = TopicPartitionList::new();
        for partition in 0..n_partitions {
            assigned.add_partition_offset(topic, i32::try_from(partition)?, Offset::Beginning)?;
        }
        consumer.assign(&assigned)?;
        let mut records = Vec::new();
        let mut n_ended = 0;
        let began = Instant::now();
        while n_ended < n_partitions {
            ensure!(
                began.elapsed() < START,
                "the end of `{topic}` isn't reached"
            );
            match consumer.poll(Duration::from_millis(100)) {
                None => {}
                Some(Ok(message)) => records.push(KafkaRecord {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().unwrap_or_default().to_vec(),
                    headers: message.headers().map_or_else(Vec::new, |headers| {
                        let of = |header: rdkafka::message::Header<'_, &[u8]>| {
                            let value = header.value.unwrap_or_default().to_vec();
                            (header.key.to_owned(), value)
                        };
                        headers.iter().map(of).collect()
                    }),
                }),
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => n_ended += 1,
                Some(Err(error)) => return Err(error).with_context(|| format!("read `{topic}`")),
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        Ok(records)
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers());
        config
    }

    fn java(&self, class: &str) -> Command {
        let program = match std::env::var_os("JAVA_HOME") {
            Some(home) => Path::new(&home).join("bin/java"),
            None => PathBuf::from("java"),
        };
        let mut command = Command::new(program);
        let logging = self.folder.path().join("log4j2.properties");
        command
            .args(self.java.0)
            .arg("-Djava.awt.headless=true")
            .arg(format!("-Dlog4j2.configurationFile={}", logging.display()))
            .arg("-cp")
            .arg(format!("{}/*", self.jars.display()))
            .arg(class);
        command
    }

    fn wait(&mut self) -> Result<()> {
        let client: BaseConsumer = self
            .client()
            .set("log_level", "0")
            .set("reconnect.backoff.max.ms", "100")
            .create()?;
        let began = Instant::now();
        loop {
            if client.fetch_metadata(None, Duration::from_secs(1)).is_ok() {
                return Ok(());
            }
            let process = self.process.as_mut().context("it was not started")?;
            let ended = process.try_wait()?;
            if ended.is_some() || began.elapsed() > START {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                bail!("the broker does not start: {log}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for KafkaServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Nobody reads the data again.
            drop(process.kill());
            drop(process.wait());
        }
    }
}

fn free_ports() -> Result<[u16; 2]> {
    let listeners = [
        TcpListener::bind(("127.0.0.1", 0))?,
        TcpListener::bind(("127.0.0.1", 0))?,
    ];
    let [first, second] = listeners.map(|listener| listener.local_addr());
    Ok([first?.port(), second?.port()])
}

/// The folder that `./test` copies the jars into.
fn jars() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("FORESHOCK_KAFKA_JARS") {
        return Ok(PathBuf::from(folder));
    }
    let version = version().context("the broker's pom names no version")?;
    let cache = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) => Path::new(&home).join(".cache"),
        _ => bail!("neither XDG_CACHE_HOME nor HOME is set"),
    };
    let folder = cache.join(format!("foreshock/kafka-{version}"));
    ensure!(
        folder.is_dir(),
        "the jars of Apache Kafka {version} are missing in `{}`; get them: \
         crates/test-stack/kafka/fetch.sh (needs mvn; Debian: apt-get install maven)",
        folder.display()
    );
    Ok(folder)
}

fn version() -> Option<&'static str> {
    let (_, rest) = POM.split_once("<kafka.version>")?;
    Some(rest.split_once('<')?.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

    use super::*;

    fn produce(server: &KafkaServer, values: &[&str]) {
        let producer: BaseProducer = server.client().set("acks", "all").create().unwrap();
        for value in values {
            let record = BaseRecord::to("t").key("k").payload(*value);
            producer.send(record).unwrap();
        }
        producer.flush(ANSWER).unwrap();
    }

    #[test]
    fn what_was_acknowledged_survives_a_kill_and_a_stop() {
        let mut server = KafkaServer::start().unwrap();
        assert_eq!(server.partitions("t").unwrap(), 0);
        assert!(server.records("t").is_err());
        server.create_topic("t", 2).unwrap();
        assert!(server.create_topic("t", 2).is_err());
        assert_eq!(server.partitions("t").unwrap(), 2);
        produce(&server, &["a", "b"]);
        server.kill().unwrap();
        assert!(server.records("t").is_err());
        server.restart().unwrap();
        produce(&server, &["c"]);
        server.stop().unwrap();
        server.restart().unwrap();
        let records = server.records("t").unwrap();
        let values: Vec<&[u8]> = records.iter().map(|r| r.value.as_slice()).collect();
        assert_eq!(values, [b"a", b"b", b"c"]);
        assert!(records.iter().all(|record| record.key == Some(b"k".into())));
    }
}
