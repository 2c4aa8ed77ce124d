//! Where a webhook may send to: never into the network that the server stands in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::WebhookOptions;

/// Whether anybody in the internet could be there.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let reserved = match (a, b, c) {
        // This network, private, loopback.
        (0 | 10 | 127, _, _) => true,
        // Shared by providers (CGNAT).
        (100, 64..=127, _) => true,
        (169, 254, _) | (172, 16..=31, _) | (192, 168, _) => true,
        // Protocol assignments, documentation, the old 6to4 relays, measurements.
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 18..=19, _) => true,
        (198, 51, 100) | (203, 0, 113) => true,
        // Multicast, reserved, broadcast.
        (224.., _, _) => true,
        _ => false,
    };
    !reserved
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Only 2000::/3 is given to anybody; within it protocol assignments (Teredo and others, of
    // 2001::/23) and documentation are not.
    first & 0xe000 == 0x2000
        && !(first == 0x2001 && second < 0x0200)
        && !(first == 0x2001 && second == 0x0db8)
        && !(first == 0x3fff && second < 0x1000)
}

/// The IPv4 address that an IPv6 address leads to: mapped, compatible, 6to4, NAT64.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let [.., high, low] = s;
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match s {
        [0, 0, 0, 0, 0, 0xffff | 0, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

/// Checks a URL before anything is sent there, and says what is wrong with it.
///
/// # Errors
/// When its scheme or its host is not one to send to.
pub(super) async fn check(url: &str, options: &WebhookOptions) -> Result<Url, String> {
    let parsed = Url::parse(url.trim()).map_err(|_| format!("Invalid webhook URL '{url}'."))?;
    let schemes = &options.allowed_schemes;
    if !schemes.iter().any(|scheme| scheme == parsed.scheme()) {
        return Err(format!(
            "Invalid webhook URL scheme: '{}'. Allowed schemes are: {}.",
            parsed.scheme(),
            schemes.join(", ")
        ));
    }
    let host = parsed
        .host_str()
        .filter(|host| !host.is_empty())
        .ok_or_else(|| format!("Webhook URL must include a hostname: '{url}'"))?;
    if options.allow_private {
        return Ok(parsed);
    }
    // The parser has made an address of every spelling of one.
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
    match literal {
        Ok(address) => public(&[address]),
        Err(_) => public(&lookup(host).await?),
    }
    .map_err(|()| "Webhook URL must not resolve to a non-public IP address.".to_owned())?;
    Ok(parsed)
}

fn public(addresses: &[IpAddr]) -> Result<(), ()> {
    if addresses.iter().all(|address| is_public(*address)) {
        Ok(())
    } else {
        Err(())
    }
}

async fn lookup(host: &str) -> Result<Vec<IpAddr>, String> {
    let failed = || format!("Webhook URL's host '{host}' can't be resolved.");
    let addresses: Vec<IpAddr> = tokio::net::lookup_host((host, 0))
        .await
        .map_err(|_| failed())?
        .map(|address| address.ip())
        .collect();
    if addresses.is_empty() {
        return Err(failed());
    }
    Ok(addresses)
}

/// Resolves names for the connections themselves: what was checked is what is connected to, so a
/// name that changes in between gains nothing.
#[derive(Debug)]
pub(super) struct PublicResolver {
    pub(super) allow_private: bool,
}

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let addresses = lookup(name.as_str()).await?;
            if !allow_private && public(&addresses).is_err() {
                return Err("the host resolves to an address that is not public".into());
            }
            let addresses: Addrs = Box::new(
                addresses
                    .into_iter()
                    // The client puts the URL's port in the place of this one.
                    .map(|address| SocketAddr::new(address, 0)),
            );
            Ok(addresses)
        })
    }
}

/// A client that goes where it is told and nowhere else.
///
/// # Errors
/// When the system's certificates can't be read.
pub(super) fn client(options: &WebhookOptions) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .dns_resolver(Arc::new(PublicResolver {
            allow_private: options.allow_private,
        }))
        // A proxy would look names up itself, and a redirect leads anywhere.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(super::TIMEOUT)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_sent_to() {
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "203.0.113.7",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "172.32.0.1",
            "2606:4700:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[tokio::test]
    async fn urls_are_checked_in_every_spelling() {
        let options = WebhookOptions::default();
        for bad in [
            "",
            "nonsense",
            "http://8.8.8.8/",
            "file:///etc/passwd",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0177.0.0.1/",
            "https://2130706433/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]:8443/x",
            "https://localhost/",
        ] {
            assert!(check(bad, &options).await.is_err(), "{bad}");
        }
        assert!(check("https://8.8.8.8/hook", &options).await.is_ok());
        let open = WebhookOptions {
            allow_private: true,
            allowed_schemes: vec!["http".to_owned()],
            ..WebhookOptions::default()
        };
        assert!(check("http://127.0.0.1:1/hook", &open).await.is_ok());
    }
}
