noinst_LTLIBRARIES += core/model/libmodel.la
core_model_libmodel_la_SOURCES =
core_model_libmodel_la_CFLAGS = $(AM_CFLAGS) $(JSONC_CFLAGS) $(PCRE2_CFLAGS)
core_model_libmodel_la_LIBADD = $(PCRE2_LIBS)

# the tokenizer
core_model_libmodel_la_SOURCES += \
	core/model/added_tokens.c \
	core/model/bpe.c \
	core/model/pretokenize.c \
	core/model/pretokenize_dialect.c \
	core/model/text_stream.c \
	core/model/token_table.c \
	core/model/tokenizer.h \
	core/model/tokenizer_encode.c \
	core/model/tokenizer_internal.h \
	core/model/tokenizer_open.c \
	core/model/unicode_standin.c \
	core/model/utf8.h

# the chat encoding
core_model_libmodel_la_SOURCES += \
	core/model/chat.h \
	core/model/chat_dsml.c \
	core/model/chat_encode.c \
	core/model/chat_grammar.c core/model/chat_grammar.h \
	core/model/chat_internal.h \
	core/model/chat_json.c core/model/chat_json.h \
	core/model/chat_messages.c \
	core/model/chat_parse.c \
	core/model/chat_passages.c \
	core/model/chat_python.c \
	core/model/chat_stream.c \
	core/model/chat_value.c
core_model_libmodel_la_CFLAGS += $(LIBMD_CFLAGS)
core_model_libmodel_la_LIBADD += $(LIBMD_LIBS)
