/* core/front/progress.h - how far long work has come, on standard error: a bar on a terminal, a
 * line every two seconds elsewhere.  It also carries Ctrl-C into the work: a step answers false
 * once interrupt_seen(). */
#ifndef CORE_FRONT_PROGRESS_H
#define CORE_FRONT_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include <hearth/engine.h>

struct progress {
    struct hearth_progress callback; /* hand &callback to the engine */
    bool shown;                      /* false: only the interrupt is carried */
    bool terminal;
    bool drawn;              /* a bar stands on the current line */
    bool midline;            /* other text does, and its line has not ended */
    char phase[48];          /* of the bar; a new phase restarts the clock */
    double started, painted; /* clock_seconds() */
    const char
        *task; /* while set, the engine's own phases count as span units of the task, from base */
    uint64_t task_base, task_span, task_total;
    const char *task_unit;
};

void progress_init(struct progress *progress, bool shown);
/* Takes the bar away, so that other text can be written. */
void progress_clear(struct progress *progress);
/* Likewise for a line of its own: ends the line of other text. */
void progress_line(struct progress *progress);

/* One task made of many engine calls.  The next call covers span units of total, from base. */
void progress_task(struct progress *progress, const char *task, uint64_t total, const char *unit);
void progress_part(struct progress *progress, uint64_t base, uint64_t span);
/* False: stop. */
bool progress_at(struct progress *progress, uint64_t done);
void progress_task_end(struct progress *progress);

#endif
