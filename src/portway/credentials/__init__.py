"""Passwords: files of users, hashes computed in a thread, fair queues for them, and delays after failures."""
