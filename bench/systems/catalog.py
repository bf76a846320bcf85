"""All systems, in the order of the table."""

from bench.load.proxies import CONNECT, SOCKS5
from bench.systems.base import System
from bench.systems.bore import Bore
from bench.systems.caddy import CaddyHttps
from bench.systems.direct import Direct, DirectHttps
from bench.systems.forward_proxies import DANTE, MICROSOCKS, SQUID, TINYPROXY, HaproxyHop
from bench.systems.frp import Frp
from bench.systems.haproxy import HaproxyChain
from bench.systems.haproxy_https import HaproxyHttps
from bench.systems.nginx import NginxHttps
from bench.systems.portway import PASSED, TERMINATED, Portway, PortwayProxy
from bench.systems.rathole import Rathole

DIRECT = Direct()
PORTWAY_TCP = Portway("portway tcp TLS", "tcp")
PORTWAY_PLAIN = Portway("portway tcp plain links", "tcp", plaintext_links=True)
PORTWAY_HTTP = Portway("portway http TLS", "http")
PORTWAY_INSPECTED = Portway("portway http inspected", "http", inspected=True)
HAPROXY_TCP = HaproxyChain("tcp")
HAPROXY_HTTP = HaproxyChain("http")
HAPROXY_TLS = HaproxyChain("tcp", tls=True)
RATHOLE_PLAIN = Rathole("plain")
RATHOLE_TLS = Rathole("tls")
RATHOLE_NOISE = Rathole("noise")
BORE = Bore()
FRP_TCP = Frp("frp tcp", "tcp")
FRP_PLAIN = Frp("frp tcp plain", "tcp", tls_and_mux=False)
FRP_VHOST = Frp("frp vhost", "http")

SYSTEMS: tuple[System, ...] = (
    DIRECT,
    PORTWAY_TCP,
    PORTWAY_PLAIN,
    PORTWAY_HTTP,
    PORTWAY_INSPECTED,
    RATHOLE_TLS,
    RATHOLE_PLAIN,
    RATHOLE_NOISE,
    BORE,
    FRP_TCP,
    FRP_PLAIN,
    FRP_VHOST,
    HAPROXY_TCP,
    HAPROXY_HTTP,
    HAPROXY_TLS,
)

USUAL: tuple[System, ...] = (DIRECT, PORTWAY_TCP, PORTWAY_PLAIN, PORTWAY_HTTP, RATHOLE_TLS, RATHOLE_PLAIN, HAPROXY_TCP, HAPROXY_HTTP)
"""Systems of a run without `--systems` and `--full`: those of the first targets, in less than ten minutes."""

PORTWAY_HTTPS = Portway("portway https", "http", visitors=TERMINATED)
PORTWAY_TLS = Portway("portway tls", "tls", visitors=PASSED)
PORTWAY_TCP_PASSED = Portway("portway tcp to TLS origin", "tcp", visitors=PASSED)
PORTWAY_HTTPS_PLAIN = Portway("portway https plain links", "http", plaintext_links=True, visitors=TERMINATED)
HAPROXY_HTTPS = HaproxyHttps()
HAPROXY_HTTPS_PLAIN = HaproxyHttps("haproxy https plain hop", inner_tls=False)
CADDY_HTTPS = CaddyHttps()
NGINX_HTTPS = NginxHttps()

TLS_SYSTEMS: tuple[System, ...] = (
    DirectHttps(),
    PORTWAY_HTTPS,
    PORTWAY_TLS,
    PORTWAY_TCP_PASSED,
    HAPROXY_HTTPS,
    CADDY_HTTPS,
    NGINX_HTTPS,
    HAPROXY_HTTPS_PLAIN,
    PORTWAY_HTTPS_PLAIN,
)
"""Systems whose visitors use TLS (`--tls`)."""

TLS_USUAL = TLS_SYSTEMS[:-1]
"""Systems of a run with `--tls`, without `--systems` and `--full`."""

PROXY_CONNECT = PortwayProxy("portway proxy CONNECT", CONNECT)
PROXY_SOCKS5 = PortwayProxy("portway proxy SOCKS5", SOCKS5)
HAPROXY_HOP = HaproxyHop()

PROXY_SYSTEMS: tuple[System, ...] = (DIRECT, PROXY_CONNECT, PROXY_SOCKS5, HAPROXY_HOP, TINYPROXY, SQUID, MICROSOCKS, DANTE)
"""Forward proxies (`--proxies`)."""
