//! Addresses of servers.

use anyhow::{Result, bail};
use terminal::exit::Environment;
use url::Url;

/// Makes sure that a base address holds nothing that nobody may read: it is printed, logged and
/// written into manifests.
///
/// # Errors
/// An [`Environment`] error that names the option, and not the address.
pub fn check_base(option: &str, address: &str) -> Result<()> {
    let Ok(url) = Url::parse(address) else {
        bail!(Environment(format!(
            "{option} is no address: scheme://host[:port][/path]"
        )));
    };
    let holds = if !url.username().is_empty() || url.password().is_some() {
        "a name or password"
    } else if url.query().is_some() || url.fragment().is_some() {
        "a query"
    } else {
        return Ok(());
    };
    bail!(Environment(format!(
        "{option} holds {holds}, which would be seen in messages and manifests; a base address has none"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_refused_and_not_repeated() {
        for address in [
            "https://user:hunter2@host",
            "wss://hunter2@host:9443",
            "https://host/path?token=hunter2",
            "hunter2",
        ] {
            let error = format!("{:#}", check_base("--rest-url", address).unwrap_err());
            assert!(
                error.contains("--rest-url") && !error.contains("hunter2"),
                "{error}"
            );
        }
        for address in ["https://host", "ws://[::1]:80/", "https://host:1/path"] {
            check_base("--ws-url", address).unwrap();
        }
    }
}
