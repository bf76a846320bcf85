"""The table of request fields that describe a visitor or its request to an origin: which of them a visitor may send.

Names are in lower case; a name that ends in `*` matches all names with that prefix. A dropped field is forwarded only from a trusted
proxy, and only if the operator named it (`--trusted-header`). Exact names take precedence over prefixes. `docs/http.md` has the same
table.
"""

from typing import NamedTuple


class Group(NamedTuple):
    """Field names with the same decision and reason."""

    title: str
    names: tuple[str, ...]
    reason: str


def _group(title: str, names: str, reason: str) -> Group:
    return Group(title, tuple(names.split()), reason)


DROPPED = (
    _group(
        "forwarding fields",
        """x-forwarded-* x-forwarded forwarded forwarded-* x-original-forwarded-*""",
        "Proxies write them and frameworks trust them. The edge writes X-Forwarded-For, -Host, -Proto and Forwarded itself; the others "
        "contain users, certificates and prefixes (oauth2-proxy, Traefik, Envoy).",
    ),
    _group(
        "the visitor's address",
        """x-real-* x-client-ip client-ip x-cluster-client-ip true-client-ip x-true-client-ip x-originating-ip x-remote-* remote-addr
        x-proxyuser-ip proxy-client-ip wl-proxy-* cf-connecting-ip cf-connecting-ipv6 cf-pseudo-ipv4 cf-ipcountry fastly-client-ip
        fly-client-ip fly-forwarded-* do-connecting-ip x-azure-clientip x-azure-socketip x-nf-client-connection-ip x-vercel-* x-appengine-*
        ali-cdn-real-ip cdn-src-ip incap-client-ip x-sucuri-clientip cloudfront-* x-envoy-*""",
        "nginx, WebLogic, Envoy and CDNs set them; libraries read one after another to find an address, and none of these proxies forwards "
        "a visitor's own.",
    ),
    _group(
        "scheme and URL",
        """front-end-https x-url-scheme x-scheme x-https x-arr-ssl fastly-ssl cf-visitor x-original-url x-original-uri x-original-path
        x-original-host x-original-method x-original-proto x-original-scheme x-original-remote-addr x-rewrite-url x-rewrite-uri
        x-override-url x-http-destinationurl x-http-host-override x-host-override x-script-name script-name path-info""",
        "A proxy reports the request before it rewrote it (IIS, Envoy, ingress-nginx, Authelia). Symfony, Zend and Rails engines used "
        "X-Original-URL or X-Rewrite-URL as the path; gunicorn accepts SCRIPT_NAME and PATH_INFO from its own machine, where the agent is.",
    ),
    _group(
        "users",
        """remote-* x-auth-request-* x-authentik-* x-authenticated-* x-webauth-* x-auth-userid x-auth-username x-auth-subject x-auth-roles
        x-auth-groups x-auth-audience x-consumer-id x-consumer-username x-consumer-custom-id x-consumer-groups x-credential-identifier
        x-credential-username x-anonymous-consumer x-userinfo x-proxy-user x-proxy-remote-user x-goog-authenticated-user-*
        x-goog-iap-jwt-assertion x-ms-client-principal* x-ms-token-* x-amzn-oidc-* x-pomerium-jwt-assertion x-pomerium-claim-* x-vouch-*
        cf-access-authenticated-user-* cf-access-jwt-assertion tailscale-user-* tailscale-app-capabilities x-token-user-* oidc-* sm-user*
        sm-universalid smuser iv-user* iv-groups iv-creds shib-* eppn ajp-*""",
        "A proxy that has authenticated a visitor reports the user (oauth2-proxy, Authelia, authentik, Grafana, Kubernetes, Kong, "
        "IAP, Azure, ALB, Pomerium, Vouch, Cloudflare Access, Tailscale, SiteMinder, WebSEAL, Shibboleth), and the origin requires no proof.",
    ),
    _group(
        "client certificates",
        """client-cert client-cert-chain x-client-cert* x-client-verify* x-client-dn x-client-s-dn x-client-i-dn x-client-subject*
        x-client-issuer* x-client-serial x-client-fingerprint x-client-ssl-* x-client-tls-* x-ssl x-ssl-* ssl-* sslclient* x-tls-*
        tls-client-* x-mtls-* x-arr-clientcert x-amzn-mtls-* x-amzn-tls-*""",
        "The proxy that terminates TLS reports the client's certificate (RFC 9440 section 2.4: such a field from a client must be removed).",
    ),
    _group(
        "fields that servers obey",
        """proxy x-sendfile-type x-accel-mapping""",
        "CGI converts Proxy to HTTP_PROXY, through which programs then send their own requests (CVE-2016-5385). Rack serves files as the "
        "other two direct (CVE-2025-61780); proxies set them.",
    ),
    _group(
        "acceptance of a request",
        """x-request-start x-queue-start portway-*""",
        "The edge writes X-Request-Start itself; names that begin with Portway- are reserved for it.",
    ),
)

KEPT = (
    _group(
        "overriding the method",
        """x-http-method-override x-http-method x-method-override""",
        "Clients send them where forms or networks support only GET and POST; an origin that honours them does so without Portway, too. "
        "No rule of the edge depends on the method.",
    ),
    _group(
        "a client's own credentials",
        """x-auth-user x-auth-key x-auth-token x-auth-email x-api-key x-access-token x-id-token cf-access-client-id
        cf-access-client-secret cf-access-token x-pomerium-authorization impersonate-*""",
        "Clients of OpenStack, Cloudflare, Kubernetes and others authenticate with them, and origins verify that.",
    ),
    _group(
        "names and tracing",
        """x-request-id x-correlation-id traceparent tracestate x-b3-* x-amzn-trace-id x-host x-user x-user-* via""",
        "Not identities: clients send them, or applications define them for their own clients.",
    ),
)
