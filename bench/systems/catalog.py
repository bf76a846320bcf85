"""All systems, in the order of the table."""

from bench.systems.base import System
from bench.systems.bore import Bore
from bench.systems.direct import Direct
from bench.systems.frp import Frp
from bench.systems.haproxy import HaproxyChain
from bench.systems.portway import Portway
from bench.systems.rathole import Rathole

DIRECT = Direct()
PORTWAY_TCP = Portway("portway tcp TLS", "tcp")
PORTWAY_PLAIN = Portway("portway tcp plain links", "tcp", plaintext_links=True)
PORTWAY_HTTP = Portway("portway http TLS", "http")
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
