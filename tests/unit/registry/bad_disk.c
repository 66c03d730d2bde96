/* A disk with defects, for what is opened under a name that holds DISK_NAME.
 *
 * The first byte of the file DISK_MOOD is the mood of the disk:
 *   f  full: writes fail with ENOSPC       b  broken: writes and syncs fail with EIO
 *   s  slow: every sync takes DISK_SLOW_MS  anything else, or no file: sound
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static char mood(void) {
    char said = ' ';
    int file = open(getenv("DISK_MOOD"), O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (read(file, &said, 1) != 1) said = ' ';
        close(file);
    }
    return said;
}

static int concerned(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, getenv("DISK_NAME")) != NULL;
}

static int refuses(int file) {
    if (!concerned(file)) return 0;
    char now = mood();
    if (now == 'f') errno = ENOSPC;
    if (now == 'b') errno = EIO;
    return now == 'f' || now == 'b';
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    return refuses(file) ? -1 : REAL(pwrite64)(file, bytes, count, at);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) {
    return refuses(file) ? -1 : REAL(pwrite)(file, bytes, count, at);
}

static int sync_of(int file, int (*real)(int)) {
    if (concerned(file)) {
        char now = mood();
        if (now == 'b') { errno = EIO; return -1; }
        if (now == 's') {
            long ms = atol(getenv("DISK_SLOW_MS"));
            struct timespec nap = {ms / 1000, ms % 1000 * 1000000};
            nanosleep(&nap, NULL);
        }
    }
    return real(file);
}

int fdatasync(int file) { return sync_of(file, REAL(fdatasync)); }
int fsync(int file) { return sync_of(file, REAL(fsync)); }
