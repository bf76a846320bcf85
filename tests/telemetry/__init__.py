"""Tests of `portway.telemetry`."""
