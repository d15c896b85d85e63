/* core/model/chat_internal.h - what the chat_*.c files share: the marks of the format, passages, messages.
 *
 * Order of work: chat_json.c reads, chat_messages.c makes messages (merged, sorted, dropped), chat_encode.c writes the
 * prompt with chat_dsml.c for tool calls and the passages of chat_passages.c.  chat_parse.c and chat_stream.c read
 * completions. */
#ifndef CORE_MODEL_CHAT_INTERNAL_H
#define CORE_MODEL_CHAT_INTERNAL_H

#include "core/model/chat.h"
#include "core/model/chat_json.h"

#define CHAT_BOS "<｜begin▁of▁sentence｜>"
#define CHAT_EOS "<｜end▁of▁sentence｜>"
#define CHAT_USER "<｜User｜>"
#define CHAT_ASSISTANT "<｜Assistant｜>"
#define CHAT_REMINDER "<｜latest_reminder｜>"
#define CHAT_THINK "<think>"
#define CHAT_THINK_END "</think>"
#define CHAT_DSML "｜DSML｜"

/* ---- passages -------------------------------------------------------------------------------- */

enum chat_passage_kind {
    CHAT_PASSAGE_TOOLS,
    CHAT_PASSAGE_FORMAT,
    CHAT_PASSAGE_EFFORT,     /* "max" of the April release, "high" of 0731 */
    CHAT_PASSAGE_EFFORT_MAX, /* "max" of 0731 */
    CHAT_N_PASSAGES
};

/* The text around the one place that is filled in; a passage without such a place has it at its end. */
struct chat_passage {
    char *before, *after; /* NULL: absent */
};

struct chat_passages {
    struct chat_passage at[CHAT_N_PASSAGES];
};

/* ---- constants of a Python file -------------------------------------------------------------- */

/* A string constant, adjacent literals joined, and where it stands: TARGET = "..." or TARGET = {"KEY": "..."}. */
struct chat_constant {
    struct chat_text target, key, value;
};

struct chat_constant_sink {
    int (*constant)(void *context, const struct chat_constant *constant, struct hearth_error *err); /* negative: stop */
    void *context;
};

/* Hands every constant string of the source to sink.  Runs nothing.  Errors: EFORMAT (an unfinished
 * string), EMEMORY, those of sink. */
int chat_python_scan(const char *name, struct chat_text source, const struct chat_constant_sink *sink,
                     struct hearth_error *err);

/* ---- messages -------------------------------------------------------------------------------- */

enum chat_role {
    CHAT_ROLE_OTHER,
    CHAT_ROLE_SYSTEM,
    CHAT_ROLE_DEVELOPER,
    CHAT_ROLE_USER,
    CHAT_ROLE_REMINDER,
    CHAT_ROLE_ASSISTANT,
    CHAT_ROLE_TOOL
};

enum chat_block_kind { CHAT_BLOCK_TEXT, CHAT_BLOCK_RESULT, CHAT_BLOCK_OTHER };

/* A part of a user turn, or of a tool result's list. */
struct chat_block {
    enum chat_block_kind kind;
    struct chat_text text;    /* the text; for OTHER the type nobody knows */
    struct chat_block *parts; /* of a result given as a list; then text is unused */
    bool is_list;
    struct chat_text id; /* of a result: the call it answers */
    struct chat_block *next;
};

struct chat_call {
    struct chat_text name, id;
    const struct chat_value *arguments;
};

struct chat_message {
    size_t index; /* in the caller's array, for errors; of merged messages the first */
    enum chat_role role;
    struct chat_text role_name;
    struct chat_text content, reasoning;
    struct chat_text task;                            /* bytes NULL: none */
    const struct chat_value *tools, *response_format; /* NULL: none */
    bool wo_eos;
    struct chat_call *calls;
    size_t n_calls;
    struct chat_block *blocks, *last_block; /* of a user message */
    size_t n_results;
};

struct chat_conversation {
    struct chat_message *messages;
    size_t n;
    bool has_tools;
};

/* Reads a JSON array of messages: tool messages become results inside user messages, user messages that follow each
 * other become one, results stand in the order of the calls they answer.  Everything borrows from array and arena.
 * Errors: EFORMAT "chat: message N: FIELD: ...", EMEMORY. */
int chat_messages_read(const struct chat_value *array, struct chat_arena *arena,
                       struct chat_conversation *ret_conversation, struct hearth_error *err);
/* Drops the developer messages, and those of no known role, before the last user turn.  The reasoning there is left out
 * in writing. */
void chat_messages_drop(struct chat_conversation *conversation);
/* The last user or developer message, -1 if there is none. */
ptrdiff_t chat_messages_last_user(const struct chat_conversation *conversation);

/* ---- tool calls ------------------------------------------------------------------------------ */

/* Writes the DSML block of an assistant message, the two newlines before it included.  Errors: EFORMAT, EMEMORY. */
int chat_dsml_write(struct text *out, const struct chat_message *message, struct chat_arena *arena,
                    struct hearth_error *err);

#endif
