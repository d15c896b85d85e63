/* log.c - one sink for the whole process. */
#include "core/base/log.h"

#include <stdarg.h>
#include <stdio.h>

#include <hearth/engine.h>

static void
log_to_stderr(void *context, int level, const char *text)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    (void)context;
    if (level <= HEARTH_LOG_WARNING && level >= 0) {
        fprintf(stderr, "hearth: %s: %s\n", names[level], text);
    }
}

static void (*log_sink)(void *context, int level, const char *text) = log_to_stderr;
static void *log_context;

void
hearth_log_set(void (*sink)(void *context, int level, const char *text), void *context)
{
    log_sink = sink ? sink : log_to_stderr;
    log_context = context;
}

void
log_text(int level, const char *text)
{
    log_sink(log_context, level, text);
}

void
log_line(int level, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_text(level, text);
}
