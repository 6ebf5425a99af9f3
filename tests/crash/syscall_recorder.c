/* Records what a process does to the files whose path holds $RECORD_PATH, in order, into the file $RECORD_TO:
 * one header {op, file, offset, length} and the data for each write, truncation, sync and removal.
 * With $FAIL_SYNC_AFTER=n every sync of these files after the n-th fails with EIO, as on a disk that dies.
 * Loaded with LD_PRELOAD into a process that runs the store; the test replays the record up to any moment and
 * leaves out what was not synced, as a loss of power would. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { WRITE = 1, TRUNCATE = 2, SYNC = 3, REMOVE = 4 };
struct __attribute__((packed)) header { uint8_t op, file; uint64_t offset; uint32_t length; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint8_t files[1024];
static int out = -1;

static uint8_t file_of(const char *path) {
    const char *base = getenv("RECORD_PATH");
    if (!base || !path || !strstr(path, base)) return 0;
    size_t n = strlen(path);
    if (n > 4 && !strcmp(path + n - 4, "-shm")) return 0;
    if (n > 5 && !strcmp(path + n - 5, ".lock")) return 0;
    if (n > 4 && !strcmp(path + n - 4, "-wal")) return 2;
    if (n > 5 && !strcmp(path + n - 5, "-acks")) return 3;
    return 1;
}

static void emit(uint8_t op, uint8_t file, uint64_t offset, const void *data, uint32_t length) {
    static ssize_t (*real_write)(int, const void *, size_t);
    if (!real_write) real_write = dlsym(RTLD_NEXT, "write");
    struct header header = {op, file, offset, length};
    pthread_mutex_lock(&lock);
    if (out < 0) {
        int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
        out = real_open(getenv("RECORD_TO"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
    if (real_write(out, &header, sizeof header) != sizeof header) abort();
    if (data && real_write(out, data, length) != (ssize_t)length) abort();
    pthread_mutex_unlock(&lock);
}

static uint8_t known(int fd) { return fd >= 0 && fd < 1024 ? files[fd] : 0; }

#define OPEN(name)                                                             \
    int name(const char *path, int flags, ...) {                               \
        int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name);         \
        va_list arguments;                                                     \
        va_start(arguments, flags);                                            \
        mode_t mode = va_arg(arguments, mode_t);                               \
        va_end(arguments);                                                     \
        int fd = real(path, flags, mode);                                      \
        if (fd >= 0 && fd < 1024) files[fd] = file_of(path);                   \
        return fd;                                                             \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "close");
    if (fd >= 0 && fd < 1024) files[fd] = 0;
    return real(fd);
}

ssize_t write(int fd, const void *data, size_t length) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    ssize_t done = real(fd, data, length);
    if (done > 0 && known(fd)) emit(WRITE, known(fd), lseek(fd, 0, SEEK_CUR) - done, data, done);
    return done;
}

#define PWRITE(name)                                                                       \
    ssize_t name(int fd, const void *data, size_t length, off64_t offset) {                \
        ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, #name);     \
        ssize_t done = real(fd, data, length, offset);                                     \
        if (done > 0 && known(fd)) emit(WRITE, known(fd), offset, data, done);             \
        return done;                                                                       \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define TRUNCATE_(name)                                             \
    int name(int fd, off64_t length) {                              \
        int (*real)(int, off64_t) = dlsym(RTLD_NEXT, #name);        \
        int result = real(fd, length);                              \
        if (!result && known(fd)) emit(TRUNCATE, known(fd), length, 0, 0); \
        return result;                                              \
    }
TRUNCATE_(ftruncate)
TRUNCATE_(ftruncate64)

static int fails(void) {
    static int count;
    const char *after = getenv("FAIL_SYNC_AFTER");
    return after && ++count > atoi(after);
}

#define SYNC_(name)                                            \
    int name(int fd) {                                         \
        int (*real)(int) = dlsym(RTLD_NEXT, #name);            \
        if (known(fd) && fails()) { errno = EIO; return -1; }  \
        int result = real(fd);                                 \
        if (!result && known(fd)) emit(SYNC, known(fd), 0, 0, 0); \
        return result;                                         \
    }
SYNC_(fsync)
SYNC_(fdatasync)

int unlink(const char *path) {
    int (*real)(const char *) = dlsym(RTLD_NEXT, "unlink");
    int result = real(path);
    if (!result && file_of(path)) emit(REMOVE, file_of(path), 0, 0, 0);
    return result;
}
