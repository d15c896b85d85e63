# files of this room
if HAVE_CHECK
check_PROGRAMS += tests/unit/base_test
TESTS += tests/unit/base_test
tests_unit_base_test_SOURCES = tests/unit/base_test.c
tests_unit_base_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_base_test_LDADD = core/base/libbase.la $(CHECK_LIBS)

check_PROGRAMS += tests/unit/config_test
TESTS += tests/unit/config_test
tests_unit_config_test_SOURCES = tests/unit/config_test.c
tests_unit_config_test_CPPFLAGS = $(AM_CPPFLAGS) -DSOURCE_FOLDER='"$(abs_top_srcdir)"'
tests_unit_config_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_config_test_LDADD = core/config/libconfig.la core/base/libbase.la $(CHECK_LIBS)

check_PROGRAMS += tests/unit/generation_test
TESTS += tests/unit/generation_test
tests_unit_generation_test_SOURCES = tests/unit/generation_test.c
tests_unit_generation_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_generation_test_LDADD = core/model/libmodel.la core/base/libbase.la $(CHECK_LIBS)

check_PROGRAMS += tests/unit/topology_test
TESTS += tests/unit/topology_test
tests_unit_topology_test_SOURCES = tests/unit/topology_test.c
EXTRA_DIST += tests/data/topology/two-nodes.xml
tests_unit_topology_test_CPPFLAGS = $(AM_CPPFLAGS) -DSOURCE_FOLDER='"$(abs_top_srcdir)"'
tests_unit_topology_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_topology_test_LDADD = core/topology/libtopology.la core/base/libbase.la $(CHECK_LIBS) $(PTHREAD_LIBS)

MODEL_TEST_LIBS = core/model/libmodel.la core/base/libbase.la $(CHECK_LIBS)
check_PROGRAMS += tests/unit/model_test tests/unit/safetensors_test tests/unit/shape_test tests/unit/sizes_test
TESTS += tests/unit/model_test tests/unit/safetensors_test tests/unit/shape_test tests/unit/sizes_test
tests_unit_model_test_SOURCES = tests/unit/model_test.c tests/unit/checkpoint.c tests/unit/checkpoint.h
tests_unit_model_test_CFLAGS = $(AM_CFLAGS) $(JSONC_CFLAGS) $(CHECK_CFLAGS)
tests_unit_model_test_LDADD = $(MODEL_TEST_LIBS)
tests_unit_safetensors_test_SOURCES = tests/unit/safetensors_test.c
tests_unit_safetensors_test_CFLAGS = $(AM_CFLAGS) $(JSONC_CFLAGS) $(CHECK_CFLAGS)
tests_unit_safetensors_test_LDADD = $(MODEL_TEST_LIBS)
tests_unit_shape_test_SOURCES = tests/unit/shape_test.c \
	tests/unit/checkpoint.c tests/unit/checkpoint.h tests/unit/published.c tests/unit/published.h
tests_unit_shape_test_CFLAGS = $(AM_CFLAGS) $(JSONC_CFLAGS) $(CHECK_CFLAGS)
tests_unit_shape_test_LDADD = $(MODEL_TEST_LIBS)
tests_unit_sizes_test_SOURCES = tests/unit/sizes_test.c \
	tests/unit/checkpoint.c tests/unit/checkpoint.h tests/unit/published.c tests/unit/published.h
tests_unit_sizes_test_CFLAGS = $(AM_CFLAGS) $(JSONC_CFLAGS) $(CHECK_CFLAGS)
tests_unit_sizes_test_LDADD = $(MODEL_TEST_LIBS)
check_PROGRAMS += tests/unit/synthetic_test
TESTS += tests/unit/synthetic_test
tests_unit_synthetic_test_SOURCES = tests/unit/synthetic_test.c tests/unit/published.c tests/unit/published.h
tests_unit_synthetic_test_CFLAGS = $(AM_CFLAGS) $(JSONC_CFLAGS) $(CHECK_CFLAGS)
tests_unit_synthetic_test_LDADD = $(MODEL_TEST_LIBS)
endif

if HAVE_CHECK
check_PROGRAMS += tests/unit/sampler_test
TESTS += tests/unit/sampler_test
tests_unit_sampler_test_SOURCES = tests/unit/sampler_test.c
tests_unit_sampler_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_sampler_test_LDADD = core/sampler/libsampler.la core/base/libbase.la $(CHECK_LIBS)

check_PROGRAMS += tests/unit/placement_test tests/unit/ranges_test
TESTS += tests/unit/placement_test tests/unit/ranges_test
PLACEMENT_CASE = tests/unit/placement_case.c tests/unit/placement_case.h tests/unit/published.c tests/unit/published.h
PLACEMENT_LIBS = core/placement/libplacement.la core/model/libmodel.la core/base/libbase.la $(CHECK_LIBS)
tests_unit_placement_test_SOURCES = tests/unit/placement_test.c $(PLACEMENT_CASE)
tests_unit_placement_test_CFLAGS = $(AM_CFLAGS) $(JSONC_CFLAGS) $(CHECK_CFLAGS)
tests_unit_placement_test_LDADD = $(PLACEMENT_LIBS)
tests_unit_ranges_test_SOURCES = tests/unit/ranges_test.c $(PLACEMENT_CASE)
tests_unit_ranges_test_CFLAGS = $(AM_CFLAGS) $(JSONC_CFLAGS) $(CHECK_CFLAGS)
tests_unit_ranges_test_LDADD = $(PLACEMENT_LIBS)

# Whole engines on the golden checkpoints.
check_PROGRAMS += tests/unit/properties_test tests/unit/session_test
TESTS += tests/unit/properties_test tests/unit/session_test
tests_unit_properties_test_SOURCES = tests/unit/properties_test.c
tests_unit_properties_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_properties_test_LDADD = tests/golden/libgolden.la $(CHECK_LIBS)
EXTRA_tests_unit_properties_test_DEPENDENCIES = $(GOLDEN_PLUGINS)
tests_unit_session_test_SOURCES = tests/unit/session_test.c
tests_unit_session_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_session_test_LDADD = tests/golden/libgolden.la $(CHECK_LIBS)
EXTRA_tests_unit_session_test_DEPENDENCIES = $(GOLDEN_PLUGINS)

check_PROGRAMS += tests/unit/pretend_test
TESTS += tests/unit/pretend_test
tests_unit_pretend_test_SOURCES = tests/unit/pretend_test.c
tests_unit_pretend_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_pretend_test_CPPFLAGS = $(AM_CPPFLAGS)
tests_unit_pretend_test_LDADD = tests/golden/libgolden.la $(CHECK_LIBS)
EXTRA_tests_unit_pretend_test_DEPENDENCIES = $(GOLDEN_PLUGINS)
if BUILD_CPU
tests_unit_pretend_test_CPPFLAGS += -DTEST_CPU
if !STATIC_PLUGINS
EXTRA_tests_unit_pretend_test_DEPENDENCIES += hearth-cpu.la
endif
endif

check_PROGRAMS += tests/unit/cache_test
TESTS += tests/unit/cache_test
tests_unit_cache_test_SOURCES = tests/unit/cache_test.c tests/unit/checkpoint.c tests/unit/checkpoint.h
tests_unit_cache_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_cache_test_CPPFLAGS = $(AM_CPPFLAGS)
tests_unit_cache_test_LDADD = core/weights/libweights.la tests/golden/libgolden.la $(CHECK_LIBS)
EXTRA_tests_unit_cache_test_DEPENDENCIES = $(GOLDEN_PLUGINS)
if BUILD_CPU
tests_unit_cache_test_CPPFLAGS += -DTEST_CPU
if !STATIC_PLUGINS
EXTRA_tests_unit_cache_test_DEPENDENCIES += hearth-cpu.la
endif
endif

check_PROGRAMS += tests/unit/threads_test
TESTS += tests/unit/threads_test
tests_unit_threads_test_SOURCES = tests/unit/threads_test.c
tests_unit_threads_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_threads_test_LDADD = tests/golden/libgolden.la $(CHECK_LIBS) $(PTHREAD_LIBS)
EXTRA_tests_unit_threads_test_DEPENDENCIES = $(GOLDEN_PLUGINS)
endif

# the chat encoding
if HAVE_CHECK
check_PROGRAMS += tests/unit/chat_test tests/unit/chat_parse_test tests/unit/chat_passages_test
TESTS += tests/unit/chat_test tests/unit/chat_parse_test tests/unit/chat_passages_test
CHATCASES_FLAGS = $(AM_CPPFLAGS) -DCASES_FOLDER='"$(abs_top_srcdir)/tests/data/chat"'
tests_unit_chat_test_SOURCES = tests/unit/chat_test.c tests/unit/chat_cases.c tests/unit/chat_cases.h
tests_unit_chat_test_CPPFLAGS = $(CHATCASES_FLAGS)
tests_unit_chat_test_CFLAGS = $(AM_CFLAGS) $(JSONC_CFLAGS) $(LIBMD_CFLAGS) $(CHECK_CFLAGS)
tests_unit_chat_test_LDADD = core/model/libmodel.la core/base/libbase.la $(JSONC_LIBS) $(LIBMD_LIBS) $(CHECK_LIBS)
tests_unit_chat_parse_test_SOURCES = tests/unit/chat_parse_test.c tests/unit/chat_cases.c tests/unit/chat_cases.h
tests_unit_chat_parse_test_CPPFLAGS = $(CHATCASES_FLAGS)
tests_unit_chat_parse_test_CFLAGS = $(AM_CFLAGS) $(JSONC_CFLAGS) $(CHECK_CFLAGS)
tests_unit_chat_parse_test_LDADD = core/model/libmodel.la core/base/libbase.la $(JSONC_LIBS) $(CHECK_LIBS)
tests_unit_chat_passages_test_SOURCES = tests/unit/chat_passages_test.c
tests_unit_chat_passages_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_chat_passages_test_LDADD = core/model/libmodel.la core/base/libbase.la $(CHECK_LIBS)
endif
EXTRA_DIST += \
	tests/data/chat/completions.json \
	tests/data/chat/conversations.json \
	tests/data/chat/own/encoding/passages.json \
	tests/data/chat/refused.json \
	tools/chat-cases/make_cases.py

if HAVE_CHECK
check_PROGRAMS += tests/unit/tokenizer_test
TESTS += tests/unit/tokenizer_test
tests_unit_tokenizer_test_SOURCES = tests/unit/tokenizer_test.c \
	tests/unit/tokenizer_strings.c tests/unit/tokenizer_strings.h
tests_unit_tokenizer_test_CPPFLAGS = $(AM_CPPFLAGS) -DSOURCE_FOLDER='"$(abs_top_srcdir)"'
tests_unit_tokenizer_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_tokenizer_test_LDADD = core/model/libmodel.la core/base/libbase.la $(CHECK_LIBS)

check_PROGRAMS += tests/unit/tokenizer_refusal_test
TESTS += tests/unit/tokenizer_refusal_test
tests_unit_tokenizer_refusal_test_SOURCES = tests/unit/tokenizer_refusal_test.c
tests_unit_tokenizer_refusal_test_CPPFLAGS = $(AM_CPPFLAGS) -DSOURCE_FOLDER='"$(abs_top_srcdir)"'
tests_unit_tokenizer_refusal_test_CFLAGS = $(AM_CFLAGS) $(JSONC_CFLAGS) $(CHECK_CFLAGS)
tests_unit_tokenizer_refusal_test_LDFLAGS = $(AM_LDFLAGS) \
	-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
tests_unit_tokenizer_refusal_test_LDADD = core/model/libmodel.la core/base/libbase.la $(JSONC_LIBS) $(CHECK_LIBS)
endif
EXTRA_DIST += \
	tests/data/tokenizer/small.cases \
	tests/data/tokenizer/small.digests \
	tests/data/tokenizer/small.json \
	tests/data/tokenizer/strings.txt \
	tests/data/tokenizer/v4.digests \
	tools/tokenizer-cases/make_cases.py \
	tools/tokenizer-cases/make_unicode_table.py \
	tools/tokenizer-cases/training.txt
