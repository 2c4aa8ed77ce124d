//! The REST side: answers as it should, but for what it was told to say before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::tls::Transport;
use super::{FIRST_ID, Reply, SYMBOLS, State};
use crate::support::real_trades;

pub(super) async fn serve_rest(
    tcp: TcpStream,
    acceptor: Option<TlsAcceptor>,
    state: Arc<Mutex<State>>,
) {
    let mut transport: Box<dyn Transport> = match acceptor {
        Some(acceptor) => match acceptor.accept(tcp).await {
            Ok(tls) => Box::new(tls),
            Err(_) => return,
        },
        None => Box::new(tcp),
    };
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match transport.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let url = url::Url::parse(&format!("http://fake{target}")).unwrap();
    let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
    // Whoever only wants to know whether it could ask counts for nothing.
    let is_question = query.contains_key("fromId") || query.contains_key("startTime");
    let reply = {
        let mut state = state.lock().unwrap();
        if is_question {
            state.n_rest += 1;
            state.asked.push(std::time::Instant::now());
            state.replies.pop_front()
        } else {
            None
        }
    };
    let (status, retry_after, body) = match reply {
        Some(Reply::Garbage) => (200, None, "<html>".to_owned()),
        Some(Reply::Empty) => (200, None, "[]".to_owned()),
        Some(Reply::Status(status, retry_after)) => {
            let body = json!({"code": -1003, "msg": "Too many requests"});
            (status, retry_after, body.to_string())
        }
        None => {
            let (status, body) = answer(url.path(), &query, &state.lock().unwrap());
            (status, None, body.to_string())
        }
    };
    let retry_after =
        retry_after.map_or_else(String::new, |seconds| format!("Retry-After: {seconds}\r\n"));
    let response = format!(
        "HTTP/1.1 {status} Fake\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         X-MBX-USED-WEIGHT-1M: 25\r\n{retry_after}Connection: close\r\n\r\n{body}",
        body.len()
    );
    drop(transport.write_all(response.as_bytes()).await);
    drop(transport.shutdown().await);
}

fn answer(path: &str, query: &HashMap<String, String>, state: &State) -> (u16, Value) {
    let unknown = json!({"code": -1121, "msg": "Invalid symbol."});
    match path {
        "/api/v3/exchangeInfo" => {
            let symbols: Vec<String> = serde_json::from_str(&query["symbols"]).unwrap();
            let is_known =
                |symbol: &String| SYMBOLS.contains(&symbol.as_str()) || symbol.starts_with("MANY");
            if symbols.iter().all(is_known) {
                let status = if state.resting { "BREAK" } else { "TRADING" };
                let infos = symbols
                    .iter()
                    .map(|symbol| json!({"symbol": symbol, "status": status}));
                (200, json!({"symbols": infos.collect::<Vec<_>>()}))
            } else {
                (400, unknown)
            }
        }
        "/api/v3/historicalTrades" => {
            if state.is_barred {
                return (451, json!({"code": 0, "msg": "Service unavailable"}));
            }
            if !query.contains_key("fromId") {
                return (200, json!([{"id": 1}]));
            }
            if !SYMBOLS.contains(&query["symbol"].as_str()) {
                return (400, unknown);
            }
            let from: u64 = query["fromId"].parse().unwrap();
            let limit: usize = query["limit"].parse().unwrap();
            let trades = real_trades();
            let all = FIRST_ID..FIRST_ID + state.n_trades_of(&query["symbol"]) as u64;
            let found: Vec<Value> = all
                .filter(|id| *id >= from && !state.lost.contains(id))
                .take(limit)
                .map(|id| {
                    let place = (id - FIRST_ID) as usize % trades.len();
                    let [time, side, price, amount] = &trades[place];
                    let time = time.parse::<f64>().unwrap() as u64 * 1_000;
                    json!({"id": id, "price": price, "qty": amount, "quoteQty": "1", "time": time,
                           "isBuyerMaker": side == "sell", "isBestMatch": true})
                })
                .collect();
            (200, Value::Array(found))
        }
        "/api/v3/aggTrades" if !query.contains_key("fromId") => (200, json!([])),
        "/api/v3/klines" if !query.contains_key("startTime") => (200, json!([])),
        "/api/v3/aggTrades" => {
            let from: u64 = query["fromId"].parse().unwrap();
            let limit: u64 = query["limit"].parse().unwrap();
            let trade = |id: u64| {
                json!({"a": id, "p": "1.5", "q": "2", "f": 1, "l": 2, "T": 1_641_142_860_000_000_u64,
                       "m": false, "M": true})
            };
            (200, (from..from + limit).map(trade).collect())
        }
        "/api/v3/klines" => {
            let time = |name: &str| query[name].parse::<u64>().unwrap();
            let first = time("startTime").div_ceil(60_000);
            let last = match query.contains_key("endTime") {
                true => time("endTime") / 60_000,
                false => first + query["limit"].parse::<u64>().unwrap() - 1,
            };
            let minutes = first..=last;
            let kline = |minute: u64| {
                let open = minute * 60_000;
                json!([
                    open,
                    "1.0",
                    "2.5",
                    "0.5",
                    "2.0",
                    "10",
                    open + 59_999,
                    "15",
                    3,
                    "4",
                    "6",
                    "0"
                ])
            };
            (200, minutes.map(kline).collect())
        }
        _ => (404, json!({"code": -1, "msg": "no such path"})),
    }
}
