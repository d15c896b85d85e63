/* interrupt.c - see interrupt.h. */
#include <config.h>

#include "core/front/interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t interrupt_flag;

static void
interrupt_take(int number)
{
    (void)number;
    interrupt_flag = 1;
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

void
interrupt_clear(void)
{
    interrupt_flag = 0;
}
