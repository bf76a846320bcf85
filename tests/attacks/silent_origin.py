"""An origin in a process of its own that reads everything and never responds."""

import asyncio

from tests.attacks.child import say, task_of_child


async def serve() -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0, backlog=1024)
    say({"port": server.sockets[0].getsockname()[1]})
    await server.serve_forever()


if __name__ == "__main__":
    task_of_child()
    asyncio.run(serve())
