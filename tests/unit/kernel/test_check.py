"""Option parsing and comparison: what fell away is found and named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel import check

options = st.dictionaries(
    st.from_regex(r"[A-Z0-9_]{1,20}", fullmatch=True),
    st.sampled_from(["y", "n", "17", "0x1000", '""', '"landlock,lockdown"']),
)


@given(options)
def test_rendering_then_parsing_gives_the_options_back(wanted: dict[str, str]) -> None:
    assert check.parse(check.render(wanted)) == wanted


@given(options)
def test_a_configuration_has_no_difference_from_itself(wanted: dict[str, str]) -> None:
    assert check.compare(wanted, wanted) == []


@given(options, options)
def test_every_wanted_option_is_either_as_wanted_or_reported(wanted: dict[str, str], final: dict[str, str]) -> None:
    reported = {difference.option for difference in check.compare(wanted, final)}
    for option, value in wanted.items():
        assert (option in reported) == (final.get(option, "n") != value)


def test_an_option_that_fell_away_is_named_with_its_likely_dependency() -> None:
    final = check.parse("CONFIG_BLOCK=y\n# CONFIG_MISC_FILESYSTEMS is not set\n")
    (difference,) = check.compare({"SQUASHFS": "y"}, final)
    assert str(difference) == "CONFIG_SQUASHFS: wanted y, is n (needs MISC_FILESYSTEMS)"


def test_an_option_switched_on_by_another_is_reported() -> None:
    (difference,) = check.compare({"IO_URING": "n"}, {"IO_URING": "y"})
    assert "wanted n, is y (selected by another option)" in str(difference)


def test_an_absent_option_counts_as_unset() -> None:
    assert check.compare({"MODULES": "n"}, {}) == []


def test_a_number_that_differs_is_reported() -> None:
    (difference,) = check.compare({"LOG_BUF_SHIFT": "17"}, {"LOG_BUF_SHIFT": "12"})
    assert (difference.wanted, difference.found) == ("17", "12")


def test_a_later_fragment_wins() -> None:
    assert check.merge([{"VT": "n", "TTY": "y"}, {"VT": "y"}]) == {"VT": "y", "TTY": "y"}


def test_comments_and_blank_lines_are_skipped() -> None:
    assert check.parse("\n# why\nCONFIG_A=y\n#CONFIG_B=y\n") == {"A": "y"}


@pytest.mark.parametrize("line", ["CONFIG_A", "A=y", "CONFIG_A y", "config_a=y"])
def test_a_line_that_is_no_option_is_refused_with_its_place(line: str) -> None:
    with pytest.raises(check.FragmentError, match=r"base\.config:2: "):
        check.parse(f"CONFIG_B=y\n{line}\n", "base.config")


def test_the_command_line_fails_on_a_lost_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, fragment = tmp_path / "config", tmp_path / "fragment"
    config.write_text("CONFIG_A=y\n")
    fragment.write_text("CONFIG_A=y\nCONFIG_B=y\n")
    assert check.main([str(config), str(fragment)]) == 1
    printed = capsys.readouterr()
    assert "CONFIG_B" in printed.err and "1 of 2" in printed.out
    fragment.write_text("CONFIG_A=y\nCONFIG_B=n\n")
    assert check.main([str(config), str(fragment)]) == 0
