# libFuzzer targets, one per kind of file a stranger may hand in.  tests/fuzz/corpus/X holds the seeds of fuzz_X.
LIBFUZZER_FLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
FUZZED_MODEL = core/model/libmodel.la core/base/libbase.la

if BUILD_FUZZERS
noinst_PROGRAMS += tests/fuzz/fuzz_safetensors
tests_fuzz_fuzz_safetensors_SOURCES = tests/fuzz/fuzz_safetensors.c
tests_fuzz_fuzz_safetensors_LDFLAGS = $(LIBFUZZER_FLAGS)
tests_fuzz_fuzz_safetensors_LDADD = $(FUZZED_MODEL)

noinst_PROGRAMS += tests/fuzz/fuzz_config_json
tests_fuzz_fuzz_config_json_SOURCES = tests/fuzz/fuzz_config_json.c
tests_fuzz_fuzz_config_json_CFLAGS = $(AM_CFLAGS) $(JSONC_CFLAGS)
tests_fuzz_fuzz_config_json_LDFLAGS = $(LIBFUZZER_FLAGS)
tests_fuzz_fuzz_config_json_LDADD = $(FUZZED_MODEL)

noinst_PROGRAMS += tests/fuzz/fuzz_yaml
tests_fuzz_fuzz_yaml_SOURCES = tests/fuzz/fuzz_yaml.c
tests_fuzz_fuzz_yaml_LDFLAGS = $(LIBFUZZER_FLAGS)
tests_fuzz_fuzz_yaml_LDADD = core/config/libconfig.la core/base/libbase.la
endif

EXTRA_DIST += tests/fuzz/run-fuzzers.sh tests/fuzz/corpus \
	tests/fuzz/fuzz_config_json.dict tests/fuzz/fuzz_safetensors.dict

# the chat encoding: parser, stream, encoder and the reader of encoding files
if BUILD_FUZZERS
noinst_PROGRAMS += tests/fuzz/fuzz_chat
tests_fuzz_fuzz_chat_SOURCES = tests/fuzz/fuzz_chat.c
tests_fuzz_fuzz_chat_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_chat_LDADD = core/model/libmodel.la core/base/libbase.la
endif
EXTRA_DIST += tests/fuzz/fuzz_chat.dict

# tokenizer.json, and a text to encode with it
if BUILD_FUZZERS
noinst_PROGRAMS += tests/fuzz/fuzz_tokenizer
tests_fuzz_fuzz_tokenizer_SOURCES = tests/fuzz/fuzz_tokenizer.c
tests_fuzz_fuzz_tokenizer_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_tokenizer_LDADD = core/model/libmodel.la core/base/libbase.la
endif
EXTRA_DIST += tests/fuzz/fuzz_tokenizer.dict

# files of packed weights
if BUILD_FUZZERS
noinst_PROGRAMS += tests/fuzz/fuzz_weight_cache
tests_fuzz_fuzz_weight_cache_SOURCES = tests/fuzz/fuzz_weight_cache.c
tests_fuzz_fuzz_weight_cache_LDFLAGS = $(LIBFUZZER_FLAGS)
tests_fuzz_fuzz_weight_cache_LDADD = core/weights/libweights.la core/placement/libplacement.la core/model/libmodel.la \
	core/base/libbase.la
endif
