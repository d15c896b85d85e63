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
endif
