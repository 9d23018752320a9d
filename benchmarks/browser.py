"""A headless Chromium, driven over its debugging pipe: pages opened, questioned and photographed.

Nothing but the browser is needed: on Debian and Ubuntu, apt-get install chromium.
"""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def find() -> str | None:
    """The browser's program; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass(slots=True, kw_only=True)
class Page:
    """A page in a window.

    Attributes:
        complaints: what the console was told of errors and warnings, and requests that left.
    """

    browser: "Browser"
    session: str
    complaints: list[str] = field(default_factory=list)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol."""
        return self.browser.call(method, self.session, **parameters)

    def look(self, width: int, height: int, *, dark: bool = False, scale: float = 1.0) -> None:
        """Set the size of the window in pixels of CSS, and the scheme that the system likes."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, file: Path) -> None:
        """Open a file, and wait until it is loaded."""
        self.browser.events.clear()
        self.call("Page.navigate", url=file.resolve().as_uri())
        self.browser.wait_for("Page.loadEventFired", self.session)
        self._listen(file.resolve().as_uri())

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript, as JSON has it."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def photograph(self, *, whole: bool = False, clip: Sequence[float] | None = None) -> bytes:
        """The bytes of a PNG of the window, of the whole page, or of (x, y, width, height)."""
        how: dict[str, Any] = {"format": "png", "captureBeyondViewport": whole or clip is not None}
        if whole:
            size = self.evaluate(
                "[document.documentElement.clientWidth, document.documentElement.scrollHeight]"
            )
            clip = (0, 0, *size)
        if clip is not None:
            names = ("x", "y", "width", "height")
            how["clip"] = {**dict(zip(names, clip, strict=True)), "scale": 1}
        return base64.b64decode(self.call("Page.captureScreenshot", **how)["data"])

    def _listen(self, own: str) -> None:
        """Take what the page has complained of so far, and what it asked others for."""
        self.evaluate("1")  # whatever it had to say has come before the answer
        for event in self.browser.events:
            method, told = event["method"], event.get("params", {})
            if event.get("sessionId") != self.session:
                continue
            if method == "Runtime.exceptionThrown":
                self.complaints.append(str(told["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
                self.complaints.append(str(told["args"]))
            elif method == "Log.entryAdded":
                self.complaints.append(str(told["entry"].get("text")))
            elif method == "Network.requestWillBeSent":
                url = told["request"]["url"]
                if url != own and not url.startswith("data:"):
                    self.complaints.append(f"it asked for {url}")


class Browser:
    """A running browser; `started` makes one.

    Attributes:
        events: that came and were not yet looked at.
    """

    def __init__(self, process: subprocess.Popen[bytes], to: int, back: int) -> None:
        self._process, self._to, self._back = process, to, back
        self._number, self._rest = 0, b""
        self.events: list[dict[str, Any]] = []

    def page(self) -> Page:
        """A new page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", session)
        return Page(browser=self, session=session)

    def call(
        self, method: str, session: str | None = None, timeout_s: float = 60.0, **parameters: Any
    ) -> dict[str, Any]:
        """Call a method and wait for its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + timeout_s
        while True:
            answer = self._next(end)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, method: str, session: str, timeout_s: float = 60.0) -> None:
        """Wait until there is such an event."""
        end = time.monotonic() + timeout_s
        while not any(
            each.get("method") == method and each.get("sessionId") == session
            for each in self.events
        ):
            self.events.append(self._next(end))

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._back], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise TimeoutError("the browser did not answer in time")
            read = os.read(self._back, 2**20)
            if not read:
                raise RuntimeError(f"the browser ended, code {self._process.poll()}")
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


@contextlib.contextmanager
def started(program: str) -> Iterator[Browser]:
    """A browser with a profile of its own, which ends with the block."""
    commands, answers = os.pipe(), os.pipe()
    # out of the way of 3 and 4, by which the browser reads commands and writes answers
    own = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (commands[0], answers[1])]
    run = f'exec "$0" "$@" 3</dev/fd/{own[0]} 4>/dev/fd/{own[1]}'
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            ["sh", "-c", run, program, *_OPTIONS, f"--user-data-dir={profile}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=own,
        )
        for end in (*own, commands[0], answers[1]):
            os.close(end)
        try:
            yield Browser(process, commands[1], answers[0])
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(commands[1])
            os.close(answers[0])
