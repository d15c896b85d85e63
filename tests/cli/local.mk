# the program from outside
EXTRA_DIST += tests/cli/common.sh
check_PROGRAMS += tests/cli/json_get tests/cli/with_terminal
tests_cli_json_get_SOURCES = tests/cli/json_get.c
tests_cli_json_get_CFLAGS = $(AM_CFLAGS) $(JSONC_CFLAGS)
tests_cli_json_get_LDADD = $(JSONC_LIBS)
tests_cli_with_terminal_SOURCES = tests/cli/with_terminal.c

if HAVE_CHECK
check_PROGRAMS += tests/cli/front_test
TESTS += tests/cli/front_test
tests_cli_front_test_SOURCES = tests/cli/front_test.c \
	core/front/human.c core/front/passkey.c core/front/render.c core/front/render_grid.c core/front/svg.c
tests_cli_front_test_CPPFLAGS = $(AM_CPPFLAGS) -DSOURCE_FOLDER='"$(abs_top_srcdir)"' \
	-DBUILD_FOLDER='"$(abs_top_builddir)"'
tests_cli_front_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(JSONC_CFLAGS)
tests_cli_front_test_LDADD = libhearth.la core/base/libbase.la $(CHECK_LIBS)
endif

dist_check_SCRIPTS += \
	tests/cli/accelerators_test.sh \
	tests/cli/bench_test.sh \
	tests/cli/chat_test.sh \
	tests/cli/config_test.sh \
	tests/cli/errors_test.sh \
	tests/cli/eval_test.sh \
	tests/cli/help_test.sh \
	tests/cli/loans_test.sh \
	tests/cli/opencl_test.sh \
	tests/cli/plugin_test.sh \
	tests/cli/reports_test.sh \
	tests/cli/run_test.sh \
	tests/cli/terminal_test.sh \
	tests/cli/usage_test.sh
TESTS += \
	tests/cli/bench_test.sh \
	tests/cli/chat_test.sh \
	tests/cli/config_test.sh \
	tests/cli/errors_test.sh \
	tests/cli/eval_test.sh \
	tests/cli/help_test.sh \
	tests/cli/plugin_test.sh \
	tests/cli/reports_test.sh \
	tests/cli/run_test.sh \
	tests/cli/terminal_test.sh \
	tests/cli/usage_test.sh
if BUILD_REF
if BUILD_OPENCL
TESTS += tests/cli/accelerators_test.sh tests/cli/loans_test.sh tests/cli/opencl_test.sh
endif
endif
