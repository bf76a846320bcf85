"""The TLS port: reads each ClientHello in the reactor and routes the connection by ALPN and server name."""
