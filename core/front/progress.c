/* progress.c - see progress.h. */
#include <config.h>

#include "core/front/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/front/human.h"
#include "core/front/interrupt.h"

#define PROGRESS_BAR_SECONDS 0.1  /* between two paintings of the bar */
#define PROGRESS_LINE_SECONDS 2.0 /* between two plain lines */
#define PROGRESS_MIN_COLUMNS 20
#define PROGRESS_MAX_BAR 40

static int
progress_columns(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < PROGRESS_MIN_COLUMNS) {
        return 80;
    }
    return size.ws_col;
}

static const char *
progress_amount(double n, const char *unit, char text[HUMAN_BYTES])
{
    if (strcmp(unit, "bytes") == 0) {
        return human_bytes(n, text);
    }
    snprintf(text, HUMAN_BYTES, "%.0f", n);
    return text;
}

/* "12 of 40 tokens, 31/s, 0.90 s left" */
static void
progress_describe(const struct progress *progress, uint64_t done, uint64_t total, const char *unit,
                  char *text, size_t size)
{
    char a[HUMAN_BYTES], b[HUMAN_BYTES], c[HUMAN_BYTES], d[HUMAN_BYTES];
    const double elapsed = clock_seconds() - progress->started;
    const double rate = elapsed > 0 ? (double)done / elapsed : 0;
    const bool bytes = strcmp(unit, "bytes") == 0;
    int used =
        snprintf(text, size, "%s of %s%s%s", progress_amount((double)done, unit, a),
                 progress_amount((double)total, unit, b), bytes ? "" : " ", bytes ? "" : unit);
    if (rate > 0 && used > 0 && (size_t)used < size) {
        used +=
            snprintf(text + used, size - (size_t)used, ", %s/s",
                     bytes || rate < 10000 ? progress_amount(rate, unit, c) : human_count(rate, c));
        if (done < total && used > 0 && (size_t)used < size) {
            snprintf(text + used, size - (size_t)used, ", %s left",
                     human_duration((double)(total - done) / rate, d));
        }
    }
}

static void
progress_end_text(struct progress *progress)
{
    if (progress->midline) {
        fputc('\n', stderr);
        progress->midline = false;
    }
}

static void
progress_paint(struct progress *progress, uint64_t done, uint64_t total, const char *unit)
{
    char right[160], line[512];
    progress_describe(progress, done, total, unit, right, sizeof right);
    const int columns = progress_columns() - 1; /* a full last column would wrap */
    const double part = total ? (double)done / (double)total : 0;
    int room = columns - (int)strlen(progress->phase) - (int)strlen(right) - 11;
    room = room > PROGRESS_MAX_BAR ? PROGRESS_MAX_BAR : room;
    char bar[PROGRESS_MAX_BAR + 1] = "";
    if (room >= 4) {
        const int full = (int)(part * room);
        memset(bar, ' ', (size_t)room);
        memset(bar, '=', (size_t)(full > room ? room : full));
        bar[room] = '\0';
        snprintf(line, sizeof line, "%s [%s] %3.0f%%  %s", progress->phase, bar, 100 * part, right);
    } else {
        snprintf(line, sizeof line, "%s %3.0f%%  %s", progress->phase, 100 * part, right);
    }
    if (!progress->drawn) {
        progress_end_text(progress);
    }
    fprintf(stderr, "\r%.*s\033[K", columns, line);
    fflush(stderr);
    progress->drawn = true;
}

static void
progress_show(struct progress *progress, const char *phase, uint64_t done, uint64_t total,
              const char *unit)
{
    const double now = clock_seconds();
    if (strncmp(progress->phase, phase, sizeof progress->phase - 1) != 0
        || progress->started <= 0) {
        progress_clear(progress);
        snprintf(progress->phase, sizeof progress->phase, "%s", phase);
        progress->started = now;
        progress->painted = now; /* work that ends at once shows nothing */
        return;
    }
    if (now - progress->painted
        < (progress->terminal ? PROGRESS_BAR_SECONDS : PROGRESS_LINE_SECONDS)) {
        return;
    }
    progress->painted = now;
    if (progress->terminal) {
        progress_paint(progress, done, total, unit);
        return;
    }
    char text[160];
    progress_describe(progress, done, total, unit, text, sizeof text);
    fprintf(stderr, "hearth: %s: %s\n", phase, text);
}

static bool
progress_step(void *context, const char *phase, uint64_t done, uint64_t total, const char *unit)
{
    struct progress *progress = context;
    if (progress->task) {
        const double part = total ? (double)done / (double)total : 0;
        done = progress->task_base + (uint64_t)(part * (double)progress->task_span);
        total = progress->task_total;
        phase = progress->task;
        unit = progress->task_unit;
    }
    if (progress->shown) {
        progress_show(progress, phase, done, total, unit);
    }
    return !interrupt_seen();
}

void
progress_init(struct progress *progress, bool shown)
{
    *progress = (struct progress){
        .callback = {.step = progress_step, .context = progress},
        .shown = shown,
        .terminal = isatty(STDERR_FILENO) == 1,
    };
}

void
progress_clear(struct progress *progress)
{
    if (progress->drawn) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        progress->drawn = false;
    }
    progress->phase[0] = '\0';
    progress->started = 0;
}

void
progress_line(struct progress *progress)
{
    progress_clear(progress);
    progress_end_text(progress);
}

void
progress_task(struct progress *progress, const char *task, uint64_t total, const char *unit)
{
    progress_clear(progress);
    progress->task = task;
    progress->task_unit = unit;
    progress->task_base = 0;
    progress->task_span = 0;
    progress->task_total = total;
    progress_at(progress, 0);
}

void
progress_part(struct progress *progress, uint64_t base, uint64_t span)
{
    progress->task_base = base;
    progress->task_span = span;
}

bool
progress_at(struct progress *progress, uint64_t done)
{
    progress_part(progress, done, 0);
    return progress_step(progress, "", 0, 1, "");
}

void
progress_task_end(struct progress *progress)
{
    progress_clear(progress);
    progress->task = NULL;
}
