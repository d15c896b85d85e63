# files of this room
if HAVE_CHECK
check_PROGRAMS += tests/unit/config_test
TESTS += tests/unit/config_test
tests_unit_config_test_SOURCES = tests/unit/config_test.c
tests_unit_config_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_config_test_LDADD = core/config/libconfig.la core/base/libbase.la $(CHECK_LIBS)
endif
