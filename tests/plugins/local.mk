# files of this room

if HAVE_CHECK
# One source, compiled once for each way a plugin can be right or wrong.
FAKE_LDFLAGS = $(PLUGIN_LDFLAGS) -rpath $(abs_builddir)/tests/plugins

check_LTLIBRARIES += tests/plugins/hearth-fake.la
tests_plugins_hearth_fake_la_SOURCES = tests/plugins/fake.c
tests_plugins_hearth_fake_la_LDFLAGS = $(FAKE_LDFLAGS)
tests_plugins_hearth_fake_la_CPPFLAGS = $(AM_CPPFLAGS) -DFAKE_SYMBOL=hearth_plugin_fake -DFAKE_NAME='"fake"' \
	-DFAKE_ABI='HEARTH_PLUGIN_ABI' -DFAKE_SIZE='sizeof(struct hearth_plugin)'

check_LTLIBRARIES += tests/plugins/hearth-fake-newer.la
tests_plugins_hearth_fake_newer_la_SOURCES = tests/plugins/fake.c
tests_plugins_hearth_fake_newer_la_LDFLAGS = $(FAKE_LDFLAGS)
tests_plugins_hearth_fake_newer_la_CPPFLAGS = $(AM_CPPFLAGS) -DFAKE_SYMBOL=hearth_plugin_fake_newer -DFAKE_NAME='"fake-newer"' \
	-DFAKE_ABI='(HEARTH_PLUGIN_ABI+7)' -DFAKE_SIZE='sizeof(struct fake_table)'

check_LTLIBRARIES += tests/plugins/hearth-fake-major.la
tests_plugins_hearth_fake_major_la_SOURCES = tests/plugins/fake.c
tests_plugins_hearth_fake_major_la_LDFLAGS = $(FAKE_LDFLAGS)
tests_plugins_hearth_fake_major_la_CPPFLAGS = $(AM_CPPFLAGS) -DFAKE_SYMBOL=hearth_plugin_fake_major -DFAKE_NAME='"fake-major"' \
	-DFAKE_ABI='(2u<<16)' -DFAKE_SIZE='sizeof(struct hearth_plugin)'

check_LTLIBRARIES += tests/plugins/hearth-fake-short.la
tests_plugins_hearth_fake_short_la_SOURCES = tests/plugins/fake.c
tests_plugins_hearth_fake_short_la_LDFLAGS = $(FAKE_LDFLAGS)
tests_plugins_hearth_fake_short_la_CPPFLAGS = $(AM_CPPFLAGS) -DFAKE_SYMBOL=hearth_plugin_fake_short -DFAKE_NAME='"fake-short"' \
	-DFAKE_ABI='HEARTH_PLUGIN_ABI' -DFAKE_SIZE='64'

check_LTLIBRARIES += tests/plugins/hearth-fake-misnamed.la
tests_plugins_hearth_fake_misnamed_la_SOURCES = tests/plugins/fake.c
tests_plugins_hearth_fake_misnamed_la_LDFLAGS = $(FAKE_LDFLAGS)
tests_plugins_hearth_fake_misnamed_la_CPPFLAGS = $(AM_CPPFLAGS) -DFAKE_SYMBOL=hearth_plugin_fake_misnamed -DFAKE_NAME='"other"' \
	-DFAKE_ABI='HEARTH_PLUGIN_ABI' -DFAKE_SIZE='sizeof(struct hearth_plugin)'

check_LTLIBRARIES += tests/plugins/hearth-fake-silent.la
tests_plugins_hearth_fake_silent_la_SOURCES = tests/plugins/fake.c
tests_plugins_hearth_fake_silent_la_LDFLAGS = $(FAKE_LDFLAGS)
tests_plugins_hearth_fake_silent_la_CPPFLAGS = $(AM_CPPFLAGS) -DFAKE_SYMBOL=hearth_plugin_fake_quiet -DFAKE_NAME='"fake-silent"' \
	-DFAKE_ABI='HEARTH_PLUGIN_ABI' -DFAKE_SIZE='sizeof(struct hearth_plugin)'

check_LTLIBRARIES += tests/plugins/hearth-fake-lame.la
tests_plugins_hearth_fake_lame_la_SOURCES = tests/plugins/fake.c
tests_plugins_hearth_fake_lame_la_LDFLAGS = $(FAKE_LDFLAGS)
tests_plugins_hearth_fake_lame_la_CPPFLAGS = $(AM_CPPFLAGS) -DFAKE_NO_SUBMIT -DFAKE_SYMBOL=hearth_plugin_fake_lame -DFAKE_NAME='"fake-lame"' \
	-DFAKE_ABI='HEARTH_PLUGIN_ABI' -DFAKE_SIZE='sizeof(struct hearth_plugin)'

check_PROGRAMS += tests/plugins/loader_test
TESTS += tests/plugins/loader_test
tests_plugins_loader_test_SOURCES = tests/plugins/loader_test.c
tests_plugins_loader_test_CPPFLAGS = $(AM_CPPFLAGS) -DFAKE_FOLDER='"$(abs_builddir)/tests/plugins/.libs"'
tests_plugins_loader_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_plugins_loader_test_LDADD = core/plugin/libplugin.la core/config/libconfig.la core/base/libbase.la \
	$(STATIC_PLUGIN_LIBS) $(CHECK_LIBS)
EXTRA_tests_plugins_loader_test_DEPENDENCIES = tests/plugins/.libs/hearth-fake-garbage.so

tests/plugins/.libs/hearth-fake-garbage.so: tests/plugins/hearth-fake.la
	$(AM_V_GEN)echo 'not an ELF file' >$@
MOSTLYCLEANFILES += tests/plugins/.libs/hearth-fake-garbage.so
endif

if HAVE_CHECK
if BUILD_REF
check_LTLIBRARIES += tests/plugins/hearth-partial.la
tests_plugins_hearth_partial_la_SOURCES = tests/plugins/partial.c
tests_plugins_hearth_partial_la_LIBADD = backends/ref/libref.la backends/host/libhost.la
tests_plugins_hearth_partial_la_LDFLAGS = $(FAKE_LDFLAGS) -export-symbols-regex '^hearth_plugin_partial'

# Plugins of another minor.
check_LTLIBRARIES += tests/plugins/hearth-partial-older.la tests/plugins/hearth-partial-newer.la
tests_plugins_hearth_partial_older_la_SOURCES = tests/plugins/partial.c
tests_plugins_hearth_partial_older_la_CPPFLAGS = $(AM_CPPFLAGS) -DPARTIAL_OLDER
tests_plugins_hearth_partial_older_la_LIBADD = $(tests_plugins_hearth_partial_la_LIBADD)
tests_plugins_hearth_partial_older_la_LDFLAGS = $(tests_plugins_hearth_partial_la_LDFLAGS)
tests_plugins_hearth_partial_newer_la_SOURCES = tests/plugins/partial.c
tests_plugins_hearth_partial_newer_la_CPPFLAGS = $(AM_CPPFLAGS) -DPARTIAL_NEWER
tests_plugins_hearth_partial_newer_la_LIBADD = $(tests_plugins_hearth_partial_la_LIBADD)
tests_plugins_hearth_partial_newer_la_LDFLAGS = $(tests_plugins_hearth_partial_la_LDFLAGS)

check_PROGRAMS += tests/plugins/fallback_test
TESTS += tests/plugins/fallback_test
tests_plugins_fallback_test_SOURCES = tests/plugins/fallback_test.c
tests_plugins_fallback_test_CPPFLAGS = $(AM_CPPFLAGS) -DPARTIAL_FOLDER='"$(abs_top_builddir)/tests/plugins/.libs"' \
	-DPLUGIN_FOLDER='"$(abs_top_builddir)/.libs"'
tests_plugins_fallback_test_CFLAGS = $(AM_CFLAGS) $(JSONC_CFLAGS) $(CHECK_CFLAGS)
tests_plugins_fallback_test_LDADD = tests/golden/libgolden.la $(JSONC_LIBS) $(CHECK_LIBS)
EXTRA_tests_plugins_fallback_test_DEPENDENCIES = tests/plugins/hearth-partial.la \
	tests/plugins/hearth-partial-older.la tests/plugins/hearth-partial-newer.la $(GOLDEN_PLUGINS)

# Devices that fail: when and how, and what callers see of it.  The log is libhearth's, so that comes before libgolden.
check_PROGRAMS += tests/plugins/takeover_test tests/plugins/takeover_calls_test
TESTS += tests/plugins/takeover_test tests/plugins/takeover_calls_test
tests_plugins_takeover_test_SOURCES = tests/plugins/takeover_test.c tests/plugins/takeover_case.c \
	tests/plugins/takeover_case.h
tests_plugins_takeover_test_CPPFLAGS = $(tests_plugins_fallback_test_CPPFLAGS)
tests_plugins_takeover_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_plugins_takeover_test_LDADD = libhearth.la tests/golden/libgolden.la $(CHECK_LIBS)
EXTRA_tests_plugins_takeover_test_DEPENDENCIES = $(EXTRA_tests_plugins_fallback_test_DEPENDENCIES)
tests_plugins_takeover_calls_test_SOURCES = tests/plugins/takeover_calls_test.c tests/plugins/takeover_case.c \
	tests/plugins/takeover_case.h
tests_plugins_takeover_calls_test_CPPFLAGS = $(tests_plugins_fallback_test_CPPFLAGS)
tests_plugins_takeover_calls_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_plugins_takeover_calls_test_LDADD = $(tests_plugins_takeover_test_LDADD)
EXTRA_tests_plugins_takeover_calls_test_DEPENDENCIES = $(EXTRA_tests_plugins_fallback_test_DEPENDENCIES)

# Several accelerators, on which the same conversations are held.
check_PROGRAMS += tests/plugins/accelerators_test
TESTS += tests/plugins/accelerators_test
tests_plugins_accelerators_test_SOURCES = tests/plugins/accelerators_test.c tests/plugins/takeover_case.c \
	tests/plugins/takeover_case.h
tests_plugins_accelerators_test_CPPFLAGS = $(tests_plugins_fallback_test_CPPFLAGS)
tests_plugins_accelerators_test_CFLAGS = $(tests_plugins_fallback_test_CFLAGS)
tests_plugins_accelerators_test_LDADD = $(tests_plugins_takeover_test_LDADD) $(JSONC_LIBS)
EXTRA_tests_plugins_accelerators_test_DEPENDENCIES = $(EXTRA_tests_plugins_fallback_test_DEPENDENCIES)
endif
endif

# The OpenCL backend: copies, limits, cache, faults; linears together.
if HAVE_CHECK
if BUILD_OPENCL
check_PROGRAMS += tests/plugins/opencl_test
TESTS += tests/plugins/opencl_test
tests_plugins_opencl_test_SOURCES = tests/plugins/opencl_test.c tests/plugins/opencl_case.c tests/plugins/opencl_case.h
tests_plugins_opencl_test_CFLAGS = $(AM_CFLAGS) $(OPENCL_CFLAGS) $(JSONC_CFLAGS) $(CHECK_CFLAGS)
tests_plugins_opencl_test_LDADD = backends/opencl/libopencl.la backends/host/libcheck.la $(JSONC_LIBS) $(CHECK_LIBS)
check_PROGRAMS += tests/plugins/opencl_copies_test
TESTS += tests/plugins/opencl_copies_test
tests_plugins_opencl_copies_test_SOURCES = tests/plugins/opencl_copies_test.c tests/plugins/opencl_case.c \
	tests/plugins/opencl_case.h
tests_plugins_opencl_copies_test_CFLAGS = $(AM_CFLAGS) $(OPENCL_CFLAGS) $(CHECK_CFLAGS)
tests_plugins_opencl_copies_test_LDADD = backends/opencl/libopencl.la backends/host/libcheck.la $(CHECK_LIBS)
check_PROGRAMS += tests/plugins/opencl_linears_test
TESTS += tests/plugins/opencl_linears_test
tests_plugins_opencl_linears_test_SOURCES = tests/plugins/opencl_linears_test.c
tests_plugins_opencl_linears_test_CFLAGS = $(AM_CFLAGS) $(OPENCL_CFLAGS) $(CHECK_CFLAGS)
tests_plugins_opencl_linears_test_LDADD = backends/opencl/libopencl.la backends/host/libcheck.la $(CHECK_LIBS)
endif
endif
