/* core/model/chat_json.h - JSON exactly as Python's json module reads and writes it.
 *
 * The chat format is defined by a Python program, so its JSON is Python's: integers of any size keep their digits, NaN
 * and Infinity are numbers, "\u0000" may stand in a key, a text that json.loads refuses is another prompt than one it
 * takes. json-c differs in each of these, therefore the chat encoding has its own reader; every other file uses
 * core/base/json.h. */
#ifndef CORE_MODEL_CHAT_JSON_H
#define CORE_MODEL_CHAT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hearth/status.h>

struct text;

/* Bytes of somebody else; NUL may be among them.  bytes == NULL: no text at all, as opposed to an empty one. */
struct chat_text {
    const char *bytes;
    size_t length;
};

/* Memory of one call, released in one go.  Zero-initialise it. */
struct chat_arena {
    struct chat_chunk *chunks;
};

void *chat_arena_alloc(struct chat_arena *arena, size_t size); /* zeroed; NULL: no memory */
void chat_arena_free(struct chat_arena *arena);

enum chat_value_kind {
    CHAT_NULL,
    CHAT_FALSE,
    CHAT_TRUE,
    CHAT_INTEGER,
    CHAT_FLOAT,
    CHAT_STRING,
    CHAT_ARRAY,
    CHAT_OBJECT
};

struct chat_value {
    enum chat_value_kind kind;
    bool shadowed;         /* used while reading only: a later member has the same key */
    struct chat_text text; /* of a string; of an integer, its digits */
    double number;         /* of a float */
    struct chat_text key;  /* of an object's member */
    size_t n;              /* children */
    struct chat_value *first, *next;
};

/* Reads one value.  Strings without escapes borrow from text, which must outlive the value.  *ret_unpaired: some string
 * holds half a surrogate pair, which Python keeps and UTF-8 cannot.  Errors: EFORMAT "NAME: byte N: ...", EMEMORY. */
int chat_json_parse(const char *name, struct chat_text text, struct chat_arena *arena, struct chat_value **ret_value,
                    bool *ret_unpaired, struct hearth_error *err);
/* The member of an object by its key, or NULL. */
const struct chat_value *chat_json_member(const struct chat_value *object, const char *key);
/* What Python's bool() says of it; NULL is false. */
bool chat_json_truth(const struct chat_value *value);
/* "an array" and the like; "nothing" for NULL. */
const char *chat_json_kind(const struct chat_value *value);

/* json.dumps(value, ensure_ascii=False) */
void chat_json_print(struct text *out, const struct chat_value *value);
void chat_json_print_string(struct text *out, struct chat_text string);
/* The inside of a JSON string, without the quotes. */
void chat_json_print_escaped(struct text *out, const char *bytes, size_t length);
/* repr(float) with json's names for what is not finite. */
void chat_json_print_float(struct text *out, double number);
/* The double nearest to a JSON number's text, whatever the locale. */
double chat_json_read_float(const char *bytes, size_t length, char *scratch); /* scratch: length + 32 bytes */

/* Writes a code point in UTF-8, at most four bytes; returns how many. */
size_t chat_utf8_put(uint32_t code, char *out);
bool chat_text_is(struct chat_text text, const char *string);
bool chat_text_equal(struct chat_text a, struct chat_text b);

#endif
