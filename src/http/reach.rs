//! Which servers an address chosen by a model may lead to: public ones, and those that a person has named.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

/// What may be asked.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// Hosts (`host` or `host:port`) that may be asked wherever they are.
    pub private_hosts: Vec<String>,
    /// The only domains that may be asked, with those below them; empty is any.
    pub allowed_domains: Vec<String>,
    /// Domains that may not be asked, nor any below them; wins.
    pub blocked_domains: Vec<String>,
}

/// Why a server is not asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a web address.
    #[error("the address cannot be read ({reason}); give a whole one, such as https://example.org/page")]
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
    /// Another protocol.
    #[error("{scheme}: cannot be fetched; only http and https can")]
    Scheme {
        /// Which.
        scheme: String,
    },
    /// A name or password in it.
    #[error("an address with a user name or password is not fetched; leave it out")]
    UserInfo,
    /// Not among the domains.
    #[error("{host} is not among the allowed domains ({allowed})")]
    NotAllowed {
        /// Which.
        host: String,
        /// Those that are.
        allowed: String,
    },
    /// Among the blocked.
    #[error("{host} is within a blocked domain")]
    Blocked {
        /// Which.
        host: String,
    },
    /// A machine that is not public.
    #[error("{host} is not on the public internet, and only that may be fetched")]
    Private {
        /// Which.
        host: String,
    },
}

/// Whether the machines behind a name are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// They must be public.
    Public,
    /// A person has named the host.
    Named,
}

impl Reach {
    /// Whether an address may be asked, as far as can be told from it alone.
    pub(super) fn check(&self, url: &Url) -> Result<Guard, Refused> {
        if !["http", "https"].contains(&url.scheme()) {
            return Err(Refused::Scheme { scheme: url.scheme().to_owned() });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::UserInfo);
        }
        let shown = url.host_str().unwrap_or_default();
        let host = plain(shown);
        if self.blocked_domains.iter().any(|domain| is_within(&host, domain)) {
            return Err(Refused::Blocked { host });
        }
        if !self.allowed_domains.is_empty()
            && !self.allowed_domains.iter().any(|domain| is_within(&host, domain))
        {
            return Err(Refused::NotAllowed { host, allowed: self.allowed_domains.join(", ") });
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let is_named = |name: &String| {
            let name = name.to_ascii_lowercase();
            name == host
                || name == shown
                || name == format!("{host}:{port}")
                || name == format!("{shown}:{port}")
        };
        if self.private_hosts.iter().any(is_named) {
            return Ok(Guard::Named);
        }
        match host.parse::<IpAddr>() {
            Ok(address) if !is_public(address) => Err(Refused::Private { host }),
            _ => Ok(Guard::Public),
        }
    }
}

/// A host without the brackets and the last dot it may have.
fn plain(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase()
}

fn is_within(host: &str, domain: &str) -> bool {
    let domain = plain(domain.trim_start_matches("*.").trim_start_matches('.'));
    host == domain || host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.'))
}

/// Whether an address belongs to a machine of the public internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// What IPv4 keeps for other ends than the public internet: first address, and bits that count.
const SPECIAL_V4: [([u8; 4], u32); 17] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    // Shared by the customers of a carrier; one cloud has its metadata there.
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    // Link-local, and the metadata of most clouds.
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 31, 196, 0], 24),
    ([192, 52, 193, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    // Multicast, reserved, broadcast.
    ([224, 0, 0, 0], 3),
    // A public address that one cloud gives its metadata and agents within a machine.
    ([168, 63, 129, 16], 32),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = u32::from(address);
    !SPECIAL_V4.iter().any(|(first, length)| {
        let mask = u32::MAX << (32 - length);
        bits & mask == u32::from(Ipv4Addr::from(*first)) & mask
    })
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = address.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    let segments = address.segments();
    // NAT64: the machine that is reached is the IPv4 one at the end.
    if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [.., a, b, c, d] = address.octets();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    match segments {
        // Protocol assignments (Teredo among them), documentation, 6to4: all of them lead elsewhere.
        [0x2001, second, ..] => second >= 0x0200 && second != 0x0db8,
        [0x2002, ..] | [0x3fff, 0x0000..=0x0fff, ..] => false,
        // Only this eighth is given to public machines so far.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reach: &Reach, url: &str) -> Result<Guard, Refused> {
        reach.check(&Url::parse(url).unwrap())
    }

    #[test]
    fn only_public_addresses_are_public() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.0.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fec0::1",
            "4000::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.169.0.1",
            "223.255.255.255",
            "168.63.129.17",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2a00::1",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn an_address_is_private_however_it_is_written() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://017700000001/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://127.0.0.1./",
            "http://169.254.169.254/latest/meta-data",
            "https://10.0.0.1:8443/",
            "http://[fe80::1]/",
            "http://１２７.0.0.1/",
        ] {
            assert!(matches!(check(&Reach::default(), url), Err(Refused::Private { .. })), "{url}");
        }
        for url in ["file:///etc/passwd", "ftp://example.org/", "gopher://example.org/", "data:text/plain,x"]
        {
            assert!(matches!(check(&Reach::default(), url), Err(Refused::Scheme { .. })), "{url}");
        }
        assert_eq!(check(&Reach::default(), "http://user:pw@example.org/"), Err(Refused::UserInfo));
        assert_eq!(check(&Reach::default(), "http://x10.example/"), Ok(Guard::Public));
    }

    #[test]
    fn hosts_and_domains_are_matched_whole() {
        let named = ["wiki.intern", "127.0.0.1:8080", "[::1]:90"].map(str::to_owned).to_vec();
        let reach = Reach { private_hosts: named, ..Reach::default() };
        for url in
            ["http://wiki.intern/", "http://WIKI.intern.:99/", "http://127.0.0.1:8080/", "http://[::1]:90/"]
        {
            assert_eq!(check(&reach, url), Ok(Guard::Named), "{url}");
        }
        assert!(check(&reach, "http://127.0.0.1:8081/").is_err());
        assert_eq!(check(&reach, "http://a.wiki.intern/"), Ok(Guard::Public));
        let reach = Reach {
            allowed_domains: vec!["example.org".to_owned()],
            blocked_domains: vec!["bad.example.org".to_owned()],
            ..Reach::default()
        };
        assert!(
            check(&reach, "http://a.example.org/").is_ok() && check(&reach, "http://example.org./").is_ok()
        );
        for url in ["http://badexample.org/", "http://example.org.evil.net/", "http://x.bad.example.org/"] {
            assert!(check(&reach, url).is_err(), "{url}");
        }
    }
}
