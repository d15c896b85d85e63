noinst_LTLIBRARIES += core/model/libmodel.la
core_model_libmodel_la_CFLAGS = $(AM_CFLAGS) $(JSONC_CFLAGS) $(LIBMD_CFLAGS) $(PCRE2_CFLAGS)
core_model_libmodel_la_LIBADD = $(JSONC_LIBS) $(LIBMD_LIBS) $(PCRE2_LIBS)

# the checkpoint
core_model_libmodel_la_SOURCES = \
	core/model/cost.c core/model/cost.h \
	core/model/generation.c core/model/generation.h \
	core/model/inspect.c \
	core/model/layout.c core/model/layout.h \
	core/model/mapped_file.c core/model/mapped_file.h \
	core/model/model.h core/model/model_internal.h \
	core/model/open.c \
	core/model/preset.c core/model/preset.h \
	core/model/roles.c core/model/roles.h \
	core/model/safetensors.c core/model/safetensors.h \
	core/model/shape.c core/model/shape.h \
	core/model/shards.c core/model/shards.h \
	core/model/sizes.c core/model/sizes.h \
	core/model/synthetic.c \
	core/model/synthetic_pools.c core/model/synthetic_pools.h \
	core/model/synthetic_router.c core/model/synthetic_router.h \
	core/model/tensor.c core/model/tensor.h \
	core/model/values.c core/model/values.h \
	core/model/yarn.c

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
