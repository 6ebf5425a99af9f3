import time

from nullbox_agent import ctx

count = 0
while True:
    until = time.monotonic() + 1
    while time.monotonic() < until:
        for _ in range(1000):
            count += 1
    ctx.write("counter.n", count)
