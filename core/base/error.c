/* error.c - status texts and the one place where error lines are formatted. */
#include "core/base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <hearth/engine.h>

struct status_text {
    int status;
    int exit_code;
    const char *name;
};

static const struct status_text status_texts[] = {
#define STATUS_TEXT(name, code, class, text) {(code), (class), #name},
    HEARTH_STATUS_MAP(STATUS_TEXT)
#undef STATUS_TEXT
};

static const struct status_text *
status_find(int status)
{
    for (size_t i = 0; i < sizeof status_texts / sizeof status_texts[0]; i++) {
        if (status_texts[i].status == status) {
            return &status_texts[i];
        }
    }
    return NULL;
}

const char *
hearth_status_name(int status)
{
    const struct status_text *found = status_find(status);
    return found ? found->name : "unknown";
}

int
hearth_status_exit(int status)
{
    const struct status_text *found = status_find(status);
    return found ? found->exit_code : HEARTH_EXIT_INTERNAL;
}

/* A path or a tensor name may hold anything; the error stays one line. */
static void
error_keep_one_line(char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7F) {
            *text = '?';
        }
    }
}

static void
error_format(struct hearth_error *err, int status, int native, const char *format, va_list args)
{
    err->status = status;
    err->native = native;
    vsnprintf(err->text, sizeof err->text, format, args);
    if (native) {
        const size_t used = strlen(err->text);
        snprintf(err->text + used, sizeof err->text - used, ": %s", strerror(native));
    }
    error_keep_one_line(err->text);
}

int
error_set(struct hearth_error *err, int status, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        error_format(err, status, 0, format, args);
        va_end(args);
    }
    return status;
}

int
error_set_errno(struct hearth_error *err, int status, const char *format, ...)
{
    const int native = errno;
    if (err) {
        va_list args;
        va_start(args, format);
        error_format(err, status, native, format, args);
        va_end(args);
    }
    return status;
}

int
error_no_memory(struct hearth_error *err, const char *what)
{
    return error_set(err, HEARTH_EMEMORY, "no memory for %s", what);
}
