import errno
import fcntl
import os

PLACE = "/data/filler/all"
FS_IOC_FSSETXATTR = 0x401C5820  # linux/fs.h


def until_refused(what, once):
    done = 0
    try:
        while True:
            done += once()
    except OSError as error:
        print(f"filler: {errno.errorcode[error.errno]} after {done} {what}", flush=True)


with open(f"{PLACE}/big", "wb", buffering=0) as file:

    def more():
        written = file.write(bytes(1 << 20))
        os.fsync(file.fileno())
        return written

    until_refused("bytes", more)
    # Out of the project that the quota is of: what the file's owner may do where nobody forbids it.
    until_refused("changes of project", lambda: fcntl.ioctl(file.fileno(), FS_IOC_FSSETXATTR, bytes(28)) + 1)
    os.truncate(file.fileno(), 0)
names = iter(range(1 << 20))


def another():
    os.close(os.open(f"{PLACE}/{next(names)}", os.O_CREAT | os.O_WRONLY))
    return 1


until_refused("files", another)
print("filler: done", flush=True)
