//! Connections to WebSocket servers, with and without TLS.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use url::Url;

/// What a WebSocket runs over.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// An open WebSocket.
pub(super) type Socket = WebSocketStream<Box<dyn Transport>>;

/// Opening one takes no longer.
const OPEN: Duration = Duration::from_secs(15);
/// The exchange's frames have a few hundred bytes; one of more than this ends the connection.
const LARGEST_FRAME: usize = 16 << 20;

/// Opens WebSockets to one server.
#[derive(Clone)]
pub(super) struct Opener {
    url: Url,
    tls: Option<TlsConnector>,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener")
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

impl Opener {
    /// Prepares for `base`, such as `wss://stream.example:9443`.
    pub(super) fn new(base: &str, ca: Option<&[u8]>) -> Result<Self> {
        let base = base.trim_end_matches('/');
        // Microseconds, where the exchange has them.
        let url = Url::parse(&format!("{base}/stream?timeUnit=MICROSECOND"))
            .with_context(|| format!("`{base}` is no address of a WebSocket server"))?;
        let tls = match url.scheme() {
            "ws" => None,
            "wss" => Some(connector(ca)?),
            scheme => bail!("`{scheme}` is no WebSocket; `wss://` and `ws://` are"),
        };
        Ok(Self { url, tls })
    }

    pub(super) async fn open(&self) -> Result<Socket> {
        timeout(OPEN, self.connect())
            .await
            .with_context(|| format!("`{}` does not answer", self.url))?
            .with_context(|| format!("could not connect to `{}`", self.url))
    }

    async fn connect(&self) -> Result<Socket> {
        let host = self.url.host_str().context("it names no host")?;
        let is_tls = self.tls.is_some();
        let port = self.url.port().unwrap_or(if is_tls { 443 } else { 80 });
        let tcp = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
        tcp.set_nodelay(true)?;
        let transport: Box<dyn Transport> = match &self.tls {
            None => Box::new(tcp),
            Some(tls) => {
                let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
                Box::new(tls.connect(name, tcp).await?)
            }
        };
        let config = WebSocketConfig::default()
            .max_message_size(Some(LARGEST_FRAME))
            .max_frame_size(Some(LARGEST_FRAME));
        let (socket, _) =
            tokio_tungstenite::client_async_with_config(self.url.as_str(), transport, Some(config))
                .await?;
        Ok(socket)
    }
}

fn connector(ca: Option<&[u8]>) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    // Some systems have odd ones among theirs: those that can be read will do.
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if let Some(ca) = ca {
        for certificate in CertificateDer::pem_slice_iter(ca) {
            let certificate = certificate.context("the --ca file holds no readable certificate")?;
            roots
                .add(certificate)
                .context("the --ca file's certificate")?;
        }
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("set up TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
