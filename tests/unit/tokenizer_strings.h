/* tokenizer_strings.h - the strings of the tokenizer tests, made from a seed and tests/data/tokenizer/strings.txt.
 *
 * tools/tokenizer-cases/make_cases.py makes the same strings and asks HF tokenizers for their tokens; what is committed
 * is a digest of the tokens, so the strings themselves need no room. */
#ifndef TESTS_UNIT_TOKENIZER_STRINGS_H
#define TESTS_UNIT_TOKENIZER_STRINGS_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/text.h"

struct string_parts;

/* NULL if the file cannot be read or has another form. */
struct string_parts *string_parts_read(const char *path);
void string_parts_free(struct string_parts *parts);
/* Puts string number index of seed into string, which it clears first.  Valid UTF-8. */
void string_make(const struct string_parts *parts, uint64_t seed, uint64_t index, struct text *string);

/* Appends line to text, its escapes \n \r \t \\ \u{HEX} replaced. */
void string_unescape(const char *line, struct text *text);

/* splitmix64 */
uint64_t random_next(uint64_t *state);
uint64_t random_below(uint64_t *state, uint64_t n);

#endif
