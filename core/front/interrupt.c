/* interrupt.c - see interrupt.h. */
#include <config.h>

#include "core/front/interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static volatile sig_atomic_t interrupt_flag;
static int interrupt_pipe[2] = {-1, -1}; /* holds a byte after each Ctrl-C: whoever waits for input can wait for both */

static void
interrupt_take(int number)
{
    const int before = errno;
    (void)number;
    interrupt_flag = 1;
    const ssize_t n = write(interrupt_pipe[1], "", 1); /* full or missing: the flag still says it */
    (void)n;
    errno = before;
}

static void
interrupt_take_over(int number)
{
    struct sigaction old;
    if (sigaction(number, NULL, &old) != 0 || old.sa_handler == SIG_IGN) {
        return;
    }
    /* no SA_RESTART: a read that waits for the next line must come back */
    struct sigaction action = {.sa_handler = interrupt_take};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

void
interrupt_install(void)
{
    if (pipe2(interrupt_pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
        interrupt_pipe[0] = interrupt_pipe[1] = -1;
    }
    interrupt_take_over(SIGINT);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGPIPE, &ignore, NULL);
}

bool
interrupt_seen(void)
{
    return interrupt_flag != 0;
}

int
interrupt_fd(void)
{
    return interrupt_pipe[0];
}

void
interrupt_clear(void)
{
    char bytes[64];
    interrupt_flag = 0;
    while (read(interrupt_pipe[0], bytes, sizeof bytes) > 0) {
    }
}
