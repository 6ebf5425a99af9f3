"""One child that computes, and one after the other that takes memory until the guest's kernel ends it."""

import os

from nullbox_agent import ctx


def rank(score):
    """How readily the guest's kernel ends this process when memory runs out: 1000 first, -1000 never."""
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(score))


rank(-1000)
if os.fork() == 0:
    while True:
        pass
bombs = 0
while True:
    child = os.fork()
    if child == 0:
        rank(1000)
        hoard = []
        while True:
            hoard.append(b"x" * (4 << 20))
    os.waitpid(child, 0)
    bombs += 1
    ctx.write("hog.bombs", bombs)
