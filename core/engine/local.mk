noinst_LTLIBRARIES += core/engine/libengine.la
core_engine_libengine_la_SOURCES = \
	core/engine/engine.c core/engine/engine_internal.h \
	core/engine/feed.c \
	core/engine/measure.c \
	core/engine/options.c \
	core/engine/plugin_check.c \
	core/engine/report.c \
	core/engine/rooms.c \
	core/engine/sessions.c \
	core/engine/takeover.c \
	core/engine/text.c
core_engine_libengine_la_CFLAGS = $(AM_CFLAGS) $(JSONC_CFLAGS)
