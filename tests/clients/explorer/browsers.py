"""The browser that the tests of the page drive: Chromium, or the one that RESONANCE_BROWSER names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Playwright, sync_playwright

#: Debian's, and what installs each.
PROGRAMS = {
    "chromium": (Path("/usr/bin/chromium"), "make browser"),
    "firefox": (Path("/usr/bin/firefox-esr"), "make firefox"),
}
CHROMIUM_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Browsers:
    """A browser; Firefox takes scheme and motion as it starts, so one runs for each pair that is asked for.

    Args:
        name: one of `PROGRAMS`.
    """

    def __init__(self, playwright: Playwright, name: str) -> None:
        self._playwright, self._name, self._program = playwright, name, PROGRAMS[name][0]
        self._launched: dict[tuple[str, str], Browser] = {}

    def context(self, size: tuple[int, int], scheme: str, motion: str) -> BrowserContext:
        """An empty profile. size: width and height of its pages in px."""
        viewport = {"width": size[0], "height": size[1]}
        if self._name == "chromium":
            launched = self._launched.get(("", "")) or self._chromium()
            return launched.new_context(viewport=viewport, color_scheme=scheme, reduced_motion=motion)
        launched = self._launched.get((scheme, motion)) or self._firefox(scheme, motion)
        return launched.new_context(viewport=viewport, color_scheme="null", reduced_motion="null")

    def _chromium(self) -> Browser:
        launched = self._playwright.chromium.launch(
            executable_path=str(self._program), args=list(CHROMIUM_ARGUMENTS)
        )
        self._launched["", ""] = launched
        return launched

    def _firefox(self, scheme: str, motion: str) -> Browser:
        """Firefox as Debian builds it, through WebDriver BiDi."""
        preferences = {
            "ui.systemUsesDarkTheme": int(scheme == "dark"),
            "ui.prefersReducedMotion": int(motion == "reduce"),
        }
        launched = self._playwright.firefox.launch(
            channel="moz-firefox", executable_path=str(self._program), firefox_user_prefs=preferences
        )
        self._launched[scheme, motion] = launched
        return launched

    def close(self) -> None:
        """End what was started."""
        for launched in self._launched.values():
            launched.close()


@contextmanager
def started_browsers() -> Iterator[Browsers]:
    """For a file of tests. Fails where the browser is not installed."""
    name = os.environ.get("RESONANCE_BROWSER", "chromium")
    if name not in PROGRAMS:
        pytest.fail(f"RESONANCE_BROWSER is {name}; expected one of {', '.join(PROGRAMS)}")
    program, installing = PROGRAMS[name]
    if not program.exists():
        pytest.fail(f"no browser at {program}; run `{installing}`")
    with sync_playwright() as playwright:
        browsers = Browsers(playwright, name)
        yield browsers
        browsers.close()
