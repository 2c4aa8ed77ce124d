//! The WebSocket side: a connection plays its script.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;

use super::tls::Transport;
use super::{FIRST_ID, SYMBOLS, State, Step};
use crate::support::real_trades;

/// A trade of the market, as a frame.
pub(crate) fn trade_frame(symbol: &str, place: usize, is_micros: bool) -> String {
    let trades = real_trades();
    let [time, side, price, amount] = &trades[place % trades.len()];
    let time: u64 = time.parse::<f64>().unwrap() as u64;
    let time = if is_micros { time * 1_000 } else { time };
    json!({
        "stream": format!("{}@trade", symbol.to_lowercase()),
        "data": {
            "e": "trade", "E": time, "s": symbol, "t": FIRST_ID + place as u64,
            "p": price, "q": amount, "T": time, "m": side == "sell", "M": true,
        }
    })
    .to_string()
}

pub(super) async fn serve_ws(
    tcp: TcpStream,
    acceptor: Option<TlsAcceptor>,
    state: Arc<Mutex<State>>,
) {
    tcp.set_nodelay(true).unwrap();
    // To be able to reset it later, whatever runs over it.
    let raw = socket_of(&tcp);
    let transport: Box<dyn Transport> = match acceptor {
        Some(acceptor) => match acceptor.accept(tcp).await {
            Ok(tls) => Box::new(tls),
            Err(_) => return,
        },
        None => Box::new(tcp),
    };
    let Ok(socket) = tokio_tungstenite::accept_async(transport).await else {
        return;
    };
    let (script, is_micros) = {
        let mut state = state.lock().unwrap();
        state.n_connections += 1;
        (state.scripts.pop_front(), state.is_micros)
    };
    let script: VecDeque<Step> = script.map_or_else(VecDeque::new, Into::into);
    let is_scripted = !script.is_empty();
    let answer = match script.front() {
        Some(Step::Refuse) => Subscribing::Refused,
        Some(Step::Ignore) => Subscribing::Ignored,
        _ => Subscribing::Confirmed,
    };
    let (sink, stream) = socket.split();
    let sink = Arc::new(tokio::sync::Mutex::new(sink));
    let client = Client {
        streams: Arc::default(),
        pongs: Arc::default(),
    };
    let reading = tokio::spawn(client.clone().read(
        stream,
        Arc::clone(&sink),
        answer,
        Arc::clone(&state),
    ));
    // Nothing is sent before something is subscribed to; whoever is ignored is pinged.
    while client.streams.lock().unwrap().is_empty() {
        if reading.is_finished() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        if answer == Subscribing::Ignored {
            let ping = Message::Ping(Bytes::new());
            drop(sink.lock().await.send(ping).await);
        }
    }
    let symbols = || -> Vec<&str> {
        let streams = client.streams.lock().unwrap();
        let is_asked =
            |symbol: &&str| streams.contains(&format!("{}@trade", symbol.to_lowercase()));
        SYMBOLS.into_iter().filter(is_asked).collect()
    };
    let send = async |message: Message| sink.lock().await.send(message).await;
    let mut next: HashMap<&str, usize> = HashMap::new();
    for step in script {
        let sent = match step {
            Step::Trades(places) => {
                let mut sent = Ok(());
                for place in places {
                    for symbol in symbols() {
                        let frame = trade_frame(symbol, place, is_micros);
                        sent = sent.and(send(Message::text(frame)).await);
                    }
                }
                sent
            }
            Step::Text(text) => send(Message::text(text)).await,
            Step::Binary(bytes) => send(Message::binary(bytes)).await,
            Step::Ping => {
                let payload = Bytes::from_static(b"1641142860000");
                drop(send(Message::Ping(payload.clone())).await);
                while !client.pongs.lock().unwrap().contains(&payload) {
                    // No pong: the exchange would cut the connection, and so do we.
                    if reading.is_finished() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Ok(())
            }
            Step::Silence => {
                std::future::pending::<()>().await;
                Ok(())
            }
            Step::Reset => {
                raw.reset();
                reading.abort();
                return;
            }
            Step::Close => {
                drop(sink.lock().await.close().await);
                return;
            }
            Step::Shutdown => {
                let event =
                    json!({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}});
                send(Message::text(event.to_string())).await
            }
            Step::UntilConnection(n) => {
                while state.lock().unwrap().n_connections < n {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Ok(())
            }
            Step::Wait(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Step::Refuse | Step::Ignore => Ok(()),
        };
        if sent.is_err() {
            return;
        }
    }
    if is_scripted {
        // The script is over; the client may close when it likes.
        drop(reading.await);
        return;
    }
    // New trades as they come into being, and pings.
    while !reading.is_finished() {
        for symbol in symbols() {
            let n_trades = state.lock().unwrap().n_trades_of(symbol);
            // The last ones first, so that somebody who begins has something to begin with.
            let next = next.entry(symbol).or_insert(n_trades.saturating_sub(5));
            while *next < n_trades {
                let frame = trade_frame(symbol, *next, is_micros);
                if send(Message::text(frame)).await.is_err() {
                    return;
                }
                *next += 1;
            }
        }
        if send(Message::Ping(Bytes::new())).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Subscribing {
    Confirmed,
    Refused,
    Ignored,
}

/// What a client says.
#[derive(Clone)]
struct Client {
    streams: Arc<Mutex<Vec<String>>>,
    pongs: Arc<Mutex<Vec<Bytes>>>,
}

type FakeSocket = tokio_tungstenite::WebSocketStream<Box<dyn Transport>>;

impl Client {
    /// Takes subscriptions and pongs until the client leaves, or sends more than the exchange takes.
    async fn read(
        self,
        mut stream: futures::stream::SplitStream<FakeSocket>,
        sink: Arc<tokio::sync::Mutex<futures::stream::SplitSink<FakeSocket, Message>>>,
        answer: Subscribing,
        state: Arc<Mutex<State>>,
    ) {
        let mut times: VecDeque<std::time::Instant> = VecDeque::new();
        while let Some(Ok(message)) = stream.next().await {
            if message.is_text() {
                let now = std::time::Instant::now();
                times.push_back(now);
                while now - times[0] >= Duration::from_secs(1) {
                    times.pop_front();
                }
                if times.len() > 5 {
                    state.lock().unwrap().n_hasty += 1;
                    drop(sink.lock().await.close().await);
                    return;
                }
            }
            match message {
                Message::Text(text) => {
                    let request: Value = serde_json::from_str(&text).unwrap();
                    let reply = match answer {
                        Subscribing::Ignored => continue,
                        Subscribing::Refused => {
                            json!({"code": 2, "msg": "Invalid request: no", "id": request["id"]})
                        }
                        Subscribing::Confirmed => {
                            let names = request["params"].as_array().unwrap();
                            let names = names.iter().map(|name| name.as_str().unwrap().to_owned());
                            let names: Vec<String> = names.collect();
                            let now = std::time::Instant::now();
                            let subscription = (now, names.len());
                            state.lock().unwrap().subscriptions.push(subscription);
                            self.streams.lock().unwrap().extend(names);
                            json!({"result": null, "id": request["id"]})
                        }
                    };
                    drop(
                        sink.lock()
                            .await
                            .send(Message::text(reply.to_string()))
                            .await,
                    );
                }
                Message::Pong(payload) => self.pongs.lock().unwrap().push(payload),
                _ => {}
            }
        }
    }
}

/// A second handle on a socket.
struct RawSocket(std::net::TcpStream);

fn socket_of(tcp: &TcpStream) -> RawSocket {
    use std::os::fd::AsFd;
    let fd = tcp.as_fd().try_clone_to_owned().unwrap();
    RawSocket(fd.into())
}

impl RawSocket {
    /// Unread data at the close of the last handle, or no lingering, make an RST.
    fn reset(self) {
        let socket = TcpStream::from_std(self.0).unwrap();
        socket.set_zero_linger().unwrap();
    }
}
