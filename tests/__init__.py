"""Tests of Portway, arranged like src."""
