/* chat_line.c - see chat_line.h. */
#include <config.h>

#include "core/front/chat_line.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>
#ifdef HAVE_LIBEDIT
#include <histedit.h>
#endif

#include "core/base/error.h"
#include "core/front/interrupt.h"

#define CHAT_LINE_PROMPT "> "
#define CHAT_LINE_HISTORY 1000 /* lines kept */

struct chat_line {
    bool terminal;
    char *history_path; /* NULL: none is kept */
#ifdef HAVE_LIBEDIT
    EditLine *edit; /* NULL: not a terminal */
    History *history;
#endif
};

#ifdef HAVE_LIBEDIT
static char *
chat_line_prompt(EditLine *edit)
{
    static char prompt[] = CHAT_LINE_PROMPT;
    (void)edit;
    return prompt;
}

/* One character of the terminal, as libedit wants it: 1, 0 at the end, -1 to give the line up.  The editor's own reader
 * loses a Ctrl-C that comes just before it waits, or that another thread receives. */
static int
chat_line_take(EditLine *edit, wchar_t *ret_character)
{
    mbstate_t state = {0};
    (void)edit;
    for (;;) {
        struct pollfd inputs[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = interrupt_fd(), .events = POLLIN}};
        const int n_ready = poll(inputs, 2, -1);
        if (interrupt_seen()) {
            return -1;
        }
        if (n_ready < 0 && errno == EINTR) {
            continue; /* the window changed its size, or the program was stopped and goes on */
        }
        char byte;
        const ssize_t n_read = n_ready < 0 ? -1 : read(STDIN_FILENO, &byte, 1);
        if (n_read <= 0) {
            return (int)n_read;
        }
        const size_t length = mbrtowc(ret_character, &byte, 1, &state);
        if (length == (size_t)-1) {
            state = (mbstate_t){0}; /* not a character of this locale: skipped */
        } else if (length != (size_t)-2) {
            return 1;
        }
    }
}

static int
chat_line_edit_open(struct chat_line *line, struct hearth_error *err)
{
    HistEvent event;
    line->history = history_init();
    line->edit = line->history ? el_init("hearth", stdin, stdout, stderr) : NULL;
    if (!line->edit) {
        return error_no_memory(err, "line editing");
    }
    history(line->history, &event, H_SETSIZE, CHAT_LINE_HISTORY);
    history(line->history, &event, H_SETUNIQUE, 1);
    el_set(line->edit, EL_PROMPT, chat_line_prompt);
    el_set(line->edit, EL_EDITOR, "emacs");
    el_set(line->edit, EL_SIGNAL, 0); /* interrupt.c has them */
    el_set(line->edit, EL_GETCFN, chat_line_take);
    el_set(line->edit, EL_HIST, history, line->history);
    el_source(line->edit, NULL);
    if (line->history_path) {
        history(line->history, &event, H_LOAD,
                line->history_path); /* the first time there is no such file */
    }
    return HEARTH_OK;
}

static void
chat_line_edit_close(struct chat_line *line)
{
    HistEvent event;
    if (line->edit && line->history_path) {
        const mode_t old = umask(077); /* what people say to a model is theirs */
        history(line->history, &event, H_SAVE, line->history_path);
        umask(old);
    }
    if (line->edit) {
        el_end(line->edit);
    }
    if (line->history) {
        history_end(line->history);
    }
}

static int
chat_line_edit_read(struct chat_line *line, struct text *text, bool *ret_more,
                    struct hearth_error *err)
{
    HistEvent event;
    int n = 0;
    errno = 0;
    const char *typed = el_gets(line->edit, &n);
    if (!typed || n <= 0) {
        if (interrupt_seen()) {
            el_reset(line->edit);
            fputc('\n', stdout);
            return error_set(err, HEARTH_EINTERRUPTED, "interrupted");
        }
        *ret_more = false;
        return HEARTH_OK;
    }
    size_t length = strlen(typed);
    if (strspn(typed, " \t\r\n") < length) {
        history(line->history, &event, H_ENTER, typed);
    }
    while (length && (typed[length - 1] == '\n' || typed[length - 1] == '\r')) {
        length--;
    }
    text_append(text, typed, length);
    *ret_more = true;
    return text->failed ? error_no_memory(err, "a line") : HEARTH_OK;
}
#endif

int
chat_line_open(const char *history, struct chat_line **ret_line, struct hearth_error *err)
{
    struct chat_line *line = calloc(1, sizeof *line);
    if (!line) {
        return error_no_memory(err, "the input");
    }
    line->terminal = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
    if (history && *history) {
        line->history_path = strdup(history);
        if (!line->history_path) {
            chat_line_close(line);
            return error_no_memory(err, "the input");
        }
    }
#ifdef HAVE_LIBEDIT
    const int status = line->terminal ? chat_line_edit_open(line, err) : HEARTH_OK;
    if (status < 0) {
        chat_line_close(line);
        return status;
    }
#endif
    *ret_line = line;
    return HEARTH_OK;
}

void
chat_line_close(struct chat_line *line)
{
    if (!line) {
        return;
    }
#ifdef HAVE_LIBEDIT
    chat_line_edit_close(line);
#endif
    free(line->history_path);
    free(line);
}

bool
chat_line_is_terminal(const struct chat_line *line)
{
    return line->terminal;
}

static int
chat_line_plain_read(struct chat_line *line, struct text *text, bool *ret_more,
                     struct hearth_error *err)
{
    char part[4096];
    if (line->terminal) {
        fputs(CHAT_LINE_PROMPT, stdout);
        fflush(stdout);
    }
    *ret_more = false;
    errno = 0;
    while (fgets(part, sizeof part, stdin)) {
        const size_t length = strlen(part);
        const bool whole = length && part[length - 1] == '\n';
        text_append(text, part, whole ? length - 1 : length);
        *ret_more = true;
        if (whole) {
            break;
        }
    }
    if (ferror(stdin)) {
        const int reason = errno;
        clearerr(stdin);
        errno = reason;
        if (reason == EINTR) {
            return error_set(err, HEARTH_EINTERRUPTED, "interrupted");
        }
        return error_set_errno(err, HEARTH_EIO, "standard input");
    }
    return text->failed ? error_no_memory(err, "a line") : HEARTH_OK;
}

int
chat_line_read(struct chat_line *line, struct text *text, bool *ret_more, struct hearth_error *err)
{
    text_clear(text);
    text_append(text, "", 0);
#ifdef HAVE_LIBEDIT
    if (line->edit) {
        return chat_line_edit_read(line, text, ret_more, err);
    }
#endif
    return chat_line_plain_read(line, text, ret_more, err);
}
