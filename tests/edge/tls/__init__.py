"""Tests of the TLS port."""
