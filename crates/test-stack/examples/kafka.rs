//! Starts a broker for a bench, prints its address and stops it when stdin ends.

use std::io::{Read, Write};

use test_stack::KafkaServer;

fn main() -> anyhow::Result<()> {
    let server = KafkaServer::start_for_load()?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", server.brokers())?;
    out.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
