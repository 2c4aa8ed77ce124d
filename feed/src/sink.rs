//! Where trades go: into Kafka, into a file, or nowhere.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use terminal::exit::Environment;
use terminal::interrupt::Interrupt;

use crate::kafka::{Destination, Producer, Record};

/// Takes the values of trades, in order.
#[derive(Debug)]
pub enum Sink {
    /// Counts only: how fast the rest is.
    Null,
    /// A line for each, in a file or on stdout.
    Lines(Lines),
    /// Records in a topic.
    Kafka(Box<KafkaSink>),
}

/// One value and what belongs to it.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The symbol.
    pub symbol: &'a str,
    /// Its partition; see [`Sink::partition_of`].
    pub partition: i32,
    /// The value.
    pub value: &'a [u8],
}

/// Lines of a file.
pub struct Lines {
    name: String,
    out: BufWriter<Box<dyn Write + Send>>,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("name", &self.name).finish()
    }
}

/// Records of a topic.
#[derive(Debug)]
pub struct KafkaSink {
    producer: Arc<Producer>,
    destination: Destination,
    interrupt: Interrupt,
}

/// How long the brokers may take for what is left at the end.
pub(crate) const FLUSH: Duration = Duration::from_secs(60);

impl Sink {
    /// A file, replaced if it is there; `-` is stdout.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn file(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let out: Box<dyn Write + Send> = if name == "-" {
            Box::new(io::stdout())
        } else {
            let file = File::create(path)
                .with_context(|| Environment(format!("could not write `{name}`")))?;
            Box::new(file)
        };
        Ok(Self::Lines(Lines {
            name,
            out: BufWriter::with_capacity(1 << 18, out),
        }))
    }

    /// A topic; a full queue is waited for until `interrupt` says no.
    pub fn kafka(producer: Arc<Producer>, destination: Destination, interrupt: Interrupt) -> Self {
        Self::Kafka(Box::new(KafkaSink {
            producer,
            destination,
            interrupt,
        }))
    }

    /// The partition that a symbol's records go to.
    pub fn partition_of(&self, symbol: &str) -> i32 {
        match self {
            Self::Null | Self::Lines(_) => 0,
            Self::Kafka(sink) => sink.destination.partition_of(symbol),
        }
    }

    /// Takes one value; `false` if somebody asked to stop before it could.
    ///
    /// # Errors
    /// When it can't be written.
    #[inline]
    pub fn write(&mut self, entry: Entry<'_>) -> Result<bool> {
        match self {
            Self::Null => {
                std::hint::black_box(entry.value);
                Ok(true)
            }
            Self::Lines(lines) => lines.write(entry.value),
            Self::Kafka(sink) => sink.producer.send(
                Record {
                    destination: &sink.destination,
                    partition: entry.partition,
                    key: entry.symbol,
                    value: entry.value,
                },
                || sink.interrupt.is_asked(),
            ),
        }
    }

    /// Whether everything that is written has arrived, and where.
    ///
    /// # Errors
    /// When some of it can't be written.
    pub fn finish(&mut self) -> Result<()> {
        match self {
            Self::Null => Ok(()),
            Self::Lines(lines) => match lines.out.flush() {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    Err(error).with_context(|| Environment(format!("write `{}`", lines.name)))
                }
                _ => Ok(()),
            },
            Self::Kafka(sink) => sink
                .producer
                .flush(FLUSH)
                .with_context(|| Environment("not everything is in Kafka".to_owned())),
        }
    }

    /// What it is, for messages.
    pub fn describe(&self) -> String {
        match self {
            Self::Null => "nowhere".to_owned(),
            Self::Lines(lines) => format!("`{}`", lines.name),
            Self::Kafka(sink) => format!(
                "topic `{}` ({} partitions)",
                sink.destination.topic(),
                sink.destination.n_partitions()
            ),
        }
    }
}

impl Lines {
    fn write(&mut self, value: &[u8]) -> Result<bool> {
        let written = self
            .out
            .write_all(value)
            .and_then(|()| self.out.write_all(b"\n"));
        match written {
            Ok(()) => Ok(true),
            // A reader who has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error).with_context(|| Environment(format!("write `{}`", self.name))),
        }
    }
}
