"""Chromium, driven as a person would: by clicks and keys, over its DevTools protocol on two pipes."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not here")


class Browser:
    """One page of a browser.

    Attributes:
        problems: what the page has written to the console, its uncaught errors, and what it was kept from loading.
        requests: the URLs that it has asked for.
    """

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, os.fdopen(from_browser, "rb", buffering=0)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _read(self) -> Any:
        while b"\0" not in self._buffer:
            part = self._from.read(65536)
            assert part, "chromium has ended"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        event = json.loads(message)
        if event.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.problems.append(json.dumps(event["params"]))
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(event["params"]["request"]["url"])
        return event

    def evaluate(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 60) -> Any:
        """The expression's value, once it is true. An element cannot be handed over: ask whether ``!!element``."""
        end = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < end, f"{expression} never came true; {self.problems}"
            time.sleep(0.02)
        return value

    def open(self, url: str) -> None:
        self.call("Page.navigate", url="about:blank")
        self.wait_for("location.href === 'about:blank'")
        self.call("Page.navigate", url=url)
        self.wait_for(f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'")

    def click(self, selector: str) -> None:
        """Clicks into the middle of an element."""
        part = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"{part}.scrollIntoView({{block: 'center'}})")
        x, y, width, height = self.evaluate(
            f"(box => [box.x, box.y, box.width, box.height])({part}.getBoundingClientRect())"
        )
        at = {"x": x + width / 2, "y": y + height / 2}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **at, button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Puts a text where the cursor is, in place of what is marked."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, *, control: bool = False, shift: bool = False) -> None:
        codes = {"Enter": 13, "Tab": 9, "a": 65, "ArrowDown": 40}
        common: dict[str, Any] = {
            "key": key, "code": f"Key{key.upper()}" if len(key) == 1 else key, "windowsVirtualKeyCode": codes[key],
            "modifiers": 2 * control + 8 * shift,
        }  # fmt: skip
        if key == "Enter" and not control:
            common["text"] = "\r"
        if key == "a" and control:
            common["commands"] = ["selectAll"]
        self.call("Input.dispatchKeyEvent", type="keyDown", **common)
        common.pop("text", None)
        common.pop("commands", None)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)


@contextlib.contextmanager
def chromium(profile: Path, *options: str) -> Iterator[Browser]:
    """A headless browser with an empty profile."""
    read_commands, to_browser = os.pipe()
    from_browser, write_events = os.pipe()
    command = [
        CHROMIUM or "", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
        f"--user-data-dir={profile}", "--remote-debugging-pipe", *options,
    ]  # fmt: skip

    def at_3_and_4() -> None:  # where --remote-debugging-pipe expects the pipes
        first, second = os.dup(read_commands), os.dup(write_events)
        os.dup2(first, 3)
        os.dup2(second, 4)

    process = subprocess.Popen(
        command, preexec_fn=at_3_and_4, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(read_commands)
    os.close(write_events)
    try:
        yield Browser(to_browser, from_browser)
    finally:
        process.terminate()
        process.wait()
        os.close(to_browser)
        os.close(from_browser)
