//! A fake Binance: WebSocket and REST, that plays scripts.
//!
//! Each connection plays the next script; when there is none left, it sends all that is left of
//! the market and pings from then on.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_tungstenite::tungstenite::Message;

use crate::support::real_trades;

pub(crate) const FIRST_ID: u64 = 1_000;

/// What a connection does, one after the other.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Sends these trades (places, not ids) of every symbol that is subscribed to.
    Trades(Range<usize>),
    /// Sends these as they are.
    Text(String),
    Binary(Vec<u8>),
    /// Pings and waits for the pong with the same payload.
    Ping,
    /// Says nothing any more, and keeps the socket.
    Silence,
    /// An RST.
    Reset,
    /// A close frame.
    Close,
    /// Says that it goes away.
    Shutdown,
    /// Waits until so many connections have been opened in all.
    UntilConnection(usize),
    Wait(Duration),
    /// Refuses the next subscription.
    Refuse,
    /// Never answers a subscription, and pings.
    Ignore,
}

/// How REST answers before it answers as it should.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Status(u16, Option<u64>),
    Garbage,
    /// No trades, as a server that lags would have it.
    Empty,
}

#[derive(Default)]
struct State {
    scripts: VecDeque<Vec<Step>>,
    replies: VecDeque<Reply>,
    /// Ids that REST does not have.
    lost: BTreeSet<u64>,
    /// Trades (places) of the market that exist by now.
    n_trades: usize,
    n_connections: usize,
    n_rest: usize,
    /// When each REST request came.
    asked: Vec<std::time::Instant>,
    subscriptions: Vec<(std::time::Instant, usize)>,
    is_micros: bool,
    /// Symbols that have fewer trades than the rest.
    quiet: HashMap<String, usize>,
    /// The status of symbols that aren't traded.
    resting: bool,
    /// Clients that sent more than five messages in a second.
    n_hasty: usize,
    /// Refuses to serve trades by REST.
    is_barred: bool,
}

impl State {
    fn n_trades_of(&self, symbol: &str) -> usize {
        self.quiet.get(symbol).copied().unwrap_or(self.n_trades)
    }
}

/// The server; it stops on drop.
pub(crate) struct FakeBinance {
    state: Arc<Mutex<State>>,
    pub(crate) ws_url: String,
    pub(crate) rest_url: String,
    pub(crate) ca: Option<tempfile::NamedTempFile>,
    _runtime: tokio::runtime::Runtime,
}

trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

pub(crate) const SYMBOLS: [&str; 2] = ["NEBLBTC", "BNBBTC"];

impl FakeBinance {
    pub(crate) fn start(scripts: Vec<Vec<Step>>) -> Self {
        Self::start_with(scripts, false)
    }

    pub(crate) fn start_with(scripts: Vec<Vec<Step>>, is_tls: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let state = Arc::new(Mutex::new(State {
            scripts: scripts.into(),
            n_trades: real_trades().len(),
            ..State::default()
        }));
        let (acceptor, ca) = if is_tls {
            let (acceptor, ca) = tls();
            (Some(acceptor), Some(ca))
        } else {
            (None, None)
        };
        let (ws, rest) = runtime.block_on(async {
            let ws = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let rest = TcpListener::bind("127.0.0.1:0").await.unwrap();
            (ws, rest)
        });
        let address = |scheme: &str, listener: &TcpListener| {
            let address: SocketAddr = listener.local_addr().unwrap();
            let tls = if is_tls { "s" } else { "" };
            format!("{scheme}{tls}://localhost:{}", address.port())
        };
        let (ws_url, rest_url) = (address("ws", &ws), address("http", &rest));
        for (listener, is_ws) in [(ws, true), (rest, false)] {
            let (state, acceptor) = (Arc::clone(&state), acceptor.clone());
            runtime.spawn(async move {
                loop {
                    let Ok((tcp, _)) = listener.accept().await else {
                        continue;
                    };
                    let (state, acceptor) = (Arc::clone(&state), acceptor.clone());
                    tokio::spawn(async move {
                        if is_ws {
                            serve_ws(tcp, acceptor, state).await;
                        } else {
                            serve_rest(tcp, acceptor, state).await;
                        }
                    });
                }
            });
        }
        Self {
            state,
            ws_url,
            rest_url,
            ca,
            _runtime: runtime,
        }
    }

    pub(crate) fn lose(self, ids: impl IntoIterator<Item = u64>) -> Self {
        self.state.lock().unwrap().lost.extend(ids);
        self
    }

    pub(crate) fn reply(self, replies: Vec<Reply>) -> Self {
        self.state.lock().unwrap().replies = replies.into();
        self
    }

    pub(crate) fn in_micros(self) -> Self {
        self.state.lock().unwrap().is_micros = true;
        self
    }

    pub(crate) fn n_connections(&self) -> usize {
        self.state.lock().unwrap().n_connections
    }

    pub(crate) fn n_rest(&self) -> usize {
        self.state.lock().unwrap().n_rest
    }

    pub(crate) fn asked(&self) -> Vec<std::time::Instant> {
        self.state.lock().unwrap().asked.clone()
    }

    pub(crate) fn subscriptions(&self) -> Vec<(std::time::Instant, usize)> {
        self.state.lock().unwrap().subscriptions.clone()
    }

    pub(crate) fn n_hasty(&self) -> usize {
        self.state.lock().unwrap().n_hasty
    }

    pub(crate) fn at_rest(self) -> Self {
        self.state.lock().unwrap().resting = true;
        self
    }

    pub(crate) fn barred(self) -> Self {
        self.state.lock().unwrap().is_barred = true;
        self
    }

    /// From now on this symbol has so many trades, whatever the others have.
    pub(crate) fn set_quiet(&self, symbol: &str, n_trades: usize) {
        let mut state = self.state.lock().unwrap();
        state.quiet.insert(symbol.to_owned(), n_trades);
    }

    /// The id of a symbol's last trade.
    pub(crate) fn last_id_of(&self, symbol: &str) -> u64 {
        FIRST_ID + self.state.lock().unwrap().n_trades_of(symbol) as u64 - 1
    }

    pub(crate) fn set_n_trades(&self, n_trades: usize) {
        self.state.lock().unwrap().n_trades = n_trades;
    }
}

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

async fn serve_ws(tcp: TcpStream, acceptor: Option<TlsAcceptor>, state: Arc<Mutex<State>>) {
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

async fn serve_rest(tcp: TcpStream, acceptor: Option<TlsAcceptor>, state: Arc<Mutex<State>>) {
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

/// A certificate authority of our own, and a server that it vouches for.
fn tls() -> (TlsAcceptor, tempfile::NamedTempFile) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use std::io::Write;
    let ca_key = KeyPair::generate().unwrap();
    let mut ca_params = CertificateParams::new(Vec::new()).unwrap();
    ca_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = ca_params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca_params, ca_key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(
        tokio_rustls::rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(
        vec![certificate.der().clone()],
        key.serialize_der().try_into().unwrap(),
    )
    .unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(ca.pem().as_bytes()).unwrap();
    (TlsAcceptor::from(Arc::new(config)), file)
}
