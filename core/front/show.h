/* core/front/show.h - an answer on the screen: its text on standard output as it comes, its
 * reasoning on standard error, dim where that is a terminal. */
#ifndef CORE_FRONT_SHOW_H
#define CORE_FRONT_SHOW_H

#include "core/front/talk.h"

struct show {
    struct talk_show talk; /* hand &talk to talk_turn */
    bool silent;           /* shows nothing: the answer is printed whole, as JSON */
    bool quiet;            /* no reasoning */
    bool dim;              /* standard error is a terminal */
    bool together;         /* so is standard output: both are one screen */
    bool reasoning;        /* a line of reasoning stands open */
    bool line;             /* a line of the answer stands open */
    struct progress *progress;
};

void show_init(struct show *show, struct front *front);
/* Ends the open lines. */
int show_end(struct show *show, struct hearth_error *err);

#endif
