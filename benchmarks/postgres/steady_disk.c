/* A disk that always takes the same time: each synchronous write waits for SECONDS_EACH and for its
 * bytes. See steady_disk.py. PostgreSQL writes its log so with wal_sync_method = open_datasync. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

typedef ssize_t (*write_function)(int, const void *, size_t, off64_t);

static ssize_t write_and_wait(const char *name, int descriptor, const void *bytes, size_t size, off64_t at) {
    ssize_t written = ((write_function)dlsym(RTLD_NEXT, name))(descriptor, bytes, size, at);
    int flags = fcntl(descriptor, F_GETFL);
    if (written > 0 && flags != -1 && (flags & O_DSYNC)) {
        long nanoseconds = (long)(1e9 * (SECONDS_EACH + (double)written / BYTES_A_SECOND));
        struct timespec pause = {nanoseconds / 1000000000, nanoseconds % 1000000000};
        while (nanosleep(&pause, &pause)) {
        }
    }
    return written;
}

ssize_t pwrite(int descriptor, const void *bytes, size_t size, off_t at) {
    return write_and_wait("pwrite", descriptor, bytes, size, at);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t size, off64_t at) {
    return write_and_wait("pwrite64", descriptor, bytes, size, at);
}
