TESTS += tools/lint
EXTRA_DIST += \
	tools/check-headers \
	tools/check-ops \
	tools/check-rooms \
	tools/check-size \
	tools/check-style \
	tools/check-symbols \
	tools/lint \
	tools/quickstart \
	tools/rooms.def \
	tests/installed/embed.c \
	tests/installed/run
