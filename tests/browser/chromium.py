"""Headless Chromium, as Debian's package has it, and a Datasette for it to look at."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, Final

import uvicorn
from datasette.app import Datasette
from datasette.plugins import pm

from sampledb.datasette import plugin
from tests.workers.processes import HANGS

#: Debian's name first; `None` where there is no such browser.
PROGRAM: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

# An installation knows it by its entry point, a tree that was only copied does not.
if not pm.has_plugin("sampledb"):
    pm.register(plugin, "sampledb")


@contextmanager
def serve(path: Path) -> Iterator[str]:
    """Yield the address of a Datasette over a file."""
    datasette = Datasette([str(path)])
    server = uvicorn.Server(uvicorn.Config(datasette.app(), port=0, log_level="error"))
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)
        for database in datasette.databases.values():
            database.close()


@contextmanager
def open_tab(width: int = 1200, height: int = 900, *, scripts: bool = True) -> Iterator[tuple[Any, list[str]]]:
    """Yield a tab, and the list of what it complains of: errors, violations of its policy, dialogs."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - where it is installed

    complaints: list[str] = []
    with sync_playwright() as playwright:
        # Root, which containers have, gets no sandbox of Chromium's.
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])

        def answer(dialog: Any) -> None:
            complaints.append(dialog.message)
            dialog.dismiss()

        def fail(request: Any) -> None:
            # Whoever leaves a page ends what it still loads.
            if request.failure != "net::ERR_ABORTED":
                complaints.append(f"{request.failure}: {request.url}")

        tab = browser.new_page(viewport={"width": width, "height": height}, java_script_enabled=scripts)
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("dialog", answer)
        tab.on("requestfailed", fail)
        tab.set_default_timeout(1000 * HANGS)
        yield tab, complaints
        browser.close()
