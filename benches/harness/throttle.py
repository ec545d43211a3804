"""A way to the server on which each connection is held to a rate, as on an instance whose every backend has a fraction of a core."""

import asyncio
import threading
import time

CHUNK_BYTES = 64 * 1024


class Throttle:
    """Passes TCP through to a local port. What the server sends is paced, each connection by itself; what it is sent is not."""

    def __init__(self, port: int, bytes_per_s: float) -> None:
        self.target = port
        self.bytes_per_s = bytes_per_s
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(asyncio.start_server(self._connected, "localhost", 0))
        self.port: int = self.server.sockets[0].getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.server.close()
        self.loop.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("localhost", self.target)
        await asyncio.gather(self._pass(reader, to_server, None), self._pass(from_server, writer, self.bytes_per_s))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: float | None) -> None:
        # Whoever is behind may catch up for one chunk, not for all the time in which nothing was asked for.
        may_send_at = 0.0
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                if rate:
                    may_send_at = max(may_send_at, time.monotonic()) + len(chunk) / rate
                    await asyncio.sleep(may_send_at - time.monotonic())
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
