/* core/front/talk.h - a conversation: the messages, the session that has read them, and what of it
 * can be kept when the next message comes. */
#ifndef CORE_FRONT_TALK_H
#define CORE_FRONT_TALK_H

#include "core/base/json.h"
#include "core/base/text.h"
#include "core/front/generate.h"

/* One answer, in parts as the chat format has them. */
struct talk_answer {
    struct generation generation;
    struct text content, reasoning;
    struct json_object *calls; /* tool calls, or NULL */
    bool malformed;            /* cut where the model wrote what no answer can hold */
};

/* Called as the answer comes: a piece of the reasoning, or of the answer itself. */
struct talk_show {
    int (*piece)(void *context, bool reasoning, const char *text, size_t length,
                 struct hearth_error *err);
    void *context;
};

struct talk {
    struct generator *generator;
    struct hearth_session *session; /* NULL until something was fed */
    struct json_object *messages;   /* since the start, or since talk_load */
    struct hearth_chat_options options;
    struct text system; /* empty: none */
    struct text base;   /* text of the loaded session that the messages continue; empty: none */
    struct text said;   /* text of every token in the session, and of the pending one */
    int32_t pending_id; /* picked and shown, not yet fed; -1: none */
    bool missing_said;  /* the absent passage was named */
};

/* Borrows generator. */
int talk_init(struct talk *talk, struct generator *generator, struct hearth_error *err);
void talk_done(struct talk *talk);
/* Forgets the messages and what was loaded; keeps system and options. */
int talk_reset(struct talk *talk, struct hearth_error *err);
/* Takes "on", "off" or a level of effort.  Errors: EUSAGE. */
int talk_think(struct talk *talk, const char *mode, struct hearth_error *err);
/* "": none.  Errors: EUSAGE in a loaded conversation, whose beginning is fixed. */
int talk_system(struct talk *talk, const char *text, struct hearth_error *err);
/* One turn.  On failure the message is taken back. */
int talk_turn(struct talk *talk, const char *message, const struct talk_show *show,
              struct talk_answer *ret_answer, struct hearth_error *err);
void talk_answer_done(struct talk_answer *answer);
/* The session as a file, the last answer closed; and a conversation that goes on from such a file.
 */
int talk_save(struct talk *talk, const char *path, struct hearth_error *err);
int talk_load(struct talk *talk, const char *path, struct hearth_error *err);

#endif
