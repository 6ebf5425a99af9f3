"""Lines that a gateway must survive: a corpus of known tricks, and mutations of good requests by a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from nullbox.gateway.methods import METHODS

DEEP = 5_000

CORPUS: tuple[bytes, ...] = (
    b"",
    b" ",
    b"\x00",
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b"GET / HTTP/1.1",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"quit",
    b"null",
    b"true",
    b"0",
    b'""',
    b"[]",
    b"{}",
    b"[[]]",
    b"[{}]",
    b"[null, null]",
    b"[" * DEEP,
    b'{"a":' * DEEP,
    b"[" * DEEP + b"]" * DEEP,
    b'{"jsonrpc":"2.0","method":"version","id":1',
    b'{"jsonrpc":"2.0","method":"version","id":1}}',
    b'{"jsonrpc":"2.0","method":"version","id":1} {"jsonrpc":"2.0"}',
    b'{"jsonrpc":"2.0","jsonrpc":"1.0","method":"version","id":1}',
    b"{'jsonrpc':'2.0','method':'version','id':1}",
    b'{"jsonrpc":2.0,"method":"version","id":1}',
    b'{"jsonrpc":"2.0","method":"","id":1}',
    b'{"jsonrpc":"2.0","method":"__class__","id":1}',
    b'{"jsonrpc":"2.0","method":"agent.__init__","id":1}',
    b'{"jsonrpc":"2.0","method":"rpc.discover","id":1}',
    b'{"jsonrpc":"2.0","method":"../../etc/passwd","id":1}',
    b'{"jsonrpc":"2.0","method":"version","id":NaN}',
    b'{"jsonrpc":"2.0","method":"version","id":-Infinity}',
    b'{"jsonrpc":"2.0","method":"version","id":1e400}',
    b'{"jsonrpc":"2.0","method":"version","id":' + b"9" * 5000 + b"}",
    b'{"jsonrpc":"2.0","method":"version","id":{"a":1}}',
    b'{"jsonrpc":"2.0","method":"version","id":[1]}',
    b'{"jsonrpc":"2.0","method":"version","id":"\\ud800"}',
    b'{"jsonrpc":"2.0","method":"version\\u0000","id":1}',
    b'{"jsonrpc":"2.0","method":"version","params":null,"id":1}',
    b'{"jsonrpc":"2.0","method":"version","params":[[[]]],"id":1}',
    b'{"jsonrpc":"2.0","method":"version","params":{"__proto__":1},"id":1}',
    b'{"jsonrpc":"2.0","method":"agent.logs","params":{"name":"../../../etc/shadow"},"id":1}',
    b'{"jsonrpc":"2.0","method":"agent.logs","params":{"name":"pulse\\u0000.log"},"id":1}',
    b'{"jsonrpc":"2.0","method":"agent.logs","params":{"name":"pulse","tail":-1},"id":1}',
    b'{"jsonrpc":"2.0","method":"agent.logs","params":{"name":"pulse","since":1e308},"id":1}',
    b'{"jsonrpc":"2.0","method":"agent.wait","params":{"name":"pulse","timeout":1e300},"id":1}',
    b'{"jsonrpc":"2.0","method":"agent.wait","params":{"name":"pulse","timeout":-0.0},"id":1}',
    b'{"jsonrpc":"2.0","method":"events","params":{"since":99999999999999999999},"id":1}',
    b'{"jsonrpc":"2.0","method":"events","params":{"follow":true}}',
    b'{"jsonrpc":"2.0","method":"stream.cancel","params":{"subscription":{}},"id":1}',
    b'{"jsonrpc":"2.0","method":"stream.cancel","params":[],"id":1}',
    b'{"jsonrpc":"2.0","method":"stream","params":{"subscription":"s1","end":true}}',
    b'{"jsonrpc":"2.0","result":1,"id":1}',
    b'{"jsonrpc":"2.0","error":{"code":1,"message":"x"},"id":1}',
    b"[" + b",".join([b'{"jsonrpc":"2.0","method":"status","id":1}'] * 100) + b"]",
    b"[" + b",".join([b"1"] * 100_000) + b"]",
    b'{"jsonrpc":"2.0","method":"' + b"x" * 500_000 + b'","id":1}',
    b'{"jsonrpc":"2.0","method":"version","id":"' + b"x" * 500_000 + b'"}',
)

PARAMS = {"agent.wait": {"name": "pulse", "timeout": 0.05}}
"""Parameters of good requests that need others than the agent's name: a wait must not hold up the whole attack."""

GOOD = tuple(
    json.dumps({"jsonrpc": "2.0", "method": name, "params": PARAMS.get(name, {"name": "pulse"}), "id": number}).encode()
    for number, name in enumerate(METHODS)
    if not name.startswith("power.")
)


def lines(seed: int, count: int) -> Iterator[bytes]:
    """`count` lines: the corpus, then good requests with bytes changed, cut, doubled and swapped."""
    choose = random.Random(seed)
    yield from CORPUS[:count]
    for _ in range(count - len(CORPUS)):
        line = bytearray(choose.choice(GOOD))
        for _ in range(choose.randint(1, 6)):
            at = choose.randrange(len(line))
            match choose.randrange(5):
                case 0:
                    line[at] = choose.randrange(256)
                case 1:
                    del line[at:]
                case 2:
                    line[at:at] = line[at : at + choose.randint(1, 40)]
                case 3:
                    del line[at : at + choose.randint(1, 10)]
                case 4:
                    line[at:at] = choose.choice((b'"', b"{", b"}", b"[", b"\\u", b"\\", b",", b":", b"e9", b"\x00"))
            if not line:
                break
        yield bytes(line).replace(b"\n", b" ")
