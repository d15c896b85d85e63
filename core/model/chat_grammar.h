/* core/model/chat_grammar.h - the two headers of the tool call markup that both parsers read: chat_parse.c,
 * chat_stream.c. */
#ifndef CORE_MODEL_CHAT_GRAMMAR_H
#define CORE_MODEL_CHAT_GRAMMAR_H

#include "core/model/chat_json.h"

/* What stands between "<DSML invoke" and the next mark: space, name="NAME"> and a newline, perhaps one newline more. */
bool chat_grammar_name(struct chat_text header, struct chat_text *ret_name);
/* The head of a parameter: ` name="KEY" string="true|false">`.  *ret_length: its bytes. */
bool chat_grammar_key(struct chat_text header, struct chat_text *ret_key, bool *ret_is_string, size_t *ret_length);
/* What stands between "<DSML parameter" and "/DSML parameter": head, value and '<', perhaps one newline more. */
bool chat_grammar_parameter(struct chat_text text, struct chat_text *ret_key, bool *ret_is_string,
                            struct chat_text *ret_value);

#endif
