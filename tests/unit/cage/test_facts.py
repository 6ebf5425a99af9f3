from __future__ import annotations

import pytest

from nullbox.cage import facts


def test_memory_is_read_in_mebibytes_and_its_absence_is_an_error() -> None:
    assert facts.total_memory_mib("MemTotal:        2048000 kB\nMemFree: 1 kB\n") == 2000
    with pytest.raises(ValueError, match="MemTotal"):
        facts.total_memory_mib("nothing")


@pytest.mark.parametrize(
    ("model", "emulated"),
    [
        ("QEMU TCG CPU version 2.5+", True),
        ("QEMU Virtual CPU version 2.5+", True),
        ("AMD EPYC 7763 64-Core Processor", False),
        ("Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz", False),
    ],
)
def test_an_emulated_processor_says_so(model: str, emulated: bool) -> None:
    assert facts.is_emulated(f"processor\t: 0\nmodel name\t: {model}\nflags\t: svm\n") is emulated
