"""An origin in its own process that reads everything and never responds."""

import asyncio

from tests.attacks.child import send_line, task_of_child


async def serve() -> None:
    """Serve until the process is killed."""
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0, backlog=1024)
    send_line({"port": server.sockets[0].getsockname()[1]})
    await server.serve_forever()


if __name__ == "__main__":
    task_of_child()
    asyncio.run(serve())
