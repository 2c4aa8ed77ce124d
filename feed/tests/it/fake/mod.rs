//! A fake Binance: WebSocket and REST, that plays scripts.
//!
//! Each connection plays the next script; when there is none left, it sends all that is left of
//! the market and pings from then on.

mod rest;
mod socket;
mod tls;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;

use self::rest::serve_rest;
use self::socket::serve_ws;
pub(crate) use self::socket::trade_frame;
use self::tls::tls;
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
