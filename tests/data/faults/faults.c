/* Preloaded into a test: fails or kills the process at one of the file-system calls that concern a folder.
 *
 * FAULT_FOLDER  the folder
 * FAULT         ACTION:N at the N-th such call (from 1), where ACTION is
 *               before  SIGKILL instead of it
 *               after   SIGKILL when it is done
 *               half    a write of half its bytes, then SIGKILL; any other call: as before
 *               NUMBER  it fails with that errno
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FDS 1024
static char ours[FDS];
static int count;

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static int inside(const char *path) {
    const char *folder = getenv("FAULT_FOLDER");
    return folder && strncmp(path, folder, strlen(folder)) == 0;
}

enum { GO, GO_THEN_DIE, HALF, FAIL };

/* What happens to this call. */
static int fate(void) {
    const char *fault = getenv("FAULT");
    const char *colon = fault ? strchr(fault, ':') : NULL;
    if (!colon || ++count != atoi(colon + 1)) return GO;
    if (!strncmp(fault, "before:", 7)) die();
    if (!strncmp(fault, "after:", 6)) return GO_THEN_DIE;
    if (!strncmp(fault, "half:", 5)) return HALF;
    errno = atoi(fault);
    return FAIL;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define CALL(concerned, call)                          \
    do {                                               \
        int what = (concerned) ? fate() : GO;          \
        if (what == FAIL) return -1;                   \
        if (what == HALF) die();                       \
        __typeof__(call) result = call;                \
        if (what == GO_THEN_DIE) die();                \
        return result;                                 \
    } while (0)

static int mark(int fd, const char *path) {
    if (fd >= 0 && fd < FDS) ours[fd] = inside(path);
    return fd;
}

#define OPEN(name)                                                   \
    int name(const char *path, int flags, ...) {                     \
        REAL(name);                                                  \
        va_list rest;                                                \
        va_start(rest, flags);                                       \
        mode_t mode = va_arg(rest, mode_t);                          \
        va_end(rest);                                                \
        CALL(inside(path) && (flags & O_ACCMODE) != O_RDONLY,        \
             mark(real(path, flags, mode), path));                   \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *bytes, size_t length) {
    REAL(write);
    int what = fd >= 0 && fd < FDS && ours[fd] ? fate() : GO;
    if (what == FAIL) return -1;
    ssize_t written = real(fd, bytes, what == HALF ? length / 2 : length);
    if (what != GO) die();
    return written;
}

int fsync(int fd) {
    REAL(fsync);
    CALL(fd >= 0 && fd < FDS && ours[fd], real(fd));
}

int rename(const char *from, const char *to) {
    REAL(rename);
    CALL(inside(to), real(from, to));
}

int unlink(const char *path) {
    REAL(unlink);
    CALL(inside(path), real(path));
}
