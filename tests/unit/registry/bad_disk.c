/* A disk with defects, for what is opened under a name that holds DISK_NAME.
 *
 * The first byte of the file DISK_MOOD is the mood of the disk:
 *   f  full: writes fail with ENOSPC       b  broken: writes and syncs fail with EIO
 *   s  slow: every sync takes DISK_SLOW_MS  anything else, or no file: sound
 *   nK the K-th write or sync from now on fails with EIO, once      pK and all after it
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

static char said[32];
static long seen; /* writes and syncs under this mood */
static int fired;

int disk_fired(void) { return fired; }

static char mood(void) {
    char now[32] = " ";
    int file = open(getenv("DISK_MOOD"), O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (read(file, now, sizeof now - 1) < 1) now[0] = ' ';
        close(file);
    }
    if (strcmp(now, said)) {
        strcpy(said, now);
        seen = fired = 0;
    }
    return now[0];
}

/* Whether it is the turn of this one to fail. */
static int its_turn(char now) {
    if (now != 'n' && now != 'p') return 0;
    long turn = atol(said + 1);
    seen++;
    if (now == 'n' ? seen != turn : seen < turn) return 0;
    fired = 1;
    errno = EIO;
    return 1;
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
    return now == 'f' || now == 'b' || its_turn(now);
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
        if (its_turn(now)) return -1;
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
