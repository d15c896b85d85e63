# files of this room

if HAVE_CHECK
# The plugin that whole-model tests load, unless it is linked in.
if STATIC_PLUGINS
GOLDEN_PLUGINS =
else
GOLDEN_PLUGINS = hearth-ref.la
endif

# Cases as tests see them; golden_test, and whoever needs a small model, links it.
check_LTLIBRARIES += tests/golden/libgolden.la
tests_golden_libgolden_la_SOURCES = tests/golden/golden_case.c tests/golden/golden_case.h
tests_golden_libgolden_la_CPPFLAGS = $(AM_CPPFLAGS) -DGOLDEN_DATA='"$(abs_top_srcdir)/tests/golden/data"' \
	-DPLUGIN_FOLDER='"$(abs_top_builddir)/.libs"'
tests_golden_libgolden_la_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_golden_libgolden_la_LIBADD = libhearth.la core/model/libmodel.la core/base/libbase.la $(CHECK_LIBS)

check_PROGRAMS += tests/golden/golden_test
TESTS += tests/golden/golden_test
tests_golden_golden_test_SOURCES = tests/golden/golden_test.c
tests_golden_golden_test_CPPFLAGS = $(AM_CPPFLAGS) -DGOLDEN_DATA='"$(abs_top_srcdir)/tests/golden/data"'
tests_golden_golden_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_golden_golden_test_LDADD = tests/golden/libgolden.la $(CHECK_LIBS)
EXTRA_tests_golden_golden_test_DEPENDENCIES = $(GOLDEN_PLUGINS)
endif

# The cases, and the scripts that make them (README.md); no part of a build or a test.
EXTRA_DIST += \
	tests/golden/README.md \
	tests/golden/cases.py \
	tests/golden/data \
	tests/golden/make_checkpoints.py \
	tests/golden/make_exact.py \
	tests/golden/make_native.py \
	tests/golden/make_prompts.py \
	tests/golden/make_units.py \
	tests/golden/numfmt.py \
	tests/golden/official.py \
	tests/golden/store.py
