"""`python -m service`: settings from the environment -> a server that ends gracefully on SIGTERM or Ctrl-C."""

import sys
import time
from types import FrameType

import uvicorn

from service.app import create_app
from service.deps import Services
from service.logs import uvicorn_log_config
from service.settings import Settings
from tsforecast.errors import OptionError


class DrainingServer(uvicorn.Server):
    """On the first signal: not ready at once; `drain_seconds` later no new connections, and the end of those there are."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self.services = services
        self.ends_at: float | None = None  # time.monotonic

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.services.draining or self.services.settings.drain_seconds == 0:  # a second signal waits for nothing
            self.services.draining = True
            super().handle_exit(sig, frame)
            return
        self.services.draining = True
        self.ends_at = time.monotonic() + self.services.settings.drain_seconds

    async def on_tick(self, counter: int) -> bool:
        if self.ends_at is not None and time.monotonic() >= self.ends_at:
            return True
        return await super().on_tick(counter)


def main() -> int:
    """Serve until told to stop; the exit code is 2 when a setting is wrong."""
    try:
        settings = Settings.from_env()
    except OptionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    app = create_app(settings=settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=uvicorn_log_config(),
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_seconds)),
    )
    DrainingServer(config, app.state.services).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
