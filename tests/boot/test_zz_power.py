"""Last of all: the end of the machine. (Its own machine would cost another boot.)"""

from __future__ import annotations

from operator_view import Machine, until

from nullbox.host import run


def test_power_off_stops_everything_in_order_and_turns_the_machine_off(machine: Machine) -> None:
    machine.ok("power", "off", "--yes")
    until(lambda: run.running(machine.folder) is None, seconds=120, what="the machine to be off")
    console = machine.console()
    assert "power off: stopping the actor system" in console
    assert "power off: done" in console
    assert "Power down" in console
    assert "recovery hold" not in console
