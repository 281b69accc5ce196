"""A CommonRoad file looked through before anything believes it: no entities, the right version, only finite numbers.

Errors found here name the line of the file, which the tree that commonroad-io works on no longer knows.
"""

from __future__ import annotations

import math
import xml.sax.handler
from pathlib import Path
from xml.sax.xmlreader import AttributesImpl, Locator

import defusedxml
import defusedxml.sax

from envs.errors import InputError

VERSIONS = ("2018b", "2020a")
SIZES = ("length", "width", "radius")  # m, positive
NUMBERS = (*SIZES, "x", "y", "z", "exact", "intervalStart", "intervalEnd", "originXShift")
MAX_SIZE = 100.0  # m
MAX_ANGLE = (
    100.0  # rad; commonroad-io turns angles back into a circle one by one, which takes for ever from 1e9
)
MAX_NUMBER = 1e8  # no coordinate in m, speed or time step is larger


def check_xml(data: bytes, path: Path) -> dict[str, int]:
    """Refuse what is no CommonRoad XML.

    Returns:
        the 1-based line of each obstacle, by its id.
    Raises:
        InputError: malformed XML, a DTD or entities, another root or version, or a number that is none.
    """
    handler = _Handler(path)
    try:
        defusedxml.sax.parseString(data, handler, forbid_dtd=True)
    except defusedxml.DefusedXmlException as error:
        raise InputError("XML with a DTD or entities is refused", path=path, row=handler.row) from error
    except xml.sax.SAXParseException as error:
        what = f"no well-formed XML: {error.getMessage()}"
        raise InputError(what, path=path, row=error.getLineNumber()) from error
    except (ValueError, LookupError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"no readable XML: {error}", path=path) from error
    return handler.obstacles


class _Handler(xml.sax.handler.ContentHandler):
    """Follows the open elements and checks each number as it ends."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.obstacles: dict[str, int] = {}
        self._locator: Locator | None = None
        self._open: list[str] = []  # names of the open elements, obstacles with their ids
        self._text: list[str] = []

    @property
    def row(self) -> int | None:
        return self._locator.getLineNumber() if self._locator else None

    def setDocumentLocator(self, locator: Locator) -> None:
        self._locator = locator

    def startElement(self, name: str, attrs: AttributesImpl) -> None:
        if not self._open:
            self._check_root(name, attrs)
        label = name
        if name.lower().endswith("obstacle"):
            label = f"{name} {attrs.get('id')}"
            self.obstacles[str(attrs.get("id"))] = self.row or 0
        self._open.append(label)
        self._text = []

    def characters(self, content: str) -> None:
        self._text.append(content)

    def endElement(self, name: str) -> None:
        text = "".join(self._text).strip()
        if name in NUMBERS or (
            name == "orientation" and text
        ):  # an orientation may hold a number or an <exact>
            self._check_number(name, text)
        self._open.pop()
        self._text = []

    def _check_root(self, name: str, attrs: AttributesImpl) -> None:
        if name != "commonRoad":
            raise InputError(f"root <{name}>, <commonRoad> expected", path=self.path, row=self.row)
        version = attrs.get("commonRoadVersion")
        if version not in VERSIONS:
            what = f"version {version!r}, one of {', '.join(VERSIONS)} expected"
            raise InputError(what, path=self.path, row=self.row, column="commonRoadVersion")
        try:
            step = float(attrs.get("timeStepSize", ""))
        except ValueError:
            step = math.nan
        if not 0.001 <= step <= 10:
            what = f"{attrs.get('timeStepSize')!r}, seconds from 0.001 to 10 expected"
            raise InputError(what, path=self.path, row=self.row, column="timeStepSize")

    def _check_number(self, name: str, text: str) -> None:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        limit = MAX_ANGLE if "orientation" in self._open else MAX_NUMBER
        if not math.isfinite(value):
            fault = "is no finite number"
        elif name in SIZES and not 0 < value <= MAX_SIZE:
            fault = f"is no size above 0 and up to {MAX_SIZE:g} m"
        elif abs(value) > limit:
            fault = f"is beyond {limit:g}"
        else:
            return
        raise InputError(
            f"{text[:40]!r} {fault}", path=self.path, row=self.row, column="/".join(self._open[1:])
        )
