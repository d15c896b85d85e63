# the program from outside
EXTRA_DIST += tests/cli/common.sh
check_PROGRAMS += tests/cli/json_get tests/cli/with_terminal
tests_cli_json_get_SOURCES = tests/cli/json_get.c
tests_cli_json_get_CFLAGS = $(AM_CFLAGS) $(JSONC_CFLAGS)
tests_cli_json_get_LDADD = $(JSONC_LIBS)
tests_cli_with_terminal_SOURCES = tests/cli/with_terminal.c

dist_check_SCRIPTS += \
	tests/cli/chat_test.sh \
	tests/cli/config_test.sh \
	tests/cli/errors_test.sh \
	tests/cli/eval_test.sh \
	tests/cli/help_test.sh \
	tests/cli/reports_test.sh \
	tests/cli/run_test.sh \
	tests/cli/terminal_test.sh \
	tests/cli/usage_test.sh
TESTS += \
	tests/cli/chat_test.sh \
	tests/cli/config_test.sh \
	tests/cli/errors_test.sh \
	tests/cli/eval_test.sh \
	tests/cli/help_test.sh \
	tests/cli/reports_test.sh \
	tests/cli/run_test.sh \
	tests/cli/terminal_test.sh \
	tests/cli/usage_test.sh
