/* A device that fails, for one folder: preloaded, it makes calls of the C library end in the error that the environment
   says. FAULTY_OUTPUT and FAULTY_INPUT are folders; files of the first that lie in the second are no input.
   FAULTY_WRITE=5:4096 lets 4096 bytes be written below FAULTY_OUTPUT and then fails with error 5 (EIO);
   FAULTY_SYNC=5:0, FAULTY_RENAME=5:1 (the first succeeds) and FAULTY_READ=5:20000 are meant alike. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE, SYNC, RENAME, READ };
static const char *NAMES[] = {"FAULTY_WRITE", "FAULTY_SYNC", "FAULTY_RENAME", "FAULTY_READ"};
static long long done[4];

static int below(const char *path, const char *variable) {
    const char *folder = getenv(variable);
    size_t length = folder ? strlen(folder) : 0;
    return length && !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

/* Whether a call of this kind, on this path and of this size, must fail; errno is set then. */
static int fails(int kind, const char *path, long long size) {
    const char *told = getenv(NAMES[kind]);
    int meant = kind == READ ? below(path, "FAULTY_INPUT") && !below(path, "FAULTY_OUTPUT") : below(path, "FAULTY_OUTPUT");
    long long after;
    int number;
    if (!told || !meant || sscanf(told, "%d:%lld", &number, &after) != 2) return 0;
    if (done[kind] + size <= after) {
        done[kind] += size;
        return 0;
    }
    done[kind] = after; /* a device that failed does not recover for smaller pieces */
    errno = number;
    return 1;
}

static int open_fails(int kind, int file, long long size) {
    char link[64], path[4096];
    if (!getenv(NAMES[kind])) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(kind, path, size);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int file, const void *data, size_t size) {
    return open_fails(WRITE, file, size) ? -1 : REAL(write)(file, data, size);
}
ssize_t writev(int file, const struct iovec *parts, int count) {
    long long size = 0;
    for (int i = 0; i < count; i++) size += parts[i].iov_len;
    return open_fails(WRITE, file, size) ? -1 : REAL(writev)(file, parts, count);
}
ssize_t pwrite(int file, const void *data, size_t size, off_t place) {
    return open_fails(WRITE, file, size) ? -1 : REAL(pwrite)(file, data, size, place);
}
ssize_t pwrite64(int file, const void *data, size_t size, off64_t place) {
    return open_fails(WRITE, file, size) ? -1 : REAL(pwrite64)(file, data, size, place);
}
int fsync(int file) { return open_fails(SYNC, file, 1) ? -1 : REAL(fsync)(file); }
int fdatasync(int file) { return open_fails(SYNC, file, 1) ? -1 : REAL(fdatasync)(file); }
int rename(const char *from, const char *to) { return fails(RENAME, to, 1) ? -1 : REAL(rename)(from, to); }
ssize_t read(int file, void *data, size_t size) {
    ssize_t found = REAL(read)(file, data, size);
    return found > 0 && open_fails(READ, file, found) ? -1 : found;
}
ssize_t pread(int file, void *data, size_t size, off_t place) {
    ssize_t found = REAL(pread)(file, data, size, place);
    return found > 0 && open_fails(READ, file, found) ? -1 : found;
}
ssize_t pread64(int file, void *data, size_t size, off64_t place) {
    ssize_t found = REAL(pread64)(file, data, size, place);
    return found > 0 && open_fails(READ, file, found) ? -1 : found;
}
