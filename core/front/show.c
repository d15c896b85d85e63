/* show.c - see show.h. */
#include <config.h>

#include "core/front/show.h"

#include <stdio.h>
#include <unistd.h>

#include "core/front/out.h"

static void
show_reasoning_end(struct show *show)
{
    if (show->reasoning) {
        fputs(show->dim ? "\033[0m\n" : "\n", stderr);
        fflush(stderr);
        show->reasoning = false;
        show->progress->midline = false;
    }
}

static int
show_piece(void *context, bool reasoning, const char *text, size_t length, struct hearth_error *err)
{
    struct show *show = context;
    if (show->silent || length == 0 || (reasoning && show->quiet)) {
        return HEARTH_OK;
    }
    if (reasoning) {
        if (!show->reasoning && show->dim) {
            fputs("\033[2m", stderr);
        }
        show->reasoning = true;
        fwrite(text, 1, length, stderr);
        fflush(stderr);
        show->progress->midline = text[length - 1] != '\n';
        return HEARTH_OK;
    }
    show_reasoning_end(show);
    show->line = text[length - 1] != '\n';
    show->progress->midline = show->together && show->line;
    const int status = out_write(text, length, err);
    return status < 0 ? status : out_flush(err);
}

void
show_init(struct show *show, struct front *front)
{
    *show = (struct show){
        .talk = {.piece = show_piece, .context = show},
        .silent = front->json,
        .quiet = front->quiet,
        .dim = isatty(STDERR_FILENO) == 1,
        .together = isatty(STDERR_FILENO) == 1 && isatty(STDOUT_FILENO) == 1,
        .progress = &front->progress,
    };
}

int
show_end(struct show *show, struct hearth_error *err)
{
    show_reasoning_end(show);
    const int status = show->line ? out_write("\n", 1, err) : HEARTH_OK;
    show->line = false;
    show->progress->midline = false;
    return status < 0 ? status : out_flush(err);
}
