//! Address of a request's client: one helper for all limits.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use actix_web::HttpRequest;

const FORWARDED: &str = "x-forwarded-for";

/// Returns the client of a request: the peer, or the last address of `X-Forwarded-For` if a trusted proxy sets this
/// header.
///
/// All lines of the header are one list (RFC 9110, 5.3), and each proxy appends an address. Ports are cut off. An
/// IPv6 customer has a /64, counted as one address.
pub fn address(request: &HttpRequest, trust_forwarded: bool) -> IpAddr {
    let forwarded = trust_forwarded.then(|| last_forwarded(request)).flatten();
    let peer = || request.peer_addr().map(|peer| peer.ip());
    network(forwarded.or_else(peer).unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)))
}

fn last_forwarded(request: &HttpRequest) -> Option<IpAddr> {
    let lines = request.headers().get_all(FORWARDED);
    let items = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let last = items.filter(|item| !item.is_empty()).last()?;
    parse(std::str::from_utf8(last).ok()?)
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
}

/// Returns the network counted as one client.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn client(lines: &[&str], trust_forwarded: bool) -> String {
        let request = TestRequest::default().peer_addr("10.0.0.1:999".parse().unwrap());
        let request = lines.iter().fold(request, |request, line| request.append_header((FORWARDED, *line)));
        address(&request.to_http_request(), trust_forwarded).to_string()
    }

    #[test]
    fn the_last_address_of_all_lines_counts_and_its_port_does_not() {
        for (lines, expected) in [
            (&[][..], "10.0.0.1"),
            (&["192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1, 192.0.2.2"], "192.0.2.2"),
            (&["192.0.2.1", "192.0.2.2"], "192.0.2.2"),
            (&["192.0.2.1, 192.0.2.2", "192.0.2.3 , 192.0.2.4:8080 "], "192.0.2.4"),
            (&["192.0.2.1, "], "192.0.2.1"),
            (&["\u{e9}, 192.0.2.1"], "192.0.2.1"),
            (&["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::"),
            (&["[2001:db8:1:2:3:4:5:7]"], "2001:db8:1:2::"),
            (&["[2001:db8:1:2:3:4:5:8]:443"], "2001:db8:1:2::"),
            (&["::ffff:192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1", "unknown"], "10.0.0.1"),
        ] {
            assert_eq!(client(lines, true), expected, "{lines:?}");
            assert_eq!(client(lines, false), "10.0.0.1", "{lines:?}");
        }
    }
}
