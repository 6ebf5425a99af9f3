"""The pictures of the documentation, as data: `python docs/diagrams.py` writes them to docs/images/ as SVG.

A picture is boxes on a grid and arrows between them. The colours follow the reader's light or dark mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

IMAGES = Path(__file__).parent / "images"
UNIT = 10
"""Pixels of one step of the grid."""
LINE = 15
"""Pixels from one line of text to the next."""

STYLE = """
  svg { font-family: ui-sans-serif, system-ui, sans-serif; font-size: 12px; background: #ffffff }
  text { fill: #1f2328 } .note { font-size: 11px; fill: #59636e } .title { font-weight: 600 }
  rect { fill: #f6f8fa; stroke: #8c959f } .zone { fill: none; stroke-dasharray: 5 4 }
  .ours { fill: #ddf4ff; stroke: #0969da } .guest { fill: #fff1e5; stroke: #bc4c00 }
  .refused { fill: #ffebe9; stroke: #cf222e } .passed { fill: #dafbe1; stroke: #1a7f37 }
  path { stroke: #59636e; fill: none } marker path { fill: #59636e; stroke: none }
  @media (prefers-color-scheme: dark) {
    svg { background: #0d1117 } text { fill: #e6edf3 } .note { fill: #9198a1 } rect { fill: #151b23; stroke: #656c76 }
    .zone { fill: none } .ours { fill: #121d2f; stroke: #4493f8 } .guest { fill: #221a0f; stroke: #db6d28 }
    .refused { fill: #25171c; stroke: #f85149 } .passed { fill: #12261e; stroke: #3fb950 }
    path { stroke: #9198a1 } marker path { fill: #9198a1 }
  }
"""


@dataclass(frozen=True)
class Box:
    """x, y, width, height in steps of the grid. text: lines; the first is the title. kind: a class of `STYLE`."""

    x: float
    y: float
    width: float
    height: float
    text: str
    kind: str = ""

    def svg(self) -> str:
        left, top = self.x * UNIT, self.y * UNIT
        parts = [
            f'<rect class="{self.kind}" x="{left:g}" y="{top:g}" width="{self.width * UNIT:g}" '
            f'height="{self.height * UNIT:g}" rx="4"/>'
        ]
        lines = self.text.split("\n")
        middle = left + self.width * UNIT / 2
        first = top + 16 if self.kind == "zone" else top + (self.height * UNIT - LINE * len(lines)) / 2 + 12
        for number, line in enumerate(lines):
            style = "title" if number == 0 else "note"
            where = f'x="{left + 8:g}"' if self.kind == "zone" else f'x="{middle:g}" text-anchor="middle"'
            parts.append(f'<text class="{style}" {where} y="{first + number * LINE:g}">{escape(line)}</text>')
        return "\n".join(parts)


@dataclass(frozen=True)
class Arrow:
    """points: corners in steps of the grid. text: beside the middle of the first leg. heads: none, one, or two."""

    points: tuple[tuple[float, float], ...]
    text: str = ""
    heads: int = 1

    def svg(self) -> str:
        corners = " L".join(f"{x * UNIT:g} {y * UNIT:g}" for x, y in self.points)
        heads = "".join(f' marker-{end}="url(#head)"' for end in ("end", "start")[: self.heads])
        parts = [f'<path d="M{corners}"{heads}/>']
        if self.text:
            (x1, y1), (x2, y2) = self.points[:2]
            x, y = (x1 + x2) / 2 * UNIT, (y1 + y2) / 2 * UNIT
            upright = x1 == x2
            for number, line in enumerate(self.text.split("\n")):
                where = f'x="{x + 6:g}" y="{y + 4 + number * LINE:g}"'
                if not upright:
                    where = f'x="{x:g}" y="{y - 5 + number * LINE:g}" text-anchor="middle"'
                parts.append(f'<text class="note" {where}>{escape(line)}</text>')
        return "\n".join(parts)


def drawing(title: str, width: float, height: float, *parts: Box | Arrow) -> str:
    """One SVG document."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width * UNIT:g} {height * UNIT:g}" '
        f'width="{width * UNIT:g}" role="img"><title>{escape(title)}</title>\n<style>{STYLE}</style>\n'
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path d="M0 0 L10 5 L0 10 z"/></marker></defs>\n'
    )
    return head + "\n".join(part.svg() for part in parts) + "\n</svg>\n"


TREE = drawing(
    "The supervision tree",
    84,
    44,
    Box(2, 2, 34, 5, "PID 1\nmounts, reaps, restarts what is below", "ours"),
    Arrow(((6, 7), (6, 12), (8, 12)), ""),
    Box(8, 10, 34, 5, "nulld launcher\nowns the actor system, gives signs of life", "ours"),
    Arrow(((12, 15), (12, 20), (14, 20)), ""),
    Box(14, 18, 34, 5, "nulld\nroot supervisor: restart, backoff, limits", "ours"),
    Arrow(((17, 23), (17, 27.5), (20, 27.5))),
    Arrow(((17, 23), (17, 32.5), (20, 32.5))),
    Arrow(((17, 23), (17, 37.5), (20, 37.5))),
    Box(20, 25.5, 24, 4, "egress\nfirewall, TAPs, resolvers", "ours"),
    Box(20, 30.5, 24, 4, "ctxgraph\nshared memory", "ours"),
    Box(20, 35.5, 24, 4, "gateway\noperators' requests", "ours"),
    Arrow(((48, 20.5), (50, 20.5), (50, 27.5), (52, 27.5))),
    Arrow(((50, 27.5), (50, 36.5), (52, 36.5))),
    Box(52, 25.5, 12, 4, "cage:pulse\nan actor", "ours"),
    Box(52, 34.5, 12, 4, "cage:reader\nan actor", "ours"),
    Arrow(((64, 27.5), (69, 27.5)), "starts"),
    Arrow(((64, 36.5), (69, 36.5)), "starts"),
    Box(69, 24.5, 13, 6, "VMM process\nguest kernel\nthe agent", "guest"),
    Box(69, 33.5, 13, 6, "VMM process\nguest kernel\nthe agent", "guest"),
)

PLANES = drawing(
    "Three planes",
    84,
    48,
    Box(1, 1, 82, 13, "control: small typed messages between actors, msgpack on Unix sockets", "zone"),
    Box(4, 6, 14, 6, "gateway", "ours"),
    Box(25, 6, 14, 6, "nulld", "ours"),
    Box(46, 6, 14, 6, "cage:NAME", "ours"),
    Box(66, 6, 14, 6, "egress, ctxgraph", "ours"),
    Arrow(((18, 9), (25, 9)), "", 2),
    Arrow(((39, 9), (46, 9)), "", 2),
    Arrow(((60, 9), (66, 9)), "", 2),
    Box(1, 17, 82, 13, "data: what agents do in bulk, past the actors' mailboxes", "zone"),
    Box(4, 22, 18, 6, "agent\nin its VM", "guest"),
    Arrow(((22, 23.5), (62, 23.5)), "vsock 9100 → Unix socket, JSON lines"),
    Box(62, 21.5, 18, 4, "ctxgraph store", "ours"),
    Arrow(((22, 27), (62, 27)), "TAP → firewall"),
    Box(62, 26, 18, 3.4, "uplink"),
    Box(
        1, 33, 82, 13, "kernel state: outlives the actor that made it; a restarted actor reads it and corrects", "zone"
    ),
    Box(4, 38, 17, 6, "nftables\nrules and sets"),
    Box(24, 38, 17, 6, "TAPs\nowner in their alias"),
    Box(44, 38, 17, 6, "cgroups\nlimits, freezing"),
    Box(64, 38, 16, 6, "VMM processes\nthe agents", "guest"),
)

PACKET = drawing(
    "What a packet of an agent meets",
    88,
    54,
    Box(2, 2, 20, 5, "agent's VM\neth0", "guest"),
    Arrow(((22, 4.5), (30, 4.5)), "TAP"),
    Box(30, 2, 32, 5, "source\ninterface, MAC and IPv4 address are its own"),
    Arrow(((62, 4.5), (70, 4.5)), "no"),
    Box(70, 2, 16, 5, "dropped\nspoofed, counted", "refused"),
    Arrow(((46, 7), (46, 11)), "yes"),
    Box(30, 11, 32, 5, "to the host itself?"),
    Arrow(((30, 13.5), (22, 13.5)), "port 53"),
    Box(2, 11, 20, 5, "the agent's resolver\nknows granted names only", "passed"),
    Arrow(((62, 13.5), (70, 13.5)), "else"),
    Box(70, 11, 16, 5, "refused", "refused"),
    Arrow(((46, 16), (46, 20)), "no"),
    Box(30, 20, 32, 5, "special-purpose or metadata address,\nor another resolver's port?"),
    Arrow(((62, 22.5), (70, 22.5)), "yes"),
    Box(70, 20, 16, 5, "refused", "refused"),
    Arrow(((46, 25), (46, 29)), "no"),
    Box(30, 29, 32, 5, "part of a live flow?\nconnection tracking, and a mark that still counts"),
    Arrow(((30, 31.5), (22, 31.5)), "yes"),
    Box(2, 29, 20, 5, "passes", "passed"),
    Arrow(((46, 34), (46, 38)), "no"),
    Box(30, 38, 32, 5, "granted?\ninterface, address, protocol, port"),
    Arrow(((62, 40.5), (70, 40.5)), "no"),
    Box(70, 38, 16, 5, "refused\nat once, recorded", "refused"),
    Arrow(((46, 43), (46, 47)), "yes"),
    Box(30, 47, 32, 5, "within the hourly budget\nand the limit of open flows?"),
    Arrow(((30, 49.5), (22, 49.5)), "yes"),
    Box(2, 47, 20, 5, "passes, marked", "passed"),
    Arrow(((62, 49.5), (70, 49.5)), "no"),
    Box(70, 47, 16, 5, "refused", "refused"),
    Arrow(((2, 13.5), (1, 13.5), (1, 36)), "", 0),
    Arrow(((1, 36), (25, 36), (25, 40.5), (30, 40.5)), "opens it before the answer"),
)

BOOT = drawing(
    "From power-on to the first agent",
    60,
    66,
    Box(10, 2, 40, 5, "firmware or QEMU\nloads the kernel with its command line"),
    Arrow(((30, 7), (30, 10))),
    Box(10, 10, 40, 5, "kernel\nno modules, no initramfs; mounts the root read-only"),
    Arrow(((30, 15), (30, 18))),
    Box(
        10,
        18,
        40,
        6,
        "PID 1: phases\nmounts, proof that / cannot be written, sysctls,\ndirectories, cgroups, loopback",
        "ours",
    ),
    Arrow(((50, 21), (54, 21), (54, 60.5), (50, 60.5)), ""),
    Arrow(((30, 24), (30, 27))),
    Box(10, 27, 40, 5, "nulld\nreads nulld.toml, finds the agents", "ours"),
    Arrow(((30, 32), (30, 35))),
    Box(
        10,
        35,
        40,
        5,
        "egress: loads the ruleset that drops everything\nctxgraph: opens the store; gateway: opens its sockets",
        "ours",
    ),
    Arrow(((30, 40), (30, 43))),
    Box(
        10,
        43,
        40,
        6,
        "cage:NAME\nasks egress for a TAP and ctxgraph for a socket,\nplans the VM, starts its VMM",
        "ours",
    ),
    Arrow(((30, 49), (30, 52))),
    Box(10, 52, 36, 4, "guest kernel, launcher, agent", "guest"),
    Box(10, 58, 40, 5, "recovery hold\nwhen a step that must not fail fails", "refused"),
)

PICTURES = {"tree": TREE, "planes": PLANES, "packet": PACKET, "boot": BOOT}


def main() -> None:
    """Write all pictures."""
    IMAGES.mkdir(exist_ok=True)
    for name, text in PICTURES.items():
        (IMAGES / f"{name}.svg").write_text(text)


if __name__ == "__main__":
    main()
