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


seen = os.statvfs(PLACE)
print(f"filler: sees {seen.f_blocks * seen.f_frsize} bytes and {seen.f_files} files", flush=True)
with open(f"{PLACE}/big", "wb", buffering=0) as file:

    def more():
        written = file.write(bytes(1 << 20))
        os.fsync(file.fileno())
        return written

    until_refused("bytes", more)
    # Out of the project that the quota is of: what the file's owner may do where nobody forbids it.
    try:
        fcntl.ioctl(file.fileno(), FS_IOC_FSSETXATTR, bytes(28))
        print("filler: changed its project", flush=True)
    except OSError as error:
        print(f"filler: keeps its project: {errno.errorcode[error.errno]}", flush=True)
print("filler: done", flush=True)
