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

check_PROGRAMS += tests/unit/topology_test
TESTS += tests/unit/topology_test
tests_unit_topology_test_SOURCES = tests/unit/topology_test.c
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
endif
