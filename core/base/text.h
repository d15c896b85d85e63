/* core/base/text.h - a growing byte string.  Zero-initialise it; one failed append makes it failed until text_free. */
#ifndef CORE_BASE_TEXT_H
#define CORE_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct text {
    char *bytes; /* NUL-terminated once something was appended */
    size_t length, capacity;
    bool failed; /* an allocation failed; the content is incomplete */
};

void text_append(struct text *text, const char *bytes, size_t length);
void text_add(struct text *text, const char *string);
void text_printf(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_clear(struct text *text); /* keeps the memory */
void text_free(struct text *text);
/* Gives the bytes to the caller (free()) and leaves text empty; NULL if it failed.  Never NULL for an empty text. */
char *text_take(struct text *text);

#endif
