"""Build a kernel, or take it from the cache (edge module: runs make, writes files).

    python -m kernel.build [--flavour virt] [--cc gcc|clang] [--output build/bzImage]

Finished builds are kept in `~/.cache/nullbox/kernel/KEY/` as `bzImage` and `config`; the key covers the source's
version, the options of the fragments and the compiler. A hit needs no network and copies two files. The source
tree and everything compiled (more than a gigabyte) live in a temporary folder that is removed afterwards.
"""

from __future__ import annotations

import argparse
import fcntl
import filecmp
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import get_args

from image.debian import DebianArchive, DebianArchiveError, default_cache_dir
from kernel import check, source, toolchain
from kernel.flavours import FLAVOURS, Compiler, Flavour, build_key, read_fragments
from kernel.progress import Progress

# Fixed, so that the same inputs give the same bytes whoever builds, where and when.
REPRODUCIBLE = {
    "KBUILD_BUILD_USER": "nullbox",
    "KBUILD_BUILD_HOST": "nullbox",
    "KBUILD_BUILD_VERSION": "1",
    "KBUILD_BUILD_TIMESTAMP": "1970-01-01 00:00:00 UTC",
    "LC_ALL": "C",
}
FASTER = {
    "KCFLAGS": "-pipe",  # no temporary files between the compiler and the assembler
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # huge pages for the compiler's memory, where the host gives them
}
"""Changes the time that a build takes, and nothing of what it makes."""
LOG_TAIL_LINES = 30


class BuildError(Exception):
    """The kernel could not be built; the message says at which step, why, and where the log is."""


@dataclass(frozen=True)
class Result:
    """A finished kernel. `seconds` is the time this call took; `cached` says that nothing was built."""

    image: Path
    config: Path
    version: str
    size: int
    seconds: float
    cached: bool


def kernel_cache_dir() -> Path:
    """Where finished builds are kept: `~/.cache/nullbox/kernel`, beside the package cache."""
    return default_cache_dir().parent / "kernel"


def build(
    flavour: Flavour,
    compiler: Compiler,
    output: Path,
    *,
    cache_dir: Path | None = None,
    jobs: int | None = None,
    out: Progress | None = None,
) -> Result:
    """Make `output` the kernel of this flavour, and `output` with `.config` appended its configuration.

    Raises `BuildError`, `source.SourceError` or `toolchain.ToolchainError`.
    """
    started = time.monotonic()
    cache = cache_dir or kernel_cache_dir()
    progress = out or Progress(sys.stderr, flavour.objects, started)
    options = read_fragments(flavour, compiler)
    tools = toolchain.find(compiler)
    pin = source.parse_lock(source.LOCK.read_text())
    origin = source.KernelSource(pin, cache, DebianArchive(say=progress.say), progress.say)

    def entry(version: str) -> Path:
        return cache / build_key(version, options, tools.identity, flavour.name)

    version = origin.version
    built = False
    if not is_complete(entry(version)):
        toolchain.require_build_tools()
        with exclusive(cache, progress):
            if not is_complete(entry(version)):  # another process may have built it while this one waited
                version, deb = origin.fetch()
                if not is_complete(entry(version)):
                    built = True
                    compile_into(entry(version), origin, deb, options, tools, jobs or available_processors(), progress)
    found = entry(version)
    config = output.with_name(output.name + ".config")
    output.parent.mkdir(parents=True, exist_ok=True)
    publish(found / "bzImage", output)
    publish(found / "config", config)
    return Result(output, config, version, output.stat().st_size, time.monotonic() - started, not built)


def is_complete(entry: Path) -> bool:
    """Whether a cache entry holds a finished build (entries appear by rename, so never half)."""
    return (entry / "bzImage").is_file() and (entry / "config").is_file()


def available_processors() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0))


def publish(cached: Path, target: Path) -> None:
    """Copy a file into place, unless the same contents are there: its time stamp then says "unchanged"."""
    if target.exists() and filecmp.cmp(cached, target, shallow=False):
        return
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as new:
        temporary = Path(new.name)
    try:
        shutil.copyfile(cached, temporary)
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def exclusive(cache: Path, progress: Progress) -> Iterator[None]:
    """One build at a time per cache. What a killed build left behind is removed by the next one."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say("kernel: another build is running; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in cache.glob("build-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def compile_into(
    entry: Path,
    origin: source.KernelSource,
    deb: Path,
    options: Mapping[str, str],
    tools: toolchain.Toolchain,
    jobs: int,
    progress: Progress,
) -> None:
    """Build from the source package `deb` and put `bzImage` and `config` into the cache as `entry`."""
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix="build-") as folder:
        progress.begin("unpacking the source", time.monotonic())
        tree = origin.unpack(deb, Path(folder))
        log = entry.parent / f"{entry.name}.log"
        log.unlink(missing_ok=True)
        make = ["make", *tools.arguments, f"--directory={tree}"]
        environment = {**os.environ, **REPRODUCIBLE}
        for inherited in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "KCFLAGS", "ARCH", "CROSS_COMPILE"):
            environment.pop(inherited, None)
        environment |= FASTER

        progress.begin("configuring", time.monotonic())
        wanted = Path(folder) / "wanted.config"
        wanted.write_text(check.render(options))
        environment["KCONFIG_ALLCONFIG"] = str(wanted)
        run_logged([*make, "allnoconfig"], environment, log, progress)
        del environment["KCONFIG_ALLCONFIG"]
        differences = check.compare(options, check.parse((tree / ".config").read_text()))
        if differences:
            raise BuildError(
                "options of the fragments are not in the final .config:\n  " + "\n  ".join(map(str, differences))
            )

        progress.begin(f"compiling with {jobs} jobs", time.monotonic())
        run_logged([*make, f"--jobs={jobs}", "bzImage"], environment, log, progress)
        progress.finish()
        finished = Path(folder) / "finished"
        finished.mkdir()
        shutil.copyfile(tree / "arch/x86/boot/bzImage", finished / "bzImage")
        shutil.copyfile(tree / ".config", finished / "config")
        finished.replace(entry)
        log.unlink()


def run_logged(argv: Sequence[str], environment: Mapping[str, str], log: Path, progress: Progress) -> None:
    """Run a step with its output in `log`, feeding the progress; the whole process group ends with this call."""
    with log.open("ab") as sink, selectors.DefaultSelector() as selector:
        process = subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        selector.register(process.stdout, selectors.EVENT_READ)
        rest = b""
        try:
            while True:
                if selector.select(progress.interval):
                    chunk = os.read(process.stdout.fileno(), 65536)
                    if not chunk:
                        break
                    sink.write(chunk)
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        progress.feed(line.decode(errors="replace"), time.monotonic())
                progress.tick(time.monotonic())
            code = process.wait()
        finally:
            process.stdout.close()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                os.killpg(process.pid, signal.SIGCONT)  # a process that somebody paused ends no sooner
                process.wait()
    if code:
        progress.finish()
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
        raise BuildError(f"{' '.join(argv)} ended with code {code}; the whole log is {log}; its end:\n{tail}")


def main(argv: Sequence[str] | None = None) -> int:
    """Build a NullBox kernel, or take it from the cache."""
    parser = argparse.ArgumentParser(prog="kernel.build", description=main.__doc__)
    parser.add_argument("--flavour", choices=sorted(FLAVOURS), default="virt")
    parser.add_argument("--cc", choices=get_args(Compiler), default="gcc", help="compiler (default: gcc)")
    parser.add_argument("--output", type=Path, default=Path("build/bzImage"))
    parser.add_argument("--jobs", type=int, help="parallel compilations (default: one per processor)")
    parser.add_argument("--update-lock", action="store_true", help="pin the archive's newest source and exit")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _end)
    try:
        if arguments.update_lock:
            pin = source.newest_pin(DebianArchive(say=lambda line: print(line, file=sys.stderr)))
            source.LOCK.write_text(source.render_lock(pin))
            print(f"kernel: pinned {source.PACKAGE} {pin.version}", file=sys.stderr)
            return 0
        flavour = FLAVOURS[arguments.flavour]
        result = build(flavour, arguments.cc, arguments.output, jobs=arguments.jobs)
    except (BuildError, source.SourceError, toolchain.ToolchainError, DebianArchiveError, check.FragmentError) as error:
        print(f"kernel: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"kernel: {error}", file=sys.stderr)
        return 1
    how = "from the cache" if result.cached else f"built in {result.seconds:.0f} s"
    print(
        f"kernel: {result.version} ({flavour.name}, {arguments.cc}), {result.size / 1e6:.2f} MB, {how}: {result.image}",
        file=sys.stderr,
    )
    return 0


def _end(number: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into an exception, so that the temporary folder is removed and make is ended."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
