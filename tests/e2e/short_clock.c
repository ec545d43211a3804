/* Wall time as a test wants it: the machine's, plus an offset that stands in a file and may change at any moment.
 *
 * Preloaded into every process of a test that has to live through months (short_clock.py). Only wall time is moved. The
 * monotonic clock stays, so what waits waits as long as ever, and a step of the clock wakes nobody.
 *
 * Reading takes no lock, opens nothing and allocates nothing, so it is right in signal handlers and between fork and
 * exec, and a process that is killed leaves nothing behind. Deadlines in wall time (sem_timedwait and its like) are not
 * translated: none of our programs has any, their deadlines are monotonic. Nor are the times of files.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NANOSECONDS INT64_C(1000000000)

static const volatile int64_t *offset_ns;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

/* A process on the wrong clock would spoil the test in ways that are hard to see. */
static void give_up(const char *what) {
    perror(what);
    _exit(127);
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SHORT_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) give_up("short clock: cannot open the file that SHORT_CLOCK names");
    void *page = mmap(NULL, sizeof *offset_ns, PROT_READ, MAP_SHARED, file, 0);
    if (page == MAP_FAILED) give_up("short clock: cannot map the file that SHORT_CLOCK names");
    close(file);
    real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    offset_ns = page;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    /* Other libraries may begin before this one. */
    int status = real_clock_gettime ? real_clock_gettime(clock, now) : (int)syscall(SYS_clock_gettime, clock, now);
    if (status == 0 && offset_ns && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t moved = (int64_t)now->tv_sec * NANOSECONDS + now->tv_nsec + *offset_ns;
        now->tv_sec = moved / NANOSECONDS;
        now->tv_nsec = moved % NANOSECONDS;
    }
    return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec exact;
    if (clock_gettime(CLOCK_REALTIME, &exact) != 0) return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *seconds) {
    struct timespec exact;
    if (clock_gettime(CLOCK_REALTIME, &exact) != 0) return -1;
    if (seconds) *seconds = exact.tv_sec;
    return exact.tv_sec;
}

int timespec_get(struct timespec *now, int base) {
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, now) == 0 ? base : 0;
}
