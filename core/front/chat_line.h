/* core/front/chat_line.h - one typed line: with editing and history on a terminal (libedit),
 * plainly elsewhere. */
#ifndef CORE_FRONT_CHAT_LINE_H
#define CORE_FRONT_CHAT_LINE_H

#include <stdbool.h>

#include <hearth/status.h>

#include "core/base/text.h"

struct chat_line;

/* history: file that keeps the lines; NULL or "": none is kept. */
int chat_line_open(const char *history, struct chat_line **ret_line, struct hearth_error *err);
/* Saves the history. */
void chat_line_close(struct chat_line *line);
bool chat_line_is_terminal(const struct chat_line *line);

/* *ret_more: false at the end of input (Ctrl-D).  text: the line without its end.  Errors:
 * EINTERRUPTED (Ctrl-C while waiting; the line so far is gone), EIO. */
int chat_line_read(struct chat_line *line, struct text *text, bool *ret_more,
                   struct hearth_error *err);

#endif
