"""The driver model in closed form."""

from __future__ import annotations

import math

import pytest

from envs.idm import HARDEST_BRAKING, Driver, idm

DRIVER = Driver()


@pytest.mark.parametrize("speed", [0.0, 3.0, 12.0, 19.0])
def test_at_the_equilibrium_gap_nobody_accelerates(speed: float) -> None:
    gap = (DRIVER.gap + speed * DRIVER.headway) / math.sqrt(1 - (speed / 20) ** 4)
    assert idm(speed, 20.0, gap, speed, DRIVER) == pytest.approx(0, abs=1e-12)
    assert idm(speed, 20.0, gap + 1, speed, DRIVER) > 0 > idm(speed, 20.0, gap - 1, speed, DRIVER)


def test_on_a_free_road_a_car_settles_at_the_speed_it_wants() -> None:
    assert idm(0.0, 20.0, math.inf, 0.0, DRIVER) == DRIVER.acceleration
    assert idm(20.0, 20.0, math.inf, 0.0, DRIVER) == 0
    assert idm(10.0, 20.0, math.inf, 0.0, DRIVER) == pytest.approx(DRIVER.acceleration * (1 - 1 / 16))
    assert idm(30.0, 20.0, math.inf, 0.0, DRIVER) < 0


def test_nearing_costs_more_and_parting_costs_less_down_to_the_standstill_gap() -> None:
    nearing, level, parting = (idm(10.0, 20.0, 15.0, v, DRIVER) for v in (6.0, 10.0, 14.0))
    assert nearing < level < parting
    # v (v - v_leader) / (2 sqrt(a b)) more than the level gap
    desired = DRIVER.gap + 10 * DRIVER.headway + 10 * 4 / (2 * math.sqrt(1.5 * 2.0))
    assert nearing == pytest.approx(1.5 * (1 - 1 / 16 - (desired / 15) ** 2))
    assert idm(10.0, 20.0, 15.0, 100.0, DRIVER) == pytest.approx(1.5 * (1 - 1 / 16 - (DRIVER.gap / 15) ** 2))


def test_nobody_brakes_harder_than_a_car_can() -> None:
    assert idm(30.0, 30.0, 0.0, 0.0, DRIVER) == idm(30.0, 30.0, 3.0, 0.0, DRIVER) == -HARDEST_BRAKING
