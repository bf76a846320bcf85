"""Tests of dialling, accepting and verifying links: real sockets, real TLS, and all kinds of peers."""
