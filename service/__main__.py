"""`python -m service`: settings from the environment -> a server that ends gracefully on SIGTERM or Ctrl-C."""

import sys
import time
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.deps import Services
from service.logs import uvicorn_log_config
from service.settings import Settings
from tsforecast.errors import OptionError


class DrainingServer(uvicorn.Server):
    """On the first signal: not ready at once; `drain_seconds` later no new connections, and the end of those there are.

    A second signal ends the draining, a third the waiting for requests in flight. After a graceful end the exit code is 0.
    """

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self.services = services
        self.drained_at = float("inf")  # time.monotonic

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self.force_exit = True
        elif self.services.draining or self.services.settings.drain_seconds == 0:
            self.services.draining = True
            self.should_exit = True
        else:
            self.services.draining = True
            self.drained_at = time.monotonic() + self.services.settings.drain_seconds

    async def on_tick(self, counter: int) -> bool:
        self.should_exit = self.should_exit or time.monotonic() >= self.drained_at
        return await super().on_tick(counter)


def server_of(app: FastAPI, settings: Settings, *, log_config: dict[str, object] | None) -> DrainingServer:
    """A server of `app` as the settings say; without `log_config`, logging stays as it is."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=log_config,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_seconds)),
    )
    return DrainingServer(config, app.state.services)


def main() -> int:
    """Serve until told to stop; the exit code is 2 when a setting is wrong, 3 when the address cannot be had."""
    try:
        settings = Settings.from_env()
    except OptionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    server = server_of(create_app(settings=settings), settings, log_config=uvicorn_log_config())
    server.run()
    return 0 if server.started else 3


if __name__ == "__main__":
    sys.exit(main())
