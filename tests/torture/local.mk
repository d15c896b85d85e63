# Every request for memory, a file, a mapping or a thread refused in turn.
if HAVE_CHECK
if BUILD_REF
SCARCE_LDFLAGS = -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc,--wrap=free \
	-Wl,--wrap=strdup,--wrap=strndup,--wrap=realpath,--wrap=fopen,--wrap=fdopen,--wrap=fclose \
	-Wl,--wrap=mmap,--wrap=munmap,--wrap=mkstemp,--wrap=pthread_create

# The reference as a plugin whose requests go the same way; it finds them in the program.
if !STATIC_PLUGINS
check_LTLIBRARIES += tests/torture/hearth-ref.la
TORTURE_PLUGINS = tests/torture/hearth-ref.la
endif
tests_torture_hearth_ref_la_SOURCES =
tests_torture_hearth_ref_la_LIBADD = backends/ref/libref.la backends/host/libhost.la
tests_torture_hearth_ref_la_LDFLAGS = $(FAKE_LDFLAGS) $(SCARCE_LDFLAGS) -export-symbols-regex '^hearth_plugin_'

check_PROGRAMS += tests/torture/torture_test
TESTS += tests/torture/torture_test
tests_torture_torture_test_SOURCES = tests/torture/scarce.c tests/torture/scarce.h tests/torture/torture_test.c
tests_torture_torture_test_CPPFLAGS = $(AM_CPPFLAGS) -DSOURCE_FOLDER='"$(abs_top_srcdir)"' \
	-DPLUGIN_FOLDER='"$(abs_top_builddir)/tests/torture/.libs"'
tests_torture_torture_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_torture_torture_test_LDFLAGS = $(AM_LDFLAGS) $(SCARCE_LDFLAGS) -export-dynamic
tests_torture_torture_test_LDADD = $(HEARTH_ROOMS) $(CHECK_LIBS)
EXTRA_tests_torture_torture_test_DEPENDENCIES = $(TORTURE_PLUGINS)
endif
endif
