"""The same wish becomes the right calls on each family of builds."""

from __future__ import annotations

import pytest

from pykrun import recipes
from pykrun.abi import DEVELOPMENT, SMOLMACHINES, STABLE, Family
from pykrun.functions import FUNCTIONS


def exported(family: Family) -> frozenset[str]:
    return frozenset(name for name, function in FUNCTIONS.items() if function.families & family)


OLD = exported(STABLE) - {"krun_add_virtiofs3"}


def test_the_root_is_a_share_where_shares_can_be_read_only() -> None:
    calls = recipes.root(exported(SMOLMACHINES), "/r", read_only=True)
    assert calls == [("krun_add_virtiofs3", ("/dev/root", "/r", 0, True))]


def test_an_old_library_gets_krun_set_root_and_no_silent_write_access() -> None:
    assert recipes.root(OLD, "/r") == [("krun_set_root", ("/r",))]
    with pytest.raises(recipes.Unsupported, match="read-only"):
        recipes.root(OLD, "/r", read_only=True)
    with pytest.raises(recipes.Unsupported, match="read-only"):
        recipes.share(OLD, "t", "/r", read_only=True)


def test_a_share_with_a_dax_window_on_an_old_library() -> None:
    assert recipes.share(OLD, "t", "/r", read_only=False, dax_bytes=4096) == [("krun_add_virtiofs2", ("t", "/r", 4096))]
    assert recipes.share(OLD, "t", "/r", read_only=False) == [("krun_add_virtiofs", ("t", "/r"))]


def test_implicit_devices_are_switched_off_where_there_are_any() -> None:
    assert recipes.vsock(exported(SMOLMACHINES)) == [("krun_add_vsock", (0,))]
    assert recipes.vsock(exported(STABLE)) == [("krun_disable_implicit_vsock", ()), ("krun_add_vsock", (0,))]
    assert recipes.console(exported(STABLE), 0, 1, 2)[0] == ("krun_disable_implicit_console", ())
    assert len(recipes.console(exported(SMOLMACHINES), 0, 1, 2)) == 1


def test_the_console_goes_to_a_file_by_path_or_by_descriptor() -> None:
    assert recipes.console_file(exported(STABLE), "/log", -1) == [("krun_set_console_output", ("/log",))]
    calls = recipes.console_file(exported(SMOLMACHINES), "/log", 7)
    assert calls == [("krun_add_virtio_console_default", (-1, 7, 7))]


def test_what_cannot_be_made_safe_is_refused() -> None:
    with pytest.raises(recipes.Unsupported, match="impersonates"):
        recipes.vsock(exported(STABLE) - {"krun_add_vsock"})
    with pytest.raises(recipes.Unsupported, match="console"):
        recipes.console(frozenset(), 0, 1, 2)


@pytest.mark.parametrize("family", [STABLE, DEVELOPMENT, SMOLMACHINES])
def test_recipes_use_only_functions_that_are_exported_and_described(family: Family) -> None:
    names = exported(family)
    calls = [
        *recipes.root(names, "/r"),
        *recipes.share(names, "t", "/s", read_only=True),
        *recipes.console(names, 0, 1, 2),
        *recipes.vsock(names),
    ]
    for name, arguments in calls:
        assert name in names
        assert len(arguments) + 1 == len(FUNCTIONS[name].arguments), name


def test_the_family_is_told_by_what_it_alone_exports() -> None:
    assert recipes.family(exported(SMOLMACHINES)) is SMOLMACHINES
    assert recipes.family(exported(STABLE) - {"krun_get_last_error"}) is STABLE
    assert recipes.family(frozenset({"krun_add_virtiofs"})) is DEVELOPMENT
