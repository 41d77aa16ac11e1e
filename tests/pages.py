"""What the tests of pages ask of a browser: does everything fit, does text stand out."""

from __future__ import annotations

from typing import Any

GROUND = """
let part = document.querySelector(arguments[0]), ground = part;
while (ground && getComputedStyle(ground).backgroundColor.endsWith(", 0)")) ground = ground.parentElement;
return [getComputedStyle(part).color, getComputedStyle(ground ?? document.body).backgroundColor];
"""


def beyond(browser: Any, width: int, scrolling: str = ".scroll, pre") -> list[str]:
    """Beginnings of elements that stick out of a page of so many pixels on the right, but for those that scroll."""
    inner, scroll = browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
    assert inner == width and scroll <= width
    return browser.execute_script(
        "return [...document.body.querySelectorAll('*')].filter(e => !e.closest(arguments[0]) || "
        "e.matches(arguments[0])).filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth"
        " + .5).map(e => e.outerHTML.slice(0, 200))",
        scrolling,
    )


def contrast(browser: Any, part: str) -> float:
    """Contrast, as WCAG 2 defines it, of the text of the first element that a selector finds with its ground."""
    dark, light = sorted(luminance(colour) for colour in browser.execute_script(GROUND, part))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)`, as WCAG 2 defines it."""
    parts = [int(part) / 255 for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
