/* core/front/interrupt.h - Ctrl-C as a flag that long work looks at.  One flag for the process;
 * thread: any. */
#ifndef CORE_FRONT_INTERRUPT_H
#define CORE_FRONT_INTERRUPT_H

#include <stdbool.h>

/* Takes over SIGINT unless it is ignored (a background job), and ignores SIGPIPE so that a closed
 * pipe is a write error with a line of its own. */
void interrupt_install(void);
bool interrupt_seen(void);
/* Readable after an interrupt, until interrupt_clear; -1 (which poll passes over): none could be had. */
int interrupt_fd(void);
void interrupt_clear(void);

#endif
