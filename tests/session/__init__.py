"""Tests of the conversation of agent and server."""
