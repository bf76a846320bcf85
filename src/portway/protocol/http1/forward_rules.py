"""Field rules of a forward proxy: what belongs to one hop is read or dropped, everything else is the client's and is forwarded."""

from portway.protocol.http1.field_rules import DROP, OF_ONE_HOP, FieldRules, folded


class ForwardProxyRules(FieldRules):
    """The rules for the clients of a forward proxy.

    A client of a forward proxy is no stranger to its origins: they would get the same request without the proxy. So nothing that it
    sends about itself is dropped, and nothing is added (no X-Forwarded-For, no CDN-Loop), except Via if it is configured. Fields whose
    names begin with `Proxy-` are for proxies and end here, above all credentials (RFC 9110 section 11.7.2); so does Proxy, which CGI
    converts to HTTP_PROXY (CVE-2016-5385).
    """

    def decide(self, name: bytes) -> bytes | None:
        """Return the decision for any name.

        Raises:
            MessageError: an alternative spelling of Content-Length or Transfer-Encoding.
        """
        plain = folded(name)
        if plain in OF_ONE_HOP:
            return super().decide(name)
        return DROP if plain == b"proxy" or plain.startswith(b"proxy-") else None
