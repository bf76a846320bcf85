"""Every test here runs on epoll and on the portable poller."""

from tests.kit.engines import each_engine

__all__ = ["each_engine"]
