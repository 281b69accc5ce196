"""Where feet, miles per hour and pixels become metres: once, at the door."""

from __future__ import annotations

from dataclasses import dataclass

FOOT = 0.3048  # m, exact (international foot)
MPH = 0.44704  # m/s, exact
KMH = 1 / 3.6  # m/s


@dataclass(frozen=True, kw_only=True)
class View:
    """The ego-centred picture: heading up, row 0 ahead, column 0 to the left.

    Pixel (r, c) is centred ((height - 1) / 2 - r) / px_per_m metres ahead of the ego's centre and
    ((width - 1) / 2 - c) / px_per_m metres to its left. The defaults are the paper's (Henaff, Canziani, LeCun,
    arXiv:1901.02705): 72 m along the road, 14.8 m (four lanes) across.
    """

    height: int = 117  # px, along the heading
    width: int = 24  # px, across
    px_per_m: float = 1.62

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1 or not self.px_per_m > 0:
            raise ValueError(f"{self}: height, width and px_per_m must be positive")

    @property
    def top(self) -> float:
        """Metres from the ego's centre to the centres of the pixels of row 0."""
        return (self.height - 1) / 2 / self.px_per_m

    @property
    def left(self) -> float:
        """Metres from the ego's centre to the centres of the pixels of column 0."""
        return (self.width - 1) / 2 / self.px_per_m
